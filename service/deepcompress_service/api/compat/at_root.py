"""NeMo Gym's paths at the root of the address, for the setting `nemo_gym`: no proxy is needed in front."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

PATHS = frozenset({"/verify", "/seed_session", "/close_session", "/aggregate_metrics", "/reverify_mode"})
"""The paths of a resources server."""


class NemoGymAtRoot:
    """ASGI middleware: gives NeMo Gym's paths the prefix of its endpoints, and /verify the query of the setting."""

    def __init__(self, app: ASGIApp, query: str) -> None:
        self._app = app
        self._query = query.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app."""
        if scope["type"] == "http" and scope["path"] in PATHS:
            path = f"/compat/nemo_gym{scope['path']}"
            scope = {**scope, "path": path, "raw_path": path.encode()}
            if path.endswith("/verify"):
                # The last value of a name holds, so a caller cannot replace those of the setting.
                scope["query_string"] = b"&".join(filter(None, (scope.get("query_string", b""), self._query)))
        await self._app(scope, receive, send)
