"""Housekeeping task of each server process, once a second.

It sets gauges, publishes recent activity to the other workers, and returns freed memory to the system.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..api.context import Context
from ..observability import metrics
from .memory import FreedMemory, resident_bytes

EVERY_S = 1.0
"""Seconds between two rounds."""
log = logging.getLogger("deepcompress.background")


@asynccontextmanager
async def housekeeping_task(context: Context) -> AsyncIterator[None]:
    """Run the task until the block ends."""
    task = asyncio.create_task(_every_second(context))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _every_second(context: Context) -> None:
    meter = metrics.PoolMeter()
    freed = FreedMemory()
    while True:
        meter.update(context.pool.stats())
        metrics.WAITING.set(context.scheduler.waiting)
        freed.trim()
        metrics.set_memory(resident_bytes())
        try:
            await context.shared_activity.publish()
        except OSError as error:
            # If the disk is full, only the other workers' dashboards go stale.
            log.warning("the recent activity of this process cannot be shared: %s", type(error).__name__)
        await asyncio.sleep(EVERY_S)
