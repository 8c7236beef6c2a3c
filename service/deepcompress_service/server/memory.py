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
import time
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 128 << 20
"""What stays at most at the end of the heap: a batch of some 30 MB, with all that is made of it."""
_GROWN_BYTES = 96 << 20
"""What may stay anywhere in the heap beyond what is in use: about as much, so that it is there for the next one."""
_EVERY_S = 10.0
"""Between two times of handing back."""
_LARGEST_BYTES = 32 << 20
"""Blocks up to this size come from the heap: the most that glibc allows. Larger ones go back at once."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory. Returns False if libc is not glibc."""
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
    than a batch takes. Does nothing where the C library is not glibc.
    """

    def __init__(self, kept: int = _GROWN_BYTES, every_s: float = _EVERY_S) -> None:
        self._kept = kept
        self._every_s = every_s
        self._least = resident_bytes()
        """The fewest bytes that this process was ever seen with."""
        self._next = 0.0
        try:
            self._trim = ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
        except (OSError, AttributeError):
            self._trim = None

    def look(self) -> bool:
        """Whether anything was to be handed back. Takes some milliseconds then, and microseconds else."""
        now = resident_bytes()
        self._least = min(self._least, now)
        # Not at every look: what is in use now cannot be handed back, and is no reason to ask again at once.
        if self._trim is None or now - self._least <= self._kept or time.monotonic() < self._next:
            return False
        # What is free between blocks that live on, and the end of the heap.
        self._trim(0)
        self._next = time.monotonic() + self._every_s
        return True


def resident_bytes() -> int:
    """This process's memory, 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
