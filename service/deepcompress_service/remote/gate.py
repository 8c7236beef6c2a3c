"""Places for work in progress, of which there are few: tenants (runs) take turns for those that come free.

Checks at one remote endpoint and requests of the service wait here. A wait that is cancelled leaves no trace, and a
place that it was given just before goes to the next one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairGate:
    """At most `limit` holders at once. The number that wait is bounded by the callers."""

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
