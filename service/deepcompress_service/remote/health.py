"""The health of one endpoint: pauses while it does not answer, and log lines when that begins and ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("deepcompress.remote")

PAUSE_S = 5.0
"""Seconds between trial checks while the endpoint is away; the others are unchecked at once."""
IN_A_ROW = 8
"""Consecutive failed connections after which the endpoint is away, if it has no more places than that; consecutive
answers after which a failing endpoint works again."""
LOG_INTERVAL_S = 60.0


class EndpointHealth:
    """Counts consecutive failures and answers.

    Only failed connections make the endpoint away. A check that times out or gets a bad answer may be the doing of
    the text that is checked, and must not take the endpoint from the other checks.
    """

    def __init__(self, name: str, concurrency: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._limit = max(IN_A_ROW, concurrency)
        self._clock = clock
        self._unconnected = 0
        self._answered = 0
        self._next_trial = 0.0
        self._failing = False
        self._unlogged = 0
        self._logged_at = float("-inf")

    def may_try(self) -> bool:
        """Return True if a check may be sent now. While the endpoint is away, one in `PAUSE_S` seconds may."""
        if self._unconnected < self._limit:
            return True
        now = self._clock()
        if now < self._next_trial:
            return False
        self._next_trial = now + PAUSE_S
        return True

    def record_answer(self) -> None:
        """Record an answer that follows the protocol; log it if the endpoint was failing and now works again."""
        self._unconnected = 0
        self._answered += 1
        if self._failing and self._answered >= IN_A_ROW:
            self._failing = False
            log.info("the remote checker %s answers again", self._name)

    def record_failure(self, reason: str, *, connected: bool) -> None:
        """Record a check that failed; log it if it is the first, and then at most once a minute."""
        now = self._clock()
        self._answered = 0
        self._unlogged += 1
        self._unconnected = 0 if connected else self._unconnected + 1
        if self._unconnected >= self._limit:
            self._next_trial = now + PAUSE_S
        if now >= self._logged_at + LOG_INTERVAL_S:
            log.warning(
                "the remote checker %s fails, its answers are unchecked: %s (failures since the last message: %d)",
                self._name,
                reason,
                self._unlogged,
            )
            self._failing, self._unlogged, self._logged_at = True, 0, now
