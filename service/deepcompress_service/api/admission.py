"""How much the service takes on at once, and whose turn it is.

Two bounds. At the *door*, before a body is read: so many requests and so many bytes of bodies, beyond which
a request gets 503 and Retry-After; memory stays bounded under any load. At the *gate*, before the work: so
many requests work at once, the others wait, and runs take turns, so that a run that sends much does not
starve one that sends little. A run whose own waiting line is full, or that holds half of all bytes, gets 429:
there is always room left for another one.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from fastapi import Request

from ..observability import metrics
from .errors import ApiError


@dataclass(slots=True)
class Place:
    """One request inside the door, and the bytes that it is taken to hold."""

    door: Door
    weight: int

    def weigh(self, weight: int) -> None:
        """As `Door.weigh`."""
        self.door.weigh(self, weight)


class Door:
    """Counts the requests in progress and the body bytes they hold."""

    def __init__(self, max_requests: int, max_bytes: int, max_body: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_body = max_body
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def enter(self, request: Request, most: int | None = None) -> Iterator[None]:
        """Hold a place while the request is worked on, of `most` bytes where that is less than bodies may have.
        Raises a 503 ApiError where there is none."""
        place = Place(self, self._weight(request, most or self._max_body))
        if self.requests >= self._max_requests or (self.requests and self.bytes + place.weight > self._max_bytes):
            raise self._full()
        self._move(1, place.weight)
        request.state.place = place
        try:
            yield
        finally:
            self._move(-1, -place.weight)

    def weigh(self, place: Place, weight: int) -> None:
        """What a body turned out to take. Raises a 503 ApiError where that is more than there is room for."""
        if weight > place.weight and self.requests > 1 and self.bytes + weight - place.weight > self._max_bytes:
            raise self._full()
        self._move(0, weight - place.weight)
        place.weight = weight

    @staticmethod
    def _full() -> ApiError:
        metrics.REJECTED.labels("overloaded").inc()
        return ApiError(503, "overloaded", "too much is in progress; the same request later will do", retry_after=1)

    @staticmethod
    def _weight(request: Request, most: int) -> int:
        declared = request.headers.get("content-length", "")
        plain = request.headers.get("content-encoding", "identity").lower() in ("", "identity")
        # What is not declared, or is packed, may unpack to the limit.
        return min(int(declared), most) if declared.isdigit() and plain else most

    def _move(self, requests: int, weight: int) -> None:
        self.requests += requests
        self.bytes += weight
        metrics.INFLIGHT.set(self.requests)
        metrics.INFLIGHT_BYTES.set(self.bytes)


class Gate:
    """Lets `max_active` requests work at once; runs take turns for the places that come free."""

    def __init__(self, max_active: int, max_waiting_per_run: int, max_bytes_per_run: int) -> None:
        self._free = max_active
        self._max_waiting = max_waiting_per_run
        self._max_bytes = max_bytes_per_run
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._held: Tally[str] = Tally()
        """Bytes of the requests of each run that work or wait."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(len(line) for line in self._lines.values())

    @asynccontextmanager
    async def turn(self, run: str, weight: int = 0) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises a 429 ApiError where the run's line is full, or where the run holds
        as many bytes as one may."""
        if self._held[run] and self._held[run] + weight > self._max_bytes:
            raise self._refused()
        self._held[run] += weight
        try:
            if self._free > 0:
                self._free -= 1
            else:
                await self._wait(run)
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self._held[run] -= weight
            if not self._held[run]:
                del self._held[run]

    @staticmethod
    def _refused() -> ApiError:
        metrics.REJECTED.labels("run-queue-full").inc()
        return ApiError(429, "run-queue-full", "this run has too many requests waiting", retry_after=1)

    async def _wait(self, run: str) -> None:
        line = self._lines.setdefault(run, deque())
        if len(line) >= self._max_waiting:
            raise self._refused()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # The place was given in the same moment as the wait was given up.
                self._pass_on()
            else:
                self._leave(run, place)
            raise

    def _leave(self, run: str, place: asyncio.Future[None]) -> None:
        line = self._lines.get(run)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._lines[run]

    def _pass_on(self) -> None:
        while self._lines:
            run, line = self._lines.popitem(last=False)
            place = line.popleft()
            if line:
                self._lines[run] = line
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
