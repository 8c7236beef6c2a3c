"""Reading request bodies: bounded, decompressed within the bound, parsed straight into wire models.

A body has up to megabytes, so each copy of it counts: it is received into one buffer and parsed by orjson, whose
strings the wire models take over as they are. What orjson refuses is read again by slower parsers: for the message
that names what is wrong, and for lone surrogates, which JSON allows and Rust strings do not, so that nothing a policy
wrote can fail a request.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import orjson
import zstandard
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from .errors import ApiError, abandoned, from_validation

Model = TypeVar("Model", bound=BaseModel)
PIECE = 1 << 18
"""Bytes that one step of unpacking gives at most, where that can be said."""


def too_large(what: str, limit: int) -> ApiError:
    """A 413 that names what was too large and the limit."""
    return ApiError(413, "too-large", f"{what} is over the limit of {limit}", limit=limit)


async def read_body(request: Request, limit: int, timeout: float) -> bytes | bytearray:  # noqa: ASYNC109
    """The body's bytes, decompressed. Refused before it is read where its declared size is over the limit."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise too_large("the body", limit)
    try:
        async with asyncio.timeout(timeout):
            raw = await _receive(request, limit)
    except ClientDisconnect:
        raise abandoned() from None
    except TimeoutError:
        raise ApiError(408, "body-timeout", f"the body did not arrive within {timeout:g} seconds") from None
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw
    return _decompress(raw, encoding, limit)


async def body_lines(request: Request, limit: int, longest: int, timeout: float) -> AsyncIterator[str]:  # noqa: ASYNC109
    """The body's lines as they come, decompressed: of a body of up to `limit` bytes no more is held than a line,
    which may have `longest`, and a piece. `timeout` is for each piece."""
    rest = bytearray()
    async for piece in _pieces(request, limit, timeout):
        start, looked = 0, len(rest)
        rest += piece
        while (end := rest.find(b"\n", max(start, looked))) >= 0:
            yield rest[start:end].decode("utf-8", "replace")
            start = end + 1
        del rest[:start]
        if len(rest) > longest:
            raise too_large("a line of the body", longest)
    if rest:
        yield rest.decode("utf-8", "replace")


async def _pieces(request: Request, limit: int, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    unpack = _unpacker(encoding)
    chunks, size = aiter(request.stream()), 0
    while True:
        try:
            async with asyncio.timeout(timeout):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            break
        except ClientDisconnect:
            raise abandoned() from None
        except TimeoutError:
            raise ApiError(408, "body-timeout", f"no more of the body came within {timeout:g} seconds") from None
        for piece in _unpacked(unpack, chunk, encoding):
            size += len(piece)
            if size > limit:
                raise too_large("the body", limit)
            yield piece
    _refuse_broken(unpack, encoding)


class _Unpacker:
    """Of a body that is not packed."""

    whole = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What a chunk has in it, in pieces that are small whatever the chunk is."""
        yield chunk


class _Gzip(_Unpacker):
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk and not self._inflater.eof:
            yield self._inflater.decompress(chunk, PIECE)
            chunk = self._inflater.unconsumed_tail
        # What the bound held back although all of the chunk was taken in.
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", PIECE)):
            yield piece


class _Zstd(_Unpacker):
    def __init__(self) -> None:
        self._inflater = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()

    @property
    def whole(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        # Small bites: zstd offers no bound on what one call gives, but a kilobyte cannot hold more than 256 blocks.
        for start in range(0, len(chunk), 1024):
            if self._inflater.eof:
                return
            yield self._inflater.decompress(chunk[start : start + 1024])


def _unpacker(encoding: str) -> _Unpacker:
    if encoding in ("", "identity"):
        return _Unpacker()
    if encoding == "gzip":
        return _Gzip()
    if encoding == "zstd":
        return _Zstd()
    raise ApiError(415, "unsupported-encoding", "send the body plain, or with gzip or zstd")


async def _receive(request: Request, limit: int) -> bytes | bytearray:
    declared = request.headers.get("content-length", "")
    if not declared.isdigit():
        return await _receive_pieces(request, limit)
    # One buffer of the size that was declared. Memory that nothing is written to costs nothing, should it be a lie.
    body = bytearray(min(int(declared), limit))
    size = 0
    async for chunk in request.stream():
        if size + len(chunk) > len(body):  # the server holds a body to its declared size; were it not to, we do
            raise too_large("the body", len(body))
        body[size : size + len(chunk)] = chunk
        size += len(chunk)
    if size < len(body):
        del body[size:]
    return body


async def _receive_pieces(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large("the body", limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _decompress(raw: bytes | bytearray, encoding: str, limit: int) -> bytes:
    unpack = _unpacker(encoding)
    pieces: list[bytes] = []
    size = 0
    # Bites: what is left of one is copied for every piece that comes out of it.
    for start in range(0, len(raw), PIECE):
        for piece in _unpacked(unpack, bytes(raw[start : start + PIECE]), encoding):
            size += len(piece)
            if size > limit:
                raise too_large("the unpacked body", limit)
            pieces.append(piece)
    _refuse_broken(unpack, encoding)
    return b"".join(pieces)


def _unpacked(unpack: _Unpacker, chunk: bytes, encoding: str) -> Iterator[bytes]:
    try:
        yield from unpack.feed(chunk)
    except (zlib.error, zstandard.ZstdError):
        raise ApiError(400, "bad-compression", f"the body is not valid {encoding}") from None


def _refuse_broken(unpack: _Unpacker, encoding: str) -> None:
    if not unpack.whole:
        raise ApiError(400, "bad-compression", f"the body ends in the middle of its {encoding} stream")


def parse(model: type[Model], raw: bytes | bytearray) -> Model:
    """The body as a wire model; a 422 that names the field where it is not one."""
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _parse_slowly(model, raw)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise from_validation(error) from None


def _parse_slowly(model: type[Model], raw: bytes | bytearray) -> Model:
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        # JSON that Rust's strings cannot hold (lone surrogates) is the one kind worth a second, slower look.
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise from_validation(error) from None
        problem = from_validation(error)
    try:
        value = json.loads(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise problem from None
    try:
        return model.model_validate(value, strict=False)
    except ValidationError as error:
        raise from_validation(error) from None


def documented(model: type[BaseModel], *examples: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` for a route that reads its own body: the schema by reference, and examples."""
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if examples:
        content["examples"] = {f"example {i + 1}": {"value": example} for i, example in enumerate(examples)}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
