"""Background task that deletes expired runs and observations.

Every process runs it, at random times. The store's deletion is atomic, so each run is deleted once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..difficulty.errors import DifficultyError
from ..difficulty.retention import DAY_S
from ..difficulty.store import DifficultyStore
from ..observability import metrics
from ..settings import Settings

log = logging.getLogger("deepcompress.expiry")


@asynccontextmanager
async def expiry_task(store: DifficultyStore, settings: Settings) -> AsyncIterator[None]:
    """Delete expired runs periodically until the block ends."""
    task = asyncio.create_task(_sweep_forever(store, settings))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sweep_forever(store: DifficultyStore, settings: Settings) -> None:
    while True:
        # Wait first: a service that restarts often should not do this at each start.
        await asyncio.sleep(settings.sweep_interval_seconds * random.uniform(0.5, 1.0))
        await sweep(store, settings)


async def sweep(store: DifficultyStore, settings: Settings) -> None:
    """Delete expired runs and observations. An error of the store is logged; the next sweep tries again."""
    idle_s = settings.run_ttl_days * DAY_S or None
    try:
        swept = await store.sweep(idle_s)
    except DifficultyError as error:
        log.warning("expired runs could not be deleted: %s", error)
        return
    except Exception:
        log.exception("expired runs could not be deleted")  # the task must survive any error
        return
    metrics.RUNS_EXPIRED.inc(len(swept.runs))
    for run in swept.runs:
        log.warning("deleted run %s: it was not used for %g days", run, settings.run_ttl_days)
    if swept.observed_runs:
        log.info("deleted the observations of %d runs that were never trained", swept.observed_runs)
