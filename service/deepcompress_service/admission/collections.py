"""Garbage collections: rare ones, and full ones only when no large request is worked on.

The objects of a request form no cycles, so they are freed without the collector, which visits them for nothing. With
Python's own thresholds that is a quarter of the CPU time of a request of 4,096 rollouts. A full collection visits
every object that was made since the start, and all threads wait for it: a quarter of a second, ten times over, while
a request of 256,000 rollouts is worked on.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 2, 10)
"""New objects before a collection of the youngest generation (at most about 10 ms), then the collections of each
generation before one of the next."""
_POSTPONED = 700
"""Collections of the middle generation before a full one, while full ones wait: 40 million new objects."""


def collect_rarely() -> None:
    """Exclude the objects that exist now from collections, since they live as long as the process; set THRESHOLDS."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class FullCollections:
    """Makes the collector wait with full collections while large requests are worked on."""

    def __init__(self) -> None:
        self._usual = gc.get_threshold()
        self.large = 0
        """Large requests whose objects may be alive."""

    def begin(self) -> None:
        """Wait with full collections for one more request."""
        if not self.large:
            self._usual = gc.get_threshold()
            gc.set_threshold(*self._usual[:2], _POSTPONED)
        self.large += 1

    def end(self) -> None:
        """Wait for one request less. After the last one, full collections are made when Python finds them due."""
        self.large -= 1
        if not self.large:
            gc.set_threshold(*self._usual)
