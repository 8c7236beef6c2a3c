"""Times of the last change of each run, as seen by this process.

Stores keep no times, so the states of two reads are compared. The dashboard sorts by these times, and the per-run
metrics leave out runs that have been idle for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..difficulty.model import RunState


class LastChangeTracker:
    """Time of the last change of each run, from a comparison of successive states."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[tuple[object, ...], float | None]] = {}
        self.started: float | None = None
        """Time of the first update, in seconds since the epoch. Earlier changes are unknown."""

    def update(self, states: Iterable[RunState]) -> dict[str, float | None]:
        """Compare the current states with the last ones; deleted runs are dropped.

        Returns the time of each run's last change, in seconds since the epoch; None if it has not changed since the
        first update.
        """
        now = self._clock()
        seen: dict[str, tuple[tuple[object, ...], float | None]] = {}
        for state in states:
            mark = (state.epoch, state.kind, state.step, state.level, state.batch_pass_ratio, state.problems)
            before = self._seen.get(state.run)
            if before is None:
                # At the first update every run is new to this process, and the time of its change is unknown.
                changed = None if self.started is None else now
            else:
                changed = before[1] if before[0] == mark else now
            seen[state.run] = (mark, changed)
        self._seen = seen
        if self.started is None:
            self.started = now
        return {run: changed for run, (_, changed) in seen.items()}

    def idle_seconds(self, changed: float | None) -> float:
        """Return the shortest time, in seconds, for which a run with this last change has been idle."""
        since = self.started if changed is None else changed
        return 0.0 if since is None else self._clock() - since


def most_recent(states: Iterable[RunState], changed: dict[str, float | None]) -> list[RunState]:
    """Return the runs, last changed first; runs of equal or unknown time by name."""
    return sorted(states, key=lambda state: (-(changed.get(state.run) or 0.0), state.run))
