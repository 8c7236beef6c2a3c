"""The parts that the pipeline is given: what checks answers, and what keeps a sample for the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deepcompress_client.wire import ScoreRequest, VerifyRequest
from deepcompress_verify import Check, Verdict

from ..difficulty.model import CommitOutcome, GroupCommit
from ..shaping import Group, ShapedGroup
from ..shaping.signal import SignalSums


class Verifier(Protocol):
    """Checks answers: the verifier pool, or a stand-in of a test."""

    async def verify_many(
        self, checks: Sequence[Check], *, budget_s: float | None = None, tenant: str = ""
    ) -> list[Verdict]:
        """Return one verdict for each check, in order."""


class Recorder(Protocol):
    """Keeps a bounded sample of batches and verdicts for the dashboard and the per-run metrics."""

    def record_verify(self, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
        """Record the verdicts of a verify request."""

    def record_batch(
        self,
        outcome: CommitOutcome,
        groups: Sequence[Group],
        shaped: Sequence[ShapedGroup],
        warnings: Sequence[tuple[str, str]],
        statuses: Sequence[Sequence[str | None]],
        sources: Sequence[tuple[str, GroupCommit] | None],
        signal: SignalSums,
    ) -> None:
        """Record the rewards of a training request.

        `statuses` is [groups, rollouts]; `sources` is [groups], the data source of a group and its tallies;
        `signal` is of the new groups.
        """

    def record_scored(
        self,
        request: ScoreRequest,
        step: int | None,
        shaped: Sequence[ShapedGroup],
        verdicts: Sequence[Sequence[Verdict]],
    ) -> None:
        """Record the verdicts of a score request, with the reward of each rollout."""
