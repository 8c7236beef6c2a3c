"""Folders that the worker processes of one `serve` share: one for their counters, one for their recent activity.

prometheus-client reads the name of its folder from the environment when it is imported, so this module imports
nothing of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client's own variable. If the operator has set it, that folder is used for the counters."""
PREFIX = "deepcompress-"
LOCK = "lock"
"""File in a folder of ours that its process holds locked. The kernel releases it when the process ends, however."""
UNLOCKED_S = 60.0
"""A folder younger than this is left alone: its process may not have locked it yet."""
COUNTER_FILES = ("counter", "histogram", "gauge_livesum", "gauge_max")
"""Names of prometheus-client's files, without the process id: the kinds of metrics that we have."""
COUNTER_BYTES = 512 << 10
"""Size of such a file. The number of labels is bounded, so it never grows."""


@contextmanager
def shared_folders() -> Iterator[Path]:
    """Make both folders, and remove them when the block ends.

    Yields the folder for recent activity. The folder for counters is set in the environment of this process and of
    those that it starts, as prometheus-client requires.
    """
    with own_folder() as folder:
        activity, counters = folder / "activity", folder / "metrics"
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


@contextmanager
def own_folder() -> Iterator[Path]:
    """Make a temporary folder, and remove it when the block ends; first remove those that killed processes left."""
    remove_leftovers(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, open(Path(name, LOCK), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the folders of `own_folder` whose process has ended, and return them. Those of other users stay."""
    removed = []
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_mtime < UNLOCKED_S:
                continue
            # Without the file it is not one of ours.
            with open(os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def metrics_folder() -> Path | None:
    """Return the folder of the counters of all workers; None for a single process."""
    folder = os.environ.get(METRICS_VARIABLE)
    return Path(folder) if folder else None


def allocate_counters() -> None:
    """Allocate this process's files of counters, before prometheus-client opens them.

    It maps them into memory and would make them sparse: on a file system that is full later, the first new label
    would end the process with SIGBUS.

    Raises:
        OSError: There is no room.
    """
    folder = metrics_folder()
    if folder is None:
        return
    for name in COUNTER_FILES:
        with open(folder / f"{name}_{os.getpid()}.db", "ab") as file:
            if file.tell() < COUNTER_BYTES:
                file.write(bytes(COUNTER_BYTES - file.tell()))
