"""Processes that end with the one that started them, however it ends. Loads little: comparison workers use it too."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def end_with_parent(by: signal.Signals) -> None:
    """On Linux, have the kernel send this process a signal when its parent goes; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by, 0, 0, 0)  # PR_SET_PDEATHSIG


def end_with_supervisor() -> None:
    """One of several server processes drains when the process that supervises them is gone: it would otherwise hold
    the port, and nobody would be left to stop it. Nothing for a server process that is alone."""
    from multiprocessing import parent_process

    supervisor = parent_process()
    if supervisor is None:
        return
    end_with_parent(signal.SIGTERM)
    if not supervisor.is_alive():  # before the kernel was told
        os.kill(os.getpid(), signal.SIGTERM)
