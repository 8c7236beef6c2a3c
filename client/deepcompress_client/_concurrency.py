"""Concurrency of the blocking client; `_async_concurrency` is its counterpart for asyncio. Both are written by hand.

The two have the same names, so that `_client` can be generated from `_async_client`.
"""

from __future__ import annotations

import contextvars
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from ._core import Reply, RequestSpec
from ._transport import late

if TYPE_CHECKING:
    import httpx


GRACE_S = 0.1
"""Seconds that an attempt gets to end by itself, and to close what it has open."""


class Connections:
    """One `httpx.Client` for all threads of a process, opened by the first that needs it."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._http: httpx.Client | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def get(self, connect: Callable[[], httpx.Client]) -> httpx.Client:
        """Return the HTTP client of this process; the first call creates it with `connect`."""
        if self._pid != os.getpid():  # sockets must not be shared with the process that forked this one
            self._forget()
        with self._lock:
            if self._http is None:
                self._http = connect()
            return self._http

    def close(self) -> None:
        """Close the HTTP client."""
        if self._http is not None:
            self._http.close()
        self._http = None


def send_all(send: Callable[[RequestSpec], Reply], batch: list[RequestSpec], limit: int) -> list[Reply]:
    """Return the reply to every request, in order. At most `limit` requests are in flight at once."""
    with ThreadPoolExecutor(limit, "deepcompress") as pool:
        return list(pool.map(send, batch))


def within(seconds: float, send_once: Callable[[], Reply]) -> Reply:
    """Return the reply of one attempt, which has `seconds`. If they are finite, it is made in a thread.

    httpx bounds each wait for bytes alone, so the parts of a slow answer could take any time together. After its time
    the thread is left behind: it ends with the answer, or at the next part of a body.

    Raises:
        httpx.ReadTimeout: `seconds`, and GRACE_S for httpx's own timeouts, have passed.
    """
    if seconds == math.inf:
        return send_once()
    outcome: Future[Reply] = Future()

    def attempt() -> None:
        try:
            outcome.set_result(send_once())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    # A daemon: the interpreter's exit does not wait for it.
    threading.Thread(target=context.run, args=(attempt,), name="deepcompress-request", daemon=True).start()
    wait([outcome], seconds + GRACE_S)
    if not outcome.done():
        raise late()
    return outcome.result()


def sleep(seconds: float) -> None:
    """Sleep for some seconds."""
    time.sleep(seconds)
