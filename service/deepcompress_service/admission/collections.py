"""Full garbage collections, which wait for large requests to end.

A full collection visits every object that was made since the start, and all threads wait for it: a quarter of a
second, ten times over, while a request of 256,000 rollouts is worked on. Its objects are freed without the collector,
since they form no cycles. The young generations are collected as always.
"""

from __future__ import annotations

import gc

_POSTPONED = 5000
"""Collections of the middle generation before a full one, while full ones wait: 40 million new objects."""


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
