"""Circuit breaker: refuse operations at once while a server does not answer.

Without it every request would wait for its whole timeout, including those that need no store for their answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import StoreUnavailable

IN_A_ROW = 3
"""Consecutive operations without an answer after which the server counts as gone."""
PAUSE_S = 1.0
"""Seconds between trial operations while it counts as gone; the others are refused at once."""


class CircuitBreaker:
    """Circuit breaker of one process for one server. An error sent by the server counts as an answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._why = ""
        self._next = 0.0

    def check(self) -> None:
        """Check, before an operation, that the server may answer.

        Raises:
            StoreUnavailable: It has not answered lately.
        """
        if self._failures < IN_A_ROW:
            return
        now = self._clock()
        if now < self._next:
            raise StoreUnavailable(
                "the state store gave no answer; the next attempt follows in a moment",
                reason=f"{self._why}; the next attempt follows in a moment",
            )
        self._next = now + PAUSE_S

    def record_success(self) -> None:
        """Record that the server answered."""
        self._failures = 0

    def record_failure(self, why: str) -> None:
        """Record that an operation timed out without an answer."""
        self._failures += 1
        self._why = why
        self._next = self._clock() + PAUSE_S
