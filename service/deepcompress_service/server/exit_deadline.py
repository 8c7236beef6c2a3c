"""Deadlines for the end of a process that was asked to stop.

The server finishes requests within a bound of its own. What follows has none: the interpreter waits for every thread,
and a thread may wait for a name service or a disk. Nothing of value is left to do then, so the process ends.
"""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger("deepcompress.exit")

REQUESTS_S = 30
"""Longest time in seconds for the requests in progress, after connections are refused."""
BODIES_S = 3.0
"""Longest time in seconds for bodies that are still arriving then. No work was done for them, so they are refused."""
CLOSE_S = 10.0
"""Longest time in seconds for closing the pool and the stores."""
THREADS_S = 2.0
"""Longest time in seconds for the threads that are left when everything is closed."""
OVERDUE_STATUS = 70
"""Exit status of a process that could not close its parts in time."""


def exit_within(seconds: float, status: int, doing: str) -> None:
    """End the process with `status` if it is still there after `seconds`. `doing` names the cause in the log."""

    def end() -> None:
        names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
        log.warning("%s took over %g s: the process ends now; threads: %s", doing, seconds, ", ".join(names))
        logging.shutdown()
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
