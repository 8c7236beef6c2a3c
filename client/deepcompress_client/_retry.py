"""When to try again, as a pure function: no clock, no sleep, no random here.

A training request may be sent any number of times: the service knows it by (run, step, group) and its
content, and answers a repeat from its record. So a lost answer is simply asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
"""The answers that say "later". Every other answer is final: a 4xx would come back the same."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to go on trying. ``Retry(max_elapsed_s=0)`` tries once.

    The default outlives a service that is restarted, or moved to another machine: the trainer waits, and loses
    nothing.
    """

    max_elapsed_s: float = 300.0
    """Give up where the next try would start later than this after the first."""
    max_attempts: int | None = None
    """Also give up after this many tries; None: only time decides."""
    first_wait_s: float = 0.25
    max_wait_s: float = 15.0
    """Waits double from ``first_wait_s`` up to this; a longer Retry-After is kept to all the same."""

    def wait(self, attempt: int, elapsed_s: float, retry_after_s: float | None, jitter: float) -> float | None:
        """Seconds to wait before try number ``attempt + 1``; None: give up.

        ``attempt`` counts the tries made (from 1). ``jitter`` in [0, 1) spreads callers that failed together:
        the wait is drawn from the upper half of the doubling interval, and after a Retry-After never shorter
        than the service asked for.
        """
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        backoff = min(self.max_wait_s, self.first_wait_s * 2.0 ** min(attempt - 1, 60))
        wait = backoff * (0.5 + 0.5 * jitter)
        if retry_after_s is not None:
            wait = retry_after_s + min(wait, 1.0) * jitter
        return wait if elapsed_s + wait <= self.max_elapsed_s else None


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header: a number of seconds or an HTTP date; None where it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None
