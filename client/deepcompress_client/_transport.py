"""Where httpx ends: its answers and errors as ours, and the bookkeeping of tries.

httpx is imported inside the functions, so that ``import deepcompress_client`` stays quick.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._core import Reply, RequestSpec
from ._retry import RETRIED_STATUSES, Retry, parse_retry_after
from .errors import DeepCompressError, TransportError

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("deepcompress_client")


CHUNK_BYTES = 1 << 16
"""Bytes of a file that are held at once."""


def httpx_arguments(spec: RequestSpec, content: Any) -> dict[str, Any]:
    """A call as httpx takes it; `content` is its body, or what gives it piece by piece."""
    return {
        "method": spec.method,
        "url": spec.path,
        "content": content,
        "params": spec.params or None,
        "headers": {"content-type": spec.content_type} if spec.body is not None else None,
    }


def reply_from_response(response: httpx.Response, attempt: int) -> Reply:
    """An httpx answer as a `Reply`."""
    retry_after = parse_retry_after(response.headers.get("retry-after"), time.time())
    return Reply(response.status_code, response.content, retry_after, attempt)


def read_chunks(file: Path) -> Iterator[bytes]:
    """A file, a chunk at a time."""
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


async def read_chunks_async(file: Path) -> AsyncIterator[bytes]:
    for chunk in read_chunks(file):
        yield chunk


@contextlib.contextmanager
def replace_on_success(target: Path) -> Iterator[BinaryIO]:
    """Written beside the target, and in its place once all of it is there."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer came. ``lost``: the request surely reached no one, or the connection it went by is gone;
    otherwise (silence until the timeout) it may still be under way.
    """

    error: DeepCompressError
    retryable: bool
    lost: bool


def classify_error(error: httpx.HTTPError) -> Failure:
    """What an httpx error means for the next try."""
    import httpx

    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    with contextlib.suppress(RuntimeError):  # httpx does not know the request of every error
        words += f" ({error.request.method} {error.request.url})"
    retryable = isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError)
    lost = not isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout)
    return Failure(TransportError(words), retryable, lost)


class Attempts:
    """The tries of one spec. `after` says how long to wait before the next, `result` what it came to."""

    def __init__(self, spec: RequestSpec, retry: Retry, started: float) -> None:
        self.made = 0
        self._spec = spec
        self._retry = retry
        self._started = started

    def delay_before_next(
        self, reply: Reply | None, failure: Failure | None, now: float, jitter: float
    ) -> float | None:
        """Seconds to wait before the next try; None: this was the last."""
        self.made += 1
        if self._spec.once:
            return None
        if failure is not None:
            if not failure.retryable or not (self._spec.repeatable or failure.lost):
                return None
            what = str(failure.error)
        else:
            assert reply is not None
            if reply.status not in RETRIED_STATUSES or (reply.status == 504 and not self._spec.repeatable):
                return None
            what = f"{reply.status}"
        wait = self._retry.wait(self.made, now - self._started, reply.retry_after_s if reply else None, jitter)
        if wait is not None:
            log.warning("%s %s: %s; trying again in %.1f s", self._spec.method, self._spec.path, what, wait)
        return wait

    def result(self, reply: Reply | None, failure: Failure | None) -> Reply:
        """The last reply, whatever it says; raises `TransportError` where none came."""
        if reply is not None:
            return reply
        assert failure is not None
        if self.made > 1:
            raise TransportError(f"{failure.error} (after {self.made} tries)")
        raise failure.error
