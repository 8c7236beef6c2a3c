"""Tells the store, now and then, to forget what nobody used for longer than the settings keep it.

Every process does it, each at its own random moment: the store's deletion is atomic, so that it is done once.
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

log = logging.getLogger("deepcompress.sweeping")


@asynccontextmanager
async def sweeping(store: DifficultyStore, settings: Settings) -> AsyncIterator[None]:
    """Sweep until the block ends."""
    task = asyncio.create_task(_sweep_again_and_again(store, settings))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sweep_again_and_again(store: DifficultyStore, settings: Settings) -> None:
    while True:
        # Never at once: a service that is restarted again and again has other things to do.
        await asyncio.sleep(settings.sweep_interval_seconds * random.uniform(0.5, 1.0))
        await sweep(store, settings)


async def sweep(store: DifficultyStore, settings: Settings) -> None:
    """One sweep. A store that says no is asked again the next time."""
    idle_s = settings.run_ttl_days * DAY_S or None
    try:
        swept = await store.sweep(idle_s)
    except DifficultyError as error:
        log.warning("the store could not be swept: %s", error.detail)
        return
    except Exception:
        log.exception("the store could not be swept")  # whatever it was, the next sweep is still to come
        return
    metrics.RUNS_EXPIRED.inc(len(swept.runs))
    for run in swept.runs:
        log.warning("run %s was not used for %g days and is deleted", run, settings.run_ttl_days)
    if swept.observed_runs:
        log.info("dropped the observations of %d runs that were never trained", swept.observed_runs)
