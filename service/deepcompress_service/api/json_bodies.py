"""Bodies of JSON: those of requests are read into wire models within bounds, those of answers are written.

A body may have megabytes, so it is copied as rarely as possible: it is received into one buffer and parsed by orjson,
whose strings the wire models use without a copy; a large one in slices (`slices`), and it is validated element by
element. A body that orjson refuses is read again by slower parsers, for two reasons: an error message that names the
fault, and lone surrogates, which JSON allows and Rust strings do not. Text that a policy wrote can therefore never
fail a request. The depth and the numbers of every body are checked before any other code reads its values.

An answer is written at once, or in pieces, so that a large one keeps no other request waiting.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from math import inf, isfinite
from typing import Any, TypeVar, get_args, get_origin

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from deepcompress_client.wire.base import Answer

from ..admission.collections import FullCollections
from ..admission.limits import Reservation
from ..scoring.batch import release
from ..settings import Settings
from .compression import decompress
from .errors import ApiError, abandoned, from_validation, invalid, too_large
from .slices import WHOLE_BYTES, decode_in_slices
from .slices import release as release_here
from .structure import FEW_QUOTES, count_structure

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")
Json = Any
"""Decoded JSON."""
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
STREAMED_BYTES = 1 << 18
"""Bytes of a response in pieces that are sent at once."""


async def decoded(work: Callable[[], T], raw: bytes | bytearray) -> T:
    """Return the result of work that decodes a body; it runs in a thread if the body is large."""
    size = len(raw)
    small = size <= ON_LOOP_BYTES and (
        size <= ON_LOOP_VALUES or sum(map(raw.count, (b",", b"{", b"[", b"\n"))) < ON_LOOP_VALUES
    )
    return work() if small else await asyncio.to_thread(work)


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


async def read_body(request: Request, limit: int, arrivals: Arrivals) -> bytearray:
    """Return the body's bytes, decompressed. `limit` is in bytes.

    Raises:
        ApiError: 413 over the limit (before reading, if the declared size is over it), 408 and 503 if it did not
            arrive in time (`Arrivals`), 499 if the client disconnected, 400 or 415 for its compression.
    """
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise too_large("the body", limit)
    # It grows as the body arrives: a declared size takes no memory. It grows in place, so no call copies all of it.
    raw = bytearray()
    try:
        async with arrivals.limit():
            async for chunk in request.stream():
                if len(raw) + len(chunk) > limit:
                    raise too_large("the body", limit)
                raw += chunk
    except ClientDisconnect:
        raise abandoned() from None
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw
    unpacked = partial(decompress, raw, encoding, limit)
    return unpacked() if len(raw) <= ON_LOOP_PACKED_BYTES else await asyncio.to_thread(unpacked)


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
            value = decode_exactly(raw)
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


def decode_exactly(raw: bytes | bytearray) -> Json:
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


# --- answers -------------------------------------------------------------------------------------------------------


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
