"""Check of the Host and Origin headers: which pages in a browser may use the service.

A page of another site can make the name of its own site resolve to this machine (DNS rebinding). For the browser the
service is then the page's own origin, so only the Host header shows what happened. Requests that need no key must
therefore name an allowed host. A key is not sent to a rebound name, so services with keys need no such check.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ApiError

EXEMPT_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths for load balancers and Prometheus, which use addresses and names of their own."""
ANY_HOST = "*"
_WILDCARD_ADDRESSES = frozenset({"0.0.0.0", "::", ""})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


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

    def allows(self, host: str) -> bool:
        """Return True if the value of a Host header names an allowed host, with any port."""
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
    """ASGI middleware that refuses requests whose Host is missing, repeated or not allowed."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app, or answer 421."""
        if scope["type"] == "http" and scope["path"] not in EXEMPT_PATHS:
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


def require_same_origin(request: Request) -> None:
    """Check that a request that changes something comes from no page of another origin, with or without keys.

    Raises:
        ApiError: 403, if it has an Origin of another host or scheme, or several.
    """
    origins = request.headers.getlist("origin")
    if not origins or request.method in ("GET", "HEAD"):
        return
    hosts = request.headers.getlist("host")
    # The scheme is the browser's: a proxy may end TLS.
    if len(origins) > 1 or len(hosts) != 1 or origins[0] not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
        raise ApiError(403, "cross-origin", "requests from pages of other origins are refused")
