"""Requests, replies and errors that `Client` and `AsyncClient` share, without any I/O.

An operation is a generator: it yields a batch of requests, is sent their replies, and returns its result. The clients
run operations; they add sockets, sleeping and retries, and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from ._retry import Retry
from .errors import InvalidRequest, ServiceError, Unavailable, error_from_problem

DEFAULT_URL = "http://127.0.0.1:8321"
MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_REQUEST_ITEMS = 65_536
CONNECTIONS = 100

T = TypeVar("T")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One HTTP request, ready to send any number of times."""

    method: str
    path: str
    body: bytes | Path | None = None
    """A file is sent a portion at a time."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    content_type: str = "application/json"
    repeatable: bool = True
    """False: a second arrival long after the first would do harm (rewind and its like), so a call whose
    fate is unknown because no answer came in time is not sent again."""
    once: bool = False
    """True: "not now" is an answer too (is the service ready?), so the call is never sent again."""
    into: Path | None = None
    """A file for the body of a successful answer, which is then not held: whole, or as it was before."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, whatever its status."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    attempts: int = 1


RequestBatch = list[RequestSpec]
Operation = Generator[RequestBatch, list[Reply], T]


@dataclass(frozen=True, slots=True)
class Options:
    """The configuration of a client; it can be pickled."""

    url: str
    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retry: Retry
    max_request_bytes: int
    max_request_items: int
    concurrency: int
    headers: Mapping[str, str]

    @classmethod
    def make(
        cls,
        url: str | None,
        *,
        api_key: str | None,
        timeout_s: float,
        connect_timeout_s: float,
        retry: Retry | None,
        max_request_bytes: int,
        max_request_items: int,
        concurrency: int,
        headers: Mapping[str, str] | None,
    ) -> Options:
        """Return the options, with defaults from the environment: DEEPCOMPRESS_URL, DEEPCOMPRESS_API_KEY.

        Raises:
            ValueError: the URL does not start with http:// or https://.
        """
        url = url or os.environ.get("DEEPCOMPRESS_URL") or DEFAULT_URL
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the service's URL starts with http:// or https://, this one does not: {url!r}")
        return cls(
            url=url.rstrip("/"),
            api_key=api_key or os.environ.get("DEEPCOMPRESS_API_KEY") or None,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            retry=retry or Retry(),
            max_request_bytes=max_request_bytes,
            max_request_items=max_request_items,
            concurrency=max(1, concurrency),
            headers=dict(headers or {}),
        )

    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"accept": "application/json", "user-agent": "deepcompress-client", **self.headers}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers


def path(*parts: str) -> str:
    """Return ``/v1/...`` with every part percent-encoded, slashes too."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def post(where: str, body: BaseModel | Mapping[str, Any], *, repeatable: bool = True) -> RequestSpec:
    """Return a POST request with a JSON body."""
    return RequestSpec("POST", where, encode(body), repeatable=repeatable)


def encode(body: BaseModel | Mapping[str, Any]) -> bytes:
    """Return a request's JSON. None fields of a model are left out, so that the service's defaults apply."""
    return to_json(body, exclude_none=isinstance(body, BaseModel))


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def adapter(model: type[M]) -> TypeAdapter[M]:
    """Return what reads a wire model or a wire dataclass."""
    made: TypeAdapter[M] | None = _ADAPTERS.get(model)
    if made is None:
        made = _ADAPTERS[model] = TypeAdapter(model)
    return made


def checked(model: type[M], data: Mapping[str, Any]) -> M:
    """Return `data` as a wire model.

    Raises:
        InvalidRequest: the data is invalid. The service would answer the same, after a round trip.
    """
    try:
        return adapter(model).validate_python(data)
    except ValidationError as error:
        # The values themselves are left out: they may be long, and they may be what a policy wrote.
        raise InvalidRequest(422, "invalid-request", describe(error)) from None


def describe(error: ValidationError, most: int = 5) -> str:
    """Return the validation errors as text, each with the path of its field, at most `most` of them."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for mistake in found[:most]:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in mistake["loc"]).lstrip(".")
        lines.append(f"{place}: {mistake['msg']}")
    if len(found) > most:
        lines.append(f"and {len(found) - most} more")
    return "; ".join(lines)


def error_of(reply: Reply) -> ServiceError | None:
    """Return the typed error of a reply, or None for a success."""
    if 200 <= reply.status < 300:
        return None
    try:
        problem = json.loads(reply.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        # Not the service's own words: a proxy's page, most often.
        problem = {"detail": reply.body[:200].decode("utf-8", "replace").strip()}
    error = error_from_problem(reply.status, problem)
    if isinstance(error, Unavailable):
        error.retry_after = reply.retry_after_s
    return error


def raise_for(reply: Reply) -> Reply:
    """Return a successful reply.

    Raises:
        ServiceError: the reply is an error.
    """
    if (error := error_of(reply)) is not None:
        raise error
    return reply


def read(model: type[M], reply: Reply) -> M:
    """Return a successful reply as a wire model.

    Raises:
        ServiceError: the reply is an error, or its body is not such a model.
    """
    try:
        return adapter(model).validate_json(raise_for(reply).body)
    except ValidationError as error:
        raise ServiceError(reply.status, "unreadable-answer", describe(error)) from None


def read_json(reply: Reply) -> Any:
    """Return the JSON of a successful reply.

    Raises:
        ServiceError: the reply is an error, or its body is not JSON.
    """
    try:
        return json.loads(raise_for(reply).body)
    except ValueError:
        raise ServiceError(reply.status, "unreadable-answer", "the answer is not JSON") from None


def pack(sizes: Iterable[int], most_bytes: int, most_items: int) -> list[slice]:
    """Return consecutive slices of a sequence of sized items, each within both limits.

    A slice has at least one item: an item that is over the byte limit has a slice of its own.
    """
    cuts: list[slice] = []
    start = total = 0
    end = -1
    for end, size in enumerate(sizes):
        if end > start and (total + size > most_bytes or end - start >= most_items):
            cuts.append(slice(start, end))
            start, total = end, 0
        total += size
    if end >= start:
        cuts.append(slice(start, end + 1))
    return cuts
