"""Conversion between httpx and this client's types, and the retry state of one call.

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
"""Bytes of a file that are read at once."""


def httpx_arguments(
    spec: RequestSpec, content: bytes | Iterator[bytes] | AsyncIterator[bytes] | None
) -> dict[str, Any]:
    """Return the keyword arguments of `httpx.Client.request`.

    `content` is the body, or an iterator over its chunks.
    """
    return {
        "method": spec.method,
        "url": spec.path,
        "content": content,
        "params": spec.params or None,
        "headers": {"content-type": spec.content_type} if spec.body is not None else None,
    }


def reply_from_response(response: httpx.Response, content: bytes, attempt: int) -> Reply:
    """Return the `Reply` of an httpx response with this content."""
    retry_after = parse_retry_after(response.headers.get("retry-after"), time.time())
    return Reply(response.status_code, content, retry_after, attempt)


def check_time(until: float) -> None:
    """Check the end of an attempt, on the monotonic clock, after a part of an answer: httpx bounds each part alone.

    Raises:
        httpx.ReadTimeout: It has passed.
    """
    if time.monotonic() > until:
        raise late()


def late() -> httpx.ReadTimeout:
    """Return the error of an attempt whose time has passed."""
    import httpx

    return httpx.ReadTimeout("the answer was not complete at the deadline")


def read_chunks(file: Path) -> Iterator[bytes]:
    """Yield the content of a file in chunks of `CHUNK_BYTES`."""
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


async def read_chunks_async(file: Path) -> AsyncIterator[bytes]:
    """Yield the content of a file in chunks, as an async iterator."""
    for chunk in read_chunks(file):
        yield chunk


@contextlib.contextmanager
def replace_on_success(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target`; it replaces `target` when the block ends without an error.

    A target that is not a file, such as ``/dev/stdout`` or a named pipe, is written directly and not replaced.
    """
    if target.exists() and not target.is_file():
        with target.open("wb") as stream:
            yield stream
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a response.

    ``lost`` is true if the request certainly reached no server, or its connection is gone. Otherwise (no answer until
    the timeout) the server may still be processing it.
    """

    error: DeepCompressError
    retryable: bool
    lost: bool


def classify_error(error: httpx.HTTPError) -> Failure:
    """Return what an httpx error means for the next attempt."""
    import httpx

    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    with contextlib.suppress(RuntimeError):  # not every httpx error has a request
        message += f" ({error.request.method} {error.request.url})"
    retryable = isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError)
    lost = not isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout)
    return Failure(TransportError(message), retryable, lost)


class Attempts:
    """Retry state of one call.

    `delay_before_next` returns the delay before the next attempt, or None. `result` returns the last reply or raises.
    """

    def __init__(self, spec: RequestSpec, retry: Retry, started: float) -> None:
        self.made = 0
        self._spec = spec
        self._retry = retry
        self._started = started

    def timeout(self, timeout_s: float, now: float) -> float:
        """Return the timeout of the next attempt in seconds."""
        return self._retry.attempt_timeout(timeout_s, now - self._started)

    def delay_before_next(
        self, reply: Reply | None, failure: Failure | None, now: float, jitter: float
    ) -> float | None:
        """Count one attempt; return the seconds to wait before the next one, or None if it was the last."""
        self.made += 1
        if self._spec.once:
            return None
        if failure is not None:
            if not failure.retryable or not (self._spec.repeatable or failure.lost):
                return None
            reason = str(failure.error)
        else:
            assert reply is not None
            if reply.status not in RETRIED_STATUSES or (reply.status == 504 and not self._spec.repeatable):
                return None
            reason = f"{reply.status}"
        wait = self._retry.wait(self.made, now - self._started, reply.retry_after_s if reply else None, jitter)
        if wait is not None:
            log.warning("%s %s: %s; trying again in %.1f s", self._spec.method, self._spec.path, reason, wait)
        return wait

    def result(self, reply: Reply | None, failure: Failure | None) -> Reply:
        """Return the last reply, of any status.

        Raises:
            TransportError: no attempt got a reply.
        """
        if reply is not None:
            return reply
        assert failure is not None
        if self.made > 1:
            raise TransportError(f"{failure.error} (after {self.made} tries)")
        raise failure.error
