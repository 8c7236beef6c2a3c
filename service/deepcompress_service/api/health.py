"""Routes for operators: liveness, readiness and metrics."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from ..difficulty.errors import DifficultyError
from ..observability import metrics
from .context import Context, ContextDep, GrantDep, app_context

router = APIRouter(tags=["service"])


NO_DETAILS = "the state store cannot be used; the log has the reason, and so has this page for a valid key"
log = logging.getLogger("deepcompress.health")


@dataclass(frozen=True, slots=True)
class Readiness:
    """The result of the readiness checks: ready if `why` is empty."""

    why: dict[str, str]
    """The reason for each part that is not ready."""
    store_error: str | None
    """The slug of the store's error; None if it answers."""


async def readiness(context: Context) -> Readiness:
    """Check the store and the verifier's workers."""
    why: dict[str, str] = {}
    store_error = None
    if context.draining:
        why["service"] = "draining: it is being stopped"
    try:
        await context.store.ping()
        context.store_reason = ""
    except DifficultyError as error:
        why["store"] = str(error)
        if context.store_reason != why["store"]:
            log.warning("not ready: %s", why["store"])
        context.store_reason = why["store"]
        store_error = error.slug
    if context.pool.stats().alive == 0:
        why["verifier"] = "no worker is alive"
    return Readiness(why, store_error)


@router.get("/healthz", summary="The process is alive")
async def healthz() -> dict[str, str]:
    """Answer 200 while the process can answer at all."""
    return {"status": "ok"}


@router.get("/readyz", summary="The service can do its work")
async def readyz(request: Request) -> Response:
    """Answer 200 if a training request would be served now, else 503 with the reasons.

    The store's reason has paths and addresses: without a valid key, where keys are set, it is only in the log.
    """
    context = app_context(request)
    why = (await readiness(context)).why
    if "store" in why and context.keys is not None and not context.keys.accepts(request):
        why["store"] = NO_DETAILS
    body = {"ready": not why, "why": why, "verifier_workers": context.pool.stats().alive}
    headers = {"Retry-After": "1"} if why else {}
    return Response(orjson.dumps(body), 503 if why else 200, headers=headers, media_type="application/json")


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics_page(context: ContextDep, grant: GrantDep) -> Response:
    """Return the metrics of all worker processes, and of the runs that the key may read, in Prometheus' format."""
    families = await context.run_metrics.families(grant.allows_run)
    page, content_type = metrics.exposition(families)
    return Response(page, headers={"Content-Type": content_type})
