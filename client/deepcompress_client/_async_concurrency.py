"""What the asyncio client does with tasks: written by hand, as `_concurrency` is for threads.

The two have the same names, so that `_client` can be generated from `_async_client`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ._core import Reply, RequestSpec

if TYPE_CHECKING:
    import httpx


class Connections:
    """One `httpx.AsyncClient`. Connections belong to the event loop (and the process) that opened them."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None

    @staticmethod
    def _owner_now() -> tuple[int, asyncio.AbstractEventLoop]:
        return os.getpid(), asyncio.get_running_loop()

    def get(self, connect: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
        if self._http is None or self._owner != self._owner_now():
            self._owner = self._owner_now()
            self._http = connect()
        return self._http

    async def close(self) -> None:
        if self._http is not None and self._owner == self._owner_now():
            await self._http.aclose()
        self._http = None


async def send_all(
    send: Callable[[RequestSpec], Awaitable[Reply]], batch: list[RequestSpec], limit: int
) -> list[Reply]:
    """The reply to every spec, in order; at most `most` are under way at once."""
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


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
