"""Reading request bodies: bounded, decompressed within the bound, parsed straight into wire models.

A body may have megabytes, so it is copied as rarely as possible: it is received into one buffer and parsed by orjson,
whose strings the wire models use without a copy; a large one in slices (`slices`), and it is validated element by
element. A body that orjson refuses is read again by slower parsers, for two reasons: an error message that names the
fault, and lone surrogates, which JSON allows and Rust strings do not. Text that a policy wrote can therefore never
fail a request. The depth and the numbers of every body are checked before any other code reads its values.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from math import inf, isfinite
from typing import Any, TypeVar, get_args, get_origin

import orjson
import zstandard
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from ..admission.collections import FullCollections
from ..admission.limits import Reservation
from ..scoring.batch import release
from ..settings import Settings
from .errors import ApiError, abandoned, from_validation, invalid
from .slices import WHOLE_BYTES, decode_in_slices
from .slices import release as release_here
from .structure import FEW_QUOTES, count_structure

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")
Json = Any
"""Decoded JSON."""
PIECE = 1 << 18
"""Most bytes that one step of decompression gives, for formats that allow a bound."""
AT_END = "deepcompress.at_end"
"""Key in the scope of a request: a list of coroutine functions that are called when all of its work has ended."""

ON_LOOP_BYTES = 1 << 18
"""Largest body that is decoded on the event loop. A larger one is decoded in a thread, so that it keeps no other
request waiting for long; bench/loop_stall.py has the figures."""
ON_LOOP_VALUES = 20_000
"""Most values of a body that is decoded on the event loop, counted as its commas, braces, brackets and lines."""
LARGE_BATCH_BYTES = 4 << 20
"""Memory of a request from which its answer is written, and its items are freed, in turns with other requests."""
ON_LOOP_PACKED_BYTES = 1 << 10
"""Largest compressed body that is unpacked on the event loop. It may grow a thousand times."""


async def decoded(work: Callable[[], T], raw: bytes | bytearray) -> T:
    """Return the result of work that decodes a body; it runs in a thread if the body is large."""
    size = len(raw)
    small = size <= ON_LOOP_BYTES and (
        size <= ON_LOOP_VALUES or sum(map(raw.count, (b",", b"{", b"[", b"\n"))) < ON_LOOP_VALUES
    )
    return work() if small else await asyncio.to_thread(work)


def too_large(subject: str, limit: int) -> ApiError:
    """Return a 413 that names its subject and the limit."""
    return ApiError(413, "too-large", f"{subject} is over the limit of {limit}", limit=limit)


class Arrivals:
    """The time that the bodies of one process have to arrive.

    A process that stops does not wait for a body that may never arrive: no work was done for it yet.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: set[asyncio.Timeout] = set()
        self._stop_at = inf

    def stop_within(self, seconds: float) -> None:
        """End all waits, and those that begin later, in `seconds` from now at the latest."""
        self._stop_at = asyncio.get_running_loop().time() + seconds
        for wait in self._waits:
            wait.reschedule(min(wait.when() or inf, self._stop_at))

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound the time of the block.

        Raises:
            ApiError: 408, if it ended; 503, if the process stops.
        """
        try:
            end = min(asyncio.get_running_loop().time() + self._seconds, self._stop_at)
            async with asyncio.timeout_at(end) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if self._stop_at < inf:
                detail = "the process stops, and the body has not arrived: send the same request again"
                raise ApiError(503, "stopping", detail, retry_after=1) from None
            detail = f"the body, or more of it, did not arrive within {self._seconds:g} seconds"
            raise ApiError(408, "body-timeout", detail) from None


async def read_batch(
    request: Request, settings: Settings, arrivals: Arrivals, reservation: Reservation, model: type[Model]
) -> Model:
    """Read the body of a request with many items as a wire model, within the limits on its size and structure.

    Raises:
        ApiError: The body is too large, incomplete, or not valid.
        AdmissionError: There is no room for its values.
    """
    raw = await read_body(request, settings.max_body_bytes, arrivals)
    memory = len(raw)
    small = memory <= FEW_QUOTES  # it has no more values than the limits allow, and is parsed at once
    if not small:
        structure = await decoded(partial(count_structure, raw), raw)
        most = settings.max_items + settings.max_groups
        if structure.objects > most + 1:
            raise too_large("the number of items", most)
        if structure.exceeds_limits:
            raise ApiError(413, "too-large", "the body has more fields and values than a request of its items has")
        memory += structure.memory
    if memory != reservation.weight:
        reservation.resize(memory)
    if small:
        return parse(model, raw)
    lists: list[list[Any]] = []
    if memory > LARGE_BATCH_BYTES and AT_END in request.scope:
        collections = reservation.limiter.collections
        collections.begin()
        request.scope[AT_END].append(partial(_free, lists, collections))
    body = await decoded(partial(parse, model, raw), raw)
    lists += [getattr(body, name) for name, _ in _element_models(model)]
    return body


async def _free(lists: list[list[Any]], collections: FullCollections) -> None:
    """Free the items of a large body in turns with other requests."""
    try:
        for values in lists:
            await release(values)
    finally:
        collections.end()


async def read_body(request: Request, limit: int, arrivals: Arrivals) -> bytes | bytearray:
    """Return the body's bytes, decompressed. `limit` is in bytes.

    Raises:
        ApiError: 413 over the limit (before reading, if the declared size is over it), 408 and 503 if it did not
            arrive in time (`Arrivals`), 499 if the client disconnected, 400 or 415 for its compression.
    """
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise too_large("the body", limit)
    try:
        async with arrivals.limit():
            raw = await _receive(request, limit)
    except ClientDisconnect:
        raise abandoned() from None
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw
    unpacked = partial(_decompress, raw, encoding, limit)
    return unpacked() if len(raw) <= ON_LOOP_PACKED_BYTES else await asyncio.to_thread(unpacked)


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
                    _decode_exactly(line)
    return [line.decode("utf-8", "replace") for line in lines]


async def _pieces(request: Request, limit: int, arrivals: Arrivals) -> AsyncIterator[bytes]:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    unpack = _unpacker(encoding)
    chunks, size = aiter(request.stream()), 0
    while True:
        try:
            async with arrivals.limit():
                chunk = await anext(chunks, None)
        except ClientDisconnect:
            raise abandoned() from None
        if chunk is None:
            break
        for piece in _unpacked(unpack, chunk, encoding):
            size += len(piece)
            if size > limit:
                raise too_large("the body", limit)
            yield piece
    _refuse_broken(unpack, encoding)


class _Unpacker:
    """Decompressor of a body that is not compressed."""

    complete = True
    """True once the end of the compressed stream was read."""
    exceeded = False
    """True once bytes after that end were read: another stream, for example, whose content would be lost."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the chunk's content in pieces of bounded size."""
        yield chunk


class _Gzip(_Unpacker):
    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self.exceeded = self._inflater.eof and bool(chunk)
        while chunk and not self._inflater.eof:
            yield self._inflater.decompress(chunk, PIECE)
            chunk = self._inflater.unconsumed_tail
        # Output that the bound held back after the whole chunk was read.
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", PIECE)):
            yield piece
        self.exceeded = self.exceeded or bool(self._inflater.unused_data)


class _Zstd(_Unpacker):
    def __init__(self) -> None:
        self._inflater = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()

    @property
    def complete(self) -> bool:  # type: ignore[override]
        return self._inflater.eof

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        # Small chunks: zstd has no bound on the output of one call, but a kilobyte has at most 256 blocks.
        for start in range(0, len(chunk), 1024):
            if self._inflater.eof:
                self.exceeded = True
                return
            yield self._inflater.decompress(chunk[start : start + 1024])
        self.exceeded = bool(self._inflater.unused_data)


def _unpacker(encoding: str) -> _Unpacker:
    if encoding in ("", "identity"):
        return _Unpacker()
    if encoding == "gzip":
        return _Gzip()
    if encoding == "zstd":
        return _Zstd()
    raise ApiError(415, "unsupported-encoding", "send the body plain, or with gzip or zstd")


async def _receive(request: Request, limit: int) -> bytearray:
    # It grows as the body arrives: a declared size takes no memory. It grows in place, so no call copies all of it.
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > limit:
            raise too_large("the body", limit)
        body += chunk
    return body


def _decompress(raw: bytes | bytearray, encoding: str, limit: int) -> bytearray:
    unpack = _unpacker(encoding)
    body = bytearray()
    # Small chunks: zlib copies `unconsumed_tail` on each call.
    for start in range(0, len(raw), PIECE):
        for piece in _unpacked(unpack, bytes(raw[start : start + PIECE]), encoding):
            if len(body) + len(piece) > limit:
                raise too_large("the unpacked body", limit)
            body += piece
    _refuse_broken(unpack, encoding)
    return body


def _unpacked(unpack: _Unpacker, chunk: bytes, encoding: str) -> Iterator[bytes]:
    try:
        yield from unpack.feed(chunk)
    except (zlib.error, zstandard.ZstdError):
        raise ApiError(400, "bad-compression", f"the body is not valid {encoding}") from None
    if unpack.exceeded:
        detail = f"the body has more bytes after the end of its {encoding} stream: send one stream"
        raise ApiError(400, "bad-compression", detail)


def _refuse_broken(unpack: _Unpacker, encoding: str) -> None:
    if not unpack.complete:
        raise ApiError(400, "bad-compression", f"the body ends in the middle of its {encoding} stream")


def parse(model: type[Model], raw: bytes | bytearray) -> Model:
    """Return the body as a wire model. Every body of every route is decoded here.

    Raises:
        ApiError: 422, which names the field that is not valid.
    """
    try:
        value = orjson.loads(raw) if len(raw) <= WHOLE_BYTES else decode_in_slices(raw, orjson.loads)
        strict = None
    except ValueError:
        value, strict = _decode_again(model, raw), False
    try:
        if check_values(value):
            _release_lists(value)
            value = _decode_exactly(raw)
        if len(raw) > ON_LOOP_BYTES:
            validate_elements(model, value, strict)
        return model.model_validate(value, strict=strict)
    except (ValidationError, ApiError) as error:
        _release_lists(value)
        raise (error if isinstance(error, ApiError) else from_validation(error)) from None


def _release_lists(value: Json) -> None:
    for one in value.values() if isinstance(value, dict) else ():
        if isinstance(one, list):
            release_here(one)


def validate_elements(model: type[BaseModel], value: Json, strict: bool | None) -> None:
    """Put validated elements into the lists of a body whose elements are models, up to the first invalid one.

    Validating a list is a single call, for which all other threads wait. The model takes elements that were validated
    as they are, so its errors are the same.
    """
    for name, element in _element_models(model):
        rows = value.get(name) if isinstance(value, dict) else None
        if isinstance(rows, list):
            with suppress(ValidationError):
                for index, row in enumerate(rows):
                    rows[index] = element.model_validate(row, strict=strict)


@cache
def _element_models(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """Return (field, model of its elements) of each list of models."""
    found = []
    for name, field in model.model_fields.items():
        (element, *_) = get_args(field.annotation) if get_origin(field.annotation) is list else (None,)
        if isinstance(element, type) and issubclass(element, BaseModel):
            found.append((name, element))
    return found


def _decode_again(model: type[BaseModel], raw: bytes | bytearray) -> Json:
    """Return the value of a body that orjson refuses.

    Raises:
        ApiError: 422, if the body is not JSON; the message is the one of `model`.
        TooLargeError: A text is too large.
    """
    # Only lone surrogates, which Rust strings cannot hold, and numbers out of bounds are worth a slower attempt.
    with suppress(ValueError, RecursionError):
        return decode_in_slices(raw, _loads_surrogates)
    try:
        model.model_validate_json(raw)
    except ValidationError as error:
        raise from_validation(error) from None
    raise invalid("", "an integer has more than 64 bits")


def _loads_surrogates(raw: bytes | bytearray) -> Json:
    return json.loads(raw.decode("utf-8", "surrogatepass"))


MAX_DEPTH = 64
"""Deepest nesting of lists and objects in a body."""
MAX_INTEGER = 2**63
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _decode_exactly(raw: bytes | bytearray) -> Json:
    """Return the checked value of JSON in which a large float may be an integer: orjson rounds such integers.

    Raises:
        ApiError: As `check_values`.
    """
    try:
        value = decode_in_slices(raw, _loads_surrogates)
    except ValueError:
        raise invalid("", "an integer has more than 64 bits") from None
    check_values(value)
    return value


def check_values(value: object) -> bool:
    """Check the depth and the numbers of decoded JSON, without recursion.

    Return True if there is a float that may be a rounded integer of more than 64 bits.

    The lists and objects are visited level by level, and no object is made for one of them: the garbage collector
    would visit all those objects again, while other threads wait.

    Raises:
        ApiError: 422: lists and objects nested deeper than MAX_DEPTH, an integer of more than 64 bits, or a number
            that is not finite.
    """
    large = False
    levels: list[list[Json]] = [[[value]]]
    while levels[-1]:
        below: list[Json] = []
        for holder in levels[-1]:
            for one in holder.values() if type(holder) is dict else holder:
                kind = type(one)
                if kind is dict or kind is list:
                    below.append(one)
                elif (kind is int or kind is float) and not -MAX_INTEGER < one < MAX_INTEGER:
                    if kind is int:
                        raise _fault(levels, one, "an integer has more than 64 bits")
                    if not isfinite(one):
                        raise _fault(levels, one, "a number is not finite")
                    large = True
        if below and len(levels) > MAX_DEPTH:
            raise _fault(levels, below[0], f"lists and objects are nested deeper than {MAX_DEPTH}")
        levels.append(below)
    return large


def _fault(levels: list[list[Json]], value: Json, detail: str) -> ApiError:
    """Return the error for a value of a holder of the last level. Its path is found backwards, level by level."""
    path: list[str | int] = []
    for holders in reversed(levels):
        key, value = _place_in(holders, value)
        path.append(key)
    return invalid(_place(tuple(reversed(path))), detail)


def _place_in(holders: list[Json], value: Json) -> tuple[str | int, Json]:
    """Return the key of the value, and the list or object of the level that has it there."""
    for holder in holders:
        for key, one in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if one is value:
                return key, holder
    raise LookupError


def _place(path: tuple[str | int, ...]) -> str:
    """Return the first parts of a path in a body, up to a name that a policy may have written."""
    parts: list[str] = []
    for part in path[1:5]:
        if not _PLAIN_NAME.fullmatch(str(part)):
            break
        parts.append(str(part))
    return ".".join(parts)


REQUEST_MODELS: list[type[BaseModel]] = []
"""The models of the bodies that routes read themselves. Their schemas are added to the OpenAPI document."""


def documented(model: type[BaseModel], *examples: dict[str, Any]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads its own body: the schema by reference, and examples."""
    REQUEST_MODELS.append(model)
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if examples:
        content["examples"] = {
            f"{model.__name__}-{number}": {"summary": "a request that works as it is", "value": example}
            for number, example in enumerate(examples, 1)
        }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
