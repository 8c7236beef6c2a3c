"""The endpoints of remote checkers, as a TOML file of the operator describes them.

[sandbox]
url = "http://sandbox:9000/check"
timeout_seconds = 10

[judge]
kind = "judge"
url = "http://judge:8000/v1"
model = "Qwen/Qwen3-8B"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
_OWN_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "authorization"}
)
MAX_ENDPOINTS = 64
MAX_FILE_BYTES = 1 << 20
"""Largest file of endpoints, and of a token."""


class EndpointError(ValueError):
    """The file of remote checkers cannot be used. The message names the file and the endpoint, and no secret."""


class Endpoint(BaseModel):
    """One endpoint. The docstring under a field is its description in docs/remote-checkers.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)

    kind: Literal["json", "judge"] = "json"
    """The protocol: `json` is this project's own, `judge` is OpenAI's chat completions."""
    url: str
    """The address that checks are sent to. For a judge it is the base, as in `http://host:8000/v1`."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Longest time for one attempt, from the connection to the last byte."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Most attempts for one check. Another is made if the connection failed or was closed, and after the status 429,
    502, 503 or 504; none after a timeout."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Most checks in progress at once, per HTTP process. Runs take turns."""
    batch_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest time for all checks of one request. Those that are not done by then are unchecked."""
    batch_checks: Annotated[int, Field(ge=1, le=1_000_000)] = 16_384
    """Most checks of one request that are sent; equal ones count once. The others are unchecked."""
    max_answer_chars: Annotated[int, Field(ge=1, le=1_000_000)] = None  # type: ignore[assignment]
    """Longest answer that is sent, and for a judge also the longest gold and question. A longer one is unchecked; no
    text is ever cut. Default: 65536; for a judge 4000."""
    send_response: bool = False
    """Send the whole response in addition to the answer that was found in it. Not for a judge."""
    cache_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """Time for which a result is kept and answers equal checks. 0: none is kept."""
    cache_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 16_384
    """Most results that one process keeps."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of each request."""
    token_file: Path | None = None
    """File with a token, which is sent as `Authorization: Bearer TOKEN`. It is read at start."""
    model: str | None = None
    """The judge's model, as its server names it."""
    body: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0, "max_tokens": 16})
    """Further fields of a judge's request. Default: `{temperature = 0, max_tokens = 16}`."""
    token: str | None = Field(None, repr=False, exclude=True)

    @field_validator("url")
    @classmethod
    def _plain_address(cls, value: str) -> str:
        try:
            httpx.URL(value)
            parts = urlsplit(value)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except (ValueError, httpx.InvalidURL):
            valid = False
        if not valid or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("is not an address such as http://host:9000/check")
        if "@" in parts.netloc:
            raise ValueError("has a user or a password: use token_file or headers")
        if parts.fragment:
            raise ValueError("has a fragment")
        return value

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(content):
                raise ValueError(f"{name[:64]!r} is not a header of printable ASCII")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is set by the service (a token: use token_file)")
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_bound(cls, data: object) -> object:
        if isinstance(data, dict) and "max_answer_chars" not in data:
            return {**data, "max_answer_chars": 4000 if data.get("kind") == "judge" else 65_536}
        return data

    @model_validator(mode="after")
    def _fields_of_a_kind(self) -> Endpoint:
        judge = self.kind == "judge"
        if judge and not self.model:
            raise ValueError("a judge needs its model")
        if not judge and (self.model is not None or "body" in self.model_fields_set):
            raise ValueError('model and body are for kind = "judge"')
        if judge and self.send_response:
            raise ValueError("a judge gets the answer only: send_response is for kind = 'json'")
        if set(self.body) & {"model", "messages", "stream", "n"}:
            raise ValueError("body: model, messages, stream and n are set by the service")
        try:
            orjson.dumps(self.body)
        except TypeError as error:
            raise ValueError(f"body: is not JSON: {error}") from None
        return self


def read_endpoints(file: Path | None, taken: Collection[str] = ()) -> dict[str, Endpoint]:
    """Return the endpoints of a TOML file by name; none without a file. `taken` are names of other checkers.

    Raises:
        EndpointError: The file cannot be read, or an endpoint in it is not valid.
    """
    if file is None:
        return {}
    try:
        tables = tomllib.loads(_read(file))
    except (OSError, ValueError, RecursionError) as error:
        raise EndpointError(f"{file}: {error}") from None
    if len(tables) > MAX_ENDPOINTS:
        raise EndpointError(f"{file}: {len(tables)} endpoints, the limit is {MAX_ENDPOINTS}")
    endpoints = {}
    for name, table in tables.items():
        where = f"{file}: [{name[:64]}]"
        if not _NAME.fullmatch(name):
            raise EndpointError(f"{where}: a name has 1 to 64 letters, digits, dots, hyphens and underscores")
        if name in taken:
            raise EndpointError(f"{where}: there is a checker of this name")
        if not isinstance(table, dict) or "token" in table:
            raise EndpointError(
                f"{where}: " + ("is not a table" if not isinstance(table, dict) else "use token_file")
            )
        try:
            endpoint = Endpoint.model_validate(table)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            raise EndpointError(f"{where}: {field}{': ' if field else ''}{message}") from None
        endpoints[name] = endpoint.model_copy(update={"token": _token(where, file, endpoint.token_file)})
    return endpoints


def _read(file: Path) -> str:
    """Return the text of a file.

    Raises:
        OSError, ValueError: It cannot be read, is not UTF-8, or has over MAX_FILE_BYTES bytes.
    """
    with file.open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"over {MAX_FILE_BYTES} bytes")
    return content.decode("utf-8")


def _token(where: str, file: Path, token_file: Path | None) -> str | None:
    if token_file is None:
        return None
    path = file.parent / token_file
    try:
        token = _read(path).strip()
    except (OSError, ValueError) as error:
        raise EndpointError(
            f"{where}: token_file: {getattr(error, 'strerror', None) or 'not a short text in UTF-8'}"
        ) from None
    if not token or not _HEADER_VALUE.fullmatch(token) or " " in token:
        raise EndpointError(f"{where}: token_file: {path} has no token of printable ASCII without spaces")
    return token
