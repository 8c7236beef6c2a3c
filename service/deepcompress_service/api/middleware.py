"""Middleware for every request: its id, one log line, its metrics, and security headers for browsers.

Plain ASGI, so that streams are not buffered and routes notice the end of a connection at once.
"""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..observability import metrics

log = structlog.get_logger("deepcompress.request")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestLoggingMiddleware:
    """ASGI middleware. An answer without its own content security policy gets one that allows nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; add headers to its answer, then write the log line and the metrics."""
        """Run the app; add headers to its answer, then write the log line and the metrics."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        status = 0
        sent = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                headers.append((b"x-request-id", request_id))
                headers.extend(pair for pair in (*_HEADERS, _NO_CONTENT_POLICY) if pair[0] not in present)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        # Routes bind fields of their request (run, step, ...) in the same context.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._report(scope, status, sent, time.perf_counter() - began)

    def _report(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        # The route's pattern, not the path: the number of labels stays bounded.
        route = getattr(scope.get("route"), "path", "none")
        metrics.REQUESTS.labels(route, str(status)).inc()
        if not route.endswith("/events"):
            # No latency for streams: a stream lasts as long as its reader stays.
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        level = "debug" if route in _QUIET else "warning" if status >= 500 else "info"
        getattr(log, level)(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            bytes_sent=sent,
        )


def _request_id(scope: Scope) -> bytes:
    """Return the caller's X-Request-ID if it has only safe characters, else a new id."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(8).encode()
