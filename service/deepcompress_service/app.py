"""The application: creates its parts, starts them, and stops them in order."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from importlib import metadata, resources
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from deepcompress_verify import VerifierPool
from deepcompress_verify.checkers import checker_names
from deepcompress_verify.pool import DECIDE_MEMORY_BYTES
from deepcompress_verify.process_lifetime import end_with_supervisor

from . import dashboard
from .activity.recent import Activity
from .activity.recorder import ActivityRecorder
from .activity.shared import SharedActivity
from .admission.collections import collect_rarely
from .admission.limits import FairScheduler, InflightLimiter, KeyedSlots
from .api import compat, curriculum, descriptions, errors, health, rollouts, runs, score
from .api.auth import KeyRing
from .api.context import LOOPBACK, Context, ContextDep
from .api.json_bodies import Arrivals
from .api.middleware import AllowedHosts, HostCheckMiddleware, RequestLoggingMiddleware
from .api.packed_rows import PackedRows
from .difficulty.errors import StoreTooNew, StoreUnavailable
from .difficulty.retention import DAY_S
from .difficulty.store import DifficultyStore, open_store
from .observability import logs, metrics, tracing
from .observability.run_metrics import RunMetrics
from .remote import RemoteCheckers, read_endpoints
from .rendezvous import WaitingRoom, open_rendezvous
from .scoring.pipeline import Pipeline
from .server.background import housekeeping_task
from .server.exit_deadline import BODIES_S, CLOSE_S, OVERDUE_STATUS, REQUESTS_S, THREADS_S, exit_within
from .server.expiry import expiry_task
from .server.memory import keep_freed_memory
from .server.memory_plan import container_limit, plan_memory
from .settings import Settings, read_secret, unknown_variables

log = logging.getLogger("deepcompress.app")

READS_AT_ONCE = 4
"""Lists, histories and pages of problems that are read at once; each may read a hundred thousand rows."""
EXPORTS = 8
"""Exports that are open at once in one process; each has a connection to the store, and a snapshot of it."""
EXPORTS_PER_KEY = 2
RESERVED_EXPORTS = 2


def create_app(settings: Settings | None = None, activity_folder: Path | None = None) -> FastAPI:
    """Return the service as an ASGI app.

    By default the settings come from the environment. `activity_folder` is shared by the worker processes of one
    server, for their recent activity; None for a single process.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        keep_freed_memory()
        logs.configure(settings.log_format, settings.log_level)
        keys = _read_keys(settings) if settings.requires_key else None
        _log_access(keys, settings)
        observations_s = settings.observation_ttl_days * DAY_S
        store = open_store(settings.store_url, observations_s=observations_s, **_store_options(settings))
        endpoints = read_endpoints(settings.remote_checkers_file, checker_names())
        if endpoints:
            log.info("remote checkers: %s", ", ".join(endpoints))
        memory = plan_memory(settings, container_limit(), DECIDE_MEMORY_BYTES)
        (log.info if memory.fits else log.warning)(memory.describe())
        pool = VerifierPool(
            workers=settings.verifier_workers,
            item_budget_s=settings.item_cpu_seconds,
            batch_budget_s=settings.batch_cpu_seconds,
            memory_bytes=memory.verifier,
            max_text_chars=settings.max_text_chars,
        )
        rendezvous = open_rendezvous(settings.store_url, **_store_options(settings))
        if settings.has_failover and not settings.store_replicas:
            log.warning("DEEPCOMPRESS_STORE_REPLICAS=0: acknowledged groups may be lost at a failover")
        for opening in (store.open(), rendezvous.open()):
            await _try_to_open(opening)
        await _log_risks(store)
        await pool.start()
        remote = RemoteCheckers(endpoints, metrics.RemoteMeter())
        activity = Activity()
        shared_activity = SharedActivity(activity, activity_folder)
        app.state.context = Context(
            settings=settings,
            store=store,
            pool=pool,
            pipeline=Pipeline(settings, store, pool, ActivityRecorder(activity), remote),
            activity=activity,
            inflight=InflightLimiter(
                settings.max_inflight_requests, settings.max_inflight_body_bytes, settings.max_body_bytes
            ),
            scheduler=FairScheduler(
                settings.max_active, settings.max_waiting_per_run, settings.max_inflight_body_bytes // 2
            ),
            read_scheduler=FairScheduler(
                READS_AT_ONCE, settings.max_waiting_per_run, settings.max_inflight_body_bytes
            ),
            exports=KeyedSlots(EXPORTS, EXPORTS_PER_KEY, RESERVED_EXPORTS, runs.too_many_exports),
            keys=keys,
            nemo_gym_rows=PackedRows(),
            waiting=WaitingRoom(rendezvous, settings.max_waiting_rollouts),
            shared_activity=shared_activity,
            run_metrics=RunMetrics(store, shared_activity),
            arrivals=Arrivals(settings.body_timeout_seconds),
        )
        app.state.viewers = dashboard.Viewers(app.state.context)
        collect_rarely()
        _drain_on_sigterm(app.state.context, settings.drain_seconds)
        try:
            async with housekeeping_task(app.state.context), expiry_task(store, settings):
                yield
        finally:
            stopped_by_signal, app.state.context.draining = app.state.context.draining, True
            await pool.close()
            await remote.close()
            await rendezvous.close()
            await store.close()
            if stopped_by_signal:
                exit_within(THREADS_S, 0, "waiting for threads after everything was closed")

    app = FastAPI(
        title="deepcompress",
        version=metadata.version("deepcompress-reward"),
        summary="Checks answers and returns adaptive length rewards for reinforcement learning.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would repeat the Host of the request
    )
    errors.install(app)
    app.include_router(score.router, responses=errors.DOCUMENTED)
    app.include_router(rollouts.router, responses=errors.DOCUMENTED)
    app.include_router(runs.router, responses=errors.DOCUMENTED)
    app.include_router(curriculum.router, responses=errors.DOCUMENTED)
    app.include_router(compat.router, responses=errors.DOCUMENTED)
    app.include_router(health.router)
    app.include_router(dashboard.router)
    _install_docs(app)
    if settings.nemo_gym is not None:
        app.add_middleware(compat.NemoGymAtRoot, query=settings.nemo_gym)
    hosts = AllowedHosts(settings.allowed_hosts, settings.host)
    if not (settings.requires_key or hosts.any):
        app.add_middleware(HostCheckMiddleware, hosts=hosts)
    app.add_middleware(RequestLoggingMiddleware)
    if settings.tracing:
        tracing.install(app)
    return app


async def _try_to_open(opening: Awaitable[None]) -> None:
    """Open a store. The service starts also if it cannot be reached yet: it is used as soon as it can.

    Until then /readyz reports the reason, and verify works.

    Raises:
        StoreTooNew: A newer version of the service wrote the store.
    """
    try:
        await opening
    except StoreUnavailable as error:
        log.error("the state store cannot be used yet: %s. Training requests get 503 until it can.", error)
    except StoreTooNew as error:
        log.critical("the state store cannot be used: %s", error.detail)
        raise


async def _log_risks(store: DifficultyStore) -> None:
    """Log the risks of the store's own settings. For a store that is reached later, /readyz checks them."""
    with suppress(StoreUnavailable, StoreTooNew):
        for risk in await store.risks():
            log.warning(risk)


def _read_keys(settings: Settings) -> KeyRing:
    metrics_key = read_secret(settings.metrics_key_file) if settings.metrics_key_file is not None else None
    return KeyRing(settings.api_keys, settings.api_keys_file, settings.key_requests_per_second, metrics_key)


def _log_access(keys: KeyRing | None, settings: Settings) -> None:
    """Log who may do what, and the variables that look like settings and are none.

    Without keys it is a warning, unless only this machine can connect.
    """
    if keys is not None:
        log.info(keys.describe())
    else:
        level = logging.INFO if settings.host in LOOPBACK else logging.WARNING
        log.log(level, "no API keys are set: every caller may read and change every run")
        if AllowedHosts(settings.allowed_hosts).any:
            log.warning("DEEPCOMPRESS_ALLOWED_HOSTS=*: a page of any site can use the service by DNS rebinding")
    for name, _ in unknown_variables():
        log.warning("%s is no setting and has no effect", name)
    if "DEEPCOMPRESS_API_KEY" in os.environ and keys is None:
        log.warning("DEEPCOMPRESS_API_KEY is the client's key; the service reads DEEPCOMPRESS_API_KEYS")


def _store_options(settings: Settings) -> dict[str, Any]:
    scheme = settings.store_url.partition(":")[0]
    if scheme == "memory":
        return {}
    options: dict[str, Any] = {"timeout_s": settings.store_timeout_seconds}
    if scheme.startswith("redis"):
        options["replicas"] = settings.store_replicas
    return options


def _drain_on_sigterm(context: Context, delay: float) -> None:
    """Install a handler that reports "not ready" on SIGTERM, and lets the server stop `delay` seconds later.

    In between a load balancer notices and sends new requests elsewhere. Requests in progress finish.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # an embedded server: the program that embeds it stops it
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        if not context.draining:
            exit_within(delay + REQUESTS_S + CLOSE_S, OVERDUE_STATUS, "stopping")
        context.draining = True

        def end() -> None:
            context.arrivals.stop_within(BODIES_S)
            context.waiting.stopping = True
            if callable(stop):
                stop(number, frame)

        loop.call_soon_threadsafe(loop.call_later, delay, end)

    signal.signal(signal.SIGTERM, drain)
    end_with_supervisor()


def _install_docs(app: FastAPI) -> None:
    """Install Swagger UI from a Python package, so that the page loads nothing from other hosts."""
    assets = resources.files("fastapi_swagger") / "resources"
    app.mount("/docs/assets", StaticFiles(directory=str(assets)), name="docs-assets")

    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="deepcompress API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    # The page's own inline script is allowed by its hash; no other is.
    script = bytes(page.body).split(b"<script>", 1)[1].split(b"</script>", 1)[0]
    allowed = base64.b64encode(hashlib.sha256(script).digest()).decode()
    page.headers["content-security-policy"] = (
        f"default-src 'self'; script-src 'self' 'sha256-{allowed}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    )

    @app.get("/docs", include_in_schema=False)
    async def docs(_context: ContextDep) -> Response:
        return page

    @app.get("/openapi.json", include_in_schema=False)
    async def description(_context: ContextDep) -> dict[str, Any]:
        return app.openapi()

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            descriptions.complete(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
