"""One test for both clients: `Blocking` gives an `AsyncClient` the looks of a `Client`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx

from deepcompress_client import AsyncClient, AsyncRun, Client, Retry

QUICK = Retry(max_elapsed_s=120.0, first_wait_s=0.001, max_wait_s=0.01)
"""Waits too short to notice, and time enough for many tries."""

Handler = Callable[[httpx.Request], httpx.Response]


class Blocking:
    """Runs every coroutine of an AsyncClient or AsyncRun to its end, on one event loop."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: iter(self._wait(_collect(value(*args, **kwargs))))
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._wait(value(*args, **kwargs))
        return value

    def _wait(self, coroutine: Any) -> Any:
        result = self._loop.run_until_complete(coroutine)
        return Blocking(result, self._loop) if isinstance(result, AsyncRun) else result


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


def make(kind: str, loop: asyncio.AbstractEventLoop, url: str = "http://service", **options: Any) -> Any:
    """A client of either kind. `handler` answers in place of a service."""
    handler: Handler | None = options.pop("handler", None)
    if handler is not None:
        options["transport"] = httpx.MockTransport(handler)
    options.setdefault("retry", QUICK)
    if kind == "sync":
        return Client(url, **options)
    return Blocking(AsyncClient(url, **options), loop)
