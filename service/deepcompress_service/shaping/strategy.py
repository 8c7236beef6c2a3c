"""The descriptor of a strategy: its facts and its functions. The published ones are in `families`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .batch import Batch, Bools, Floats
from .parameters import Param, Params

Pair = tuple[float, float]
"""The outcome reward of a correct and of a wrong rollout."""
Bounds = tuple[float, float]
Certainty = Literal["C+", "C", "P", "N", "uncertain", "user"]
"""Evidence for the formula. C+: the authors' code was read and executed; C: an implementation was read; P: the
paper was read; N: a third party's note was read; uncertain: sources disagree; user: not a published rule."""

NEEDS = {
    "group": "group",
    "tokens": "tokens",
    "level": "level",
    "history": "history",
    "lengths": "history",
    "guard": "history",
    "target_tokens": "target",
    "reference_accuracy": "reference",
    "reference_tokens": "reference",
    "step": "step",
    "batch": "batch",
    "thinking": "thinking",
    "repetitive": "repetitive",
    "context_tokens": "context",
    "turns": "turns",
}
"""Inputs that a strategy may require (groups, batches, the run's state, a field of `Group`), each with its
public name."""


_STATE_NEEDS = ("group", "batch", "level", "history", "lengths", "guard")
"""Those that are no field of a request."""


@dataclass(frozen=True, slots=True)
class AccumulatorSpec:
    """A number that the run carries from step to step.

    With x = its value before the step, m = the mean P_g of the step and a = correct rollouts / rollouts of the step,
    its value after the step is

    * ``ema``:         weight * x + (1 - weight) * m
    * ``max``:         max(x, a)
    * ``integrator``:  max(0, x + weight * (a - target))

    or, with d = the change of a revisited problem's pass ratio (`guard.change`) and n revisited problems, all whole
    numbers:

    * ``revisits``:        x - floor(x / 16) + n
    * ``squared_weight``:  x - floor(31 * x / 256) + n
    * ``change``:          x - floor(x / 16) + sum of d
    * ``squared_change``:  x - floor(x / 16) + sum of d^2
    """

    kind: Literal["ema", "max", "integrator", "revisits", "squared_weight", "change", "squared_change"]
    initial: float
    weight: float = 0.0
    target: float = 0.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The reward of each rollout and its parts, [n] each."""

    total: Floats
    rest: Floats
    """The reward without its length component."""
    factor: Floats
    """The weight of the length term: `length_weight`, and 0 in groups that a gate or a guard closed."""


@dataclass(frozen=True, slots=True)
class AdvantageTerms:
    """Results of strategies that act on advantages, beside the rewards: one number a rollout each."""

    mask: Bools | None = None
    weights: Floats | None = None
    advantages: Floats | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """One published rule. Its length term is added to the outcome reward. If a rule is published as one total
    reward, its length term is that total minus `outcome`, so that the sum is the published reward.
    """

    name: str
    summary: str
    """The rule in one line, in the words of docs/glossary.md."""
    source: str
    certainty: Certainty
    length: Callable[[Batch, Params], Floats]
    """[n] the length term."""
    bounds: Callable[[Params, Pair], Bounds]
    """The closed range of the length term under these parameters and this outcome pair."""
    params: tuple[Param, ...] = ()
    requires: tuple[str, ...] = ("group", "tokens")
    """Keys of `NEEDS`."""
    correctness_conditioned: bool = True
    """True: the length of a wrong rollout never changes its reward."""
    requires_reward_ge_0: Callable[[Params], bool] = field(default=lambda _params: False)
    """True if the strategy scales the outcome reward, which must then be >= 0."""
    level: Literal["reward", "advantage", "mask"] = "reward"
    outcome: Callable[[Params], Pair] = field(default=lambda _params: (1.0, 0.0))
    """The published outcome pair, the default of the configuration."""
    variants: tuple[str, ...] = ()
    """Names of other published forms of the same rule."""
    note: str = ""
    """Differences between code and paper, parts left out, cautions."""
    accumulators: Callable[[Params], tuple[AccumulatorSpec, ...]] = field(default=lambda _params: ())
    beta: Callable[[Batch, Params], Floats] | None = None
    """[g] for strategies that have one."""
    extras: Callable[[Batch, Params, Parts], AdvantageTerms] | None = None
    """Mask, weights or advantages, from the rewards and their parts."""
    own_advantages: bool = False
    """True if `extras` gives advantages: the run then configures no others."""
    requires_given: Callable[[Params], tuple[str, ...]] | None = None
    """Replaces `requires` if that depends on the parameters."""

    def required(self, params: Params) -> tuple[str, ...]:
        """Return the keys of `NEEDS` that the strategy requires under these parameters."""
        return self.requires if self.requires_given is None else self.requires_given(params)

    def describe(self) -> StrategyInfo:
        """Return the descriptor for callers, at the default parameters."""
        defaults = {param.name: param.default for param in self.params}
        pair = self.outcome(defaults)
        low, high = self.bounds(defaults, pair)
        return StrategyInfo(
            name=self.name,
            summary=self.summary,
            source=self.source,
            certainty=self.certainty,
            needs=tuple(sorted({NEEDS[key] for key in self.requires})),
            request_fields=tuple(key for key in self.requires if key not in _STATE_NEEDS),
            correctness_conditioned=self.correctness_conditioned,
            requires_reward_ge_0=self.requires_reward_ge_0(defaults),
            level=self.level,
            length_range=(_finite(low), _finite(high)),
            outcome={"correct": pair[0], "wrong": pair[1]},
            variants=self.variants,
            note=self.note,
            parameters={
                "type": "object",
                "properties": {param.name: param.schema() for param in self.params},
                "additionalProperties": False,
            },
        )


def _finite(bound: float) -> float | None:
    return None if bound in (float("inf"), float("-inf")) else bound


@dataclass(frozen=True, slots=True)
class StrategyInfo:
    """A strategy as in `GET /v1/strategies` and the documentation; every field can be written as JSON."""

    name: str
    summary: str
    source: str
    certainty: str
    needs: tuple[str, ...]
    request_fields: tuple[str, ...]
    """Fields that a request must have for it."""
    correctness_conditioned: bool
    requires_reward_ge_0: bool
    level: str
    length_range: tuple[float | None, float | None]
    """Of the length term at the default parameters; null if it has no bound."""
    outcome: dict[str, float]
    """The published outcome pair."""
    variants: tuple[str, ...]
    note: str
    parameters: dict[str, Any]
    """JSON Schema of the strategy's own parameters; every strategy also has `LEVEL_PARAMS`."""
