"""Reading a request body line by line as it arrives: one that may be larger than memory allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect

from .compression import make_unpacker
from .errors import abandoned, too_large
from .json_bodies import Arrivals, check_values, decode_exactly, decoded
from .slices import decode_in_slices


async def body_lines(request: Request, limit: int, longest: int, arrivals: Arrivals) -> AsyncIterator[str]:
    """Yield the body's lines as they arrive, decompressed.

    No more is held in memory than one line, of up to `longest` bytes, and one piece of a body of up to `limit` bytes.
    `arrivals` bounds the time of each piece.

    Raises:
        ApiError: As `read_body`; 413 also for a line over `longest`, 422 for values out of bounds (`check_values`).
    """
    rest = bytearray()
    async for piece in _pieces(request, limit, arrivals):
        searched = len(rest)
        rest += piece
        end = rest.rfind(b"\n", searched)
        if end >= 0:
            ended = rest[:end]
            del rest[: end + 1]
            for line in await decoded(partial(_checked_lines, ended), ended):
                yield line
        if len(rest) > longest:
            raise too_large("a line of the body", longest)
    if rest:
        for line in await decoded(partial(_checked_lines, rest), rest):
            yield line


def _checked_lines(raw: bytearray) -> list[str]:
    """Return the lines; the values of each are within the bounds. One that is no JSON is left to its reader."""
    lines = raw.split(b"\n")
    for line in lines:
        if line.strip():
            with suppress(ValueError):
                if check_values(decode_in_slices(line, orjson.loads)):
                    decode_exactly(line)
    return [line.decode("utf-8", "replace") for line in lines]


async def _pieces(request: Request, limit: int, arrivals: Arrivals) -> AsyncIterator[bytes]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    unpacker = make_unpacker(encoding)
    chunks, size = aiter(request.stream()), 0
    while True:
        try:
            async with arrivals.limit():
                chunk = await anext(chunks, None)
        except ClientDisconnect:
            raise abandoned() from None
        if chunk is None:
            break
        for piece in unpacker.unpack(chunk):
            size += len(piece)
            if size > limit:
                raise too_large("the body", limit)
            yield piece
    unpacker.check_complete()
