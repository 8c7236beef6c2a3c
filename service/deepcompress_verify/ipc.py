"""Messages between the pool and its workers: length-prefixed JSON, never pickle.

Messages may contain text written by a model. JSON decodes only to strings, numbers and lists, so a message cannot
carry code in either direction: a compromised worker can return wrong verdicts and nothing else.

A request is ``[chunk, slice, [[gold alternatives, [[answer, restated answer], ...]], ...]]``; the slice is the CPU
seconds of each item. The answers of one gold are grouped, so that a worker parses each gold once. A response is
``[chunk, first, rows, peak_kib]``: the rows of the items ``first, first + 1, ...`` of the
chunk, and the worker's peak memory.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

if TYPE_CHECKING:
    import asyncio

HEADER = struct.Struct("<I")
HEARTBEAT = struct.Struct("<II")
"""Heartbeat in memory shared by worker and pool: (chunk, 1 + index of the current item, or 0 between items)."""

Json: TypeAlias = Any
"""Decoded JSON."""

MAX_FRAME = 256 * 1024 * 1024
"""Maximum length of a message in bytes."""

Pair = tuple[tuple[str, ...], str | None, str | None]
"""(gold alternatives, answer, restated answer). If the answer is None, only the gold is parsed."""

Row = tuple[str, str, str, float]
"""(status, decided_by, reason, cpu_ms) of one item; status is `NEEDS_CAS` if the exact tiers cannot
decide, and `LONG` if the slice ended first."""

NEEDS_CAS = "needs_cas"
LONG = "long"
"""Status of an item that used up its slice, which was less than the whole budget of an item."""
READABLE = "readable"
"""Status of an item without an answer: the gold can be parsed."""


class FrameError(ConnectionError):
    """The peer closed the connection, or sent data that is not a frame."""


def encode(message: object) -> bytes:
    """Return the message as a frame: its length (4 bytes, little-endian), then JSON."""
    body = orjson.dumps(message)
    return HEADER.pack(len(body)) + body


def encode_request(chunk: int, pairs: Iterable[Pair], slice_s: float) -> bytes:
    """Return a request for `pairs` in their order; neighbours with the same gold share it.

    `slice_s` is the CPU seconds that each of them may use.
    """
    groups: list[tuple[tuple[str, ...], list[tuple[str | None, str | None]]]] = []
    for gold, answer, restated_answer in pairs:
        if groups and groups[-1][0] == gold:
            groups[-1][1].append((answer, restated_answer))
        else:
            groups.append((gold, [(answer, restated_answer)]))
    body = orjson.dumps([chunk, slice_s, groups])
    return HEADER.pack(len(body)) + body


def read_frame(sock: socket.socket) -> Json:
    """Read the next message from a blocking socket.

    Raises:
        FrameError: The peer closed the connection, or the frame is too large.
    """
    (length,) = HEADER.unpack(_read_exactly(sock, HEADER.size))
    if length > MAX_FRAME:
        raise FrameError("a frame over the size limit")
    return orjson.loads(_read_exactly(sock, length))


def _read_exactly(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise FrameError("the other end closed")
        data += piece
    return bytes(data)


async def receive(reader: asyncio.StreamReader) -> Json:
    """Read the next message without blocking the event loop.

    Raises:
        EOFError: The peer closed the connection.
        FrameError: The message is too large.
    """
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > MAX_FRAME:
        raise FrameError("a frame over the size limit")
    return orjson.loads(await reader.readexactly(length))
