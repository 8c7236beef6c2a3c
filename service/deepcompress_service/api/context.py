"""What every route needs of the running app, and how it gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from deepcompress_verify import VerifierPool

from ..activity.shared import SharedActivity
from ..difficulty.store import DifficultyStore
from ..observability.run_metrics import RunMetrics
from ..rendezvous import WaitingRoom
from ..settings import Settings
from .admission import Door, Gate
from .auth import Grant, KeyRing
from .body import body_lines, parse, read_body, too_large
from .errors import ApiError, abandoned
from .rewards import RewardService
from .structure import structure_of

SMALL_BODY = 1 << 20
"""Largest body of a request that sends no batch: a configuration, a name, a step."""

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """The parts of one running app."""

    settings: Settings
    store: DifficultyStore
    pool: VerifierPool
    rewards: RewardService
    door: Door
    gate: Gate
    reading: Gate
    """For reads whose answers may be large: few at once, runs take turns."""
    keys: KeyRing
    waiting: WaitingRoom
    windows: SharedActivity
    run_metrics: RunMetrics
    draining: bool = False

    async def body(self, request: Request, model: type[Model]) -> Model:
        """The request's body as a wire model."""
        raw = await self.raw_body(request)
        self._bound(request, raw)
        return parse(model, raw)

    async def small_body(self, request: Request, model: type[Model]) -> Model:
        """The body of a request that sends no batch, as a wire model; through the door, as all bodies go."""
        with self.door.enter(request, SMALL_BODY):
            return parse(model, await read_body(request, SMALL_BODY, self.settings.body_timeout_seconds))

    def _bound(self, request: Request, raw: bytes | bytearray) -> None:
        """Refuse what would take too much memory to parse; the request's place then weighs what it will take."""
        found = structure_of(raw)
        most = self.settings.max_items + self.settings.max_groups
        if found.objects > most + 1:
            raise too_large("the number of items", most)
        if found.crowded:
            raise ApiError(413, "too-large", "the body has more fields and values than a request of its items has")
        request.state.place.weigh(len(raw) + found.memory)

    def body_lines(self, request: Request) -> AsyncIterator[str]:
        """The lines of a body that may be larger than what is held."""
        settings = self.settings
        return body_lines(request, settings.max_import_bytes, settings.max_body_bytes, settings.body_timeout_seconds)

    async def raw_body(self, request: Request) -> bytes | bytearray:
        """The request's body, decompressed."""
        return await read_body(request, self.settings.max_body_bytes, self.settings.body_timeout_seconds)


def context_of(request: Request) -> Context:
    """The app's context, after the API key was checked."""
    context: Context = request.app.state.context
    _refuse_cross_origin(request)
    request.state.grant = context.keys.check(request)
    return context


def _refuse_cross_origin(request: Request) -> None:
    """A page of another origin must not make a browser change anything here, keys or not."""
    origin = request.headers.get("origin")
    if origin is None or request.method in ("GET", "HEAD"):
        return
    if origin.partition("://")[2] != request.headers.get("host"):
        raise ApiError(403, "cross-origin", "requests from pages of other origins are refused")


def grant_of(request: Request) -> Grant:
    """What the sender of this request may do."""
    grant: Grant = request.state.grant
    return grant


In = Annotated[Context, Depends(context_of)]


async def in_turn(
    request: Request, context: Context, run: str | None, work: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """The result of the work, done when it is the run's turn; given up, and its place in the line with it, when
    the caller hangs up. Raises a 429 ApiError where the run's line is full."""

    async def wait_and_work() -> T:
        async with context.gate.turn(run or "", request.state.place.weight):
            return await work()

    return await unless_abandoned(request, wait_and_work())


async def unless_abandoned(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; given up when the caller hangs up, so that nobody's answer costs nobody's time."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise abandoned()
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    # The body was read whole before, so the next message can only be the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
