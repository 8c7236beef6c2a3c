"""Recorder of a bounded sample of each request, for the dashboard and the per-run metrics.

It does not change the response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepcompress_client.wire import ScoreRequest, VerifyRequest
from deepcompress_verify import Verdict

from ..difficulty.model import CommitOutcome
from ..shaping import Group, ShapedGroup
from .recent import Activity, sample

_LONGEST = 1024
"""Most characters of a text that are passed on; `recent` shortens them further."""


class ActivityRecorder:
    """Records requests in `activity`."""

    def __init__(self, activity: Activity) -> None:
        self.activity = activity

    def record_verify(self, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
        """The verdicts of a verify request, by the runs that its items name."""
        by_run: dict[str | None, list[int]] = {}
        for index, item in enumerate(request.items):
            by_run.setdefault(item.run, []).append(index)
        for run, indices in by_run.items():
            rows = []
            for place in sample([verdicts[index].status for index in indices]):
                item, verdict = request.items[indices[place]], verdicts[indices[place]]
                rows.append(_row(item.gold, verdict, item.step, item.phase, item.problem_id, item.tokens, None))
            self.activity.note_verdicts(run, rows)

    def record_batch(
        self,
        outcome: CommitOutcome,
        groups: Sequence[Group],
        shaped: Sequence[ShapedGroup],
        warnings: Sequence[tuple[str, str]],
    ) -> None:
        """The groups of a training request. Repeats and stale groups were seen before, or are of another step."""
        window = self.activity.note_step(outcome.run, outcome.epoch, outcome.step, warnings)
        if window is None:
            return
        for state, group, result in zip(outcome.groups, groups, shaped, strict=True):
            if state.replayed or state.stale:
                continue
            components = dict(result.components)
            self.activity.note_group(
                window,
                state.problem_id,
                result.beta,
                result.difficulty,
                group.tokens,
                group.correct,
                result.rewards,
                components,
            )

    def record_scored(
        self,
        request: ScoreRequest,
        step: int | None,
        shaped: Sequence[ShapedGroup],
        verdicts: Sequence[Sequence[Verdict]],
    ) -> None:
        """The verdicts of a score request, with what each rollout was paid."""
        places = [(index, place) for index, of_group in enumerate(verdicts) for place in range(len(of_group))]
        rows = []
        for at in sample([verdict.status for of_group in verdicts for verdict in of_group]):
            index, place = places[at]
            sent = request.groups[index]
            rows.append(
                _row(
                    sent.gold,
                    verdicts[index][place],
                    step,
                    request.phase,
                    sent.problem_id or sent.group_id,
                    sent.rollouts[place].tokens,
                    shaped[index].rewards[place],
                )
            )
        self.activity.note_verdicts(request.run, rows)


def _row(
    gold: str | list[str],
    verdict: Verdict,
    step: int | None,
    phase: str,
    problem_id: str | None,
    tokens: int | None,
    reward: float | None,
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
    }
