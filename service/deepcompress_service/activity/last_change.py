"""Which runs moved lately, as seen from here: the stores keep no clock, so a change between two looks is one.

The dashboard sorts by it, and the per-run metrics are bounded by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..difficulty.model import RunState


class Recency:
    """When each run was last seen to change."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[tuple[object, ...], float | None]] = {}
        self.started: float | None = None
        """When the first look was taken: what was there then may have rested for long, or not."""

    def look(self, states: Iterable[RunState]) -> dict[str, float | None]:
        """Take in what the store says now. For each run, in seconds since the epoch, when it last changed; None
        where it has not since the first look. Runs that are gone are forgotten."""
        now = self._clock()
        seen: dict[str, tuple[tuple[object, ...], float | None]] = {}
        for state in states:
            mark = (state.epoch, state.kind, state.step, state.level, state.batch_pass_ratio, state.problems)
            before = self._seen.get(state.run)
            if before is None:
                # At the first look every run is new, and most of them are old.
                changed = None if self.started is None else now
            else:
                changed = before[1] if before[0] == mark else now
            seen[state.run] = (mark, changed)
        self._seen = seen
        if self.started is None:
            self.started = now
        return {run: changed for run, (_, changed) in seen.items()}

    def rested(self, changed: float | None) -> float:
        """Seconds for which a run with this time of its last change has certainly been at rest."""
        since = self.started if changed is None else changed
        return 0.0 if since is None else self._clock() - since


def most_recent(states: Iterable[RunState], changed: dict[str, float | None]) -> list[RunState]:
    """The runs, those that changed last first, then the others by name."""
    return sorted(states, key=lambda state: (-(changed.get(state.run) or 0.0), state.run))
