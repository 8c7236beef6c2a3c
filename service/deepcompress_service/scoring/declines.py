"""The warning of an accuracy that falls with the lengths, from the history that is read every few steps."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

from ..difficulty.errors import DifficultyError
from ..difficulty.model import StepStatistics
from ..difficulty.store import DifficultyStore
from ..shaping.decline import MAX_STEPS, WINDOW, ClosedStep, decline_warnings

KNOWN_RUNS = 1_000
"""Runs whose newest warnings are kept, the last used ones."""
EVERY = WINDOW // 2
"""Steps from one reading of a run's history to the next: the windows that are compared change slowly."""
log = logging.getLogger("deepcompress.scoring")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The warnings as of the step of the last reading."""

    epoch: int
    step: int
    warnings: tuple[tuple[str, str], ...]


class Declines:
    """The newest warnings of each run.

    The history is read in the background, after the first answer of a step: later answers have the warning.
    """

    def __init__(self, store: DifficultyStore) -> None:
        self._store = store
        self._runs: OrderedDict[str, _Seen] = OrderedDict()

    def warnings(self, run: str, epoch: int) -> list[tuple[str, str]]:
        """Return the warnings of the run's closed steps, as far as they are known here."""
        seen = self._runs.get(run)
        return [] if seen is None or seen.epoch != epoch else list(seen.warnings)

    async def update(self, run: str, epoch: int, step: int | None) -> None:
        """Read the history if it was last read EVERY steps ago, or not at all."""
        if step is None:
            return
        seen = self._runs.get(run)
        if seen is not None and seen.epoch == epoch and step < seen.step + EVERY:
            return
        self._runs[run] = _Seen(epoch, step, () if seen is None or seen.epoch != epoch else seen.warnings)
        self._runs.move_to_end(run)
        while len(self._runs) > KNOWN_RUNS:
            self._runs.popitem(last=False)
        try:
            rows = await self._store.history(run, limit=MAX_STEPS)
        except DifficultyError as error:
            log.info("run %s: no history for the warnings of step %d: %s", run, step, error)
            return
        self._runs[run] = _Seen(epoch, step, tuple(decline_warnings(closed_steps(rows))))


def closed_steps(rows: list[StepStatistics]) -> list[ClosedStep]:
    """Return the closed steps that have rollouts and lengths."""
    return [
        ClosedStep(row.step, row.correct / row.rollouts, row.tokens_sum / row.tokens_count)
        for row in rows
        if row.closed and row.rollouts and row.tokens_count
    ]
