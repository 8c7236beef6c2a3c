"""Folders that the worker processes of one `serve` share: one for their counters, one for their recent activity.

prometheus-client reads the name of its folder from the environment when it is imported, so this module imports
nothing of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable. If the operator has set it, that folder is used for the counters."""


@contextmanager
def shared_folders() -> Iterator[Path]:
    """Make both folders, and remove them when the block ends.

    Yields the folder for recent activity. The folder for counters is set in the environment of this process and of
    those that it starts, as prometheus-client requires.
    """
    with tempfile.TemporaryDirectory(prefix="deepcompress-") as folder:
        activity, counters = Path(folder, "activity"), Path(folder, "metrics")
        activity.mkdir()
        if METRICS_VARIABLE in os.environ:
            yield activity
            return
        counters.mkdir()
        os.environ[METRICS_VARIABLE] = str(counters)
        try:
            yield activity
        finally:
            del os.environ[METRICS_VARIABLE]


def metrics_folder() -> Path | None:
    """Return the folder of the counters of all workers; None for a single process."""
    folder = os.environ.get(METRICS_VARIABLE)
    return Path(folder) if folder else None
