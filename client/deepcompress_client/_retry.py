"""The retry rule as a pure function: no clock, no sleep, no random numbers.

A training request may be sent any number of times: the service identifies it by (run, step, group) and its content,
and answers a repeat from its record. If an answer is lost, the request is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses of temporary errors. Every other answer is final: a repeat would get the same 4xx."""
LAST_ATTEMPT = 0.02
"""Part of a deadline that an attempt needs in order to be begun at all."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The limits of retrying. ``Retry(max_elapsed_s=0)`` sends once.

    The default is longer than a restart of the service or its move to another machine, so that a training survives
    both.
    """

    max_elapsed_s: float = 300.0
    """Seconds after the first attempt; no attempt starts later."""
    deadline_s: float | None = None
    """Seconds after the first attempt in which the call has ended: the last attempts get the time that is left, and
    ``max_elapsed_s`` does not apply. None: no deadline."""
    max_attempts: int | None = None
    """Most attempts; None: only the time is limited."""
    first_wait_s: float = 0.25
    max_wait_s: float = 15.0
    """Waits double from ``first_wait_s`` up to this many seconds. A longer Retry-After is obeyed."""

    def wait(self, attempt: int, elapsed_s: float, retry_after_s: float | None, jitter: float) -> float | None:
        """Return the seconds to wait before attempt ``attempt + 1``, or None to give up.

        ``attempt`` counts the attempts made, from 1. ``jitter`` in [0, 1) spreads callers that failed together: the
        wait is drawn from the upper half of the doubling interval. After a Retry-After it is never shorter than that.
        """
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        backoff = min(self.max_wait_s, self.first_wait_s * 2.0 ** min(attempt - 1, 60))
        wait = backoff * (0.5 + 0.5 * jitter)
        if retry_after_s is not None:
            wait = retry_after_s + min(wait, 1.0) * jitter
        latest = self.max_elapsed_s if self.deadline_s is None else self.deadline_s - LAST_ATTEMPT * self.deadline_s
        return wait if elapsed_s + wait <= latest else None

    def attempt_timeout(self, timeout_s: float, elapsed_s: float) -> float:
        """Return the timeout of an attempt that begins now: ``timeout_s``, or what is left until the deadline."""
        if self.deadline_s is None:
            return timeout_s
        return max(min(timeout_s, self.deadline_s - elapsed_s), 0.001)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header (a number of seconds or an HTTP date), or None if it is neither."""
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
