"""Warnings of an answer, each a stable slug and a text.

They are of the request's rewards, of its verdicts and the run's state, and of the run as this process has seen it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from ..difficulty.errors import DifficultyError
from ..difficulty.model import StepStatistics
from ..difficulty.store import DifficultyStore
from ..shaping import Group, Reward, ShapedGroup
from ..shaping.decline import MAX_STEPS, ClosedStep, ClosedSteps, decline_warnings
from ..shaping.signal import MIN_GROUPS, Signal, signal_warnings
from ..shaping.strategy import Strategy

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
TRUNCATION_SHARE = 0.2
"""Above this share of truncated rollouts, truncation and not difficulty decides what is learned."""
MIN_STEPS = 10
"""Steps before which no warning is made: any level needs some to move."""
FAR = 0.1
"""A level that is this far from the run's pass ratio decides the sign of most groups' beta."""
log = logging.getLogger("deepcompress.scoring")

Warnings = list[tuple[str, str]]


# --- of the rewards of a request ----------------------------------------------------------------------------


def reward_warnings(
    reward: Reward, groups: Sequence[Group], shaped: Sequence[ShapedGroup], figures: Signal | None = None
) -> Warnings:
    """Return the known problems that the rewards of these groups show.

    `figures` are those of `Reward.signal`, if they are known. Every answer has the warnings while they hold; clients
    log each kind once.
    """
    now = reward.at(groups[0].step or 0) if reward.scheduled and groups else reward
    found = find_warnings(now.main.strategy, now.overlong, groups, shaped)
    uses_level = "level" in reward.main.requires and reward.reference != "dataset"
    newest = max(groups, key=lambda group: group.step or 0, default=None) if uses_level else None
    if newest is not None and newest.level is not None and newest.step is not None:
        steps = newest.step + (reward.reference == "current")
        found += pace_warnings(newest.level, reward.initial_level, reward.ema, steps)
    if len(groups) < MIN_GROUPS:
        return found
    scaled = not shaped or shaped[0].advantages is None
    return found + signal_warnings(figures or reward.signal(groups, shaped), groups, shaped, scaled=scaled)


def find_warnings(
    strategy: Strategy,
    overlong: Mapping[str, Any] | None,
    groups: Sequence[Group],
    shaped: Sequence[ShapedGroup],
) -> Warnings:
    """Return the warnings that apply, in a fixed order."""
    result: Warnings = []
    trained = [g for g in groups if not g.trainable or any(g.trainable)]
    rollouts = sum([len(g.correct) for g in trained])
    truncated = sum([sum(g.truncated) for g in trained])
    if truncated > TRUNCATION_SHARE * rollouts:
        result.append(
            (
                "truncation-rate",
                f"{truncated} of {rollouts} rollouts were truncated (over 20%): raise the limit, or the reward "
                "teaches to stop early rather than to answer",
            )
        )
    measured = [g for g in trained if g.tokens is not None and len(g.tokens) > 1]
    equal = sum(1 for g in measured if len(set(g.tokens or ())) == 1)
    if equal:
        result.append(
            (
                "equal-lengths",
                f"all lengths are equal in {equal} of {len(measured)} groups: no length signal there; check that "
                "tokens are counted per rollout",
            )
        )
    if trained and all(all(g.correct) for g in trained):
        result.append(("all-solved", "every rollout of every group is correct: the outcome gives no signal"))
    below = 0
    for group, of_group in zip(groups, shaped, strict=True):
        if not any(group.correct) or all(group.correct):
            continue
        trainable = group.trainable or (True,) * len(group.correct)
        paid = list(zip(of_group.advantages or of_group.rewards, group.correct, trainable, strict=True))
        right = [value for value, correct, trained_on in paid if correct and trained_on]
        wrong = [value for value, correct, trained_on in paid if not correct and trained_on]
        below += bool(right and wrong) and max(wrong) > min(right)
    if below:
        result.append(
            (
                "correct-below-wrong",
                f"a correct rollout was paid less than a wrong one in {below} of {len(groups)} groups (by the "
                "advantages, where the run has them): lower the weight of the length or overlong term, or set a gate",
            )
        )
    if overlong is not None:
        limit = overlong["max_tokens"]
        beyond = sum(1 for g in trained for tokens in g.tokens or () if tokens > limit)
        if beyond:
            result.append(
                (
                    "longer-than-max",
                    f"{beyond} of {rollouts} rollouts are longer than overlong.max_tokens = {limit}: it should "
                    "be the generation limit",
                )
            )
    if not strategy.correctness_conditioned:
        result.append(
            (
                "wrong-pays-for-length",
                f"under {strategy.name} the length of a wrong rollout changes its reward: failing fast may pay",
            )
        )
    if strategy.certainty == "uncertain":
        result.append(("uncertain-formula", f"{strategy.name}: {strategy.note}"))
    return result


def run_pass_ratio(level: float, initial_level: float, ema: float, steps: int) -> float | None:
    """Return m, the weighted mean pass ratio of the run's steps; None if the level has no part of it.

    After n steps P_b(n) = lambda**n * P_b(0) + (1 - lambda**n) * m, where the mean is weighted as in the moving
    average. So m follows from the level alone.

    `steps` of a run that began later, or that left steps out, is too large; m is then too near to the level.
    """
    start = ema**steps
    if start >= 1.0:
        return None
    return min(1.0, max(0.0, (level - start * initial_level) / (1.0 - start)))


def pace_warnings(level: float, initial_level: float, ema: float, steps: int) -> Warnings:
    """Return (slug, text) if the level, after `steps` steps, is still far from the run's pass ratio.

    The level is that of the step; `ema` is lambda; `steps` counts the steps in the level.
    """
    if steps < MIN_STEPS:
        return []
    ratio = run_pass_ratio(level, initial_level, ema, steps)
    if ratio is None or abs(level - ratio) <= FAR:
        return []
    left = math.ceil(math.log(FAR / abs(level - ratio)) / math.log(ema))
    above = level > ratio
    side, kind, paid = ("above", "hard", "longer") if above else ("below", "simple", "shorter")
    return [
        (
            "slow-level",
            f"after {steps} steps the level {level:.2f} is still {side} the run's pass ratio {ratio:.2f}: most "
            f"groups count as {kind}, and {paid} answers are paid more. With ema {ema:g} this lasts about {left} "
            "more steps. In a new run set initial_level to the pass ratio of the start, and ema to 1 - 5/N for N "
            "steps (100 steps: 0.95)",
        )
    ]


# --- of the verdicts, and of the run's state ------------------------------------------------------------------


def untrainable_warnings(statuses: Sequence[Sequence[str | None]]) -> Warnings:
    """Return the warnings about the verdicts of a request, [groups][rollouts]."""
    found: Warnings = []
    unreadable = sum("gold_unreadable" in row for row in statuses)
    if unreadable:
        every = unreadable == len(statuses)
        share = "no group has a" if every else f"{unreadable} of {len(statuses)} groups have no"
        found.append(
            (
                "gold-unreadable",
                f"{share} gold that can be read: they are not trainable and count nowhere; `deepcompress audit` "
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


# --- of the run, as far as this process has seen it -----------------------------------------------------------


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
