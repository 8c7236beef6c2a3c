"""Recent activity of each run, for the dashboard and the per-run metrics.

It holds data that the store does not keep: the latest verdicts with shortened texts, a sample of the current step's
rollouts, the betas, reward components and warnings of that step, and the sums of recent steps. Runs, entries and
characters are bounded. The data is lost when the process ends, and no reward depends on it.
"""

from __future__ import annotations

import math
import random
import secrets
import time
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..shaping import Group, ShapedGroup
from .course import StepSums, begin_step

MAX_RUNS = 64
"""Runs kept: the most recently active ones."""
MAX_VERDICTS = 32
"""Verdicts kept per status, so that many correct ones do not displace the rare undecided ones."""
MAX_POINTS = 1000
"""Rollouts kept of the current step of a run."""
MAX_TEXT = 200
"""Most characters kept of an answer, a gold answer or a reason."""
MAX_WARNINGS = 32
"""Most kinds of warnings kept of a run."""
MAX_ID = 80
"""Most characters kept of a problem_id or the name of a rule."""
BETA_BINS = 40
"""Bins of width 0.05 over [-1, 1]."""
_BATCH_SAMPLE = 64
"""About the number of verdicts of the common statuses that are kept of one request."""
_RARE = ("unreadable", "gold_unreadable", "undecided", "unchecked")


@dataclass(frozen=True, slots=True)
class SeenVerdict:
    """One verdict as the dashboard shows it."""

    id: str
    at: float
    """Seconds since the epoch."""
    step: int | None
    phase: str
    problem_id: str | None
    status: str
    gold: str
    answer: str | None
    decided_by: str
    reason: str
    tokens: int | None = None
    reward: float | None = None
    age: int | None = None
    too_old: bool = False


@dataclass(frozen=True, slots=True)
class GroupAge:
    """The age of a group, and the versions of the policy that it is of (docs/design.md, 5.11)."""

    age: int | None = None
    too_old: bool = False
    versions: Sequence[int | None] = ()
    """The policy version of each rollout; empty if the age is not known."""


NO_AGE = GroupAge()


@dataclass(slots=True)
class SeenRollout:
    """One rollout of the current step: its length in tokens, its reward, and the data that explain the reward.

    Not frozen: every rollout of a small step is one, and a frozen one takes several times as long to make.
    """

    tokens: int
    reward: float
    correct: bool
    difficulty: str | None
    problem_id: str
    length: float = 0.0
    """The length component of the reward."""
    policy_version: int | None = None
    age: int | None = None
    """The age of the group."""
    too_old: bool = False


@dataclass(slots=True)
class SeenWarning:
    """A warning of the run's present epoch: its latest text, and the first and last step that had it."""

    text: str
    first_step: int
    last_step: int


@dataclass(slots=True)
class RunActivity:
    """Recent activity of one run. The fields from `rollouts` to `sampling_weight` are about step `step` of epoch
    `epoch`.
    """

    run: str
    at: float = 0.0
    """Time of the last activity, in seconds since the epoch."""
    epoch: int | None = None
    step: int | None = None
    rollouts: int = 0
    """Rollouts of the step so far."""
    sums: dict[str, float] = field(default_factory=dict)
    """Reward components summed over the step's rollouts: outcome, length, overlong, total."""
    warnings: dict[str, str] = field(default_factory=dict)
    """Warnings of the step: slug to text."""
    betas: list[int] = field(default_factory=lambda: [0] * BETA_BINS)
    """Number of groups per bin of beta, [BETA_BINS]."""
    points: list[SeenRollout] = field(default_factory=list)
    """A uniform sample of the step's rollouts with token counts, at most MAX_POINTS."""
    seen_points: int = 0
    """Rollouts of the step from which `points` is sampled."""
    next_point: int = 0
    """Index of the next of these rollouts that enters the sample."""
    sampling_weight: float = 1.0
    """W of algorithm L. It falls as the number of rollouts rises."""
    verdicts: dict[str, deque[SeenVerdict]] = field(default_factory=dict)
    """The latest verdicts by status, oldest first."""
    course: dict[int, StepSums] = field(default_factory=dict)
    """Sums of the recent steps, by step."""
    sources: list[str] = field(default_factory=list)
    """Names of the data sources with rewards of their own, in the order of their first group."""
    seen_warnings: dict[str, SeenWarning] = field(default_factory=dict)
    """Warnings of the epoch by slug."""

    def begin_step(self, epoch: int, step: int) -> bool:
        """Reset the data of the step if this step is newer. Return False for an older step."""
        if self.epoch is not None and self.step is not None and (epoch, step) < (self.epoch, self.step):
            return False
        if epoch != self.epoch:
            self.seen_warnings = {}
        if (epoch, step) != (self.epoch, self.step):
            self.epoch, self.step = epoch, step
            self.rollouts = self.seen_points = self.next_point = 0
            self.sampling_weight = 1.0
            self.sums, self.warnings, self.points = {}, {}, []
            self.betas = [0] * BETA_BINS
        return True

    def latest(self) -> list[SeenVerdict]:
        """Return the verdicts of all statuses, newest first."""
        return sorted((v for of_status in self.verdicts.values() for v in of_status), key=lambda v: -v.at)


class Activity:
    """Recent activity of the most recently active runs of one process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._runs: OrderedDict[str, RunActivity] = OrderedDict()
        self._clock = clock
        self._random = random.Random(0)
        self._name = secrets.token_hex(4)
        self._verdicts = 0

    def runs(self) -> list[RunActivity]:
        """Return the activity of all runs, the most recently active last."""
        return list(self._runs.values())

    def of(self, run: str) -> RunActivity | None:
        """Return the activity of a run; "" for verdicts without a run. None if there is none."""
        return self._runs.get(run)

    def record_verdicts(self, run: str | None, rows: Sequence[dict[str, Any]]) -> None:
        """Record verdicts of one request; a `sample` of them is enough.

        The rows have the fields of `SeenVerdict` without `id` and `at`. Their texts are shortened here.
        """
        activity = self._get_or_create(run or "")
        for index, row in enumerate(rows):
            self._verdicts += 1
            of_status = activity.verdicts.setdefault(row["status"], deque(maxlen=MAX_VERDICTS))
            of_status.append(
                SeenVerdict(
                    id=f"{self._name}-{self._verdicts}",
                    # Later verdicts of one request sort as later.
                    at=activity.at + index * 1e-6,
                    step=row["step"],
                    phase=row["phase"],
                    problem_id=None if row["problem_id"] is None else clip(row["problem_id"], MAX_ID),
                    status=row["status"],
                    gold=clip(row["gold"]),
                    answer=None if row["answer"] is None else clip(row["answer"]),
                    decided_by=clip(row["decided_by"], MAX_ID),
                    reason=clip(row["reason"]),
                    tokens=row.get("tokens"),
                    reward=row.get("reward"),
                    age=row.get("age"),
                    too_old=row.get("too_old", False),
                )
            )

    def begin_step(self, run: str, epoch: int, step: int, warnings: Iterable[tuple[str, str]]) -> RunActivity | None:
        """Record warnings (slug, text) of a step, and return the run's activity for `record_group`.

        Returns None if the step is older than the one that was recorded last.
        """
        activity = self._get_or_create(run)
        if not activity.begin_step(epoch, step):
            return None
        begin_step(activity.course, epoch, step, activity.at)
        for slug, text in warnings:
            activity.warnings[slug] = short = clip(text, 2 * MAX_TEXT)
            seen = activity.seen_warnings.get(slug)
            if seen is not None:
                seen.text, seen.last_step = short, step
            elif len(activity.seen_warnings) < MAX_WARNINGS:
                activity.seen_warnings[slug] = SeenWarning(short, step, step)
        return activity

    def record_group(
        self,
        activity: RunActivity,
        problem_id: str,
        group: Group,
        shaped: ShapedGroup,
        parts: Mapping[str, float],
        age: GroupAge = NO_AGE,
    ) -> None:
        """Add one group of the current step, and the sums of its rewards: "total" and its components, by name."""
        tokens, correct, rewards, length = group.tokens, group.correct, shaped.rewards, shaped.components["length"]
        if shaped.beta is not None:
            activity.betas[beta_bin(shaped.beta)] += 1
        activity.rollouts += len(rewards)
        for name, value in parts.items():
            activity.sums[name] = activity.sums.get(name, 0.0) + value
        if tokens is None:
            return
        # Reservoir sampling (algorithm L; Li 1994, ACM TOMS 20(4)): each rollout of the step is in the sample with
        # equal probability, and rollouts that are skipped need no work.
        end = activity.seen_points + len(tokens)
        name = clip(problem_id, MAX_ID) if activity.next_point < end else ""
        while activity.next_point < end:
            index = activity.next_point - activity.seen_points
            version = age.versions[index] if age.versions else None
            of_rollout = tokens[index], rewards[index], correct[index], shaped.difficulty, name, length[index]
            point = SeenRollout(*of_rollout, version, age.age, age.too_old)
            if len(activity.points) < MAX_POINTS:
                activity.points.append(point)
            else:
                activity.points[int(self._random.random() * MAX_POINTS)] = point
            full = len(activity.points) == MAX_POINTS
            activity.next_point += self._skip(activity) if full else 1
        activity.seen_points = end

    def _skip(self, activity: RunActivity) -> int:
        """Return the distance to the next rollout that enters the sample."""
        random = self._random.random
        activity.sampling_weight *= math.exp(math.log(1.0 - random()) / MAX_POINTS)
        return 1 + int(math.log(1.0 - random()) / math.log1p(-activity.sampling_weight))

    def _get_or_create(self, run: str) -> RunActivity:
        activity = self._runs.get(run)
        if activity is None:
            activity = self._runs[run] = RunActivity(run)
        self._runs.move_to_end(run)
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        activity.at = self._clock()
        return activity


def sample(statuses: Sequence[str]) -> list[int]:
    """Return the indices of the verdicts to record: evenly spaced ones, and those of the rare statuses."""
    stride = max(1, len(statuses) // _BATCH_SAMPLE)
    remaining = dict.fromkeys(_RARE, MAX_VERDICTS)
    chosen = []
    for index, status in enumerate(statuses):
        if status in remaining:
            remaining[status] -= 1
            if remaining[status] >= 0:
                chosen.append(index)
        elif index % stride == 0:
            chosen.append(index)
    return chosen


def beta_bin(beta: float) -> int:
    """Return the index of the bin of a beta. 0 is in the first bin of simple problems."""
    return min(BETA_BINS - 1, max(0, int((beta + 1) * BETA_BINS / 2)))


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """Return at most `limit` characters of a text, with an ellipsis if it was cut. Combined characters stay whole."""
    if len(text) <= limit:
        return text
    end = limit - 1
    while end > limit // 2 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end] + "…"
