"""Management of freed memory: reuse it for the next large request, and return it to the system if it grows.

A request's body, parsed strings and buffers need several times its size. By default glibc returns each large block
to the system when it is freed, and the system clears each page of the next request's blocks, which takes about as
long as parsing. So glibc is configured to keep freed memory. Fragmentation then grows for hours, so free memory is
returned once the process has grown by more than a request needs.
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
"""Most free bytes at the end of the heap: enough for a request of 30 MB and all data made from it."""
_GROWN_BYTES = 96 << 20
"""Growth in bytes of the process from which free memory is returned: about what one request needs."""
_EVERY_S = 10.0
"""Shortest time in seconds between two returns."""
_LARGEST_BYTES = 32 << 20
"""Largest block in bytes that comes from the heap: the most that glibc allows. Larger ones are returned at once."""


def keep_freed_memory() -> bool:
    """Configure glibc to keep freed memory. Return False if libc is not glibc."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # One heap for all threads: each heap would keep this much, and only one thread at a time runs Python.
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGEST_BYTES), (_M_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(mallopt(name, value) for name, value in settings)


class FreedMemory:
    """Returns free memory to the system when this process has grown by more than `kept` bytes.

    It does so at most once in `every_s` seconds, and never if libc is not glibc.
    """

    def __init__(self, kept: int = _GROWN_BYTES, every_s: float = _EVERY_S) -> None:
        self._kept = kept
        self._every_s = every_s
        self._smallest = resident_bytes()
        """Smallest size of this process in bytes so far."""
        self._next = 0.0
        try:
            self._trim = ctypes.CDLL(None).malloc_trim if sys.platform == "linux" else None
        except (OSError, AttributeError):
            self._trim = None

    def trim(self) -> bool:
        """Return free memory to the system if the process has grown enough. Return True if it was tried.

        It takes milliseconds then, and otherwise microseconds.
        """
        now = resident_bytes()
        self._smallest = min(self._smallest, now)
        # Not at every call: memory in use cannot be returned, and it would trigger the next attempt at once.
        if self._trim is None or now - self._smallest <= self._kept or time.monotonic() < self._next:
            return False
        # Also frees pages between live blocks, not only the end of the heap.
        self._trim(0)
        self._next = time.monotonic() + self._every_s
        return True


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if it is unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
