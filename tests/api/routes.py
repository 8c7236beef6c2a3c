"""Every route of the app, found in the app itself, so that tests of all routes meet a new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi.testclient import TestClient


def walked(some: Iterable[Any]) -> Iterator[Any]:
    """The routes, those of included routers among them (recent versions of FastAPI keep these apart)."""
    for route in some:
        inner = getattr(route, "effective_candidates", None)
        yield from [route] if inner is None else walked(inner())


def routes(service: TestClient) -> list[tuple[str, str]]:
    """(method, path) of every route of the app, also of those that its description leaves out."""
    names = {"{run}": "loop", "{name}": "one", "{problem_id}": "p", "{problem_id:path}": "p", "{name:path}": "one"}
    found = []
    for route in walked(service.app.routes):  # type: ignore[attr-defined]
        methods, path = getattr(route, "methods", None), route.path
        for name, given in names.items():
            path = path.replace(name, given)
        assert "{" not in path, "a new parameter needs a value here"
        if methods and "events" not in path:  # a stream has no end and reads no body
            found += [(method, path) for method in methods - {"HEAD"}]
    assert ("GET", "/compat/roll/task_result") in found
    return sorted(found)
