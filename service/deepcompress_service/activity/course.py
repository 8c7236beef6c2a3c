"""Sums of each of a run's recent steps, from which the dashboard draws lines over steps.

Only sums are kept, so that those of several processes add up. The number of steps is bounded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import mul
from typing import Any

from ..shaping import Group, ShapedGroup
from .sources import SourceSums, add_all, statistics

MAX_COURSE = 500
"""Steps kept of a run: the newest ones. One needs about half a kilobyte, and 64 bytes more for each data source."""
STATUSES = ("no_answer", "undecided", "unchecked", "unreadable", "gold_unreadable")
"""The statuses that are counted, beside the number of rollouts with any status."""
_LEAST_SQUARES = 1e-12
"""A sum of squares below this is that of equal rewards."""


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
    share_part: float = 0.0
    """Sum of A_length * A over the groups' GRPO advantages A; `share_whole` is that of A * A."""
    share_whole: float = 0.0
    with_status: int = 0
    """Rollouts whose status is known: those that the service verified, or that were sent with one."""
    no_answer: int = 0
    undecided: int = 0
    unchecked: int = 0
    unreadable: int = 0
    gold_unreadable: int = 0
    sources: SourceSums[float] = field(default_factory=lambda: array("d"))
    """Sums by data source (`sources.FIELDS`), in the order of the run's names."""

    def add_group(self, group: Group, shaped: ShapedGroup, statuses: Sequence[str | None]) -> None:
        """Add one group. `statuses` is [rollouts]."""
        rewards, components = shaped.rewards, shaped.components
        self.rollouts += len(rewards)
        self.total += sum(rewards)
        self.outcome += sum(components.get("outcome", ()))
        self.length += sum(components.get("length", ()))
        self.overlong += sum(components.get("overlong", ()))
        checked = [ok for ok, status in zip(group.correct, statuses, strict=True) if status != "unchecked"]
        if checked:
            correct = sum(checked)
            self.all_correct += correct == len(checked)
            self.none_correct += correct == 0
            self.mixed += 0 < correct < len(checked)
        self.with_status += sum(status is not None for status in statuses)
        for status in statuses:
            if status in STATUSES:
                setattr(self, status, getattr(self, status) + 1)
        if shaped.advantages is None:
            part, whole = length_share(group, shaped)
            self.share_part += part
            self.share_whole += whole

    def add(self, other: StepSums) -> None:
        """Add the sums of another process for the same step."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        add_all(self.sources, other.sources)
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)

    def row(self, sources: Sequence[str] = ()) -> dict[str, Any]:
        """Return the step as the page gets it: means and shares, null without rollouts or without statuses.

        `sources` are the names of the run's data sources.
        """
        mean = {name: getattr(self, name) / self.rollouts if self.rollouts else None for name in _MEANS}
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
            "length_share": self.share_part / self.share_whole if self.share_whole > 0 else None,
            **share,
            "sources": statistics(self.sources, sources),
        }


_MEANS = ("total", "outcome", "length", "overlong")
_NOT_COUNTED = ("epoch", "step", "first_at", "last_at", "sources")
_COUNTED = tuple(one.name for one in fields(StepSums) if one.name not in _NOT_COUNTED)


def length_share(group: Group, shaped: ShapedGroup) -> tuple[float, float]:
    """Return sum(A_length * A) and sum(A * A) of a group, with the advantages that GRPO makes of its rewards.

    A is (R - mean) / std, so the second sum is n - 1, and the first is n - 1 times the covariance of the length
    component and the reward, divided by the reward's variance. Rollouts that are not trainable are left out.
    """
    rewards, length = shaped.rewards, shaped.components.get("length", ())
    if group.trainable and not all(group.trainable):
        kept = [index for index, ok in enumerate(group.trainable) if ok]
        rewards = tuple(rewards[index] for index in kept)
        length = tuple(length[index] for index in kept) if length else ()
    n = len(rewards)
    if n < 2:
        return 0.0, 0.0
    mean = sum(rewards) / n
    centred = [reward - mean for reward in rewards]
    squares = sum(map(mul, centred, centred))
    if squares <= _LEAST_SQUARES:
        return 0.0, 0.0
    return (n - 1) * sum(map(mul, length, centred)) / squares, float(n - 1)


def begin_step(course: dict[int, StepSums], epoch: int, step: int, at: float) -> StepSums:
    """Return the sums of a step, made at the first call.

    A new epoch replaces the steps from its first one on: the run was rewound, restored, or deleted and begun again.
    """
    sums = course.get(step)
    if sums is None or sums.epoch != epoch:
        for old in [one.step for one in course.values() if one.step >= step and one.epoch != epoch]:
            del course[old]
        sums = course[step] = StepSums(epoch, step, at, at)
        while len(course) > MAX_COURSE:
            del course[min(course)]
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
