"""The messages between the pool and its workers: length-prefixed JSON, never pickle.

What crosses is data that a model may have written. JSON can only ever come out as strings, numbers and lists,
so a message cannot carry code in either direction: a worker that was somehow taken over can send back wrong
verdicts, and nothing else.

A request is ``[chunk, [[gold alternatives, [[answer, also], ...]], ...]]``: the answers of one gold travel together,
so that a worker reads each gold once. An answer is ``[chunk, first, rows, peak_kib]``: the rows for the items
``first, first + 1, ...`` of the chunk, and the worker's peak memory.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any

import orjson

HEADER = struct.Struct("<I")
HEARTBEAT = struct.Struct("<II")
"""The heartbeat that a worker keeps in memory shared with the pool: (chunk, 1 + index of the item in hand, or 0)."""

MAX_FRAME = 256 * 1024 * 1024

Pair = tuple[tuple[str, ...], str | None, str | None]
"""(gold alternatives, answer, also) to compare; without an answer, only whether the gold can be read is asked."""

Row = tuple[str, str, str, float]
"""(status, decided_by, reason, cpu_ms) of one item; status is 'needs_cas' where the cheap tiers could not say."""

NEEDS_CAS = "needs_cas"
READABLE = "readable"
"""Of an item without an answer: its gold can be read."""


class FrameError(ConnectionError):
    """The other end closed, or sent something that is not a frame."""


def encode(message: Any) -> bytes:
    body = orjson.dumps(message)
    return HEADER.pack(len(body)) + body


def encode_request(chunk: int, pairs: Iterable[Pair]) -> bytes:
    """A request for `pairs` in their order; neighbours with one gold share it."""
    groups: list[tuple[tuple[str, ...], list[tuple[str | None, str | None]]]] = []
    for gold, answer, restated_answer in pairs:
        if groups and groups[-1][0] == gold:
            groups[-1][1].append((answer, restated_answer))
        else:
            groups.append((gold, [(answer, restated_answer)]))
    return encode([chunk, groups])


def body_length(header: bytes) -> int:
    (length,) = HEADER.unpack(header)
    if length > MAX_FRAME:
        raise FrameError("a frame over the size limit")
    return int(length)


def read_frame(sock: socket.socket) -> Any:
    """The next message from a blocking socket. Raises FrameError when the other end is gone."""
    return orjson.loads(_read_exactly(sock, body_length(_read_exactly(sock, HEADER.size))))


def _read_exactly(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise FrameError("the other end closed")
        data += piece
    return bytes(data)
