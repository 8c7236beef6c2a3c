"""Recorder of a bounded sample of each request, for the dashboard and the per-run metrics.

It does not change the response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepcompress_client.wire import ScoreRequest, VerifyRequest
from deepcompress_verify import Verdict

from ..difficulty.model import CommitOutcome, GroupCommit
from ..shaping import Group, ShapedGroup
from ..shaping.signal import SignalSums
from .recent import NO_AGE, Activity, GroupAge, sample
from .sources import add_group

_LONGEST = 1024
"""Most characters of a text that are passed to `Activity`, which shortens texts further."""


@dataclass(slots=True)  # not frozen: one is made for each group
class CountedGroup:
    """A group of a training request that is counted now, with its rewards."""

    problem_id: str
    group: Group
    shaped: ShapedGroup
    statuses: Sequence[str | None]
    """One for each rollout; None if the caller sent none."""
    tallies: GroupCommit | None
    """The tallies that the store counted the group with."""
    age: GroupAge


class ActivityRecorder:
    """Records requests in `activity`."""

    def __init__(self, activity: Activity) -> None:
        self.activity = activity

    def record_rows(self, run: str | None, rows: Sequence[dict[str, Any]]) -> None:
        """Record a sample of the verdicts of a run: `verify_rows` or `scored_rows`."""
        self.activity.record_verdicts(run, rows)

    def record_batch(
        self,
        outcome: CommitOutcome,
        warnings: Sequence[tuple[str, str]],
        groups: Sequence[CountedGroup],
        signal: SignalSums,
    ) -> None:
        """Record a training request. `groups` and `signal` are without replayed and stale groups."""
        activity = self.activity.begin_step(outcome.run, outcome.epoch, outcome.step, warnings)
        if activity is None:
            return
        sums = activity.course[outcome.step]
        sums.signal.add(signal)
        for one in groups:
            result = one.shaped
            parts = sums_of_parts(result)
            sums.add_group(one.group.correct, one.statuses, parts)
            if one.tallies is not None:
                add_group(sums.sources, activity.sources, one.tallies, parts["total"] / len(result.rewards))
            self.activity.record_group(activity, one.problem_id, one.group, result, parts, one.age)


def sums_of_parts(shaped: ShapedGroup) -> dict[str, float]:
    """Return the sums of a group's rewards: those of its components and scores by name, then "total"."""
    parts = {name: sum(values) for name, values in shaped.components.items()}
    if shaped.scores:
        parts |= {f"scores.{name}": sum(values) for name, values in shaped.scores.items()}
    parts["total"] = sum(shaped.rewards)
    return parts


def verify_rows(request: VerifyRequest, verdicts: Sequence[Verdict]) -> list[tuple[str | None, list[dict[str, Any]]]]:
    """Return a sample of the verdicts of a verify request, by the runs of its items. `verdicts` is [items]."""
    by_run: dict[str | None, list[int]] = {}
    for index, item in enumerate(request.items):
        by_run.setdefault(item.run, []).append(index)
    found = []
    for run, indices in by_run.items():
        rows = []
        for position in sample([verdicts[index].status for index in indices]):
            item, verdict = request.items[indices[position]], verdicts[indices[position]]
            rows.append(_row(item.gold, verdict, item.step, item.phase, item.problem_id, item.tokens, None))
        found.append((run, rows))
    return found


def scored_rows(
    request: ScoreRequest,
    step: int | None,
    shaped: Sequence[ShapedGroup],
    verdicts: Sequence[Sequence[Verdict]],
    ages: Sequence[GroupAge],
) -> list[dict[str, Any]]:
    """Return a sample of the verdicts of a score request with their rewards. `verdicts` is [groups, rollouts]."""
    positions = [(group, rollout) for group, row in enumerate(verdicts) for rollout in range(len(row))]
    rows = []
    for index in sample([verdict.status for row in verdicts for verdict in row]):
        group, rollout = positions[index]
        sent = request.groups[group]
        rows.append(
            _row(
                sent.gold,
                verdicts[group][rollout],
                step,
                request.phase,
                sent.problem_id or sent.group_id,
                sent.rollouts[rollout].tokens,
                shaped[group].rewards[rollout],
                ages[group],
            )
        )
    return rows


def _row(
    gold: str | list[str],
    verdict: Verdict,
    step: int | None,
    phase: str,
    problem_id: str | None,
    tokens: int | None,
    reward: float | None,
    age: GroupAge = NO_AGE,
) -> dict[str, Any]:
    first = gold if isinstance(gold, str) else " | ".join(one[:_LONGEST] for one in gold[:4])
    return {
        "step": step,
        "phase": phase,
        "problem_id": problem_id,
        "status": verdict.status,
        "gold": first[:_LONGEST],
        "answer": None if verdict.answer is None else verdict.answer[:_LONGEST],
        "decided_by": verdict.decided_by,
        "reason": verdict.reason[:_LONGEST],
        "tokens": tokens,
        "reward": reward,
        "age": age.age,
        "too_old": age.too_old,
    }
