"""Writes the memory in use of a `deepcompress serve` to a file, for `bench/soak.py`: Python imports it at its start.

A line has the seconds since the epoch, the bytes that malloc has given out, and the number of blocks of Python's own
allocator. Neither counts memory that was freed and kept, as the resident size does.
"""

import os
import sys

EVERY_S = 2.0


class _Figures:
    """malloc's figures (mallinfo2(3), glibc 2.33)."""

    def __init__(self) -> None:
        import ctypes

        class Info(ctypes.Structure):
            _fields_ = [
                (name, ctypes.c_size_t)
                for name in (
                    *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks"),
                    *("fsmblks", "uordblks", "fordblks", "keepcost"),
                )
            ]

        self._read = ctypes.CDLL(None).mallinfo2
        self._read.restype = Info

    def in_use(self) -> int:
        info = self._read()
        return int(info.uordblks + info.hblkhd)


def _write(path: str) -> None:
    import time

    figures = _Figures()
    with open(path, "a", buffering=1, encoding="ascii") as out:
        while True:
            out.write(f"{time.time():.1f} {figures.in_use()} {sys.getallocatedblocks()}\n")
            time.sleep(EVERY_S)


if "serve" in sys.orig_argv and (_path := os.environ.get("SOAK_PROBE")):
    import threading

    threading.Thread(target=_write, args=(_path,), daemon=True).start()
