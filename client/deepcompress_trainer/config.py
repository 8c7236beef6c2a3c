"""Every setting of a training, in one dataclass. A YAML file sets some; flags of the same names override it.

The fields' texts are the help texts of `deepcompress train --help`; those that affect the length reward explain how.
The defaults are the values of the authors' scripts, if they have one (clip 0.2/0.28, token-level loss, no KL, filter
on accuracy), at the size of the small task.
"""

# ruff: noqa: RUF009  (the calls in the defaults make fields)

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from deepcompress_client import presets
from deepcompress_client.wire import NAME_PATTERN, AnswerFormat

from . import task

Setting = Any
"""The value of a setting, as read from YAML or from a flag, before it is checked."""

TypeHint = Any
"""The annotation of a setting."""


MAX_INTEGER = 2**31 - 1
"""Largest integer of a setting."""
SHUFFLED = "shuffled"
"""The value of `sampling` for which the trainer orders the problems itself."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: the usage of a command with many settings fills a screen."""

    def error(self, message: str) -> NoReturn:
        """End the command with status 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see: {self.prog} --help)\n")


class SettingsError(ValueError):
    """Settings that do not fit the run's data or strategy; the message names the setting."""


def _f(default: Setting, text: str) -> Setting:
    """Return a field with its help text."""
    if isinstance(default, dict | list):
        template = default
        return field(default_factory=lambda: type(template)(template), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run. Frozen: they never change, and a resumed run is checked against them."""

    name: str = _f("run", "the run's name, in the service too: letters, digits, dots, - and _")
    out: str = _f("runs", "folder that holds the run's folder, OUT/NAME")
    seed: int = _f(0, "of sampling and of the order of problems")

    # the model and the data
    model: str = _f("start", "'start' (the shipped start checkpoint), a local folder, or a .gguf file")
    chat: bool = _f(False, "prompts through the tokenizer's chat template")
    data: str = _f("chain", "'chain' (the synthetic task), PATH.jsonl, or gsm8k:PATH.jsonl")
    eval_data: str | None = _f(None, "held-out problems, as data; chain has its own by default")
    chain_operations: list[int] = _f(
        [1, 16], f"fewest and most operations of the synthetic task, at most {task.MAX_OPERATIONS}"
    )
    chain_problems: int = _f(4096, "number of training problems of the synthetic task")
    slips: dict[str, Any] | None = _f(
        None,
        "slips of the synthetic task's world {from_operation, short, written}: from that operation on, a value that "
        "was written short or written out is replaced by another digit with that probability",
    )

    sampling: str = _f(
        "shuffled",
        "'shuffled': every problem once an epoch. Else the service draws the problems of each step by this policy: "
        "signal, mastered, band, uniform, or one of yours",
    )
    sampling_parameters: dict[str, Any] | None = _f(
        None, "parameters of that policy; signal has the group_size of this training"
    )

    # one step
    steps: int = _f(80, "training steps")
    problems_per_step: int = _f(24, "groups that a step trains on (and draws in one generation batch)")
    group_size: int = _f(
        8, "G, at least 2. 'Longer' acts only for pass ratios from 2/G up to the level, so a small G leaves it little"
    )
    max_new_tokens: int = _f(150, "a response is cut there, and is then truncated")
    temperature: float = _f(1.0, "of sampling; training uses log-probabilities of the same distribution")
    generation: Literal["loop", "transformers"] = _f("loop", "our key-value-cache loop, or transformers' generate")
    compact_at: float = _f(0.2, "the loop drops finished rows when this share has finished; 0 never drops")
    generation_chunk: int = _f(0, "groups generated at once while the last ones are verified; 0: all of a batch")
    max_generation_batches: int = _f(
        1, "dynamic sampling: most generation batches of a step, drawn until enough groups are kept"
    )

    # the reward
    preset: str | None = _f(
        None,
        f"a bundle of the settings of the reward, NAME or NAME@VERSION: {', '.join(presets.names())}; as a flag it "
        "replaces those of the file, and other flags take precedence",
    )
    strategy: dict[str, Any] = _f({"name": "deepcompress"}, "the service's strategy and its parameters")
    outcome: dict[str, float] = _f({"correct": 1.0, "wrong": -1.0}, "outcome rewards; they go to the service")
    overlong: dict[str, Any] | None = _f(None, "soft overlong term {max_tokens, buffer_tokens, factor}")
    gate: dict[str, Any] | None = _f(None, "a length reward only from a pass ratio on {min_pass_ratio, of}")
    guard: dict[str, Any] | None = _f(None, "no length reward while accuracy falls {margin, z, of}")
    target: dict[str, Any] | None = _f(None, "lengths against the problem's stored ones {quantile, slack, bonus}")
    advantage: dict[str, Any] | None = _f(
        None, "the service's advantages instead of scale_rewards and length_term {scale, decouple, whiten}"
    )
    answer_format: AnswerFormat = _f(
        "boxed", "the position of the answer in a response: boxed, one_boxed, final_answer or bare"
    )

    # from rewards to advantages
    filter_metric: Literal["acc", "reward", "none"] = _f(
        "acc",
        "groups that train. acc: some correct and some wrong (DAPO, the authors); an all-correct group never trains "
        "on its lengths. reward: any group with a signal; all-correct groups then compress, in effect another "
        "algorithm. none: every group; silent ones still count in the token denominator (as in TRL). acc and reward "
        "count the rollouts that are trained on, so not undecided or masked ones. The metric entropy is of the "
        "rollouts that this leaves, entropy_sampled of all",
    )
    scale_rewards: Literal["group", "batch", "none"] = _f(
        "group",
        "advantages are divided by the group's std (in an all-correct group that cancels alpha and |beta|: only "
        "their sign is left), by the batch's std, or not at all (the length term keeps its published size)",
    )
    length_term: Literal["reward", "advantage"] = _f(
        "reward",
        "reward: the length reward is part of the one reward (the paper). advantage: the outcome part is scaled "
        "by itself and length_weight * (-beta * z) is added, z over the correct rollouts, never divided by a std "
        "again (as DIET and GDPO keep their terms apart); it needs a strategy with beta and ignores strategy.mode",
    )
    length_weight: float | dict[str, Any] = _f(
        1.0,
        "of the length term: the service's if length_term is reward (a number or a schedule), else the trainer's",
    )
    length_fade: list[float] | None = _f(
        None,
        "[begin, end], shares of the steps between which the service's length_weight falls to 0, so that the last "
        "steps train on the outcome alone",
    )
    mask_truncated: bool = _f(
        False, "leave truncated rollouts out of the loss; the policy then does not learn to avoid truncation"
    )

    # the update
    learning_rate: float = _f(3e-4, "AdamW's, after the warm-up")
    warmup_steps: int = _f(5, "steps of linear warm-up")
    decay_steps: int = _f(
        0,
        "steps over which the learning rate falls linearly to 0, so that curves settle; 0: it is constant",
    )
    weight_decay: float = _f(0.0, "AdamW's")
    max_grad_norm: float = _f(1.0, "gradient clipping")
    minibatches: int = _f(3, "optimiser steps in a training step")
    clip_low: float = _f(0.2, "the ratio's lower clip, 1 - clip_low")
    clip_high: float = _f(0.28, "the ratio's upper clip, 1 + clip_high")
    kl: float = _f(0.0, "weight of the KL to the start policy (k3); 0 keeps no reference model")
    micro_tokens: int = _f(
        4096, "padded tokens in one forward pass of the update; small ones pad less, large ones suit a GPU"
    )
    old_logprobs: Literal["generation", "recompute"] = _f(
        "generation", "the ratio's denominator: as sampled, or by a pass of the training graph (for bfloat16)"
    )
    gradient_checkpointing: bool = _f(False, "less memory, more time")
    device: Literal["auto", "cpu", "cuda"] = _f(
        "auto", "cuda if available; a resume on another device continues, but not with the same numbers"
    )
    threads: int = _f(1, "CPU threads; on a CPU, only runs with one thread are repeatable to the last bit")

    # evaluation and checkpoints
    eval_every: int = _f(20, "steps between evaluations; one before the first step and one at the end besides")
    eval_problems: int = _f(160, "held-out problems in an evaluation")
    eval_samples: int = _f(4, "k of avg@k")
    save_every: int = _f(20, "steps between checkpoints; the last step always has one")
    keep_checkpoints: int = _f(2, "number of checkpoints to keep")

    @property
    def slip_rates(self) -> task.SlipRates | None:
        """The rates of `slips`."""
        return task.SlipRates.parse(self.slips) if self.slips is not None else None

    @property
    def own_length_weight(self) -> float:
        """`length_weight` where it is the trainer's; 1 where it is the service's."""
        if self.length_term == "advantage" and not isinstance(self.length_weight, dict):
            return self.length_weight
        return 1.0

    @property
    def folder(self) -> Path:
        """The run's folder, OUT/NAME."""
        return Path(self.out) / self.name

    def __post_init__(self) -> None:
        check(self)


def check(config: TrainConfig) -> None:
    """Check the settings.

    Raises:
        ValueError: a setting is invalid; the message names the field.
    """
    hints = get_type_hints(TrainConfig)
    for entry in dataclasses.fields(TrainConfig):
        choices = [c for c in get_args(hints[entry.name]) if isinstance(c, str)]
        value = getattr(config, entry.name)
        if choices and value not in choices:
            raise ValueError(f"{entry.name} is one of {', '.join(choices)}, not {value!r}")
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(config, name)}")
    if not re.fullmatch(NAME_PATTERN, config.name) or config.name in (".", ".."):
        raise ValueError(f"name: {config.name!r} is no run's name: use up to 128 letters, digits, dots, - and _")
    if config.data == "chain" or config.eval_data == "chain":
        _check_chain(config)
    if config.slip_rates and (config.data != "chain" or config.generation != "loop"):
        raise ValueError("slips: only the synthetic task (data: chain) has them, with generation: loop")
    if config.temperature <= 0:
        raise ValueError("temperature must be above 0: training samples")
    if 0 < config.decay_steps < config.steps:
        raise ValueError(
            "decay_steps: the learning rate would be 0 before the last step; give as many as there are steps, or 0"
        )
    if config.sampling == SHUFFLED and config.sampling_parameters:
        raise ValueError("sampling_parameters: sampling shuffled has no parameters")
    if config.length_fade is not None:
        _check_fade(config)
    if config.length_term == "advantage" and isinstance(config.length_weight, dict):
        raise ValueError("length_weight: with length_term advantage it is a number, not a schedule")
    if config.filter_metric == "none" and config.max_generation_batches > 1:
        raise ValueError("filter_metric none keeps every group: max_generation_batches must be 1")


def _check_fade(config: TrainConfig) -> None:
    """Check `length_fade`.

    Raises:
        ValueError: it is no pair of ascending shares, or the weight is not a number of the service.
    """
    fade = config.length_fade or []
    if len(fade) != 2 or not all(isinstance(one, int | float) for one in fade) or not 0 <= fade[0] <= fade[1] <= 1:
        raise ValueError(f"length_fade: {fade!r} is not [begin, end], two shares from 0 to 1")
    if isinstance(config.length_weight, dict) or config.length_term == "advantage":
        raise ValueError("length_fade: it needs length_term reward, and a number as length_weight")


_LEAST = {
    **dict.fromkeys(("steps", "problems_per_step", "max_new_tokens", "max_generation_batches"), 1),
    **dict.fromkeys(("minibatches", "micro_tokens", "threads", "chain_problems"), 1),
    **dict.fromkeys(("eval_every", "eval_problems", "eval_samples", "save_every", "keep_checkpoints"), 1),
    "group_size": 2,  # an advantage is a reward less its group's mean: one rollout alone never trains
    **dict.fromkeys(("generation_chunk", "warmup_steps", "decay_steps", "compact_at"), 0),
    **dict.fromkeys(("learning_rate", "weight_decay", "max_grad_norm", "clip_low", "clip_high", "kl"), 0),
}
"""The least value of a setting."""


REWARD_SETTINGS = frozenset(
    (
        *("preset", "strategy", "outcome", "gate", "guard", "target", "advantage", "length_weight"),
        *("filter_metric", "scale_rewards", "length_term", "length_fade", "kl"),
    )
)
"""The settings of a file that the flag ``--preset`` replaces."""


def _check_chain(config: TrainConfig) -> None:
    """Check that the synthetic task has enough different problems.

    Raises:
        ValueError: it has not, or the numbers of operations are invalid.
    """
    bounds = config.chain_operations
    are_integers = [type(bound) is int for bound in bounds]
    if are_integers != [True, True] or not 1 <= bounds[0] <= bounds[1] <= task.MAX_OPERATIONS:
        raise ValueError(
            f"chain_operations: {bounds!r} is not [fewest, most], two whole numbers from 1 to {task.MAX_OPERATIONS}"
        )
    training = config.chain_problems if config.data == "chain" else 0
    try:
        task.check_chains((bounds[0], bounds[1]), training, config.eval_problems)
    except ValueError as error:
        raise ValueError(f"chain_problems and eval_problems: {error}") from None


def parse(values: dict[str, Any]) -> TrainConfig:
    """Return the configuration for settings by name; values from YAML or flags are converted to the field's type.

    Raises:
        ValueError: a name is no setting, or a value does not fit.
    """
    values = _with_preset(values)
    hints = get_type_hints(TrainConfig)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"no such setting: {', '.join(unknown)}")
    return TrainConfig(**{name: _fit(name, value, hints[name]) for name, value in values.items()})


def _with_preset(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with those of their preset, which others take precedence over.

    Raises:
        ValueError: there is no such preset.
    """
    if not isinstance(name := values.get("preset"), str):
        return values
    preset = presets.find_preset(name)
    return {**presets.merge({**preset.run, **preset.trainer}, values), "preset": preset.id}


def _fit(name: str, value: Setting, hint: TypeHint) -> Setting:
    """Return a value as the type of its setting; `hint` is the type.

    Raises:
        ValueError: the value does not have that type.
    """
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    if isinstance(value, dict) and any(get_origin(kind) is dict for kind in kinds):
        return value
    kind = next(get_origin(kind) or kind for kind in kinds if kind is not type(None))
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 3e-4 as text
        except (ValueError, OverflowError):
            raise ValueError(f"{name}: {str(value)[:40]!r} is no number") from None
        if not math.isfinite(number):
            raise ValueError(f"{name} must be finite, not {number}")
        return number
    if kind is int and type(value) is int and abs(value) > MAX_INTEGER:
        raise ValueError(f"{name} is between -{MAX_INTEGER} and {MAX_INTEGER}")
    if kind is not Literal and type(value) is not kind:  # `check` has the choices
        raise ValueError(f"{name}: {value!r} is not of type {kind.__name__}")
    return value


def load(source: str, flags: dict[str, str]) -> TrainConfig:
    """Return the configuration of a YAML file or of a shipped name, with flags over it.

    A flag's value is read as YAML; ``strategy.alpha`` sets one key of a mapping.

    Raises:
        ValueError: there is no such file, or its settings are invalid.
    """
    path = Path(source)
    if path.is_file():
        text = _read_text(path)
    elif source in shipped():
        text = (resources.files(__package__) / "configs" / f"{source}.yaml").read_text(encoding="utf-8")
    else:
        raise ValueError(f"no such file, and no shipped configuration: {source} (shipped: {', '.join(shipped())})")
    values = _read_yaml(text, source) or {}
    if not isinstance(values, dict):
        raise ValueError(f"{source} is no mapping of settings")
    values.setdefault("name", path.stem)
    return parse_flags(values, flags)


def parse_flags(values: dict[str, Any], flags: dict[str, str]) -> TrainConfig:
    """Return the configuration for settings by name with flags over them, which are read as in `load`.

    Raises:
        ValueError: a setting is invalid.
    """
    values = dict(values)
    if "preset" in flags:
        values = {name: value for name, value in values.items() if name not in REWARD_SETTINGS}
        values = _with_preset({**values, "preset": str(_read_yaml(flags["preset"], "--preset"))})
    for flag, written in flags.items():
        name, _, key = flag.partition(".")
        value = _read_yaml(written, f"--{flag}")
        if key:
            mapping = values.get(name) or _default_of(name)
            if not isinstance(mapping, dict):
                raise ValueError(f"--{flag}: {name} is {mapping!r}, no mapping of which {key} could be set")
            values[name] = {**mapping, key: value}
        else:
            values[name] = written if name in ("preset", "name", "out", "model", "data", "eval_data") else value
    return parse(values)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8: give a YAML file of settings") from None


def _read_yaml(text: str, where: str) -> Setting:
    import yaml  # here, so that --help needs no package of the extra [trainer]

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{where} cannot be read as YAML: {' '.join(str(error).split())}") from None


def _default_of(name: str) -> Setting:
    for entry in dataclasses.fields(TrainConfig):
        if entry.name == name and entry.default_factory is not dataclasses.MISSING:
            return entry.default_factory()
        if entry.name == name and entry.default not in (None, dataclasses.MISSING):
            return entry.default
    return {}


def shipped() -> list[str]:
    """Return the names of the configurations that come with the trainer."""
    folder = resources.files(__package__) / "configs"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def start_checkpoint() -> Path:
    """Return the folder of the synthetic task's shipped start checkpoint."""
    return Path(str(resources.files(__package__) / "start"))


def sampling_policy(config: TrainConfig) -> dict[str, Any]:
    """Return the policy by which the service draws problems, with its parameters."""
    own = {"group_size": config.group_size} if config.sampling == "signal" else {}
    return {"name": config.sampling, **own, **(config.sampling_parameters or {})}


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as plain data."""
    return dataclasses.asdict(config)


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then constant, or falling linearly over `decay_steps`."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = max(0.0, 1.0 - step / config.decay_steps) if config.decay_steps else 1.0
    return config.learning_rate * warm * left
