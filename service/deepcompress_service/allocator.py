"""Freed memory stays with the process, so that the next large batch need not ask the system for it again.

A batch's body, its parsed strings and the buffers between come to several times its size; by default glibc hands
each large block back when it is freed, and the system then fills every page of the next batch's with zeros as it is
touched, which costs about as much time as parsing does.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 128 << 20
"""What stays at most at the end of the heap: a batch of some 30 MB, with all that is made of it."""
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
