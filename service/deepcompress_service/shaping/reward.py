"""The reward of a run: outcome + length_weight * length + overlong, from one configuration, with its components.

`reward_from_config` reads and checks the configuration once. The `Reward` that it returns is immutable, and `shape`
depends on the groups alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .batch import Batch, Floats
from .configured import ConfiguredStrategy, read_shadow, read_strategy
from .errors import ConfigError, InputError, StrategyError
from .families.overlong import VARIANTS, overlong_term
from .parameters import Param, read_params
from .reward_warnings import find_warnings
from .strategy import NEEDS, AccumulatorSpec, AdvantageTerms
from .types import COMPONENTS, Group, ShapedGroup, Why

_WEIGHT = Param("length_weight", "number", 1.0, "weight of the length term")
_OVERLONG_PARAMS = (
    Param("max_tokens", "integer", 0, "length at which the ramp reaches -factor", 1, 2**31 - 1),
    Param("buffer_tokens", "integer", 0, "length of the ramp", 1, 2**31 - 1),
    Param("factor", "number", 1.0, "depth of the ramp", 0.0),
    Param("variant", "choice", "floored", "what happens beyond max_tokens", choices=VARIANTS),
)


@dataclass(frozen=True)
class Reward:
    """The reward of a run, made by `reward_from_config`. Values derived from the configuration are computed once."""

    main: ConfiguredStrategy
    shadows: tuple[ConfiguredStrategy, ...]
    length_weight: float
    overlong: Mapping[str, Any] | None
    """The overlong term's parameters; None if the run has no such term."""

    @property
    def strategy(self) -> dict[str, Any]:
        """The strategy that trains: its name and every parameter, defaults filled in."""
        return self.main.config

    @property
    def shadow(self) -> list[dict[str, Any]]:
        """The shadow strategies in the same form, each with its label and its outcome pair."""
        return [
            {
                **configured.config,
                "label": configured.label,
                "outcome": {"correct": configured.pair[0], "wrong": configured.pair[1]},
            }
            for configured in self.shadows
        ]

    @property
    def outcome(self) -> dict[str, float]:
        """The outcome pair: as configured, by default the strategy's published one."""
        return {"correct": self.main.pair[0], "wrong": self.main.pair[1]}

    @cached_property
    def needs(self) -> frozenset[str]:
        """Needs of the run's strategy, of its shadows and of its overlong term."""
        return frozenset(NEEDS[key] for _, key in self._requirements)

    @property
    def ema(self) -> float:
        """lambda, the weight of the level before the step."""
        return float(self.main.level["ema"])

    @property
    def initial_level(self) -> float:
        """The level before the first step."""
        return float(self.main.level["initial_level"])

    @property
    def reference(self) -> Literal["current", "previous", "dataset"]:
        """The level that beta is taken against."""
        reference: Literal["current", "previous", "dataset"] = self.main.level["reference"]
        return reference

    @property
    def step_level(self) -> Literal["all", "last"]:
        """The groups of a step that make its level."""
        step_level: Literal["all", "last"] = self.main.level["step_level"]
        return step_level

    @cached_property
    def accumulators(self) -> tuple[AccumulatorSpec, ...]:
        """Accumulators that the run keeps beside the level: the strategy's own, then the shadows'."""
        return tuple(spec for configured in (self.main, *self.shadows) for spec in configured.accumulators)

    @cached_property
    def _requirements(self) -> list[tuple[str, str]]:
        """(name of a strategy or term, key of `NEEDS`) of everything that the reward requires."""
        required = [
            (configured.strategy.name, key)
            for configured in (self.main, *self.shadows)
            for key in configured.requires
        ]
        return required if self.overlong is None else [*required, ("the overlong term", "tokens")]

    @cached_property
    def required_inputs(self) -> list[tuple[str, str]]:
        """(name, what to send) of each field of `Group` that a caller must send for this reward."""
        return [(key, f"{who} needs it: {_SEND_HINTS[key]}") for who, key in self._requirements if key in _SEND_HINTS]

    @cached_property
    def _required_state(self) -> list[tuple[str, str]]:
        """(name, how to get it) of each field of `Group` that the run's state must give."""
        return [
            (key, f"{who} needs it: send training requests with a step")
            for who, key in self._requirements
            if key in ("level", "step")
        ]

    def shape(self, groups: Sequence[Group], *, evaluate: bool = False) -> list[ShapedGroup]:
        """Return the rewards of each group, in the order given. In evaluation: the outcome alone.

        Raises:
            InputError: A group lacks an input of the reward.
            StrategyError: A user's strategy returned invalid terms.
        """
        if not groups:
            return []
        if evaluate:
            return [_outcome_only(group, self.main.pair) for group in groups]
        self._check(groups)
        return self._shape_with(self.main, groups, self.length_weight)

    def shape_shadows(self, groups: Sequence[Group]) -> list[dict[str, ShapedGroup]]:
        """Return each group's rewards under every shadow strategy, by label, with the run's overlong term."""
        if not groups:
            return []
        self._check(groups)
        shaped = {configured.label: self._shape_with(configured, groups, 1.0) for configured in self.shadows}
        return [{label: of[g] for label, of in shaped.items()} for g in range(len(groups))]

    def warnings(self, groups: Sequence[Group], shaped: Sequence[ShapedGroup]) -> list[tuple[str, str]]:
        """Return the known problems that these groups show, as a stable slug and a sentence.

        The caller reports each once per run.
        """
        return find_warnings(self.main.strategy, self.overlong, groups, shaped)

    def _check(self, groups: Sequence[Group]) -> None:
        """Check that every group has the inputs that the reward needs, of the request and of the run's state."""
        for key, how in self.required_inputs:
            for index, group in enumerate(groups):
                if getattr(group, key) is None:
                    raise InputError(f"groups.{index}.{key}", how)
        declared = len(self.accumulators)
        for index, group in enumerate(groups):
            if len(group.accumulators) != declared:
                raise InputError(f"groups.{index}.accumulators", f"this reward carries {declared} between steps")
            for key, how in self._required_state:
                if getattr(group, key) is None:
                    raise InputError(f"groups.{index}.{key}", how)

    def _shape_with(
        self, configured: ConfiguredStrategy, groups: Sequence[Group], weight: float
    ) -> list[ShapedGroup]:
        if configured.run_level is not None:
            groups = configured.with_own_level(groups)
        batch = Batch(groups, configured.pair, configured.accumulator_slice)
        strategy = configured.strategy
        term = strategy.length(batch, configured.params)
        length = weight * term
        total = batch.outcome + length
        overlong = np.zeros_like(total)
        if self.overlong is not None:
            overlong = overlong_term(batch, total, **self.overlong)
            total = total + overlong
        beta = None if strategy.beta is None else strategy.beta(batch, configured.params)
        extras = AdvantageTerms() if strategy.extras is None else strategy.extras(batch, configured.params, total)
        if not np.isfinite(total).all():
            raise StrategyError("strategy", f"{strategy.name} gave a reward that is not finite")
        components = dict(zip(COMPONENTS, (batch.outcome, length, overlong), strict=True))
        return _split_by_group(batch, total, components, term, beta, extras, weight)


def reward_from_config(
    strategy: Mapping[str, Any],
    outcome: Mapping[str, Any] | None = None,
    length_weight: float = 1.0,
    overlong: Mapping[str, Any] | None = None,
    shadow: Sequence[Mapping[str, Any]] = (),
) -> Reward:
    """Return the reward that a run's configuration describes.

    `outcome` may leave out either half: the strategy's published value is the default. A shadow may have `label`
    (needed if two share a name), `outcome` (default: the published pair) and level parameters of its own (default:
    the run's).

    Raises:
        ConfigError: A field is wrong; the error names it and what to send.
    """
    main = read_strategy(strategy, "strategy", outcome or {}, "outcome")
    weight = _WEIGHT.read(length_weight, "length_weight")
    first = len(main.accumulators)
    shadows: list[ConfiguredStrategy] = []
    for index, config in enumerate(shadow):
        configured = read_shadow(config, f"shadow.{index}", main, first)
        if any(configured.label == other.label for other in shadows):
            raise ConfigError(
                f"shadow.{index}.label", f"two shadows are called {configured.label!r}; send another label"
            )
        first += len(configured.accumulators)
        shadows.append(configured)
    return Reward(main, tuple(shadows), weight, _read_overlong(overlong))


def _read_overlong(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if config is None:
        return None
    for name in ("max_tokens", "buffer_tokens"):
        if name not in config:
            raise ConfigError(f"overlong.{name}", "send a whole number of tokens")
    read = read_params(_OVERLONG_PARAMS, config, "overlong")
    if read["buffer_tokens"] > read["max_tokens"]:
        raise ConfigError("overlong.buffer_tokens", "send at most max_tokens")
    return read


_SEND_HINTS = {
    "tokens": "send tokens, the length in tokens (never characters), with every rollout",
    "target_tokens": "send target_tokens, the length asked of the policy, with every group",
    "reference_accuracy": "send reference_accuracy, the reference policy's accuracy on the problem, with every group",
    "reference_tokens": "send reference_tokens, the reference policy's mean length on the problem, with every group",
    "thinking": "send thinking, whether it reasoned before it answered, with every rollout",
    "repetitive": "send repetitive, whether it repeats itself, with every rollout",
}


def _outcome_only(group: Group, pair: tuple[float, float]) -> ShapedGroup:
    outcome = tuple(pair[0] if correct else pair[1] for correct in group.correct)
    zeros = (0.0,) * len(outcome)
    components = dict.fromkeys(COMPONENTS, zeros) | {"outcome": outcome}
    return ShapedGroup(outcome, components, zeros, group.pass_ratio, None, None, why="evaluation")


def _split_by_group(
    batch: Batch,
    total: Floats,
    components: Mapping[str, Floats],
    term: Floats,
    beta: Floats | None,
    extras: AdvantageTerms,
    weight: float,
) -> list[ShapedGroup]:
    """Return the flat arrays as one ShapedGroup a group, with Python numbers."""
    # Adding 0.0 turns -0.0 into 0.0, for JSON that is easier to read.
    totals, terms = (total + 0.0).tolist(), (term + 0.0).tolist()
    columns = {name: (values + 0.0).tolist() for name, values in components.items()}
    mask = None if extras.mask is None else extras.mask.tolist()
    weights = None if extras.weights is None else extras.weights.tolist()
    advantages = None if extras.advantages is None else (extras.advantages + 0.0).tolist()
    betas = [None] * len(batch.groups) if beta is None else beta.tolist()
    shaped = []
    starts, sizes, ratios = batch.starts.tolist(), batch.sizes.tolist(), batch.pass_ratio.tolist()
    for group, start, size, pass_ratio, of_group in zip(batch.groups, starts, sizes, ratios, betas, strict=True):
        own = slice(start, start + size)
        difficulty: Literal["simple", "hard", "even"] | None = None
        if of_group is not None:
            difficulty = "even" if of_group == 0 else "simple" if of_group > 0 else "hard"
        shaped.append(
            ShapedGroup(
                rewards=tuple(totals[own]),
                components={name: tuple(values[own]) for name, values in columns.items()},
                length_term=tuple(terms[own]),
                pass_ratio=pass_ratio,
                beta=of_group,
                difficulty=difficulty,
                mask=None if mask is None else tuple(mask[own]),
                weights=None if weights is None else tuple(weights[own]),
                advantages=None if advantages is None else tuple(advantages[own]),
                why=None if any(columns["length"][own]) else _why(group, weight, of_group),
            )
        )
    return shaped


def _why(group: Group, weight: float, beta: float | None) -> Why:
    """Return the first reason that holds why a group has no length reward."""
    lengths = {n for n, correct in zip(group.tokens or (), group.correct, strict=False) if correct}
    if weight == 0:
        return "no-weight"
    if group.trainable and not any(group.trainable):
        return "untrainable"
    if not any(group.correct):
        return "none-correct"
    if len(lengths) == 1:
        return "equal-lengths"
    if all(group.correct):
        return "all-correct"
    return "even" if beta == 0 else "strategy"
