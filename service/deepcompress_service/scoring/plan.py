"""The plan of a run: its configuration with defaults filled in, checked, and split by the parts that use it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeGuard, get_args

import orjson
from cachetools import LRUCache
from pydantic import BaseModel, ValidationError

from deepcompress_client.presets import expand
from deepcompress_client.wire import OPTIONS, Checker, Outcome, RunConfig, StrategyConfig
from deepcompress_verify import CheckerError
from deepcompress_verify.checkers import resolve_checker

from ..difficulty.model import Accumulator, DifficultyConfig
from ..shaping import ConfigError, Reward, reward_from_config
from ..shaping.registry import LEVEL_PARAMS, find
from .errors import (
    InvalidRequestError,
    NewerConfigurationError,
    TooLargeError,
    UnsupportedConfigError,
    describe_validation,
)

MAX_CONFIG_CHARS = 65_536
"""Most characters of a new run's configuration, with all fields: it is in memory wherever the run is."""
READ_PLANS_BYTES = 16 << 20
"""Most bytes of the plans that were read from stored configurations."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything that follows from a run's configuration."""

    config: RunConfig
    text: str
    """The configuration with its defaults filled in, as canonical JSON. Texts made by one version are equal where
    the configurations are; a stored text may be another version's, and is read with `plan_from_text` before it is
    compared."""
    reward: Reward
    difficulty: DifficultyConfig


def make_plan(config: RunConfig, problem_weight: float, remote: frozenset[str] = frozenset()) -> RunPlan:
    """Fill in the defaults of a configuration and check it. `remote` has the names of the remote checkers.

    Raises:
        InvalidRequestError: A field of the configuration is not valid.
    """
    # The default is the strategy's published outcome, which differs between strategies; not the wire's.
    outcome = config.outcome.model_dump(exclude_unset=True) if "outcome" in config.model_fields_set else {}
    try:
        reward = reward_from_config(
            config.strategy.model_dump(),
            outcome,
            _dumped(config.length_weight),
            None if config.overlong is None else config.overlong.model_dump(),
            [shadow.model_dump() for shadow in config.shadow],
            **{name: _dumped(getattr(config, name)) for name in OPTIONS},
        )
    except ConfigError as error:
        raise InvalidRequestError(error.field, error.message, "invalid-config") from None
    if reward.whitens and reward.reads_state:
        raise InvalidRequestError(
            "advantage.whiten",
            f"send none: the mean and std of a step are recorded with its groups, before {reward.main.strategy.name} "
            "and the options can read the run's state",
            "invalid-config",
        )
    resolved = config.model_dump()
    resolved["strategy"] = reward.strategy
    resolved["outcome"] = reward.outcome
    resolved["shadow"] = reward.shadow
    # The text of a configuration without options is that of earlier versions. With a preset, an option that the
    # caller turned off is written: it is off, and not left to the preset.
    off = {} if config.preset is None else dict.fromkeys(OPTIONS)
    resolved = {name: value for name, value in resolved.items() if name not in OPTIONS} | off | reward.options.config
    if config.preset is None:
        del resolved["preset"]
    for source, checker in (config.checkers or {}).items():
        validate_checker(f"checkers.{source}", checker, "invalid-config", remote)
    if config.fallback_checker is not None:
        validate_fallback(config.fallback_checker, remote)
    if not config.checkers:
        del resolved["checkers"]  # the text of a configuration without checkers is that of earlier versions
    if config.fallback_checker is None:
        del resolved["fallback_checker"]
    if not config.asynchronous:
        if config.max_age is not None:
            raise InvalidRequestError("max_age", "also send asynchronous: true", "invalid-config")
        del resolved["asynchronous"], resolved["max_age"]
    text = orjson.dumps(resolved, option=orjson.OPT_SORT_KEYS).decode()
    difficulty = DifficultyConfig(
        level=Accumulator("ema", initial=reward.initial_level, weight=reward.ema),
        extra=tuple(Accumulator(a.kind, a.initial, a.weight, a.target) for a in reward.accumulators),
        reference=reward.reference,
        step_level=reward.step_level,
        keep_steps=config.keep_steps,
        groups_per_step=config.groups_per_step,
        problem_weight=problem_weight,
        group_lengths=reward.reads_lengths,
        asynchronous=config.asynchronous,
        max_age=config.max_age,
    )
    return RunPlan(RunConfig.model_validate(resolved), text, reward, difficulty)


def make_new_plan(config: RunConfig, problem_weight: float, remote: frozenset[str] = frozenset()) -> RunPlan:
    """Return the plan of a run that is created now, or that has not trained.

    The fields of a preset are filled in. With `groups_per_step`, and in asynchronous runs, a step comes in pieces, so
    a `reference` that is left out is "previous": rewards then do not depend on the pieces (docs/design.md, 5.7). Both
    are stored, so a stored run keeps its own.

    Raises:
        InvalidRequestError: A field of the configuration is not valid.
        TooLargeError: With all fields it has more than MAX_CONFIG_CHARS characters.
    """
    config = _expanded(config)
    if config.groups_per_step is not None or config.asynchronous:
        strategies = [
            StrategyConfig.model_validate({"reference": "previous"} | one.model_dump())
            for one in (config.strategy, *config.shadow)
        ]
        config = config.model_copy(update={"strategy": strategies[0], "shadow": strategies[1:]})
    plan = make_plan(config, problem_weight, remote)
    if len(plan.text) > MAX_CONFIG_CHARS:
        raise TooLargeError("the configuration", MAX_CONFIG_CHARS)
    return plan


def plan_bytes(plan: RunPlan) -> int:
    """Return an upper bound on the bytes of memory that a plan takes; schedules take the most for their text."""
    return 24_576 + 16 * len(plan.text)


def checker_name(checker: object) -> str | None:
    """Return the name in a checker's name or `{"name": ...}`; None without one."""
    name = checker.get("name") if isinstance(checker, dict) else checker
    return name if isinstance(name, str) else None


def validate_checker(
    field: str, checker: Checker, slug: str = "invalid-checker", remote: frozenset[str] = frozenset()
) -> None:
    """Check the name and the parameters of a checker. `remote` has the names of the remote checkers.

    Raises:
        InvalidRequestError: The checker or a parameter is unknown.
    """
    if (name := checker_name(checker)) in remote:
        if isinstance(checker, dict) and len(checker) > 1:
            raise InvalidRequestError(field, f"{name}: a remote checker has no parameters: send them in row", slug)
        return
    try:
        resolve_checker(checker)
    except CheckerError as error:
        others = f"; remote: {', '.join(sorted(remote))}" if remote else ""
        raise InvalidRequestError(field, f"{error}{others}", slug) from None


def validate_fallback(name: str, remote: frozenset[str]) -> None:
    """Check that a run's fallback is a remote checker.

    Raises:
        InvalidRequestError: It is not.
    """
    if name not in remote:
        names = ", ".join(sorted(remote)) or "none is set up here (docs/remote-checkers.md)"
        detail = f"no remote checker {name[:64]!r}; the remote checkers are: {names}"
        raise InvalidRequestError("fallback_checker", detail, "invalid-config")


def _dumped(value: Any) -> Any:  # noqa: ANN401 - a part of a configuration is any JSON
    """Return a part of a configuration as plain values."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {name: _dumped(one) for name, one in value.items()}
    return value


def named_plan(
    config: RunConfig, stored: RunPlan, problem_weight: float, remote: frozenset[str] = frozenset()
) -> RunPlan:
    """Return the plan of a configuration whose left-out fields, strategies' too, mean the stored values.

    The run's own preset, of any version that is not named, means the stored values too. Another preset means its
    fields. The label that is stored stays: configurations are compared by what they do.

    Raises:
        InvalidRequestError: A field of the configuration is not valid.
    """
    label = stored.config.preset
    if config.preset is not None and label is not None and config.preset in (label, label.partition("@")[0]):
        named = config.model_dump(exclude_unset=True)
    else:
        named = _expanded(config).model_dump(exclude_unset=True)
    named.pop("preset", None)
    if _is_another_strategy(stored.config.strategy.model_dump(), named.get("strategy", {})):
        return make_plan(RunConfig.model_validate({**named, "preset": label}), problem_weight, remote)
    return make_plan(RunConfig.model_validate(_merged(stored.config.model_dump(), named)), problem_weight, remote)


def _expanded(config: RunConfig) -> RunConfig:
    """Return the configuration with the fields of its preset.

    Raises:
        InvalidRequestError: There is no such preset.
    """
    try:
        return expand(config)
    except ValueError as error:
        raise InvalidRequestError("preset", str(error), "invalid-config") from None


_read_plans: LRUCache[str, tuple[float, frozenset[str], RunPlan]] = LRUCache(
    READ_PLANS_BYTES, getsizeof=lambda read: plan_bytes(read[2])
)


def plan_from_text(text: str, problem_weight: float, remote: frozenset[str] = frozenset()) -> RunPlan:
    """Return the plan of a stored configuration of this or another version, with this version's defaults.

    Raises:
        NewerConfigurationError: It has a field that this version does not know, and that is not null.
        UnsupportedConfigError: This version cannot run it for another reason.
    """
    known = _read_plans.get(text)
    if known is not None and known[:2] == (problem_weight, remote):
        return known[2]
    plan = _plan_from_text(text, problem_weight, remote)
    with suppress(ValueError):  # it is larger than the whole cache
        _read_plans[text] = problem_weight, remote, plan
    return plan


def _plan_from_text(text: str, problem_weight: float, remote: frozenset[str]) -> RunPlan:
    try:
        config = _without_unknown_nulls(orjson.loads(text))
        return make_plan(RunConfig.model_validate_json(orjson.dumps(config)), problem_weight, remote)
    except orjson.JSONDecodeError:
        detail = "it is not JSON"
    except ValidationError as error:
        detail, _ = describe_validation(error)
    except InvalidRequestError as error:
        detail = error.detail
    raise UnsupportedConfigError(
        "config-not-supported", f"this server cannot run the run's stored configuration: {detail}"
    ) from None


def _without_unknown_nulls(value: object, annotation: object = RunConfig, path: str = "") -> object:
    """Return a stored value without the fields that a newer version added and left null.

    `annotation` is the type that this version declares for the value: the fields of nested models are checked too.

    Raises:
        NewerConfigurationError: A field that this version does not declare is not null.
    """
    if isinstance(value, list):
        (element, *_) = get_args(annotation) or (None,)
        return [_without_unknown_nulls(one, element, f"{path}{index}.") for index, one in enumerate(value)]
    if not isinstance(value, dict) or (declared := _declared(value, annotation)) is None:
        return value
    for name, one in value.items():
        if name not in declared and one is not None:
            raise NewerConfigurationError(f"the run's stored configuration has {path}{name}")
    return {
        name: _without_unknown_nulls(one, declared[name], f"{path}{name}.")
        for name, one in value.items()
        if name in declared
    }


def _declared(value: dict[str, Any], annotation: object) -> dict[str, object] | None:
    """Return the type of each field that `value` may have; None if the annotation is not a model, or not known."""
    (model, *_) = [one for one in (annotation, *get_args(annotation)) if _is_model(one)] or (None,)
    if model is None:
        return None
    fields: dict[str, object] = {name: field.annotation for name, field in model.model_fields.items()}
    if model is not StrategyConfig:
        return fields
    try:
        strategy = find(value.get("name", "deepcompress"), "strategy.name")
    except ConfigError:
        return None
    own = {param.name: None for param in (*strategy.params, *LEVEL_PARAMS)}
    return {**fields, **own, "label": None, "outcome": Outcome}


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _merged(stored: object, named: object) -> object:
    """Return the stored value with the named fields replaced."""
    if isinstance(stored, dict) and isinstance(named, dict) and not _is_another_strategy(stored, named):
        return {**stored, **{name: _merged(stored.get(name), value) for name, value in named.items()}}
    if isinstance(stored, list) and isinstance(named, list) and len(stored) == len(named):
        return [_merged(one, other) for one, other in zip(stored, named, strict=True)]
    return named


def _is_another_strategy(stored: dict[str, Any], named: dict[str, Any]) -> bool:
    """Return True if another strategy is named: a parameter of one has no meaning in another."""
    return "name" in named and named["name"] != stored.get("name")
