"""The types of the difficulty state, as dataclasses: the requests to a store and its answers.

There is no computation here. Integers are exact tallies; every float is a float64 derived from them in one fixed
order (docs/design.md, 5.8), so that stores agree to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AccumulatorKind = Literal["ema", "max", "integrator", "revisits", "squared_weight", "change", "squared_change"]
CHANGE_KINDS = ("revisits", "squared_weight", "change", "squared_change")
"""Kinds that are computed from the revisited problems of a step."""


@dataclass(frozen=True, slots=True)
class Accumulator:
    """A number that a run carries from step to step, computed from its value before the step and the step's
    tallies alone, so that shards, retries and order change nothing.

    With x = the value before the step, m = the mean group pass ratio of the step, a = correct rollouts /
    rollouts of the step:

    * ``ema``:         weight * x + (1 - weight) * m       (the level is one; arXiv 2510.27419)
    * ``max``:         max(x, a)                           (ShortRL's running maximum accuracy, 2505.12284)
    * ``integrator``:  max(0, x + weight * (a - target))   (A-DLP's controller, 2505.18298)

    The others are whole numbers. With d = the change of a revisited problem, its pass ratio in this step less its
    smoothed one before, in units of 2^-16, rounded; and n revisited problems:

    * ``revisits``:        x - floor(x / 16) + n
    * ``squared_weight``:  x - floor(31 * x / 256) + n       (the sum of the squared weights: 1 - (15/16)^2 = 31/256)
    * ``change``:          x - floor(x / 16) + sum of d
    * ``squared_change``:  x - floor(x / 16) + sum of d^2
    """

    kind: AccumulatorKind
    initial: float
    weight: float = 0.0
    target: float = 0.0


@dataclass(frozen=True, slots=True)
class DifficultyConfig:
    """The part of a run's configuration that a store reads. The rest is opaque text to the store."""

    level: Accumulator = Accumulator("ema", initial=1.0, weight=0.99)
    """Accumulator 0: the level P_b."""
    extra: tuple[Accumulator, ...] = ()
    """Further accumulators, for strategies with a state of their own (shadow strategies included)."""
    reference: Literal["current", "previous", "dataset"] = "current"
    """The level that beta is taken against: with this step's groups so far, at the end of the step before, or the
    mean over all problems' smoothed pass ratios."""
    step_level: Literal["all", "last"] = "all"
    """The groups of a step that make its level: all, or those of the greatest generation (docs/design.md, 5.2)."""
    keep_steps: int = 64
    groups_per_step: int | None = None
    problem_weight: float = 0.3
    """Weight of the newest step in a problem's smoothed pass ratio."""
    group_lengths: bool = False
    """True: the record of each group has its problem's stored lengths, which its reward is computed from."""
    asynchronous: bool = False
    """True: groups are identified by their group_id alone, and observations have no step (docs/design.md, 5.11)."""
    max_age: int | None = None
    """In asynchronous runs: the greatest age at which a group counts, in versions of the policy. None: no bound."""

    @property
    def waits(self) -> int:
        """Steps that close before an observed group of an asynchronous run is discarded, less one."""
        most = self.keep_steps - 1
        return most if self.max_age is None else min(self.max_age, most)


@dataclass(slots=True)  # not frozen: a request makes thousands, and freezing doubles what one costs
class GroupCommit:
    """One group of a request. Its identity is (run, step, group_id)."""

    group_id: str
    problem_id: str | None
    """None: taken from the group's observations (`NotObserved` if there are none)."""
    digest: bytes
    """16 bytes over the fields that the caller sent, rollouts in order; without verdicts that the service made."""
    payload: bytes
    """The verdicts, kept in the record and returned with a replay. Opaque to the store."""
    size: int
    """Rollouts in the group, G >= 1."""
    passes: int
    """Correct rollouts. Undecided ones count as wrong."""
    counts: bool = True
    """False if the gold cannot be read: the group counts in neither the level nor the problem's state."""
    truncated: int = 0
    tokens_known: bool = True
    tokens_sum: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_min: int | None = None
    """None if no rollout was correct, or no lengths are known."""
    lengths: bytes = b""
    """Packed lengths of the correct rollouts (`codec.pack_bins`); empty if no lengths are known."""
    age: int | None = None
    """The trainer's policy version less the group's oldest one; None if either is not known."""
    too_old: bool = False
    """True: the age is over the run's `max_age`. `counts` is then False."""
    data_source: str | None = None
    """The data source that the group is counted under, a label: no part of its content (`sources.source_name`)."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One training request: groups of one step of a run (or of none, for stepless runs)."""

    run: str
    groups: tuple[GroupCommit, ...]
    step: int | Literal["observed"] | None = None
    """None: a stepless request; then `request_id` is required."""
    epoch: int | None = None
    """The epoch that the caller sent. None: the epoch on arrival applies (see `expected_epoch`)."""
    expected_epoch: int | None = None
    """The run's epoch on arrival; another one at the commit is an EpochMismatch. None: not read."""
    generation: int | None = None
    request_id: str | None = None
    request_digest: bytes = b""
    """16 bytes over the whole request's groups, for stepless repeats."""
    config: DifficultyConfig | None = None
    """The configuration with which an unknown run is created in the same transaction. None: it is refused."""
    config_text: str = ""
    """The run's whole configuration as canonical JSON, kept with the run when this request creates it."""
    incarnation: str | None = None
    """The run's incarnation that the caller saw; another one is a RunLost. None: not compared."""
    version: int | None = None
    """The greatest version of the epoch that the caller saw; a lower one in the store is a RunRolledBack."""


@dataclass(slots=True)  # not frozen: a request makes thousands, and freezing doubles what one costs
class ProblemState:
    """A problem's state before a step, or its present state."""

    problem_id: str
    attempts: int = 0
    passes: int = 0
    pass_ratio: float | None = None
    """Smoothed over the steps that touched it; None before the first."""
    last_pass_ratio: float | None = None
    last_beta: float | None = None
    """Last pass ratio minus the final level of that step."""
    turns: int = 0
    """Side changes: from simple to hard or back. An even step (beta = 0) is no change. Exports have this name too."""
    last_side: Literal["simple", "hard"] | None = None
    """The last side that was simple or hard."""
    shortest_correct_tokens: int | None = None
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0
    last_step: int | None = None
    lengths: tuple[tuple[int, int], ...] = ()
    """(bin, correct rollouts in it) of the lengths that the problem still remembers, bins ascending. In a group's
    outcome only for runs with `DifficultyConfig.group_lengths`."""


@dataclass(slots=True)  # not frozen: a request makes thousands, and freezing doubles what one costs
class GroupOutcome:
    """A group's recorded state, from which its reward is computed."""

    group_id: str
    problem_id: str
    level: float
    """The level that beta is taken against. For a stale group: that step's recorded level."""
    accumulators: tuple[float, ...]
    """The values of `DifficultyConfig.extra` before this step."""
    problem: ProblemState
    """The problem before this step."""
    payload: bytes
    """The recorded payload: that of the first commit if replayed, else as sent."""
    replayed: bool = False
    stale: bool = False


@dataclass(slots=True)
class CommitOutcome:
    """The result of a commit."""

    run: str
    epoch: int
    step: int
    """The step in which the groups were counted (numbered by the service for stepless runs)."""
    level: float
    """The step's level with every group committed so far."""
    batch_pass_ratio: float
    """Mean P_g of the step's counted groups so far; of this request's groups if none counts."""
    groups: tuple[GroupOutcome, ...]
    """In the order sent."""
    created: bool = False
    config_text: str = ""
    """The run's configuration as stored: it may differ from that of the request."""
    incarnation: str = ""
    """The run's incarnation; empty if only groups of an older version of the service were replayed."""
    version: int = 0
    """Commits of this incarnation and epoch, this one included."""
    created_step: int | None = None
    """The step of the training request that created the run; None if it was configured first, or rewound since."""
    closed_before: int | None = field(default=None, compare=False)
    """The step up to which every one was closed before this commit; None if the store gives no `closed`."""
    closed: tuple[StepStatistics, ...] = field(default=(), compare=False)
    """The statistics of the steps that this commit closed, ascending."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One verified rollout that carries identity (docs/design.md, 5.5). The first of a rollout_id is kept."""

    run: str
    step: int | None
    """None: of an asynchronous run."""
    problem_id: str
    group_id: str
    rollout_id: str
    correct: bool
    counts: bool = True
    tokens: int | None = None
    truncated: bool = False
    epoch: int | None = None
    generation: int | None = None
    length_bin: int | None = None
    """The bin of `tokens`; None: its length is not counted."""


@dataclass(frozen=True, slots=True)
class StepStatistics:
    """The tallies of one step and the values computed from them. Beta is P_g minus the step's final level."""

    step: int
    level: float
    batch_pass_ratio: float | None
    accumulators: tuple[float, ...]
    groups: int
    rollouts: int
    correct: int
    simple: int
    hard: int
    truncated: int = 0
    observed_groups: int = 0
    stale_groups: int = 0
    tokens_sum: int = 0
    tokens_count: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0
    simple_tokens_sum: int = 0
    simple_tokens_count: int = 0
    hard_tokens_sum: int = 0
    hard_tokens_count: int = 0
    age_sum: int = 0
    age_count: int = 0
    """Groups of the step whose age is known, too old ones included; late groups have no part in it."""
    age_max: int = 0
    too_old_groups: int = 0
    discarded_groups: int = 0
    """Observed groups of an asynchronous run that were dropped in this step without having been shaped."""
    closed: bool = True


@dataclass(slots=True)
class SourceSums:
    """Sums over the groups of one data source that count in one step. All are whole numbers."""

    groups: int = 0
    rollouts: int = 0
    correct: int = 0
    truncated: int = 0
    tokens_sum: int = 0
    """Over the `tokens_count` rollouts of the groups whose lengths are all known; below, over the correct ones."""
    tokens_count: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0
    pass_ratio_sum: int = 0
    """Sum of the group pass ratios, each in units of 2^-30 and rounded."""


@dataclass(frozen=True, slots=True)
class RunState:
    """A run's present state."""

    run: str
    epoch: int
    config: DifficultyConfig
    config_text: str
    kind: Literal["stepped", "stepless"] | None
    step: int | None
    level: float
    batch_pass_ratio: float | None
    problems: int
    created: bool = False
    incarnation: str = ""
    """Empty for a run of an older version of the service that was not written to since."""
    version: int = 0
    """Commits of this incarnation and epoch."""
    continues: bool = False
    """True if the run began with the state of another one."""
    used: float | None = field(default=None, compare=False)
    """Time of the last use (`DifficultyStore.sweep`), in seconds since the epoch; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A named copy of a run's state at the end of one step."""

    name: str
    step: int
    level: float
    problems: int
    epoch: int
    bytes: int = field(default=0)
