"""Folders that the worker processes of one `serve` share: one for their counters, one for their recent activity.

prometheus-client looks for its folder when it is imported, and never again: so nothing is imported here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable. An operator may have set it: then only counters go there."""
ACTIVITY_VARIABLE = "_DEEPCOMPRESS_ACTIVITY_FOLDER"
"""Set by `prepare` for the processes that it starts; no setting of the user's."""


@contextmanager
def prepare() -> Iterator[None]:
    """Make both folders and name them in the environment of the workers; remove them at the end."""
    with tempfile.TemporaryDirectory(prefix="deepcompress-") as made:
        folders = {METRICS_VARIABLE: Path(made, "metrics"), ACTIVITY_VARIABLE: Path(made, "activity")}
        if METRICS_VARIABLE in os.environ:
            del folders[METRICS_VARIABLE]
        for variable, folder in folders.items():
            folder.mkdir()
            os.environ[variable] = str(folder)
        try:
            yield
        finally:
            for variable in folders:
                del os.environ[variable]


def metrics_folder() -> Path | None:
    """Return the folder of the counters of all workers; None for a single process."""
    return _folder(METRICS_VARIABLE)


def activity_folder() -> Path | None:
    """Return the folder in which all workers write their recent activity; None for a single process."""
    return _folder(ACTIVITY_VARIABLE)


def _folder(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    return Path(folder) if folder else None
