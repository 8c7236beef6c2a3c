"""The parts of the running app that routes use, and the FastAPI dependencies that return them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from deepcompress_verify import VerifierPool

from ..activity.recent import Activity
from ..activity.shared import SharedActivity
from ..difficulty.store import DifficultyStore
from ..observability.run_metrics import RunMetrics
from ..rendezvous import WaitingRoom
from ..scoring.pipeline import Pipeline
from ..scoring.slot import set_slot
from ..settings import Settings
from .admission import FairScheduler, InflightLimiter, KeyedSlots, Reservation
from .auth import Grant, KeyRing, require_same_origin
from .body import Arrivals, body_lines, count_structure, decoded, parse, read_body, too_large
from .errors import ApiError, abandoned
from .packed_rows import PackedRows

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine can connect to, or from."""
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
    pipeline: Pipeline
    activity: Activity
    inflight: InflightLimiter
    scheduler: FairScheduler
    read_scheduler: FairScheduler
    """For reads with large answers: few at once, API keys take turns."""
    exports: KeyedSlots
    keys: KeyRing
    waiting: WaitingRoom
    nemo_gym_rows: PackedRows
    shared_activity: SharedActivity
    run_metrics: RunMetrics
    arrivals: Arrivals
    draining: bool = False
    store_reason: str = ""
    """The reason that was last logged why the store cannot be used; empty while it can."""

    async def body(self, request: Request, reservation: Reservation, model: type[Model]) -> Model:
        """Read the request's body as a wire model, within the limits on its size and on its structure.

        Raises:
            ApiError: The body is too large, incomplete, or not valid.
        """
        raw = await read_body(request, self.settings.max_body_bytes, self.arrivals)
        structure = await decoded(partial(count_structure, raw), raw)
        most = self.settings.max_items + self.settings.max_groups
        if structure.objects > most + 1:
            raise too_large("the number of items", most)
        if structure.exceeds_limits:
            raise ApiError(413, "too-large", "the body has more fields and values than a request of its items has")
        reservation.resize(len(raw) + structure.memory)
        return await decoded(partial(parse, model, raw), raw)

    async def small_body(self, request: Request, model: type[Model]) -> Model:
        """Read the body of a request that sends no batch, as a wire model.

        Raises:
            ApiError: The body is too large, incomplete, or not valid.
        """
        with self.inflight.admit(request, SMALL_BODY):
            raw = await read_body(request, SMALL_BODY, self.arrivals)
            return await decoded(partial(parse, model, raw), raw)

    def body_lines(self, request: Request, longest: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of a body that may be larger than memory allows; `longest`: most bytes of a line."""
        settings = self.settings
        longest = min(longest or settings.max_body_bytes, settings.max_body_bytes)
        return body_lines(request, settings.max_import_bytes, longest, self.arrivals)


def app_context(request: Request) -> Context:
    """Return the app's context, for routes that need no key."""
    context: Context = request.app.state.context
    return context


async def get_grant(request: Request) -> Grant:
    """Check the API key and the origin, and return the sender's rights.

    Raises:
        ApiError: 401, 403 or 429 (`KeyRing.check`); 403 for a change requested by a page of another origin.
    """
    require_same_origin(request)
    context: Context = request.app.state.context
    grant = context.keys.check(request)
    # A key that reaches some runs only has a share of the requests in progress, so that it leaves room for others.
    request.state.share = grant.name if context.keys.requires_key and not is_operator(request, context, grant) else ""
    return grant


GrantDep = Annotated[Grant, Depends(get_grant)]


async def get_context(request: Request, _grant: GrantDep) -> Context:
    """Return the app's context, after the API key was checked."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]


def is_operator(request: Request, context: Context, grant: Grant) -> bool:
    """Return True for a caller for whom places are reserved: with a key for everything, or without keys from here."""
    if context.keys.requires_key:
        return grant.access == "full" and not grant.runs
    return request.client is None or request.client.host in LOOPBACK


async def run_scheduled(
    request: Request,
    context: Context,
    run: str | None,
    reservation: Reservation,
    work: Callable[[], Coroutine[Any, Any, T]],
) -> T:
    """Do the work when the run has a slot; cancel it if the client disconnects.

    Raises:
        ApiError: 429, if the run has too many requests waiting.
    """

    async def wait_and_work() -> T:
        async with context.scheduler.slot(run or "", reservation.weight) as slot:
            if context.pipeline.remote_names:  # only remote checks are awaited without it
                set_slot(slot.given_up)
            return await work()

    return await cancel_on_disconnect(request, wait_and_work())


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work; cancel it if the client disconnects.

    Raises:
        ApiError: 499, if the client disconnected.
    """
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise abandoned()
        return task.result()
    finally:
        task.cancel()
        disconnected.cancel()


async def _disconnected(request: Request) -> None:
    # The body was read to its end before, so the next message can only be the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
