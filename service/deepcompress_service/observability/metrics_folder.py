"""The folder that the worker processes of one `serve` share: for their counters, and for what they lately saw.

prometheus-client looks for it when it is imported, and never again: so nothing is imported here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names it, as prometheus-client wants it."""


@contextmanager
def prepare() -> Iterator[None]:
    """Make the folder in which several worker processes count together, and remove it at the end."""
    if FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="deepcompress-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def shared_folder() -> Path | None:
    """The folder that all workers of this server share; None for a single process."""
    folder = os.environ.get(FOLDER)
    return Path(folder) if folder else None
