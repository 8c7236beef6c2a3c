"""The reward of a run: outcome + length_weight * length + overlong + scores, and the advantages of groups.

`reading.reward_from_config` makes the `Reward` of a configuration. It is immutable, and `shape` depends on the groups
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .advantages import Components, configured_advantages, step_whitening, whitened
from .batch import Batch, Floats
from .configured import ConfiguredStrategy
from .errors import InputError, StrategyError
from .families.overlong import overlong_term
from .guard import KINDS, GuardSums
from .options import Options
from .parameters import Params
from .schedules import Schedule, has_schedule, resolve
from .signal import Signal, SignalSums, signal_sums
from .strategy import NEEDS, AccumulatorSpec, AdvantageTerms, Parts
from .switches import TargetTerms, closed, target_terms
from .types import COMPONENTS, Group, ShapedGroup, Why

GUARD_ACCUMULATORS = tuple(AccumulatorSpec(kind, 0.0) for kind in KINDS)
"""Accumulators of the guard of the run."""


@dataclass(frozen=True)
class Reward:
    """The reward of a run, made by `reward_from_config`. Values derived from the configuration are computed once."""

    main: ConfiguredStrategy
    shadows: tuple[ConfiguredStrategy, ...]
    length_weight: float | Schedule
    overlong: Mapping[str, Any] | None
    """The overlong term's parameters; None if the run has no such term."""
    options: Options = field(default_factory=Options)
    by_schedule: bool = False
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
        return (*own, *GUARD_ACCUMULATORS) if self.guards_run else own

    @cached_property
    def guards_run(self) -> bool:
        """True if a guard reads the run's accumulators."""
        guard = self.options.guard
        return guard is not None and guard["of"] == "run"

    def guard_sums(self, accumulators: tuple[float, ...]) -> GuardSums | None:
        """Return the guard's evidence from the accumulators before a step; None if no guard reads the run."""
        return GuardSums.of(accumulators[-len(GUARD_ACCUMULATORS) :]) if self.guards_run else None

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
        if not self.scheduled:
            weight = self.length_weight
            assert not isinstance(weight, Schedule)
            return compose(self.main, groups, self.overlong, weight, self.options, self.zero_reason)
        shaped: dict[int, ShapedGroup] = {}
        for reward, positions in self._by_step(groups):
            of_step = reward.shape([groups[i] for i in positions])
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

    @cached_property
    def unwhitened(self) -> Reward:
        """The reward without shadows and before its advantages are whitened."""
        options = replace(self.options, advantage={**(self.options.advantage or {}), "whiten": "none"})
        return replace(self, options=options, shadows=())

    def step_whitening(self, groups: Sequence[Group]) -> tuple[float, float]:
        """Return the mean and std over tokens of the advantages of a whole step, for rewards that read no state."""
        return step_whitening(groups, self.unwhitened.shape(groups))

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


# --- one strategy over a batch ------------------------------------------------------------------------------


def compose(
    configured: ConfiguredStrategy,
    groups: Sequence[Group],
    overlong_params: Mapping[str, Any] | None,
    weight: float = 1.0,
    options: Options | None = None,
    zero: Why = "no-weight",
) -> list[ShapedGroup]:
    """Return the groups' rewards under one strategy, in the order given.

    `weight` is that of the length term, `zero` the reason given where it is 0. Shadows have no options.

    Raises:
        StrategyError: A reward is not finite.
    """
    if configured.run_level is not None:
        groups = configured.with_own_level(groups)
    batch = Batch(groups, configured.pair, configured.accumulator_slice)
    strategy = configured.strategy
    options = options or Options()
    reasons: list[Why | None] = [None] * len(groups)
    if options.guard is not None or options.gate is not None:
        reasons = closed(batch, options)
    target = None if options.target is None else target_terms(batch, options.target)
    beta = None if strategy.beta is None else strategy.beta(batch, configured.params)
    term = strategy.length(batch, configured.params) if target is None else target.term
    bonus = np.zeros_like(term) if target is None else target.bonus
    factor = np.where([reason is None for reason in reasons], weight, 0.0)[batch.rows]
    length = factor * (term if target is None else term + bonus)
    total = batch.outcome + length
    rest = batch.outcome
    overlong = np.zeros_like(total)
    if overlong_params is not None:
        overlong = overlong_term(batch, total, **overlong_params)
        total = total + overlong
        rest = rest + overlong
    outcome = rest
    scores = {} if options.scores is None else _scores(batch, options.scores)
    for score, score_weight in scores.values():
        total = total + score_weight * score
        rest = rest + score_weight * score
    if not np.isfinite(total).all():
        raise StrategyError("strategy", f"{strategy.name} gave a reward that is not finite")
    parts = Parts(total, rest, factor)
    extras = AdvantageTerms() if strategy.extras is None else strategy.extras(batch, configured.params, parts)
    if options.advantage is not None:
        made = configured_advantages(batch, Components(outcome, term, factor, bonus, scores), options.advantage)
        if options.advantage["whiten"] == "batch":
            made = whitened(batch, made)
        extras = replace(extras, advantages=made)
    components = dict(zip(COMPONENTS, (batch.outcome, length, overlong), strict=True))
    if target is not None:
        reasons = [first or second for first, second in zip(reasons, target.reasons, strict=True)]
    shown = term if target is None else term + bonus
    weighted = {name: score_weight * score for name, (score, score_weight) in scores.items()}
    return _split_by_group(
        batch, total, components, weighted, shown, beta, extras, None if weight else zero, reasons, target
    )


def _scores(batch: Batch, configured: Mapping[str, Params]) -> dict[str, tuple[Floats, float]]:
    """Return ([n] the score, its weight) of each configured score, names ascending."""
    scores = {}
    for name, p in configured.items():
        values = np.array([row[name] for group in batch.groups for row in group.scores or ()], np.float64)
        scores[name] = (np.where(batch.correct, values, 0.0) if p["only_if_correct"] else values, p["weight"])
    return scores


def _split_by_group(
    batch: Batch,
    total: Floats,
    components: Mapping[str, Floats],
    scores: Mapping[str, Floats],
    term: Floats,
    beta: Floats | None,
    extras: AdvantageTerms,
    zero: Why | None,
    reasons: Sequence[Why | None],
    target: TargetTerms | None,
) -> list[ShapedGroup]:
    """Return the flat arrays as one ShapedGroup a group, with Python numbers.

    `zero` is the reason for a weight of 0, `reasons` those of the options.
    """
    # Adding 0.0 turns -0.0 into 0.0, for JSON that is easier to read.
    totals, terms = tuple((total + 0.0).tolist()), tuple((term + 0.0).tolist())
    columns = {name: tuple((values + 0.0).tolist()) for name, values in components.items()}
    named = {name: tuple((values + 0.0).tolist()) for name, values in scores.items()}
    mask = None if extras.mask is None else tuple(extras.mask.tolist())
    weights = None if extras.weights is None else tuple(extras.weights.tolist())
    advantages = None if extras.advantages is None else tuple((extras.advantages + 0.0).tolist())
    betas = [None] * len(batch.groups) if beta is None else beta.tolist()
    shaped = []
    starts, sizes, ratios = batch.starts.tolist(), batch.sizes.tolist(), batch.pass_ratio.tolist()
    for group, start, size, pass_ratio, of_group, reason in zip(
        batch.groups, starts, sizes, ratios, betas, reasons, strict=True
    ):
        own = slice(start, start + size)
        difficulty: Literal["simple", "hard", "even"] | None = None
        if of_group is not None:
            difficulty = "even" if of_group == 0 else "simple" if of_group > 0 else "hard"
        parts = {name: values[own] for name, values in columns.items()}
        shaped.append(
            ShapedGroup(
                rewards=totals[own],
                components=parts,
                length_term=terms[own],
                pass_ratio=pass_ratio,
                beta=of_group,
                difficulty=difficulty,
                mask=None if mask is None else mask[own],
                weights=None if weights is None else weights[own],
                advantages=None if advantages is None else advantages[own],
                scores={name: values[own] for name, values in named.items()} if named else None,
                why=None if any(parts["length"]) else _why(group, zero, reason, of_group, target is not None),
            )
        )
    return shaped


def _why(group: Group, zero: Why | None, reason: Why | None, beta: float | None, has_target: bool) -> Why:
    """Return the first reason that holds why a group has no length reward."""
    if zero is not None:
        return zero
    if group.trainable and not any(group.trainable):
        return "untrainable"
    if not any(group.correct):
        return "none-correct"
    if reason is not None:
        return reason
    if has_target:
        return "within-target"
    if len({n for n, correct in zip(group.tokens or (), group.correct, strict=False) if correct}) == 1:
        return "equal-lengths"
    if all(group.correct):
        return "all-correct"
    return "even" if beta == 0 else "strategy"
