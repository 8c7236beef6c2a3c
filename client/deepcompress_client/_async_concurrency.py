"""Concurrency of the asyncio client; `_concurrency` is its counterpart for threads. Both are written by hand.

The two have the same names, so that `_client` can be generated from `_async_client`.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ._core import Reply, RequestSpec
from ._transport import late

if TYPE_CHECKING:
    import httpx


class Connections:
    """One `httpx.AsyncClient`. Its connections belong to the event loop and the process that opened them."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None

    @staticmethod
    def _owner_now() -> tuple[int, asyncio.AbstractEventLoop]:
        return os.getpid(), asyncio.get_running_loop()

    def get(self, connect: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop; `connect` creates it."""
        if self._http is None or self._owner != self._owner_now():
            self._owner = self._owner_now()
            self._http = connect()
        return self._http

    async def close(self) -> None:
        """Close the HTTP client, if it belongs to the running event loop."""
        if self._http is not None and self._owner == self._owner_now():
            await self._http.aclose()
        self._http = None


async def send_all(
    send: Callable[[RequestSpec], Awaitable[Reply]], batch: list[RequestSpec], limit: int
) -> list[Reply]:
    """Return the reply to every request, in order. At most `limit` requests are in flight at once."""
    slots = asyncio.Semaphore(limit)

    async def send_limited(spec: RequestSpec) -> Reply:
        async with slots:
            return await send(spec)

    try:
        async with asyncio.TaskGroup() as parts:
            tasks = [parts.create_task(send_limited(spec)) for spec in batch]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def within(seconds: float, send_once: Callable[[], Awaitable[Reply]]) -> Reply:
    """Return the reply of one attempt. At its end after `seconds`, the attempt is cancelled.

    httpx bounds each wait for bytes alone, so the parts of a slow answer could take any time together.

    Raises:
        httpx.ReadTimeout: `seconds` have passed.
    """
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds) as limit:
            return await send_once()
    except TimeoutError:
        if limit.expired():
            raise late() from None
        raise


async def sleep(seconds: float) -> None:
    """Sleep for some seconds."""
    await asyncio.sleep(seconds)
