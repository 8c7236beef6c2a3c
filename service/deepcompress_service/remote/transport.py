"""One HTTP exchange with an endpoint, bounded in time and in bytes. No redirect, proxy, cookie or compression."""

from __future__ import annotations

import asyncio
from http.cookiejar import DefaultCookiePolicy

import httpx

from .endpoints import Endpoint
from .judge import judge_url
from .protocol import MAX_ANSWER_BYTES, Outcome

RETRIED = frozenset({429, 502, 503, 504})
CONNECT_SECONDS = 5.0


class ExchangeError(Exception):
    """An exchange that gave no answer."""

    def __init__(self, outcome: Outcome, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.again = again
        """True if another attempt may succeed."""


def open_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """Return the endpoint's own HTTP client. Names are resolved at each new connection."""
    headers = {**endpoint.headers, "content-type": "application/json", "accept-encoding": "identity"}
    if endpoint.token is not None:
        headers["authorization"] = f"Bearer {endpoint.token}"
    seconds = endpoint.timeout_seconds
    client = httpx.AsyncClient(
        headers=headers,
        timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
        limits=httpx.Limits(max_connections=endpoint.concurrency, max_keepalive_connections=endpoint.concurrency),
        follow_redirects=False,
        trust_env=False,
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


async def exchange(client: httpx.AsyncClient, endpoint: Endpoint, content: bytes) -> bytes:
    """Send one request and return the body of its answer.

    Raises:
        ExchangeError: There was no answer with status 200 in time and within the bounds.
    """
    url = judge_url(endpoint.url) if endpoint.kind == "judge" else endpoint.url
    try:
        async with asyncio.timeout(endpoint.timeout_seconds), client.stream("POST", url, content=content) as reply:
            if reply.status_code != 200:
                code = reply.status_code
                raise ExchangeError("status", f"the endpoint answered with status {code}", again=code in RETRIED)
            if reply.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
                raise ExchangeError("malformed", "the endpoint's answer is compressed", again=False)
            body = bytearray()
            async for piece in reply.aiter_raw():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    reason = f"the endpoint's answer has more than {MAX_ANSWER_BYTES} bytes"
                    raise ExchangeError("malformed", reason, again=False)
            return bytes(body)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason = f"there is no connection to the endpoint: {type(error).__name__}"
        raise ExchangeError("unreachable", reason, again=True) from None
    except (TimeoutError, httpx.TimeoutException):
        reason = f"the endpoint did not answer within {endpoint.timeout_seconds:g} s"
        raise ExchangeError("timeout", reason, again=False) from None
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        reason = f"the endpoint closed the connection or broke the protocol: {type(error).__name__}"
        raise ExchangeError("disconnected", reason, again=True) from None
