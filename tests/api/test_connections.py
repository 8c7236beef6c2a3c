"""Connections whose caller does nothing useful with them: each of them ends, and none of them holds much."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from deepcompress_service.server.http_protocol import BoundedHttpProtocol, unread_bytes

from ..waiting import eventually_async

SHORT = 0.2
LONG = 3600.0
BIG = 64 << 20
"""An answer that no socket buffer holds."""


class Impatient(BoundedHttpProtocol):
    """Nothing times out but what a test is about."""

    head_s = rest_s = stall_s = LONG


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/read":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/wait":
        await asyncio.sleep(3 * SHORT)
    if scope["path"] == "/apart":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4000")]})
        for _ in range(5):
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"o" * 4000})
        return
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(LONG)
    size = BIG if scope["path"] == "/big" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode())]})
    await send({"type": "http.response.body", "body": b"o" * size})


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[int]:
    async with server_with(**limits) as server:
        yield server.servers[0].sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def server_with(**limits: Any) -> AsyncIterator[uvicorn.Server]:
    protocol = type("Limited", (Impatient,), limits)
    config = uvicorn.Config(app, port=0, http=protocol, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    with contextlib.suppress(AttributeError):
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = server.force_exit = True
        await task


@contextlib.asynccontextmanager
async def connected(
    limit: int = 65_536, **limits: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of its own; `limit` is of what this side takes in ahead."""
    async with serving(**limits) as port:
        yield await asyncio.open_connection("127.0.0.1", port, limit=limit)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes received until the server closed the connection, in any way."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            received += piece
    return bytes(received)


def within(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run it; the bound ends a test that waits for nothing."""
    asyncio.run(asyncio.wait_for(scenario(), 240))


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n\r\n"])
def test_a_head_that_does_not_arrive_ends_the_connection(sent: bytes) -> None:
    async def scenario() -> None:
        async with connected(head_s=SHORT) as (reader, writer):
            writer.write(sent)
            assert await ended(reader) == b""

    within(scenario)


def test_a_head_in_drops_ends_the_connection() -> None:
    """Single bytes are no progress: the whole head has a time limit."""

    async def scenario() -> None:
        async with connected(head_s=SHORT) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nX: ")
            closed = asyncio.create_task(ended(reader))
            while not closed.done():
                writer.write(b"a")
                await asyncio.sleep(SHORT / 10)
            assert closed.result() == b""

    within(scenario)


def test_the_second_head_of_a_connection_has_a_time_too() -> None:
    async def scenario() -> None:
        async with connected(head_s=SHORT) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")
            writer.write(b"GET / HT")
            assert await ended(reader) == b""

    within(scenario)


def test_a_request_in_progress_outlives_the_time_for_a_head() -> None:
    async def scenario() -> None:
        async with connected(head_s=SHORT) as (reader, writer):
            # The beginning of a second request waits while the first is worked on.
            writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
            assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")

    within(scenario)


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"a" * 1_000_000 + b"\r\n",
        b"X: y\r\n" * 200_000,
        b"".join(b"X%d: y\r\n" % number for number in range(100_000)),
    ],
)
def test_a_head_without_end_is_a_431(head: bytes) -> None:
    async def scenario() -> None:
        async with connected(head_bytes=65_536) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
            answer = asyncio.create_task(ended(reader))
            with contextlib.suppress(ConnectionError):
                while not answer.done():
                    writer.write(head)
                    await writer.drain()
                    await asyncio.sleep(0)
            # A caller that still writes may lose the answer to the reset, never the end.
            assert await answer == b"" or answer.result().startswith(b"HTTP/1.1 431")

    within(scenario)


def test_a_long_url_within_the_limit_is_served() -> None:
    async def scenario() -> None:
        async with connected() as (reader, writer):
            writer.write(b"GET /?" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")

    within(scenario)


def test_large_bodies_do_not_count_as_heads() -> None:
    async def scenario() -> None:
        async with connected(head_bytes=1000) as (reader, writer):
            for _ in range(3):
                writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
                assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")

    within(scenario)


def test_the_rest_of_a_body_that_was_refused_has_a_time() -> None:
    """The answer is there before the body is: what still drips in is waited for no longer."""

    async def scenario() -> None:
        async with connected(rest_s=SHORT) as (reader, writer):
            writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            closed = asyncio.create_task(ended(reader))
            while not closed.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b"a")
                await asyncio.sleep(SHORT / 10)
            assert closed.result().startswith(b"HTTP/1.1 200")

    within(scenario)


def test_an_answer_that_is_not_read_is_given_up() -> None:
    async def scenario() -> None:
        async with server_with(stall_s=SHORT) as server:
            reader, writer = await unread(server.servers[0].sockets[0].getsockname()[1])

            async def given_up() -> bool:
                return not server.server_state.connections

            await eventually_async(given_up)
            # What the server had buffered is all there is.
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await ended(reader)) < BIG

    within(scenario)


async def unread(port: int, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the large answer, and read its first byte only."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write("\r\n".join(("GET /big HTTP/1.1", "Host: x", *headers, "", "")).encode())
    await reader.read(1)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return reader, writer


def test_answers_that_are_not_read_do_not_pile_up() -> None:
    async def scenario() -> None:
        async with server_with(max_unread=2 * BIG) as server:
            port = server.servers[0].sockets[0].getsockname()[1]
            owed = unread_bytes(server.server_state)
            callers = []
            for _ in range(6):
                callers.append(await unread(port, "Connection: close"))
                assert sum(owed.values()) <= 2 * BIG
            # Some are owed their answer still, and get it whole; the others were cut off.
            got = []
            for reader, writer in callers:
                writer.transport.resume_reading()  # type: ignore[attr-defined]
                got.append(len(await ended(reader)))
                writer.close()
            assert sum(size >= BIG for size in got) >= 1
            assert sum(size < BIG for size in got) >= 3
        assert not owed

    within(scenario)


def test_unread_answers_of_others_cost_a_caller_that_reads_nothing() -> None:
    async def scenario() -> None:
        async with server_with(max_unread=2 * BIG) as server:
            port = server.servers[0].sockets[0].getsockname()[1]
            idle = [(await unread(port))[1] for _ in range(4)]
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert len(await ended(reader)) > BIG
                writer.close()
            assert sum(unread_bytes(server.server_state).values()) <= 2 * BIG
            for writer in idle:
                writer.close()

    within(scenario)


def test_an_answer_that_is_read_slowly_arrives_whole() -> None:
    async def scenario() -> None:
        async with connected(stall_s=2.0, limit=1 << 20) as (reader, writer):
            writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            left = BIG
            while left:
                left -= len(await reader.readexactly(min(left, 4 << 20)))
                await asyncio.sleep(0.005)

    within(scenario)


def test_connections_have_a_number() -> None:
    async def scenario() -> None:
        async with serving(max_connections=3) as port:
            kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await ended(reader) == b""
            kept[0][1].close()
            await kept[0][1].wait_closed()
            # There is a place again, once the server has seen it.
            while True:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if (await ended(reader)).startswith(b"HTTP/1.1 200"):
                    break

    within(scenario)


async def first_bytes(path: str, method: str = "GET") -> bytes:
    """The bytes of a response that arrive at once."""
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        async with asyncio.timeout(120):
            found = await reader.read(65_536)
        writer.close()
    return found


def test_the_head_of_a_response_is_sent_with_its_body() -> None:
    """They were sent apart: a replica that was killed in between left a head that no proxy can take back."""
    head, _, body = asyncio.run(first_bytes("/apart")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b"o" * 4000


def test_the_head_of_a_stream_is_sent_before_its_first_event() -> None:
    assert asyncio.run(first_bytes("/stream")).endswith(b"\r\n\r\n")


def test_a_response_without_a_body() -> None:
    assert asyncio.run(first_bytes("/", "HEAD")).endswith(b"\r\n\r\n")
