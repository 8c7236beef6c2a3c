"""Limits on the work in progress, and its order.

`InflightLimiter` acts before a body is read: it bounds the requests in progress and the bytes of their bodies, and
refuses more with 503 and Retry-After, so that memory is bounded under any load. An API key that reaches only some
runs gets 429 beyond half of either, so that uploads that never end leave room for other keys. `FairScheduler` acts
before the work: it bounds the requests that are worked on at once. The others wait, and runs take turns, so that a
run with many requests does not starve a run with few. A run with too many waiting requests, or with half of all
bytes, gets 429, so that there is always room left for another run.
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
    key: str = ""
    """Name of the API key whose share it takes; empty for a caller that may take everything."""

    def resize(self, weight: int) -> None:
        """Set the bytes to those that the body takes after it was read.

        Raises:
            ApiError: 503, if there is no room for more bytes; 429, if the key's share has none.
        """
        limiter, more = self.limiter, weight - self.weight
        if more > 0 and limiter.requests > 1 and limiter.bytes + more > limiter.max_bytes:
            raise limiter.overloaded()
        if more > 0 and self.key:
            limiter.check_share(self.key, limiter.requests_of(self.key) - 1, more)
        limiter.move(self.key, 0, more)
        self.weight = weight


class InflightLimiter:
    """Bounds the requests in progress and the bytes of memory they hold."""

    def __init__(self, max_requests: int, max_bytes: int, max_body: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self._max_body = max_body
        self.requests = 0
        self.bytes = 0
        self._requests_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
        """Those of each key that has a share."""

    @contextmanager
    def admit(self, request: Request, max_body: int | None = None) -> Iterator[Reservation]:
        """Hold a reservation while the request is in progress. `max_body` is the route's own limit, in bytes.

        Raises:
            ApiError: 503, if too many requests or bytes are in progress; 429, if the key's share is used up.
        """
        key = getattr(request.state, "share", "")
        most = max_body or self._max_body
        declared = request.headers.get("content-length", "")
        plain = request.headers.get("content-encoding", "identity").lower() in ("", "identity")
        # A body of unknown size, or a compressed one, may take the limit.
        reservation = Reservation(self, min(int(declared), most) if declared.isdigit() and plain else most, key)
        if self.requests >= self.max_requests or (self.requests and self.bytes + reservation.weight > self.max_bytes):
            raise self.overloaded()
        if key:
            self.check_share(key, self.requests_of(key), reservation.weight)
        self.move(key, 1, reservation.weight)
        try:
            yield reservation
        finally:
            self.move(key, -1, -reservation.weight)

    def requests_of(self, key: str) -> int:
        """Return the number of a key's requests in progress."""
        return self._requests_of[key]

    def check_share(self, key: str, others: int, weight: int) -> None:
        """Check that a key with `others` more requests keeps within its share, with `weight` more bytes.

        A request that is the key's only one may be over it.

        Raises:
            ApiError: 429, if it does not.
        """
        if others and (others >= self.max_requests // 2 or self._bytes_of[key] + weight > self.max_bytes // 2):
            metrics.REJECTED.labels("key-share-used").inc()
            detail = "this API key has half of the requests or bytes in progress: send the same request again later"
            raise ApiError(429, "key-share-used", detail, retry_after=1)

    @staticmethod
    def overloaded() -> ApiError:
        """Count a refused request and return its error."""
        metrics.REJECTED.labels("overloaded").inc()
        detail = "too many requests or bytes are in progress: send the same request again later"
        return ApiError(503, "overloaded", detail, retry_after=1)

    def move(self, key: str, requests: int, weight: int) -> None:
        """Add to the requests and to the bytes in progress, in all and of a key."""
        self.requests += requests
        self.bytes += weight
        if key:
            self._requests_of[key] += requests
            self._bytes_of[key] += weight
            if not self._requests_of[key]:
                del self._requests_of[key], self._bytes_of[key]
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
    def admit(self, key: str, *, operator: bool, places: int = 1) -> Iterator[None]:
        """Hold places until the block ends.

        Raises:
            ApiError: There are not as many for this key.
        """
        # Check and count without an await in between: a burst of requests cannot exceed the limit.
        free = self._total - self.count
        most = free if operator else min(free - self._reserved, self._per_key - self._held[key])
        if places > most:
            raise self._refused()
        self._held[key] += places
        try:
            yield
        finally:
            self._held[key] -= places
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
