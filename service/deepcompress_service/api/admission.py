"""How much the service takes on at once, and whose turn it is.

Two bounds. At the *door*, before a body is read: so many requests and so many bytes of bodies, beyond which
a request gets 503 and Retry-After; memory stays bounded under any load. At the *gate*, before the work: so
many requests work at once, the others wait, and runs take turns, so that a run that sends much does not
starve one that sends little. A run whose own waiting line is full gets 429.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import Request

from .. import metrics
from .errors import Problem


class Door:
    """Counts the requests in progress and the body bytes they hold."""

    def __init__(self, max_requests: int, max_bytes: int, max_body: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_body = max_body
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def enter(self, request: Request) -> Iterator[None]:
        """Hold a place while the request is worked on. Raises a 503 Problem where there is none."""
        weight = self._weight(request)
        if self.requests >= self._max_requests or (self.requests and self.bytes + weight > self._max_bytes):
            metrics.REJECTED.labels("overloaded").inc()
            raise Problem(503, "overloaded", "too much is in progress; the same request later will do", retry_after=1)
        self._move(1, weight)
        try:
            yield
        finally:
            self._move(-1, -weight)

    def _weight(self, request: Request) -> int:
        declared = request.headers.get("content-length", "")
        plain = request.headers.get("content-encoding", "identity").lower() in ("", "identity")
        # What is not declared, or is packed, may unpack to the limit.
        return min(int(declared), self._max_body) if declared.isdigit() and plain else self._max_body

    def _move(self, requests: int, weight: int) -> None:
        self.requests += requests
        self.bytes += weight
        metrics.INFLIGHT.set(self.requests)
        metrics.INFLIGHT_BYTES.set(self.bytes)


class Gate:
    """Lets `max_active` requests work at once; runs take turns for the places that come free."""

    def __init__(self, max_active: int, max_waiting_per_run: int) -> None:
        self._free = max_active
        self._max_waiting = max_waiting_per_run
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(len(line) for line in self._lines.values())

    @asynccontextmanager
    async def turn(self, run: str) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises a 429 Problem where the run's line is full."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(run)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, run: str) -> None:
        line = self._lines.setdefault(run, deque())
        if len(line) >= self._max_waiting:
            metrics.REJECTED.labels("run-queue-full").inc()
            raise Problem(429, "run-queue-full", "this run has too many requests waiting", retry_after=1)
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
