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

Json = Any
"""Any JSON value, of an answer without a wire model; the caller converts it."""


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One HTTP request, ready to send any number of times."""

    method: str
    path: str
    body: bytes | Path | None = None
    """A file is sent in chunks."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    content_type: str = "application/json"
    repeatable: bool = True
    """False for requests that must not be executed again much later, such as a rewind. If such a request times out,
    the service may still execute it, so it is not sent again."""
    once: bool = False
    """True for requests that are never retried: for a readiness check, 503 is a result."""
    into: Path | None = None
    """The file to which the body of a successful answer is written, instead of memory. It is replaced only by a
    complete body."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, of any status."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    attempts: int = 1


RequestBatch = list[RequestSpec]
"""Requests that may be in flight at once."""
Operation = Generator[RequestBatch, list[Reply], T]
"""The steps of one call, without I/O: it yields a `RequestBatch`, is sent the replies in order, and returns T."""


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
            ValueError: the URL does not start with http:// or https://, ends with /v1, or has no valid host and port.
            RuntimeError: the URL is that of an embedded service, which did not start.
        """
        url = url or os.environ.get("DEEPCOMPRESS_URL") or DEFAULT_URL
        if url == "embedded" or url.startswith("embedded:"):
            from ._embedded import embedded_url

            url = embedded_url(url)
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"the service's URL starts with http:// or https://, or is 'embedded'; this one is not: {url!r}"
            )
        if url.rstrip("/").endswith("/v1"):
            raise ValueError(f"pass the service's URL without /v1, which the client adds: {url!r}")
        _check_url(url)
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


def _check_url(url: str) -> None:
    import httpx

    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise ValueError(f"the service's URL {url!r} is not valid: {error}") from None
    if not host or " " in host:
        raise ValueError(f"the service's URL needs a host, as in http://127.0.0.1:8321: {url!r}")


def path(*parts: str) -> str:
    """Return ``/v1/...`` with every part percent-encoded, slashes too."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def post(url_path: str, body: BaseModel | Mapping[str, Any], *, repeatable: bool = True) -> RequestSpec:
    """Return a POST request with a JSON body."""
    return RequestSpec("POST", url_path, encode(body), repeatable=repeatable)


def encode(body: BaseModel | Mapping[str, Any]) -> bytes:
    """Return a request's JSON. None fields of a model are left out, so that the service's defaults apply."""
    return to_json(body, exclude_none=isinstance(body, BaseModel))


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def adapter(model: type[M]) -> TypeAdapter[M]:
    """Return the pydantic adapter that reads a wire model or a wire dataclass."""
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
        # The message omits the values: they may be long, and they may be responses of the policy.
        raise InvalidRequest(422, "invalid-request", describe(error)) from None


def describe(error: ValidationError, most: int = 5) -> str:
    """Return the validation errors as text, each with the path of its field, at most `most` of them."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for detail in details[:most]:
        field_path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"]).lstrip(".")
        lines.append(f"{field_path}: {detail['msg']}")
    if len(details) > most:
        lines.append(f"and {len(details) - most} more")
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
        # Not problem details of the service: most often the page of a proxy.
        text = reply.body[:200].decode("utf-8", "replace")
        # Escape sequences would reach the terminal with the error.
        problem = {"detail": "".join(char if char.isprintable() else " " for char in text).strip()}
    if "detail" not in problem and isinstance(problem.get("why"), dict):  # of a service that is not ready
        problem["detail"] = "; ".join(f"{part}: {why}" for part, why in problem["why"].items())
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


def read_json(reply: Reply) -> Json:
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
