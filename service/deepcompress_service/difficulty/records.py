"""The records of the stores, as dataclasses. Their packed formats are in `codec`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, fields
from typing import Literal

from .model import DifficultyConfig, ProblemState


@dataclass(slots=True)
class StepDelta:
    """The additions of one step to one problem."""

    step: int = -1
    """-1: no tally (a problem that a rewind restored to its state before the step)."""
    attempts: int = 0
    passes: int = 0
    shortest: int | None = None
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0


@dataclass(slots=True)
class ProblemRecord:
    """A problem's state before the last step that touched it, and that step's tally.

    The two are folded when they are read, since the step's final level, which the last beta is taken against,
    is not known before the step is closed.
    """

    before: ProblemState
    delta: StepDelta
    end: bytes = b""
    """Lengths of the correct rollouts, as the record ends with them (`codec.unpack_lengths`)."""


@dataclass(slots=True)
class GroupRecord:
    """The data from which a recorded group is answered."""

    level: float
    step_level: float
    batch_pass_ratio: float
    stale: bool
    counts: bool
    accumulators: tuple[float, ...]
    problem: ProblemState
    digest: bytes
    payload: bytes
    lengths: bytes = b""
    """Packed lengths of the problem before the step, for runs with `DifficultyConfig.group_lengths`."""


@dataclass(slots=True)
class StepRecord:
    """A closed step: its accumulators before and after (the level first) and its statistics."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    mean: float | None = None
    groups: int = 0
    rollouts: int = 0
    correct: int = 0
    simple: int = 0
    hard: int = 0
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
    age_max: int = 0
    too_old_groups: int = 0
    discarded_groups: int = 0


AGE_INTEGERS = ("age_sum", "age_count", "age_max", "too_old_groups", "discarded_groups")
"""Integers at the end of a step's line, left out if all are 0: so is the line of an earlier version."""
STEP_INTEGERS = tuple(
    one.name for one in fields(StepRecord) if one.name not in ("before", "after", "mean", *AGE_INTEGERS)
)
"""The integers of a step's line before these, in the order declared."""

PassCountKey = tuple[int, int, int]
"""(generation, group size G, passes of the group)"""


@dataclass(slots=True)
class PassCountBucket:
    """The tallies of all groups of the open step with the same generation, size and passes.

    A step's statistics are computed from these: the groups that are simple follow from the step's final level.
    """

    groups: int = 0
    truncated: int = 0
    tokens_sum: int = 0
    tokens_count: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_count: int = 0


@dataclass(slots=True)
class RunRecord:
    """The record of a run, without its problems, groups, steps and observations."""

    config: DifficultyConfig
    config_text: str
    kind: Literal["stepped", "stepless"] | None = None
    open: int | None = None
    """The open step."""
    closed: int = -1
    """Every step up to this one is closed."""
    pruned: int = -1
    """Records of the steps up to this one are gone."""
    first: int | None = None
    """The least step in the history."""
    values: tuple[float, ...] = ()
    """The accumulators (the level first) after the last closed step: before the open one."""
    problems: int = 0
    ratio_sum: int = 0
    """For ``reference: "dataset"``: the fixed-point sum of all problems' smoothed pass ratios, the open step's groups
    so far included."""
    start: tuple[float, ...] = ()
    """The accumulators before the open step, as its groups read them."""
    sequence: int = 0
    """Stepless requests so far."""
    buckets: dict[PassCountKey, PassCountBucket] = field(default_factory=dict)
    revisits: tuple[int, int, int] = (0, 0, 0)
    """For accumulators of changes: the open step's revisited problems, the sum of their changes of pass ratio, and
    that of the squares (`arithmetic.visit_change`)."""
    ages: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """`AGE_INTEGERS` of the open step; groups that are discarded while none is open count in the next."""
    incarnation: str = ""
    """Random id (`new_incarnation`); rewinds, and restores of the run's own checkpoints, keep it. Empty until the
    first write by a service that has incarnations."""
    version: int = 0
    """Commits of this incarnation and epoch that counted or recorded a new group."""
    created_step: int | None = None
    """The step of the training request that created the run, if one did."""
    dataset: bool = False
    """True if a data set is registered: its index follows the problems (`reindex`)."""
    begun: tuple[float, ...] = ()
    """For a run that continues another one: the accumulators that it began with."""

    @property
    def newest_step(self) -> int:
        """The open step, or the last closed one."""
        return self.closed if self.open is None else self.open

    @property
    def initial(self) -> tuple[float, ...]:
        """The accumulators before the first step."""
        return self.begun or tuple(one.initial for one in (self.config.level, *self.config.extra))


def new_incarnation() -> str:
    """Return a random id for a run that is created or imported: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def new_run_record(config: DifficultyConfig, config_text: str) -> RunRecord:
    """Return the record of a run without state."""
    run_record = RunRecord(config, config_text)
    run_record.values = run_record.start = run_record.initial
    return run_record
