"""Waits of tests: for the effect that is asserted, not for a time in which it should have come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
BOUND_S = 120.0
"""Longest wait in seconds. It only ends a hang: no test depends on how fast its machine is."""
PAUSE_S = 0.02


def eventually(ready: Callable[[], T], failure: str | Callable[[], object] = "", seconds: float = BOUND_S) -> T:
    """Return the first true result of `ready`, which is called repeatedly.

    Raises:
        AssertionError: `ready` was not true within `seconds`. `failure` is its message, or returns it.
    """
    until = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < until, failure() if callable(failure) else failure
        time.sleep(PAUSE_S)
    return found


async def eventually_async(
    ready: Callable[[], Awaitable[T]], failure: str | Callable[[], object] = "", seconds: float = BOUND_S
) -> T:
    """Return the first true result of `ready`, as `eventually` does, while the event loop goes on."""
    until = time.monotonic() + seconds
    while not (found := await ready()):
        assert time.monotonic() < until, failure() if callable(failure) else failure
        await asyncio.sleep(PAUSE_S)
    return found
