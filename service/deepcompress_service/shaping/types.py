"""The types of shaping, as dataclasses: a group, the input of a strategy, and its rewards, the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .guard import GuardSums
from .lengths import LengthRecord


@dataclass(frozen=True, slots=True)
class ProblemHistory:
    """The state of a problem before this step (HAPO and others read it)."""

    attempts: int = 0
    passes: int = 0
    pass_ratio: float | None = None
    shortest_correct_tokens: int | None = None
    mean_correct_tokens: float | None = None


@dataclass(slots=True)  # not frozen: a request makes thousands, and freezing doubles what one costs
class Group:
    """The rollouts of one problem in one step, with every input of a strategy.

    `correct`, `tokens` and `truncated` have one entry a rollout, in the order sent, G >= 1 of them.
    """

    correct: tuple[bool, ...]
    tokens: tuple[int, ...] | None
    """Lengths in tokens; None only if the run's reward needs no lengths."""
    truncated: tuple[bool, ...]
    trainable: tuple[bool, ...] = ()
    """False for undecided rollouts and for groups whose gold is unreadable. Empty: all True."""
    level: float | None = None
    """The level P_b that beta is taken against. None in eval."""
    accumulators: tuple[float, ...] = ()
    """The run's further accumulators before this step, in the order in which the reward declares them."""
    history: ProblemHistory = ProblemHistory()
    step: int | None = None
    reference_accuracy: float | None = None
    reference_tokens: float | None = None
    target_tokens: float | None = None
    thinking: tuple[bool, ...] | None = None
    """True for rollouts that reasoned before they answered (AutoThink, AdaptThink). None: not sent."""
    repetitive: tuple[bool, ...] | None = None
    """True for rollouts that repeat themselves (Laser-DE). None: not sent."""
    context_tokens: tuple[int, ...] | None = None
    """Tokens that the policy read and did not write: the prompt's, and those of tools. None: not sent."""
    turns: tuple[int, ...] | None = None
    """Replies of the policy. None: not sent."""
    policy_version: tuple[int, ...] | None = None
    """Oldest version of the policy that wrote tokens of the rollout; no strategy reads it. None: not sent."""
    formatted: tuple[bool, ...] = ()
    """False if the response has no answer in the answer format (Laser). Empty: all True."""
    scores: tuple[Mapping[str, float], ...] | None = None
    """The caller's own components of each rollout, by name. None: not sent."""
    lengths: LengthRecord | None = None
    """The problem's stored lengths before this step (targets). None: none are stored."""
    guard: GuardSums | None = None
    """The sums of the run's closed steps (guard of the run). None: none are stored."""
    whitening: tuple[float, float] | None = None
    """The mean and std by which its advantages are whitened. None: those of the groups that are shaped with it."""

    @property
    def pass_ratio(self) -> float:
        """P_g: the share of correct rollouts."""
        return sum(self.correct) / len(self.correct)


COMPONENTS = ("outcome", "length", "overlong")
"""The parts of a reward: added from left to right, then the scores by name, they are the reward, to the last bit."""

Why = Literal[
    "evaluation",
    "no-weight",
    "schedule",
    "untrainable",
    "none-correct",
    "guarded",
    "gated",
    "no-target",
    "within-target",
    "equal-lengths",
    "all-correct",
    "even",
    "strategy",
]
"""The reason why a group has no length reward (docs/design.md, 4).

`wire.Why` has the same values: shaping imports nothing of the client. tests/scoring/test_components.py compares them.
"""


@dataclass(slots=True)  # not frozen: a request makes thousands, and freezing doubles what one costs
class ShapedGroup:
    """The rewards of one group, one number a rollout, with their components."""

    rewards: tuple[float, ...]
    components: Mapping[str, tuple[float, ...]]
    """The parts that add up to the rewards, by the names of `COMPONENTS`, each already weighted."""
    length_term: tuple[float, ...]
    """The length term before `length_weight`, gate and guard."""
    pass_ratio: float
    beta: float | None
    difficulty: Literal["simple", "hard", "even"] | None
    mask: tuple[bool, ...] | None = None
    """True for each rollout to train on, for strategies that select (GFPO)."""
    weights: tuple[float, ...] | None = None
    """Factors of the rollouts' advantages, for strategies with weights (GRPO-LEAD)."""
    advantages: tuple[float, ...] | None = None
    """Group advantages, for strategies that are published as advantages (DIET, GFPO)."""
    scores: Mapping[str, tuple[float, ...]] | None = None
    """The caller's own components, weighted, names ascending; None if the run has none."""
    why: Why | None = None
    """The reason why no rollout has a length reward; None if one has."""
