"""Middleware for every request: its id, one log line, its metrics, security headers for browsers, and its Host.

Plain ASGI, so that streams are not buffered and routes notice the end of a connection at once.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..observability import metrics
from .errors import ApiError
from .json_bodies import AT_END

log = structlog.get_logger("deepcompress.request")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
OPERATION_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths for load balancers and Prometheus, which use addresses and names of their own. They are logged as debug."""
ANY_HOST = "*"
KEPT_HOSTS = 64
"""Host headers whose check is kept: callers send the same ones repeatedly."""
_WILDCARD_ADDRESSES = frozenset({"0.0.0.0", "::", ""})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class RequestLoggingMiddleware:
    """ASGI middleware. An answer without its own content security policy gets one that allows nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; add headers to its answer, then write the log line and the metrics."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        status = 0
        sent = 0
        seconds = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent, seconds
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                present = {name.lower() for name, _ in headers}
                headers.append((b"x-request-id", request_id))
                headers.extend(pair for pair in (*_HEADERS, _NO_CONTENT_POLICY) if pair[0] not in present)
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)
            if not message.get("more_body", False) and message["type"] == "http.response.body":
                # The answer is sent; work in the background is not part of its time.
                seconds = time.perf_counter() - began

        # Routes bind fields of their request (run, step, ...) in the same context.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        at_end: list[Callable[[], Awaitable[None]]] = []
        scope[AT_END] = at_end
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._report(scope, status, sent, time.perf_counter() - began if seconds is None else seconds)
            for free in at_end:
                await free()

    def _report(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        # The route's pattern, not the path: the number of labels stays bounded.
        route = getattr(scope.get("route"), "path", "none")
        metrics.REQUESTS.labels(route, str(status)).inc()
        if not route.endswith("/events"):
            # No latency for streams: a stream lasts as long as its reader stays.
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        level = "debug" if route in OPERATION_PATHS else "warning" if status >= 500 else "info"
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


class AllowedHosts:
    """Host names that requests without a key may use: loopback names, the address listened on, and those configured.

    A configured name that begins with ``*.`` allows every name below the domain; ``*`` alone allows every host.
    """

    def __init__(self, configured: Iterable[str] = (), listen: str = "127.0.0.1") -> None:
        names = [normalise(name) for name in configured]
        self.any = ANY_HOST in names
        """True if the check is off."""
        self._domains = tuple(name[1:] for name in names if name.startswith("*."))
        self._names = {*_LOOPBACK_NAMES, *(name for name in names if "*" not in name)}
        if listen not in _WILDCARD_ADDRESSES:
            self._names.add(normalise(listen))
        self.allows = lru_cache(maxsize=KEPT_HOSTS)(self._allows)
        """Return True if the value of a Host header names an allowed host, with any port."""

    def _allows(self, host: str) -> bool:
        if self.any:
            return True
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = normalise(match[1])
        return name in self._names or _is_loopback(name) or name.endswith(self._domains)


def normalise(name: str) -> str:
    """Return a host name in lower case, without brackets and without the dot of the root domain."""
    return name.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _is_loopback(name: str) -> bool:
    """Return True for a name or an address of this machine beside `_LOOPBACK_NAMES`."""
    if name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class HostCheckMiddleware:
    """ASGI middleware that refuses requests whose Host is missing, repeated or not allowed.

    A page of another site can make the name of its own site resolve to this machine (DNS rebinding). For the browser
    the service is then the page's own origin, so only the Host header shows what happened. Requests that need no key
    must therefore name an allowed host. A key is not sent to a rebound name, so services with keys need no check.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, or answer 421."""
        if scope["type"] == "http" and scope["path"] not in OPERATION_PATHS:
            found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if len(found) != 1 or not self._hosts.allows(found[0]):
                await refusal().response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal() -> ApiError:
    """Return the 421 of a host that is not allowed. It does not repeat the host."""
    return ApiError(
        421,
        "host-not-allowed",
        "this service has no API keys and does not accept the Host of this request: list the names and addresses "
        "that clients use in DEEPCOMPRESS_ALLOWED_HOSTS (comma-separated), or set DEEPCOMPRESS_API_KEYS",
    )
