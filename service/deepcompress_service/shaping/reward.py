"""The reward of a run: outcome + length_weight * length + overlong + scores, from one configuration.

`reward_from_config` reads and checks the configuration once. The `Reward` that it returns is immutable, and `shape`
depends on the groups alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from .advantages import whitening
from .composition import compose
from .configured import ConfiguredStrategy, read_shadow, read_strategy
from .errors import ConfigError, InputError
from .families.overlong import VARIANTS
from .guard import KINDS, GuardSums
from .options import Options, read_options
from .parameters import Param, read_params
from .reward_warnings import find_warnings, pace_warnings
from .schedules import Schedule, has_schedule, knots, resolve
from .signal import MIN_GROUPS, Signal, SignalSums, signal_sums, signal_warnings
from .strategy import NEEDS, AccumulatorSpec
from .types import COMPONENTS, Group, ShapedGroup, Why

GUARD_ACCUMULATORS = tuple(AccumulatorSpec(kind, 0.0) for kind in KINDS)
"""Accumulators of the guard of the run."""
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
    length_weight: float | Schedule
    overlong: Mapping[str, Any] | None
    """The overlong term's parameters; None if the run has no such term."""
    options: Options = field(default_factory=Options)
    by_schedule: bool = field(default=False, compare=False)
    """True if `length_weight` is the value of a schedule."""

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
    def scheduled(self) -> bool:
        """True if a number of the configuration is a schedule."""
        return (
            isinstance(self.length_weight, Schedule)
            or (self.overlong is not None and has_schedule(self.overlong))
            or self.options.scheduled
            or any(configured.scheduled for configured in (self.main, *self.shadows))
        )

    def at(self, closed_steps: int) -> Reward:
        """Return the reward with the numbers of its schedules after `closed_steps`."""
        weight = resolve({"": self.length_weight}, closed_steps)[""]
        return Reward(
            self.main.at(closed_steps),
            tuple(shadow.at(closed_steps) for shadow in self.shadows),
            weight,
            None if self.overlong is None else resolve(self.overlong, closed_steps),
            self.options.at(closed_steps),
            by_schedule=isinstance(self.length_weight, Schedule),
        )

    @cached_property
    def zero_reason(self) -> Why:
        """The reason why groups have no length reward if the weight is 0."""
        return "schedule" if self.by_schedule else "no-weight"

    def _by_step(self, groups: Sequence[Group]) -> list[tuple[Reward, list[int]]]:
        """Return the reward of each step that the groups have, with the positions of its groups."""
        if not self.scheduled:
            return [(self, list(range(len(groups))))]
        positions: dict[int, list[int]] = {}
        for index, group in enumerate(groups):
            positions.setdefault(group.step or 0, []).append(index)
        return [(self.at(step), positions[step]) for step in positions]

    @cached_property
    def needs(self) -> frozenset[str]:
        """Needs of the run's strategy, of its shadows and of its overlong term."""
        return frozenset(NEEDS[key] for _, key in self._requirements)

    @cached_property
    def ema(self) -> float:
        """lambda, the weight of the level before the step."""
        return float(self.main.level["ema"])

    @cached_property
    def initial_level(self) -> float:
        """The level before the first step."""
        return float(self.main.level["initial_level"])

    @cached_property
    def reference(self) -> Literal["current", "previous", "dataset"]:
        """The level that beta is taken against."""
        reference: Literal["current", "previous", "dataset"] = self.main.level["reference"]
        return reference

    @cached_property
    def step_level(self) -> Literal["all", "last"]:
        """The groups of a step that make its level."""
        step_level: Literal["all", "last"] = self.main.level["step_level"]
        return step_level

    @cached_property
    def accumulators(self) -> tuple[AccumulatorSpec, ...]:
        """Accumulators that the run keeps beside the level: the strategy's own, the shadows', then the guard's."""
        own = tuple(spec for configured in (self.main, *self.shadows) for spec in configured.accumulators)
        return (*own, *GUARD_ACCUMULATORS) if self._guards_run else own

    @cached_property
    def _guards_run(self) -> bool:
        guard = self.options.guard
        return guard is not None and guard["of"] == "run"

    def guard_sums(self, accumulators: tuple[float, ...]) -> GuardSums | None:
        """Return the guard's evidence from the accumulators before a step; None if no guard reads the run."""
        return GuardSums.of(accumulators[-len(GUARD_ACCUMULATORS) :]) if self._guards_run else None

    @cached_property
    def reads_lengths(self) -> bool:
        """True if the rewards depend on the problems' stored lengths."""
        return any(key == "lengths" for _, key in self._requirements)

    @cached_property
    def _requirements(self) -> list[tuple[str, str]]:
        """(name of a strategy or term, key of `NEEDS`) of everything that the reward requires."""
        required = [
            (configured.strategy.name, key)
            for configured in (self.main, *self.shadows)
            for key in configured.requires
        ]
        required += self.options.requires
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
        shaped: dict[int, ShapedGroup] = {}
        for reward, positions in self._by_step(groups):
            weight, zero = reward.length_weight, reward.zero_reason
            assert not isinstance(weight, Schedule)
            of_step = compose(
                reward.main, [groups[i] for i in positions], reward.overlong, weight, reward.options, zero
            )
            shaped.update(zip(positions, of_step, strict=True))
        return [shaped[index] for index in range(len(groups))]

    @cached_property
    def whitens(self) -> bool:
        """True if advantages are whitened over the step."""
        return self.options.advantage is not None and self.options.advantage["whiten"] == "batch"

    @cached_property
    def reads_state(self) -> bool:
        """True if the rewards depend on the run's state, which only the commit gives."""
        keys = {*self.main.requires, *(key for _, key in self.options.requires)}
        return bool(keys & {"level", "history", "lengths", "guard"}) or bool(self.main.accumulators)

    def step_whitening(self, groups: Sequence[Group]) -> tuple[float, float]:
        """Return the mean and std over tokens of the advantages of a whole step, for rewards that read no state."""
        options = replace(self.options, advantage={**(self.options.advantage or {}), "whiten": "none"})
        shaped = replace(self, options=options, shadows=()).shape(groups)
        advantages = [a for one in shaped for a in one.advantages or ()]
        tokens = [n for group in groups for n in group.tokens or ()]
        chosen = [ok for group in groups for ok in group.trainable or (True,) * len(group.correct)]
        return whitening(advantages, tokens, chosen)

    def shape_shadows(self, groups: Sequence[Group]) -> list[dict[str, ShapedGroup]]:
        """Return each group's rewards under every shadow strategy, by label, with the run's overlong term."""
        if not groups:
            return []
        self._check(groups)
        rows: list[dict[str, ShapedGroup]] = [{} for _ in groups]
        for reward, positions in self._by_step(groups):
            for configured in reward.shadows:
                of_step = compose(configured, [groups[i] for i in positions], reward.overlong)
                for index, shaped in zip(positions, of_step, strict=True):
                    rows[index][configured.label] = shaped
        return rows

    def warnings(
        self, groups: Sequence[Group], shaped: Sequence[ShapedGroup], figures: Signal | None = None
    ) -> list[tuple[str, str]]:
        """Return the known problems that these groups show, as a stable slug and a sentence.

        `figures` are those of `signal`, if they are known.
        Every answer has them while they hold; clients log each kind once.
        """
        now = self.at(groups[0].step or 0) if self.scheduled and groups else self
        found = find_warnings(now.main.strategy, now.overlong, groups, shaped) + self._pace_warnings(groups)
        if len(groups) < MIN_GROUPS:
            return found
        scaled = not shaped or shaped[0].advantages is None
        return found + signal_warnings(figures or self.signal(groups, shaped), groups, shaped, scaled=scaled)

    def _pace_warnings(self, groups: Sequence[Group]) -> list[tuple[str, str]]:
        """Return the warning that the level is far from the run's pass ratio, if the strategy uses it."""
        newest = max(groups, key=lambda group: group.step or 0, default=None)
        uses_level = "level" in self.main.requires and self.reference != "dataset"
        if newest is None or not uses_level or newest.level is None or newest.step is None:
            return []
        steps = newest.step + (self.reference == "current")
        return pace_warnings(newest.level, self.initial_level, self.ema, steps)

    def signal(self, groups: Sequence[Group], shaped: Sequence[ShapedGroup]) -> Signal:
        """Return the figures of these groups and their rewards: see `Signal`."""
        return self.signal_sums(groups, shaped).figures()

    def signal_sums(self, groups: Sequence[Group], shaped: Sequence[ShapedGroup]) -> SignalSums:
        """Return the sums that the figures of these groups are made of."""
        without = None
        if any(one.advantages is not None for one in shaped):
            plain = replace(self, length_weight=0.0, shadows=())
            own, guards = len(self.main.accumulators), len(plain.accumulators) - len(self.main.accumulators)
            without = plain.shape(
                [
                    replace(group, accumulators=(*group.accumulators[:own], *group.accumulators[-guards:][:guards]))
                    for group in groups
                ]
            )
        return signal_sums(groups, shaped, without)

    def _check(self, groups: Sequence[Group]) -> None:
        """Check that every group has the inputs that the reward needs, of the request and of the run's state."""
        for key, how in self.required_inputs:
            for index, group in enumerate(groups):
                if getattr(group, key) is None:
                    raise InputError(f"groups.{index}.{key}", how)
        for name in self.options.scores or ():
            for index, group in enumerate(groups):
                if group.scores is None or any(name not in row for row in group.scores):
                    raise InputError(f"groups.{index}.scores.{name}", "send this score with every rollout")
        declared = len(self.accumulators)
        for index, group in enumerate(groups):
            if len(group.accumulators) != declared:
                raise InputError(f"groups.{index}.accumulators", f"this reward carries {declared} between steps")
            for key, how in self._required_state:
                if getattr(group, key) is None:
                    raise InputError(f"groups.{index}.{key}", how)


def reward_from_config(
    strategy: Mapping[str, Any],
    outcome: Mapping[str, Any] | None = None,
    length_weight: float | Mapping[str, Any] = 1.0,
    overlong: Mapping[str, Any] | None = None,
    shadow: Sequence[Mapping[str, Any]] = (),
    *,
    gate: Mapping[str, Any] | None = None,
    guard: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    advantage: Mapping[str, Any] | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
) -> Reward:
    """Return the reward that a run's configuration describes.

    `outcome` may leave out either half: the strategy's published value is the default. A shadow may have `label`
    (needed if two share a name), `outcome` (default: the published pair) and level parameters of its own (default:
    the run's). The options (`gate` and those after it) apply to the strategy that trains, not to shadows. A number
    may be a schedule: `{"schedule": [[closed_steps, value], ...]}`.

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
    if advantage is not None and main.strategy.own_advantages:
        raise ConfigError("advantage", f"{main.strategy.name} gives advantages of its own: send null")
    options = read_options(gate, guard, target, advantage, scores)
    return Reward(main, tuple(shadows), weight, _read_overlong(overlong), options)


def _read_overlong(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if config is None:
        return None
    for name in ("max_tokens", "buffer_tokens"):
        if name not in config:
            raise ConfigError(f"overlong.{name}", "send a whole number of tokens")
    read = read_params(_OVERLONG_PARAMS, config, "overlong")
    for closed_steps in knots(read):
        now = resolve(read, closed_steps)
        if now["buffer_tokens"] > now["max_tokens"]:
            raise ConfigError("overlong.buffer_tokens", "send at most max_tokens")
    return read


_SEND_HINTS = {
    "tokens": "send tokens, the length in tokens (never characters), with every rollout",
    "target_tokens": "send target_tokens, the length asked of the policy, with every group",
    "reference_accuracy": "send reference_accuracy, the reference policy's accuracy on the problem, with every group",
    "reference_tokens": "send reference_tokens, the reference policy's mean length on the problem, with every group",
    "thinking": "send thinking, whether it reasoned before it answered, with every rollout",
    "repetitive": "send repetitive, whether it repeats itself, with every rollout",
    "context_tokens": "send context_tokens, the tokens that the policy read and did not write, with every rollout",
    "turns": "send turns, the number of the policy's replies, with every rollout",
}


def _outcome_only(group: Group, pair: tuple[float, float]) -> ShapedGroup:
    outcome = tuple(pair[0] if correct else pair[1] for correct in group.correct)
    zeros = (0.0,) * len(outcome)
    components = dict.fromkeys(COMPONENTS, zeros) | {"outcome": outcome}
    return ShapedGroup(outcome, components, zeros, group.pass_ratio, None, None, why="evaluation")
