"""API keys: the callers that are accepted, and the routes and runs that each may use.

Keys come from the environment (``DEEPCOMPRESS_API_KEYS``, full access to every run) and from a TOML file
(``DEEPCOMPRESS_API_KEYS_FILE``) that is read again when it changes, so that keys rotate without a restart::

    [[key]]
    name = "team-a"                  # appears in logs; the key itself never does
    sha256 = "9f86d081884c..."       # of the key; or: key = "the key itself"
    access = "full"                  # or "read": GET only; or "metrics": GET /metrics only
    runs = "team-a-"                 # prefix of the runs it may use; "" or left out: all

Keys are compared by digest and in constant time, so that neither length nor prefix leaks. Browsers may send the key
as the password of HTTP Basic, for reading only: a page of another origin could make a browser repeat its Basic
password, which therefore must not be able to change anything. Changes that such pages request are refused with or
without keys (`context.require_same_origin`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import re
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fastapi import Request
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ..settings import KEY_RULE, is_sendable
from .errors import ApiError

log = logging.getLogger("deepcompress.auth")

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Paths that need no key: load balancers use them."""
METRICS_PATH = "/metrics"
MAX_FILE_BYTES = 1 << 20
"""Largest file of keys."""
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_RUNS = re.compile(r"[A-Za-z0-9._-]{0,128}")


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a caller: the key's name, its access, and the prefix of its runs."""

    name: str
    access: Literal["full", "read", "metrics"] = "full"
    runs: str = ""
    share: str = field(init=False)
    """The name by which the key's work in progress is counted against its share; empty: it may use every place.

    A key for some runs has a share, so that it leaves room for other keys (`admission`).
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", self.name if self.runs else "")

    def allows_run(self, run: str) -> bool:
        """Return True if the run is one of this key's."""
        return run.startswith(self.runs)

    def require_run(self, run: str) -> None:
        """Check that the run is one of this key's.

        Raises:
            ApiError: 403, if it is not.
        """
        if not run.startswith(self.runs):
            raise ApiError(403, "run-not-allowed", "this key is not for this run")


ANONYMOUS = Grant("everybody")
"""Grant of callers that need no key: full access to every run."""


class KeyFileError(ValueError):
    """The key file cannot be used; the message names the file and the key."""


class KeyRing:
    """The keys that are accepted."""

    def __init__(
        self,
        keys: tuple[str, ...] = (),
        file: Path | None = None,
        rate_per_second: int = 0,
        metrics_key: str | None = None,
    ) -> None:
        self._fixed = {_digest(key): Grant(f"env-{index}") for index, key in enumerate(keys)}
        if metrics_key is not None:
            self._fixed.setdefault(_digest(metrics_key), Grant("metrics", "metrics"))
        self._file = file
        self._file_stamp: tuple[int, int, int] | None = None
        self._checked_at = 0.0
        self._grants = dict(self._fixed)
        self._rate = RateLimitItemPerSecond(rate_per_second) if rate_per_second else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        if file is not None:
            # A bad file is an error at start; later, the keys read before stay in force.
            self._grants = {**self._fixed, **_read_file(file)}
            self._file_stamp = _stamp(file)

    def describe(self) -> str:
        """Return one line on who may do what, for the log. It contains names of keys, never keys."""
        rights = [
            f"{grant.name} ({grant.access}{f', runs {grant.runs}*' if grant.runs else ''})"
            for grant in self._grants.values()
        ]
        return f"{len(rights)} API keys: {', '.join(rights)}"

    def check(self, request: Request) -> Grant:
        """Return the rights of the request's sender.

        Raises:
            ApiError: 401 without a valid key, 403 for another run or a change with a read-only key, 429 over the
                rate.
        """
        # Not `request.url.path`: Starlette releases before 1.0 parse it from a text that begins with the Host header,
        # so a caller could choose it.
        path = request.scope["path"]
        if path in OPEN_PATHS:
            return ANONYMOUS
        self._refresh()
        grant = self._find(request)
        if grant.access == "metrics" and path != METRICS_PATH:
            raise ApiError(403, "metrics-only-key", "this key may only read /metrics")
        if grant.access != "full" and request.method not in _SAFE_METHODS:
            raise ApiError(403, "read-only-key", "this key may only read")
        run = request.path_params.get("run")
        if run is not None:
            grant.require_run(run)
        if self._rate is not None and not self._limiter.hit(self._rate, grant.name):
            raise ApiError(429, "rate-limited", "this key sends too many requests", retry_after=1)
        return grant

    def accepts(self, request: Request) -> bool:
        """Return True if the sender has a valid key of any rights."""
        self._refresh()
        try:
            self._find(request)
        except ApiError:
            return False
        return True

    def _find(self, request: Request) -> Grant:
        sent, basic = _sent_key(request)
        digest = _digest(sent)
        match: Grant | None = None
        # All keys are compared even after a match: the time taken reveals nothing.
        for known, grant in self._grants.items():
            if hmac.compare_digest(digest, known):
                match = grant
        if not sent or match is None or (basic and request.method not in _SAFE_METHODS):
            raise ApiError(401, "unauthorized", "send a valid API key as 'Authorization: Bearer KEY'")
        return match

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._checked_at < 1.0:
            return
        self._checked_at = now
        try:
            stamp = _stamp(self._file)
            if stamp != self._file_stamp:
                self._grants = {**self._fixed, **_read_file(self._file)}
                self._file_stamp = stamp
                log.info("read the API keys again: %d in force", len(self._grants))
        except (OSError, KeyFileError) as error:
            log.error("the API key file cannot be used, the keys read before stay in force: %s", error)


def _sent_key(request: Request) -> tuple[str, bool]:
    """Return the key sent, and True if it is a Basic password."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip(), False
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            return "", True
        return pair.partition(":")[2], True
    return request.headers.get("x-api-key", "").strip(), False


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read_file(file: Path) -> dict[bytes, Grant]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        tables = tomllib.loads(content.decode("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyFileError(f"{file}: {error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise KeyFileError(f"{file}: over {MAX_FILE_BYTES} bytes")
    rows = tables.pop("key", [])
    if tables:
        raise KeyFileError(f"{file}: unknown {', '.join(sorted(tables))}: write each key as a [[key]] table")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KeyFileError(f"{file}: write each key as a [[key]] table")
    grants: dict[bytes, Grant] = {}
    for index, row in enumerate(rows):
        digest, grant = _read_row(file, index, row)
        if digest in grants:
            raise KeyFileError(f"{file}: key {index + 1}: {grants[digest].name} has the same key")
        grants[digest] = grant
    if not grants:
        raise KeyFileError(f"{file} holds no key: write each key as a [[key]] table")
    return grants


def _read_row(file: Path, index: int, row: dict[str, Any]) -> tuple[bytes, Grant]:
    subject = f"{file}: key {index + 1}"
    unknown = set(row) - {"name", "key", "sha256", "access", "runs"}
    if unknown:
        raise KeyFileError(f"{subject}: unknown {', '.join(sorted(unknown))}")
    for text in ("name", "key", "sha256", "runs"):
        if not isinstance(row.get(text, ""), str):
            raise KeyFileError(f"{subject}: {text} is a text in quotes")
    access = row.get("access", "full")
    if access not in ("full", "read", "metrics"):
        raise KeyFileError(f"{subject}: access is 'full', 'read' or 'metrics'")
    if ("key" in row) == ("sha256" in row):
        raise KeyFileError(f"{subject}: give either key or sha256")
    try:
        digest = _digest(row["key"]) if "key" in row else bytes.fromhex(row["sha256"])
    except ValueError:
        raise KeyFileError(f"{subject}: sha256 is 64 hexadecimal digits") from None
    if len(digest) != 32:
        raise KeyFileError(f"{subject}: sha256 is 64 hexadecimal digits")
    if digest == _digest("") or not row.get("key", "key").strip():
        raise KeyFileError(f"{subject}: the key is empty, which would let in requests without a key")
    if "key" in row and not is_sendable(row["key"]):
        raise KeyFileError(f"{subject}: the key {KEY_RULE}")
    name, runs = row.get("name", f"file-{index}"), row.get("runs", "")
    if not name or not name.isprintable():
        raise KeyFileError(
            f"{subject}: name is a text of printable characters: it is in the log, and counts the key's share"
        )
    if not _RUNS.fullmatch(runs):
        raise KeyFileError(f"{subject}: runs is the beginning of names of runs: letters, digits and . _ -, without *")
    return digest, Grant(name, access, runs)
