"""Records that cannot be read, because of a damaged file or memory. One run's must not hide the other runs."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

log = logging.getLogger("deepcompress.store")

UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""The errors that reading an invalid record can raise (those of pydantic and of Unicode are ValueErrors)."""


@contextmanager
def skip_unreadable(run: str) -> Iterator[None]:
    """Log the error of a run whose record cannot be read, once, and go on: for lists and sweeps of all runs."""
    try:
        yield
    except UNREADABLE as error:
        _report(run, repr(error)[:200])


@lru_cache(maxsize=1024)
def _report(run: str, error: str) -> None:
    log.error(
        "the record of run %s cannot be read, and lists leave the run out: restore it from a checkpoint or a backup, "
        "or delete it (%s)",
        run,
        error,
    )
