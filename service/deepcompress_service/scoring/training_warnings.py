"""Warnings about a training: groups that teach nothing, a run without success, and an accuracy that falls.

Each is a stable slug and a text, as the warnings of `shaping.reward_warnings`, which see rewards only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache

from ..difficulty.errors import DifficultyError
from ..difficulty.model import StepStatistics
from ..difficulty.store import DifficultyStore
from ..shaping.decline import MAX_STEPS, ClosedStep, ClosedSteps, decline_warnings

UNTRAINABLE = frozenset({"gold_unreadable", "undecided"})
"""Statuses that `untrainable_warnings` counts: none of its warnings is made without one of them."""
UNDECIDED_SHARE = 0.1
"""Above this share of undecided rollouts there is a warning."""
FIRST_ROLLOUTS = 64
"""Number of first rollouts of a run; if none of them is correct there is a warning."""
FIRST_GROUPS = 4
"""The least number of groups that they come from."""
KNOWN_RUNS = 10_000
"""Runs whose first rollouts a process counts at once."""
KNOWN_COURSES = 256
"""Runs whose closed steps a process keeps, the last used ones: at most 80 KiB each."""
log = logging.getLogger("deepcompress.scoring")

Warnings = list[tuple[str, str]]


def untrainable_warnings(statuses: Sequence[Sequence[str | None]]) -> Warnings:
    """Return the warnings about the verdicts of a request, [groups][rollouts]."""
    found: Warnings = []
    unreadable = sum("gold_unreadable" in row for row in statuses)
    if unreadable:
        share = "no group has" if unreadable == len(statuses) else f"{unreadable} of {len(statuses)} groups have no"
        found.append(
            (
                "gold-unreadable",
                f"{share} a gold that can be read: they are not trainable and count nowhere; `deepcompress audit` "
                "lists such golds",
            )
        )
    rollouts = sum(map(len, statuses))
    undecided = sum(row.count("undecided") for row in statuses)
    if undecided > UNDECIDED_SHARE * rollouts:
        found.append(
            (
                "undecided-rate",
                f"{undecided} of {rollouts} rollouts are undecided (over 10%): they count as wrong and are not "
                "trainable",
            )
        )
    return found


def stale_groups(stale: int, groups: int, step: int | None) -> tuple[str, str]:
    """Return the warning that `stale` of a request's groups came after their step was closed."""
    return (
        "stale-groups",
        f"{stale} of {groups} groups came for step {step} after it was closed: they have rewards, and change "
        "neither the level nor their problems",
    )


def too_old_groups(too_old: int, groups: int, max_age: int | None) -> tuple[str, str]:
    """Return the warning that `too_old` of a request's groups are older than the run allows."""
    return (
        "too-old-groups",
        f"{too_old} of {groups} groups are from policies more than {max_age} versions ago (max_age): they have "
        "rewards, and change neither the level nor their problems",
    )


def replayed_verdicts_differ(count: int) -> tuple[str, str]:
    """Return the warning that `count` rollouts of replayed groups would be judged differently now."""
    return (
        "replayed-verdicts-differ",
        f"the recorded verdicts of repeated groups hold, but {count} of their rollouts would be judged differently "
        "now (another answer_format or version of the service): use another run or group_id for new verdicts",
    )


def run_created(step: int | None) -> str:
    """Return the warning that a training request created the run, as it is answered."""
    return (
        f"run-created: the run did not exist and was created by a training request, since step {step}, with "
        "the server's default configuration and its initial level. If it was trained before, the store lost it"
    )


class FirstRollouts:
    """Counts the rollouts of each run until one is correct, in this process."""

    def __init__(self) -> None:
        self._counts: LRUCache[tuple[str, int], tuple[int, int] | None] = LRUCache(KNOWN_RUNS)
        """(groups, rollouts) without a correct one by (run, epoch); None after one."""

    def warning(self, run: str, epoch: int, correct: Sequence[Sequence[bool]]) -> Warnings:
        """Count the groups of a request, [groups][rollouts]; return the warning if nothing was ever correct."""
        key = (run, epoch)
        seen = self._counts.get(key, (0, 0))
        if seen is not None:
            groups, rollouts = seen[0] + len(correct), seen[1] + sum(map(len, correct))
            seen = None if any(map(any, correct)) else (groups, rollouts)
        self._counts[key] = seen
        if seen is None or seen[0] < FIRST_GROUPS or seen[1] < FIRST_ROLLOUTS:
            return []
        return [
            (
                "nothing-correct",
                f"none of the first {seen[1]} rollouts of the run is correct: are the golds final answers (not "
                "worked solutions), does the prompt ask for the answer_format, is the generation limit long enough?",
            )
        ]


@dataclass(slots=True)
class _Course:
    """The closed steps of a run in one epoch, which never change, and the warnings that they give."""

    epoch: int
    step: int = -1
    """The newest step that a request had."""
    unread: int = 0
    """The first step that was not closed when the history was read."""
    steps: ClosedSteps = field(default_factory=ClosedSteps)
    warnings: list[tuple[str, str]] = field(default_factory=list)


class Declines:
    """The warnings of an accuracy that falls with the lengths, of each run.

    The steps that closed are added in the background, after the first answer of a step: the answers after it have the
    warning. They are read from the store unless the commit gave all those that are not known here.
    """

    def __init__(self, store: DifficultyStore) -> None:
        self._store = store
        self._runs: LRUCache[str, _Course] = LRUCache(KNOWN_COURSES)

    def warnings(self, run: str, epoch: int) -> list[tuple[str, str]]:
        """Return the warnings of the run's closed steps, as far as they are known here."""
        course = self._runs.get(run)
        return [] if course is None or course.epoch != epoch else course.warnings

    async def update(
        self,
        run: str,
        epoch: int,
        step: int | None,
        closed_before: int | None = None,
        closed: Sequence[StepStatistics] = (),
    ) -> None:
        """Add the steps that closed, if this is the first request of a step.

        `closed_before` and `closed` are those of the request's commit (`CommitOutcome`).
        """
        if step is None:
            return
        course = self._runs.get(run)
        if course is None or course.epoch != epoch:
            course = self._runs[run] = _Course(epoch)
        if course.step >= step:
            return
        course.step = step
        rows = closed
        if closed_before is None or closed_before >= course.unread:
            try:
                rows = await self._store.history(run, since=course.unread, limit=MAX_STEPS)
            except DifficultyError as error:
                log.info("run %s: no history for the warnings of step %d: %s", run, step, error)
                return
        # A step may have been added by another request meanwhile.
        new = [row for row in rows if row.closed and row.step >= course.unread]
        if new:
            course.unread = new[-1].step + 1
            for one in closed_steps(new):
                course.steps.add(one)
            course.warnings = decline_warnings(course.steps)


def closed_steps(rows: Sequence[StepStatistics]) -> list[ClosedStep]:
    """Return the closed steps that have rollouts and lengths."""
    return [
        ClosedStep(row.step, row.correct / row.rollouts, row.tokens_sum / row.tokens_count)
        for row in rows
        if row.closed and row.rollouts and row.tokens_count
    ]
