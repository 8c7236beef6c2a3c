"""Not waiting for a server that does not answer: what keeps `verify` quick while the store is down.

Without it every request would wait for its whole timeout, also those that need no store for their answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import StoreUnavailable

IN_A_ROW = 3
"""So many operations without an answer, and none with one in between: the server is gone, not slow."""
PAUSE_S = 1.0
"""From then on one operation is tried in so many seconds, and the others are refused at once."""


class CircuitBreaker:
    """Of one process and one server. An error that the server answered with is an answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._why = ""
        self._next = 0.0

    def check(self) -> None:
        """Before an operation. StoreUnavailable where it would be in vain."""
        if self._failures < IN_A_ROW:
            return
        now = self._clock()
        if now < self._next:
            raise StoreUnavailable(f"{self._why}; it is asked again in a moment")
        self._next = now + PAUSE_S

    def record_success(self) -> None:
        """The server is there."""
        self._failures = 0

    def record_failure(self, why: str) -> None:
        """An operation's time was up without an answer."""
        self._failures += 1
        self._why = why
        self._next = self._clock() + PAUSE_S
