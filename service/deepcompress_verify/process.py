"""Start, observe, kill and reap one worker process.

A worker is a fresh interpreter (`python -m deepcompress_verify.worker`), not a fork of the service: forking a process
that has threads and an event loop is unsafe. It communicates over one socket pair and gets an environment without the
service's secrets. It ends with the service: its socket closes, and on Linux the kernel kills it as well.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, Literal

from deepcompress_verify.ipc import HEARTBEAT

Role = Literal["decide", "cas"]

DECIDER = "deepcompress_verify.tiers:decide_pair"
"""Function that a `decide` worker calls for one pair; tests replace it with misbehaving ones."""

_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Resource limits of one worker. The kernel enforces both, from outside the interpreter."""

    item_cpu_s: float = 2.0
    """CPU seconds for one comparison."""
    memory_bytes: int = 512 << 20
    """Address space in bytes."""


class WorkerProcess:
    """A running worker and the parent's end of its socket."""

    def __init__(self, role: Role, limits: WorkerLimits, decider: str = DECIDER) -> None:
        """Start the process. It sends `READY` when it can work.

        Raises:
            OSError: The process cannot be started.
        """
        self.role = role
        parent_end, child_end = socket.socketpair()
        try:
            with shared_page() as shared:
                self._heartbeat = mmap.mmap(shared.fileno(), mmap.PAGESIZE)
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "deepcompress_verify.worker",
                        role,
                        str(child_end.fileno()),
                        str(shared.fileno()),
                        repr(limits.item_cpu_s),
                        str(limits.memory_bytes),
                        decider,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(child_end.fileno(), shared.fileno()),
                    env=_environment(),
                    # Its own session: the service handles Ctrl-C, and one kill also reaches the forks of a
                    # computer algebra worker.
                    start_new_session=True,
                )
        except BaseException:
            parent_end.close()
            raise
        finally:
            child_end.close()
        self.socket = parent_end
        self.checks = 0
        self.peak_bytes = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def heartbeat(self) -> tuple[int, int]:
        """Return (chunk, index of the current item); the index is -1 between items."""
        chunk, item = HEARTBEAT.unpack_from(self._heartbeat)
        return chunk, item - 1

    def kill(self) -> None:
        """Send SIGKILL to the worker and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> int:
        """End the process, free its resources, and return its exit code (negative: the signal number)."""
        with contextlib.suppress(OSError):
            self.socket.close()
        try:
            # Wait briefly, so that a process that is exiting by itself reports its own exit code.
            code = self._process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self.kill()
        return code


def shared_page() -> BinaryIO:
    """Return a file of one page that exists in memory, so that no full file system can take it away.

    A page of a sparse file on a full file system ends the process that touches it with SIGBUS.

    Raises:
        OSError: There is no memory, or no room for it where it has to be a file.
    """
    # Systems other than Linux have no memfd: there it is a file whose page is allocated by writing it.
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("deepcompress-heartbeat")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    try:
        os.write(number, bytes(mmap.PAGESIZE))
        return os.fdopen(number, "w+b", buffering=0)
    except BaseException:
        os.close(number)
        raise


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONHASHSEED"] = "0"  # sympy iterates over hashes: make the order the same on every machine
    environment["OMP_NUM_THREADS"] = "1"
    # Do not use gmpy2 if it happens to be installed: the same integer type everywhere.
    environment["SYMPY_GROUND_TYPES"] = "python"
    return environment
