"""The dependencies of the routes: the parts of the running app, the rights of the caller, and a turn for the work."""

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
from ..admission.limits import AdmissionError, FairScheduler, InflightLimiter, KeyedSlots, Reservation
from ..difficulty.store import DifficultyStore
from ..observability.run_metrics import RunMetrics
from ..rendezvous import WaitingRoom
from ..scoring.pipeline import Pipeline
from ..settings import Settings
from .auth import ANONYMOUS, Grant, KeyRing
from .body_lines import body_lines
from .errors import ApiError, abandoned
from .json_bodies import Arrivals, decoded, parse, read_body
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
    keys: KeyRing | None
    """The API keys; None: every caller may read and change every run."""
    waiting: WaitingRoom
    nemo_gym_rows: PackedRows
    shared_activity: SharedActivity
    run_metrics: RunMetrics
    arrivals: Arrivals
    draining: bool = False
    store_reason: str = ""
    """The reason that was last logged why the store cannot be used; empty while it can."""

    async def small_body(self, request: Request, grant: Grant, model: type[Model]) -> Model:
        """Read the body of a request that sends no batch, as a wire model.

        Raises:
            ApiError: The body is too large, incomplete, or not valid.
        """
        with self.inflight.admit(request, grant.share, SMALL_BODY):
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
    if "origin" in request.headers:
        require_same_origin(request)
    keys: KeyRing | None = request.app.state.context.keys
    if keys is None:
        return ANONYMOUS
    return keys.check(request)


GrantDep = Annotated[Grant, Depends(get_grant)]


async def get_context(request: Request, _grant: GrantDep) -> Context:
    """Return the app's context, after the API key was checked."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]


def require_same_origin(request: Request) -> None:
    """Check that a request that changes something comes from no page of another origin, with or without keys.

    Raises:
        ApiError: 403, if its Origin is of another host or scheme, or it has several.
    """
    if request.method in ("GET", "HEAD"):
        return
    origins = request.headers.getlist("origin")
    hosts = request.headers.getlist("host")
    # The scheme is the browser's: a proxy may end TLS.
    if len(origins) > 1 or len(hosts) != 1 or origins[0] not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
        raise ApiError(403, "cross-origin", "requests from pages of other origins are refused")


def is_operator(request: Request, context: Context, grant: Grant) -> bool:
    """Return True for a caller for whom places are reserved: with a key for everything, or without keys from here."""
    if context.keys is not None:
        return grant.access == "full" and not grant.runs
    return request.client is None or request.client.host in LOOPBACK


def check_waiting_room(context: Context, grant: Grant) -> None:
    """Check that the request's rollout may wait for its group.

    Raises:
        AdmissionError: Too many rollouts wait, or the key's share is used up.
    """
    if slug := context.waiting.refusal(grant.share):
        raise AdmissionError(slug, "too many rollouts wait for their groups: send the same request again later")


async def run_scheduled(
    request: Request,
    context: Context,
    run: str | None,
    reservation: Reservation,
    work: Callable[[], Coroutine[Any, Any, T]],
) -> T:
    """Do the work when the run has a slot; cancel it if the client disconnects.

    Raises:
        AdmissionError: The run has too many requests waiting.
    """

    async def wait_and_work() -> T:
        async with context.scheduler.slot(run or "", reservation.weight):
            return await work()

    return await cancel_on_disconnect(request, wait_and_work())


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work; cancel it if the client disconnects.

    Raises:
        ApiError: 499, if the client disconnected.
    """
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(request))
    disconnected.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if disconnected.done() and not disconnected.cancelled():
            raise abandoned() from None
        raise
    finally:
        disconnected.cancel()


async def _disconnected(request: Request) -> None:
    # The body was read to its end before, so the next message can only be the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
