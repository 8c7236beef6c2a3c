"""HTTP protocol with limits on time and size for clients that are slow or idle.

uvicorn's protocol waits for a request head without a limit, accepts any number of headers, and waits without a limit
for a client to read its response. This protocol limits the size of a head, the time for a head, the time for the rest
of a body after the response, and the time that a client may stop reading. It also limits the connections and the
unread response bytes of a process, and writes the head of a response together with its body. The time for a body is
limited in `api.json_bodies`.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_BYTES = 65_536
"""Largest head (request line and headers) in bytes."""
HEAD_S = 10.0
"""Longest time in seconds for a head to arrive."""
GRACE_S = 0.1
"""Seconds between the end of a time limit and the close, to read data that has arrived already."""
IDLE_S = 75
"""Longest time in seconds between two requests. Proxies and clients close idle connections earlier, so the server
does not close one while a request is in transit."""
REST_S = 10.0
"""Longest time in seconds for the rest of a body after the response, for requests that were rejected early."""
STALL_S = 60.0
"""Longest time in seconds in which a client reads no byte of its response."""
HEAD_HELD_S = 0.02
"""Longest time in seconds for which the head of a response waits for the first part of its body."""
MAX_CONNECTIONS = 70_000
"""Most connections of one process. It is above the default of `max_waiting_rollouts`."""
MAX_UNREAD = 128 << 20
"""Most response bytes of one process that clients have not read, unless it is one response. Above it, the client that
has been slow for the longest time is disconnected: a client that reads is never the one."""

_TOO_LARGE = (
    STATUS_LINE[431] + b"content-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class JoinedWrites:
    """A transport that writes the head of a response together with the first part of its body.

    uvicorn writes them apart. A process that is killed in between leaves a response that is cut off after its head,
    and then a proxy can no longer send the request to another replica. A head whose body does not follow within
    HEAD_HELD_S, as in an event stream, is written alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a transport
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Hold the head of a response; write anything else, after the head that is held."""
        if self._head is not None:
            held = self._release()
            self._transport.writelines((held, data))
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            self._timer = self._loop.call_later(HEAD_HELD_S, self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write the head that is held, if there is one."""
        if self._head is not None:
            self._transport.write(self._release())

    def close(self) -> None:
        """Close the connection after everything is written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._release()
        self._transport.abort()

    def _release(self) -> bytes:
        head, self._head = self._head or b"", None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return head


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, with a limit on each wait for the client."""

    head_bytes = HEAD_BYTES
    head_s = HEAD_S
    rest_s = REST_S
    stall_s = STALL_S
    max_connections = MAX_CONNECTIONS
    max_unread = MAX_UNREAD

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.unread = unread_bytes(self.server_state)
        self._in_head = True
        self._head_size = 0
        self._heads = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first head; close the connection if there are too many."""
        super().connection_made(transport)
        self.transport = JoinedWrites(transport, self.loop)  # type: ignore[assignment]
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._wait(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._wait(None)
        self._stop_stall_timer()
        super().connection_lost(exc)

    # Received data

    def data_received(self, data: bytes) -> None:
        """Parse the data. A head that is too large gets status 431, and the connection is closed."""
        if self._in_head and self._timer is None:
            self._wait(self.head_s)  # the next request of a kept connection
        in_head, heads = self._in_head, self._heads
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        # Do not count data in which a head or a body ended: little of it belongs to the next head.
        self._head_size += len(data) if in_head and self._heads == heads else 0
        if self._head_size > self.head_bytes:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Stop the time for the head."""
        self._in_head = False
        self._heads += 1
        self._head_size = 0
        self._wait(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the time for the rest of the body, and expect the next head."""
        self._in_head = True
        self._wait(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the time for the rest of the body if it has not arrived yet."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._wait(self.rest_s)

    def _wait(self, seconds: float | None) -> None:
        """Close the connection after `seconds`, unless this is called again before then. None: no limit."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        # If the event loop was blocked, first read the data that has arrived in the meantime.
        self._timer = self.loop.call_later(GRACE_S, self._end)

    def _end(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete and self._in_head:
            # An earlier pipelined request is still running; keep the connection for its response.
            self._wait(self.head_s)
            return
        self.transport.abort()

    # Sent data

    def pause_writing(self) -> None:
        """Start the time for the client to read; disconnect the slowest if the process has too many unread bytes."""
        super().pause_writing()
        self._start_stall_timer(self.transport.get_write_buffer_size())
        while len(self.unread) > 1 and sum(self.unread.values()) > self.max_unread:
            next(iter(self.unread)).disconnect()

    def disconnect(self) -> None:
        """Close the connection at once."""
        self._stop_stall_timer()
        self.transport.abort()

    def resume_writing(self) -> None:
        """Stop the time for the client to read."""
        self._stop_stall_timer()
        super().resume_writing()

    def _start_stall_timer(self, waiting: int) -> None:
        """Close the connection if the client reads nothing for `stall_s` seconds."""
        self.unread[self] = waiting

        def check() -> None:
            now = self.transport.get_write_buffer_size()
            if now >= waiting:
                self.transport.abort()
            else:
                self._start_stall_timer(now)

        self._stall_timer = self.loop.call_later(self.stall_s, check)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self.unread.pop(self, None)


def unread_bytes(state: ServerState) -> dict[BoundedHttpProtocol, int]:
    """Return the unread bytes of each slow client of a server, as last measured, the slowest first.

    uvicorn gives all connections of one server the same `state`, so the table is kept there.
    """
    table: dict[BoundedHttpProtocol, int] = vars(state).setdefault("unread_bytes", {})
    return table


def allow_connections() -> None:
    """Raise the limit of open files for MAX_CONNECTIONS connections, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 4096
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
