"""Sums of each of a run's recent steps, from which the dashboard draws lines over steps.

Only sums are kept, so that those of several processes add up. The number of steps is bounded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..shaping.signal import SignalSums
from .sources import SourceRewards, add_all, mean_rewards

MAX_COURSE = 500
"""Steps kept of a run: the newest ones. One needs about a kilobyte, and 16 bytes more for each data source."""
STATUSES = ("no_answer", "undecided", "unchecked", "unreadable", "gold_unreadable")
"""The statuses that are counted, beside the number of rollouts with any status."""
_COUNTED_STATUSES = frozenset(STATUSES)


@dataclass(slots=True)
class StepSums:
    """Sums over the rollouts and groups of one step."""

    epoch: int
    step: int
    first_at: float
    """Time of the first request of the step, in seconds since the epoch."""
    last_at: float
    rollouts: int = 0
    total: float = 0.0
    """The rewards, and their parts below."""
    outcome: float = 0.0
    length: float = 0.0
    overlong: float = 0.0
    all_correct: int = 0
    """Groups whose checked rollouts are all correct, and those with both kinds or without a correct one."""
    mixed: int = 0
    none_correct: int = 0
    with_status: int = 0
    """Rollouts whose status is known: those that the service verified, or that were sent with one."""
    no_answer: int = 0
    undecided: int = 0
    unchecked: int = 0
    unreadable: int = 0
    gold_unreadable: int = 0
    signal: SignalSums = field(default_factory=SignalSums)
    sources: SourceRewards[float] = field(default_factory=lambda: array("d"))
    """Rewards by data source (`sources.FIELDS`), in the order of the run's names."""

    def add_group(self, correct: Sequence[bool], statuses: Sequence[str | None], parts: Mapping[str, float]) -> None:
        """Add one group, [rollouts], and the sums of its rewards: "total" and those of its components, by name."""
        self.rollouts += len(correct)
        self.total += parts["total"]
        self.outcome += parts["outcome"]
        self.length += parts["length"]
        self.overlong += parts["overlong"]
        counted = _COUNTED_STATUSES.intersection(statuses)
        checked = correct
        if "unchecked" in counted:
            checked = [ok for ok, status in zip(correct, statuses, strict=True) if status != "unchecked"]
        if checked:
            passes = sum(checked)
            self.all_correct += passes == len(checked)
            self.none_correct += passes == 0
            self.mixed += 0 < passes < len(checked)
        self.with_status += len(statuses) - statuses.count(None)
        for status in counted:
            setattr(self, status, getattr(self, status) + statuses.count(status))

    def add(self, other: StepSums) -> None:
        """Add the sums of another process for the same step."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.signal.add(other.signal)
        add_all(self.sources, other.sources)
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)

    def row(self, sources: Sequence[str] = ()) -> dict[str, Any]:
        """Return the step as the page gets it: means and shares, null without rollouts or without statuses.

        `sources` are the names of the run's data sources.
        """
        mean = {name: getattr(self, name) / self.rollouts if self.rollouts else None for name in _MEANS}
        figures = self.signal.figures()
        share = {name: getattr(self, name) / self.with_status if self.with_status else None for name in STATUSES}
        return {
            "step": self.step,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "reward": mean["total"],
            "outcome": mean["outcome"],
            "length": mean["length"],
            "overlong": mean["overlong"],
            "all_correct": self.all_correct,
            "mixed": self.mixed,
            "none_correct": self.none_correct,
            "length_share": figures.length_share,
            "signal": asdict(figures),
            **share,
            "source_rewards": mean_rewards(self.sources, sources),
        }


_MEANS = ("total", "outcome", "length", "overlong")
_NOT_COUNTED = ("epoch", "step", "first_at", "last_at", "signal", "sources")
_COUNTED = tuple(one.name for one in fields(StepSums) if one.name not in _NOT_COUNTED)


def begin_step(course: dict[int, StepSums], epoch: int, step: int, at: float) -> StepSums:
    """Return the sums of a step, made at the first call.

    A new epoch replaces the steps from its first one on: the run was rewound, restored, or deleted and begun again.
    So the steps of a course ascend.
    """
    sums = course.get(step)
    if sums is None or sums.epoch != epoch:
        while course and next(reversed(course)) >= step:
            course.popitem()
        sums = course[step] = StepSums(epoch, step, at, at)
        while len(course) > MAX_COURSE:
            del course[next(iter(course))]
    sums.last_at = at
    return sums


def join_courses(courses: Iterable[Mapping[int, StepSums]]) -> dict[int, StepSums]:
    """Return the sums of several processes, added by step. A later epoch replaces the steps from its first one on."""
    by_step: dict[int, list[StepSums]] = {}
    for course in courses:
        for sums in course.values():
            by_step.setdefault(sums.step, []).append(sums)
    joined: dict[int, StepSums] = {}
    epoch = -1
    for step in sorted(by_step):
        epoch = max(epoch, *(sums.epoch for sums in by_step[step]))
        current = [sums for sums in by_step[step] if sums.epoch == epoch]
        if not current:
            continue
        joined[step] = StepSums(epoch, step, current[0].first_at, current[0].last_at)
        for sums in current:
            joined[step].add(sums)
    for old in sorted(joined)[:-MAX_COURSE]:
        del joined[old]
    return joined
