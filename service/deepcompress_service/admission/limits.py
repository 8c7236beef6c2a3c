"""Limits on the work in progress, and its order.

`InflightLimiter` acts before a body is read: it bounds the requests in progress and the bytes of their bodies, and
refuses more with 503 and Retry-After, so that memory is bounded under any load. An API key that reaches only some
runs gets 429 beyond half of either, so that uploads that never end leave room for other keys. `FairScheduler` acts
before the work: it bounds the requests that are worked on at once. The others wait, and runs take turns, so that a
run with many requests does not starve a run with few. A run with too many waiting requests, or with half of all
bytes, gets 429, so that there is always room left for another run. While a request waits for a remote checker, it
gives its slot to another one (`without_slot`). The checks at a remote endpoint wait at a `FairGate` too.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..observability import metrics
from .collections import FullCollections

if TYPE_CHECKING:
    from fastapi import Request


class AdmissionError(Exception):
    """There is too much work in progress: the same request may be sent again later.

    `slug` is that of the API's error: ``overloaded``, ``key-share-used`` or ``run-queue-full``.
    """

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        metrics.REJECTED.labels(slug).inc()


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
            AdmissionError: There is no room for more bytes, or the key's share has none.
        """
        limiter, more = self.limiter, weight - self.weight
        if more > 0 and limiter.requests > 1 and limiter.bytes + more > limiter.max_bytes:
            raise _overloaded()
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
        self.collections = FullCollections()

    @contextmanager
    def admit(self, request: Request, share: str, max_body: int | None = None) -> Iterator[Reservation]:
        """Hold a reservation while the request is in progress.

        `share` is the key's name, empty for one without a share; `max_body` is the route's own limit, in bytes.

        Raises:
            AdmissionError: Too many requests or bytes are in progress, or the key's share is used up.
        """
        most = max_body or self._max_body
        declared = request.headers.get("content-length", "")
        plain = request.headers.get("content-encoding", "identity").lower() in ("", "identity")
        # A body of unknown size, or a compressed one, may take the limit.
        reservation = Reservation(self, min(int(declared), most) if declared.isdigit() and plain else most, share)
        if self.requests >= self.max_requests or (self.requests and self.bytes + reservation.weight > self.max_bytes):
            raise _overloaded()
        if share:
            self.check_share(share, self.requests_of(share), reservation.weight)
        self.move(share, 1, reservation.weight)
        try:
            yield reservation
        finally:
            self.move(share, -1, -reservation.weight)

    def requests_of(self, key: str) -> int:
        """Return the number of a key's requests in progress."""
        return self._requests_of[key]

    def check_share(self, key: str, others: int, weight: int) -> None:
        """Check that a key with `others` more requests keeps within its share, with `weight` more bytes.

        A request that is the key's only one may be over it.

        Raises:
            AdmissionError: It does not.
        """
        if others and (others >= self.max_requests // 2 or self._bytes_of[key] + weight > self.max_bytes // 2):
            detail = "this API key has half of the requests or bytes in progress: send the same request again later"
            raise AdmissionError("key-share-used", detail)

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


def _overloaded() -> AdmissionError:
    return AdmissionError(
        "overloaded", "too many requests or bytes are in progress: send the same request again later"
    )


class KeyedSlots:
    """Places for answers that are sent for as long as their readers like: exports and event streams.

    At most `total` are open in this process, `per_key` for one API key. Operators (`is_operator`) are bound by
    `total` alone, and `reserved` places are for them, so that readers cannot keep them out.
    """

    def __init__(self, total: int, per_key: int, reserved: int, refused: Callable[[], Exception]) -> None:
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
            Exception: `refused()`, if there are not as many for this key.
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


class FairGate:
    """At most `limit` holders at once; tenants (runs) take turns for the places that come free.

    The number that wait is bounded by the callers. A wait that is cancelled leaves no trace, and a place that it was
    given just before goes to the next one.
    """

    def __init__(self, limit: int) -> None:
        self.free = limit
        """Places without a holder; 0 while any tenant waits."""
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def waiting(self, tenant: str) -> int:
        """Return the number of waits of a tenant."""
        return len(self._queues.get(tenant, ()))

    @property
    def all_waiting(self) -> int:
        """Waits of all tenants."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        await self.take(tenant)
        try:
            yield
        finally:
            self.release()

    async def take(self, tenant: str) -> None:
        """Take a place; wait for one if none is free. Call `release` after it."""
        if self.free > 0:
            self.free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()  # it came just before the wait was cancelled: pass it on
            else:
                self._leave(tenant, place)
            raise

    def release(self) -> None:
        """Pass a place on to the next tenant that waits."""
        while self._queues:
            tenant, queue = self._queues.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            if not place.done():
                place.set_result(None)
                return
        self.free += 1

    def _leave(self, tenant: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(tenant)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[tenant]


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


_slot: ContextVar[Slot | None] = ContextVar("slot", default=None)
"""The slot of the request of this task."""


def without_slot() -> AbstractAsyncContextManager[None]:
    """Return a context in which the request of this task holds no slot; on leaving it waits for one."""
    slot = _slot.get()
    return nullcontext() if slot is None else slot.given_up()


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
    async def slot(self, run: str, weight: int = 0) -> AsyncIterator[None]:
        """Wait for a slot and hold it. `weight` is the request's bytes of memory.

        Raises:
            AdmissionError: The run has too many requests waiting, or too many bytes in progress.
        """
        if self._held[run] and self._held[run] + weight > self._max_bytes:
            raise _queue_full()
        self._held[run] += weight
        try:
            if not self._gate.free and self._gate.waiting(run) >= self._max_waiting:
                raise _queue_full()
            await self._gate.take(run)
            slot = Slot(self._gate, run)
            _slot.set(slot)
            try:
                yield
            finally:
                if slot.held:
                    self._gate.release()
        finally:
            self._held[run] -= weight
            if not self._held[run]:
                del self._held[run]


def _queue_full() -> AdmissionError:
    return AdmissionError("run-queue-full", "this run has too many requests waiting")
