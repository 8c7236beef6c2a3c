"""JSON responses: at once, or in pieces, so that a large one keeps no other request waiting."""

from __future__ import annotations

import asyncio

import orjson
from fastapi import Response
from starlette.types import Receive, Scope, Send

from deepcompress_client.wire.base import Answer

STREAMED_BYTES = 1 << 18
"""Bytes of a response in pieces that are sent at once."""


def json_response(value: object, status: int = 200) -> Response:
    """Return a value as a response: wire answers, dicts, lists and plain values."""
    return Response(orjson.dumps(value), status, media_type="application/json")


async def response_in_pieces(answer: Answer, rows: str) -> Response:
    """Return a large answer, written row by row while other requests take their turns. It is not whole afterwards.

    `rows` names the answer's last field, a list.
    """
    last = list(getattr(answer, rows))
    setattr(answer, rows, [])
    head = orjson.dumps(answer)
    assert head.endswith(b"[]}")
    pieces: list[bytes] = [head[:-2]]
    some: list[bytes] = []
    size = 0
    last.reverse()
    while last:
        some.append(orjson.dumps(last.pop()))
        size += len(some[-1])
        if size >= STREAMED_BYTES or not last:
            pieces += (b",".join(some), b"," if last else b"]}")
            some, size = [], 0
            await asyncio.sleep(0)
    return JsonPieces(pieces)


class JsonPieces(Response):
    """A response of JSON in pieces, of which about STREAMED_BYTES are sent at once."""

    media_type = "application/json"

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of every response
        """Send the pieces, then run the background tasks."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        some: list[bytes] = []
        size = 0
        for piece in self._pieces:
            some.append(piece)
            size += len(piece)
            if size >= STREAMED_BYTES:
                await send({"type": "http.response.body", "body": b"".join(some), "more_body": True})
                some, size = [], 0
        await send({"type": "http.response.body", "body": b"".join(some)})
        if self.background is not None:
            await self.background()
