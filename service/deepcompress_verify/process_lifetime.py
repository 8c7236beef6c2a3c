"""Processes that end with their parent. Imports little, because verification workers use it too."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def end_with_parent(by: signal.Signals) -> None:
    """On Linux, have the kernel send signal `by` to this process when its parent ends; no effect elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, by, 0, 0, 0)  # PR_SET_PDEATHSIG


def end_with_supervisor() -> None:
    """Drain this server process when its supervisor ends. No effect if there is no supervisor.

    Otherwise an orphaned server process would keep the port, and nothing would stop it.
    """
    from multiprocessing import parent_process

    supervisor = parent_process()
    if supervisor is None:
        return
    end_with_parent(signal.SIGTERM)
    if not supervisor.is_alive():  # it ended before prctl took effect
        os.kill(os.getpid(), signal.SIGTERM)
