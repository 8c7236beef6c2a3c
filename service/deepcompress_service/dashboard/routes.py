"""Routes of the dashboard: the page, its files, and its event streams."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from deepcompress_client.wire import RunName

from ..activity.recent import RunActivity
from ..admission.limits import KeyedSlots
from ..api.auth import Grant
from ..api.context import Context, ContextDep, GrantDep, is_operator
from ..api.errors import ApiError
from ..api.run_rows import problem_row
from ..api.runs import Run
from ..observability import metrics
from .board import EVERY, Board, TimedCache
from .health import health
from .run_list import Order, RunQuery
from .stream import CardStream, CompareStream, RunStream, event

router = APIRouter(include_in_schema=False)

MAX_VIEWERS = 128
"""Most open streams of one process. A comparison counts as many times as it has runs: the snapshots of all runs that
are shown at once are in memory (`board.MAX_STEPS`)."""
VIEWERS_PER_KEY = 32
"""Most of them with one API key that is not an operator's (`api.context.is_operator`)."""
RESERVED_VIEWERS = 16
"""Those that are left to operators, so that their dashboards always get a stream."""
MAX_COMPARED = 8
"""Most runs in one comparison."""
KEY_CHECK_S = 15.0
"""Seconds between two checks of a stream's key. A stream ends when its key is no longer valid."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # The page's scripts cannot turn a string into markup or code.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_STATIC = resources.files(__package__) / "static"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}


@lru_cache(maxsize=64)
def _file(name: str) -> tuple[bytes, str, str] | None:
    """Return content, content type and entity tag of a file of the page; None if there is no such file."""
    parts = name.split("/")
    if any(not part or part.startswith(".") or "\\" in part for part in parts):
        return None
    path = _STATIC.joinpath(*parts)
    kind = _TYPES.get(parts[-1].rpartition(".")[2])
    if kind is None or not path.is_file():
        return None
    content = path.read_bytes()
    return content, kind, f'"{hashlib.sha256(content).hexdigest()[:24]}"'


def _answer(request: Request, name: str) -> Response:
    file = _file(name)
    if file is None:
        raise ApiError(404, "not-found", "the dashboard has no such file")
    content, kind, tag = file
    # Browsers revalidate the file each time, so a new version of the service takes effect at once.
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": kind})


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page. It contains no data, so it needs no key."""
    return _answer(request, "index.html")


@router.get("/dashboard/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """Return a script, style or image of the page."""
    return _answer(request, name)


@router.get("/dashboard/events")
async def all_events(
    request: Request,
    context: ContextDep,
    grant: GrantDep,
    search: Annotated[str, Query(max_length=200)] = "",
    sort: Order = "-changed",
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
) -> Response:
    """Stream one page of the list of the runs that the key gives access to."""
    viewers = _viewers(request)
    stream = CardStream(viewers.board, grant.allows_run, RunQuery(search, sort, page))

    async def parts() -> list[bytes]:
        return [part async for part in stream.events(await viewers.activity(""))]

    return _streamed(request, context, grant, parts)


@router.get("/dashboard/compare/events")
async def compare_events(
    request: Request,
    context: ContextDep,
    grant: GrantDep,
    run: Annotated[list[RunName], Query(min_length=1, max_length=MAX_COMPARED)],
) -> Response:
    """Stream what is drawn over steps of several runs."""
    for name in run:
        grant.require_run(name)
    viewers = _viewers(request)
    stream = CompareStream({name: viewers.board.run(name) for name in run})

    async def parts() -> list[bytes]:
        activities = {name: await viewers.activity(name) for name in run}
        return [part async for part in stream.events(activities)]

    return _streamed(request, context, grant, parts, places=len(run))


@router.get("/dashboard/runs/{run}/events")
async def run_events(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Stream one run."""
    viewers = _viewers(request)
    stream = RunStream(viewers.board.run(run))

    async def parts() -> list[bytes]:
        return [part async for part in stream.events(await viewers.activity(run))]

    return _streamed(request, context, grant, parts)


@router.get("/dashboard/runs/{run}/problem")
async def problem_course(run: Run, context: ContextDep, problem: Annotated[str, Query(max_length=512)]) -> Response:
    """Return the state of one problem after each kept step that has it."""
    course = await context.store.problem_course(run, problem)
    return Response(orjson.dumps({"steps": [problem_row(state) for state in course]}), media_type="application/json")


def _too_many_viewers() -> ApiError:
    metrics.REJECTED.labels("too-many-viewers").inc()
    return ApiError(503, "too-many-viewers", "too many pages are open on this process", retry_after=5)


class Viewers:
    """The open streams of one process, and their shared snapshots."""

    def __init__(self, context: Context) -> None:
        self.board = Board(context.store)
        self._places = KeyedSlots(MAX_VIEWERS, VIEWERS_PER_KEY, RESERVED_VIEWERS, _too_many_viewers)
        self.health = TimedCache(lambda: health(context, self.count), EVERY)
        self._activity: OrderedDict[str, TimedCache[RunActivity | None]] = OrderedDict()
        self._context = context

    @property
    def count(self) -> int:
        """Number of open streams; a comparison counts as many times as it has runs."""
        return self._places.count

    @contextmanager
    def admit(self, key: str, operator: bool, places: int) -> Iterator[None]:
        """Count one viewer of `places` runs until the block ends.

        Raises:
            ApiError: 503 `too-many-viewers` if too many streams are open, in the process or with this key, or if the
                process is shutting down.
        """
        if self._context.draining:
            raise _too_many_viewers()
        with self._places.admit(key, operator=operator, places=places):
            yield

    async def activity(self, run: str) -> RunActivity | None:
        """Return the recent activity of a run in all processes of this server; "" for verdicts without a run."""
        shared = self._activity.get(run)
        if shared is None:
            shared = self._activity[run] = TimedCache(lambda: self._context.shared_activity.of(run), EVERY)
        self._activity.move_to_end(run)
        while len(self._activity) > MAX_VIEWERS:
            self._activity.popitem(last=False)
        return await shared.get()


def _viewers(request: Request) -> Viewers:
    viewers: Viewers = request.app.state.viewers
    return viewers


class _EventStream(StreamingResponse):
    """A response that counts as a viewer from its start to its end, also if the client leaves early."""

    def __init__(self, viewers: Viewers, body: AsyncIterator[bytes], key: str, operator: bool, places: int) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._viewers, self._key, self._operator, self._runs = viewers, key, operator, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._viewers.admit(self._key, self._operator, self._runs):
            await super().__call__(scope, receive, send)


def _streamed(
    request: Request,
    context: Context,
    grant: Grant,
    changes: Callable[[], Awaitable[list[bytes]]],
    places: int = 1,
) -> Response:
    viewers = _viewers(request)

    async def body() -> AsyncIterator[bytes]:
        checked = time.monotonic()
        yield event("viewer", {"may_write": grant.access == "full"})
        try:
            while not context.draining:
                parts = await changes()
                # Sent every time, also unchanged: the page shows a stream without events as lost.
                parts.append(event("health", await viewers.health.get()))
                yield b"".join(parts)
                await asyncio.sleep(EVERY)
                if time.monotonic() - checked > KEY_CHECK_S:
                    checked = time.monotonic()
                    if context.keys is not None and context.keys.check(request) != grant:
                        return
        except ApiError:
            return

    return _EventStream(viewers, body(), grant.name, is_operator(request, context, grant), places)
