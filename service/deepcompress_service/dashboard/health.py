"""State of the service for the page: of the process that answers, and of its store."""

from __future__ import annotations

import os
import socket
import time
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from ..api.context import Context
from ..api.health import readiness

_STARTED = time.time()
_VERSION = metadata.version("deepcompress-reward")


async def health(context: Context, viewers: int) -> dict[str, Any]:
    """Return readiness, work in progress, and the response time of the store in milliseconds."""
    began = time.perf_counter()
    ready = await readiness(context)
    store_ms = (time.perf_counter() - began) * 1000
    pool = context.pool.stats()
    return {
        "ready": not ready.why,
        "draining": context.draining,
        "version": _VERSION,
        "process": f"{socket.gethostname()}:{os.getpid()}",
        "uptime_s": time.time() - _STARTED,
        "store": {
            # Only the scheme: the rest of the URL may contain a password.
            "kind": urlsplit(context.settings.state_url).scheme,
            "error": ready.store_error,
            "ms": store_ms,
        },
        "verifier": {
            "workers": pool.workers,
            "alive": pool.alive,
            "cas_workers": pool.cas_workers,
            "cas_alive": pool.cas_alive,
            "queued": pool.queued,
            "checked": pool.checked,
            "undecided": pool.undecided,
            "killed": pool.killed,
            "crashed": pool.crashed,
        },
        "requests": {
            "inside": context.inflight.requests,
            "most": context.settings.max_inflight_requests,
            "waiting": context.scheduler.waiting,
            "bytes": context.inflight.bytes,
            "most_bytes": context.settings.max_inflight_body_bytes,
        },
        "viewers": viewers,
    }
