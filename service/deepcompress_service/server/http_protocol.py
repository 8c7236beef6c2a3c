"""HTTP protocol with limits on time and size for callers that are slow or idle.

uvicorn's protocol waits for ever for a request's head, takes any number of headers, and waits for ever for
a caller to read its answer. Here a head has a size and a time, what is left of a body whose request was answered
already has a time, and so has a caller that has stopped reading. Bodies are timed where they are read
(`api.body`). Connections have a number, and so have the bytes of answers that callers are slow to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_BYTES = 65_536
"""Request line and headers."""
HEAD_S = 10.0
GRACE_S = 0.1
IDLE_S = 75
"""Between two requests: longer than proxies and clients keep a connection, so that it is they who close it, and never
the server while a request is on its way."""
REST_S = 10.0
"""For the rest of a body that nobody waits for: its request was refused before it was read."""
STALL_S = 60.0
"""Without a byte read by a caller that an answer waits for."""
MAX_CONNECTIONS = 70_000
"""Of one process; more than single rollouts may wait in it."""
MAX_UNREAD = 512 << 20
"""Bytes of answers that wait in one process for callers to read them; beyond it, who comes next is cut off."""

_TOO_LARGE = (
    STATUS_LINE[431] + b"content-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Every wait for the caller ends."""

    head_bytes = HEAD_BYTES
    head_s = HEAD_S
    rest_s = REST_S
    stall_s = STALL_S
    max_connections = MAX_CONNECTIONS
    max_unread = MAX_UNREAD

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unread = unread_bytes(self.server_state)
        self._in_head = True
        self._head_size = 0
        self._heads = 0
        self._patience: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._wait(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        self._reads()
        super().connection_lost(exc)

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._in_head and self._patience is None:
            self._wait(self.head_s)  # the next request of a connection that was kept
        in_head, heads = self._in_head, self._heads
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        # Bytes in which a body or a head ended were hardly of the next one.
        self._head_size += len(data) if in_head and self._heads == heads else 0
        if self._head_size > self.head_bytes:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._heads += 1
        self._head_size = 0
        self._wait(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._wait(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._wait(self.rest_s)

    def _wait(self, seconds: float | None) -> None:
        """Close the connection after `seconds`, unless this is called again before; None: no limit."""
        if self._patience is not None:
            self._patience.cancel()
        self._patience = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        # After a stall of the event loop, read what has arrived meanwhile before giving up.
        self._patience = self.loop.call_later(GRACE_S, self._end)

    def _end(self) -> None:
        self._patience = None
        if self.cycle is not None and not self.cycle.response_complete and self._in_head:
            # An earlier pipelined request is still running; keep the connection for its response.
            self._wait(self.head_s)
            return
        self.transport.abort()

    # What is read

    def pause_writing(self) -> None:
        super().pause_writing()
        waiting = self.transport.get_write_buffer_size()
        if sum(self.unread.values()) + waiting > self.max_unread:
            self.transport.abort()
            return
        self._look_again(waiting)

    def resume_writing(self) -> None:
        self._reads()
        super().resume_writing()

    def _look_again(self, waiting: int) -> None:
        """Close the connection if the caller reads nothing for `stall_s` seconds."""
        self.unread[self] = waiting

        def look() -> None:
            now = self.transport.get_write_buffer_size()
            if now >= waiting:
                self.transport.abort()
            else:
                self._look_again(now)

        self._stall = self.loop.call_later(self.stall_s, look)

    def _reads(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        self.unread.pop(self, None)


def unread_bytes(state: ServerState) -> dict[BoundedHttpProtocol, int]:
    """Return the bytes that wait for each slow caller of a server, as last measured.

    uvicorn gives all connections of one server the same `state`, so the table is kept there.
    """
    table: dict[BoundedHttpProtocol, int] = vars(state).setdefault("unread_bytes", {})
    return table


def allow_connections() -> None:
    """Let this process and its children have as many open files as the system permits, up to what is needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 4096
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
