"""One worker process seen from outside: started, watched, killed, reaped.

A worker is a fresh interpreter (`python -m deepcompress_verify.worker`), not a fork of the
service: the service has threads and an event loop, and a fork of those is a lottery. It speaks over one
socket pair, gets an environment without the service's secrets, and dies with the service: its socket closes,
and on Linux the kernel kills it as well.
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
from typing import Literal

from deepcompress_verify.ipc import HEARTBEAT

Role = Literal["decide", "cas"]

DECIDER = "deepcompress_verify.tiers:decide_pair"
"""What a worker of role 'decide' calls for one item; tests put misbehaving ones in its place."""

_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker may use. The kernel enforces both, from outside the interpreter."""

    item_cpu_s: float = 2.0
    memory_bytes: int = 1 << 30


class WorkerProcess:
    """A running worker and our end of its socket."""

    def __init__(self, role: Role, limits: WorkerLimits, decider: str = DECIDER) -> None:
        """Start the process; it says a first frame (`"ready"`) when it can work. Raises OSError."""
        self.role = role
        parent_end, child_end = socket.socketpair()
        try:
            with tempfile.TemporaryFile() as shared:
                shared.truncate(mmap.PAGESIZE)
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
                    # Its own session: a Ctrl-C in the terminal is the service's to handle, and one kill
                    # reaches the forks of a computer algebra worker too.
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
        return self._process.pid

    def heartbeat(self) -> tuple[int, int]:
        """(chunk, item index) that the worker has in hand; the index is -1 between items."""
        chunk, item = HEARTBEAT.unpack_from(self._heartbeat)
        return chunk, item - 1

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> int:
        """Make sure that it is gone, free what it held, and give its exit code (minus the signal's number)."""
        with contextlib.suppress(OSError):
            self.socket.close()
        try:
            # One that died by itself is a zombie by now; give one that is just exiting a moment to say why.
            code = self._process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self.kill()
        return code


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONHASHSEED"] = "0"  # sympy orders some things by hash: the same order on every machine
    environment["OMP_NUM_THREADS"] = "1"
    # gmpy2 would be picked up where a training image has it; one kind of integer everywhere.
    environment["SYMPY_GROUND_TYPES"] = "python"
    return environment
