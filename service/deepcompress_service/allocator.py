"""Freed memory stays with the process, so that the next large batch need not ask the system for it again.

A batch's body, its parsed strings and the buffers between come to several times its size; by default glibc hands
each large block back when it is freed, and the system then fills every page of the next batch's with zeros as it is
touched, which costs about as much time as parsing does. What lies free between blocks that live on grows all the
same, batch by batch, for hours: so the process is looked at once a second, and hands back what is free where it grew
by more than a batch takes.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 128 << 20
"""What stays at most at the end of the heap: a batch of some 30 MB, with all that is made of it."""
_GROWN_BYTES = 96 << 20
"""What may stay anywhere in the heap beyond what is in use: about as much, so that it is there for the next one."""
_LARGEST_BYTES = 32 << 20
"""Blocks up to this size come from the heap: the most that glibc allows. Larger ones go back at once."""


def keep_freed_memory() -> bool:
    """Say so to glibc; False where the C library is another, and knows better or nothing of this."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # One heap for all threads: each would keep as much for itself, and only one of them runs Python at a time.
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGEST_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, value) for name, value in settings)


class FreedMemory:
    """Looks now and then at how much this process has grown, and hands back what is free of that where it is more
    than a batch takes. Does nothing where the C library is not glibc."""

    def __init__(self, kept: int = _GROWN_BYTES) -> None:
        self._kept = kept
        self._floor = resident_bytes()
        """Bytes in memory when last nothing free was among them."""
        try:
            self._trim = ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
        except (OSError, AttributeError):
            self._trim = None

    def look(self) -> bool:
        """Whether anything was handed back. Takes some milliseconds then, and microseconds else."""
        now = resident_bytes()
        self._floor = min(self._floor, now)
        if self._trim is None or now - self._floor <= self._kept:
            return False
        # What is free between blocks that live on, and the end of the heap.
        self._trim(0)
        # What is left is in use, and no reason to look again.
        self._floor = resident_bytes()
        return True


def resident_bytes() -> int:
    """This process's memory, 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
