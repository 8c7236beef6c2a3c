"""Limits on the work in progress, and its order.

`InflightLimiter` acts before a body is read: it bounds the requests in progress and the bytes of their bodies, and
refuses more with 503 and Retry-After, so that memory is bounded under any load. `FairScheduler` acts before the
work: it bounds the requests that are worked on at once. The others wait, and runs take turns, so that a run with many
requests does not starve a run with few. A run with too many waiting requests, or with half of all bytes, gets 429, so
that there is always room left for another run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from fastapi import Request

from ..observability import metrics
from ..remote.gate import FairGate
from .errors import ApiError


@dataclass(slots=True)
class Reservation:
    """One request in progress, and an estimate of its memory in bytes."""

    limiter: InflightLimiter
    weight: int

    def resize(self, weight: int) -> None:
        """Set the bytes to those that the body takes after it was read.

        Raises:
            ApiError: 503, if there is no room for more bytes.
        """
        limiter = self.limiter
        if weight > self.weight and limiter.requests > 1 and limiter.bytes + weight - self.weight > limiter.max_bytes:
            raise limiter.overloaded()
        limiter.move(0, weight - self.weight)
        self.weight = weight


class InflightLimiter:
    """Bounds the requests in progress and the bytes of memory they hold."""

    def __init__(self, max_requests: int, max_bytes: int, max_body: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self._max_body = max_body
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def admit(self, request: Request, max_body: int | None = None) -> Iterator[Reservation]:
        """Hold a reservation while the request is in progress. `max_body` is the route's own limit, in bytes.

        Raises:
            ApiError: 503, if too many requests or bytes are in progress.
        """
        most = max_body or self._max_body
        declared = request.headers.get("content-length", "")
        plain = request.headers.get("content-encoding", "identity").lower() in ("", "identity")
        # A body of unknown size, or a compressed one, may take the limit.
        reservation = Reservation(self, min(int(declared), most) if declared.isdigit() and plain else most)
        if self.requests >= self.max_requests or (self.requests and self.bytes + reservation.weight > self.max_bytes):
            raise self.overloaded()
        self.move(1, reservation.weight)
        try:
            yield reservation
        finally:
            self.move(-1, -reservation.weight)

    @staticmethod
    def overloaded() -> ApiError:
        """Count a refused request and return its error."""
        metrics.REJECTED.labels("overloaded").inc()
        detail = "too many requests or bytes are in progress: send the same request again later"
        return ApiError(503, "overloaded", detail, retry_after=1)

    def move(self, requests: int, weight: int) -> None:
        """Add to the requests and to the bytes in progress."""
        self.requests += requests
        self.bytes += weight
        metrics.INFLIGHT.set(self.requests)
        metrics.INFLIGHT_BYTES.set(self.bytes)


class KeyedSlots:
    """Places for answers that are sent for as long as their readers like: exports and event streams.

    At most `total` are open in this process, `per_key` for one API key. Operators (`is_operator`) are bound by
    `total` alone, and `reserved` places are for them, so that readers cannot keep them out.
    """

    def __init__(self, total: int, per_key: int, reserved: int, refused: Callable[[], ApiError]) -> None:
        self._total, self._per_key, self._reserved = total, per_key, reserved
        self._refused = refused
        self._held: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Places that are taken."""
        return self._held.total()

    @contextmanager
    def admit(self, key: str, *, operator: bool) -> Iterator[None]:
        """Hold a place until the block ends.

        Raises:
            ApiError: There is none for this key.
        """
        # Check and count without an await in between: a burst of requests cannot exceed the limit.
        free = self._total - self.count
        if free <= (0 if operator else self._reserved) or (not operator and self._held[key] >= self._per_key):
            raise self._refused()
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


@dataclass(slots=True)
class Slot:
    """The slot of one request, which it may give up for a while."""

    gate: FairGate
    run: str
    held: bool = True

    @asynccontextmanager
    async def given_up(self) -> AsyncIterator[None]:
        """Give the slot to another request, and wait for one on leaving. After an error none is held."""
        self.held = False
        self.gate.release()
        yield
        await self.gate.take(self.run)
        self.held = True


class FairScheduler:
    """Runs at most `max_active` requests at once; runs take turns for the slots that come free."""

    def __init__(self, max_active: int, max_waiting_per_run: int, max_bytes_per_run: int) -> None:
        self._gate = FairGate(max_active)
        self._max_waiting = max_waiting_per_run
        self._max_bytes = max_bytes_per_run
        self._held: Counter[str] = Counter()
        """Bytes of the requests of each run that are active or waiting."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._gate.all_waiting

    @asynccontextmanager
    async def slot(self, run: str, weight: int = 0) -> AsyncIterator[Slot]:
        """Wait for a slot and hold it. `weight` is the request's bytes of memory.

        Raises:
            ApiError: 429, if the run has too many requests waiting or too many bytes in progress.
        """
        if self._held[run] and self._held[run] + weight > self._max_bytes:
            raise _rejected()
        self._held[run] += weight
        try:
            if not self._gate.free and self._gate.waiting(run) >= self._max_waiting:
                raise _rejected()
            await self._gate.take(run)
            slot = Slot(self._gate, run)
            try:
                yield slot
            finally:
                if slot.held:
                    self._gate.release()
        finally:
            self._held[run] -= weight
            if not self._held[run]:
                del self._held[run]


def _rejected() -> ApiError:
    """Count a refused request and return its error."""
    metrics.REJECTED.labels("run-queue-full").inc()
    return ApiError(429, "run-queue-full", "this run has too many requests waiting", retry_after=1)
