"""The memory that the processes of one `serve` may take together, and the limit of the container they run in.

A container that exceeds its limit loses a process to the kernel, and it may be the server. So the limits of the
verifier processes are lowered at start until all of them fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..settings import MIB, Settings
from .http_protocol import MAX_UNREAD

SERVER_BYTES = 512 * MIB
"""Memory of a server process beside its requests: 110 MiB at its start, and its tables at their bounds."""
LEAST_BYTES = 160 * MIB
"""Smallest address space with which a verifier process works: the computer algebra system begins with 100 MiB."""
CAS_PROCESSES = 2
"""Processes of the computer algebra system per server process: a worker, and its child that runs a comparison."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Limits in bytes."""

    limit: int | None
    """Limit of the container; None if there is none."""
    verifier: int
    """Address space of one verifier process."""
    most: int
    """The most that all processes take together."""

    @property
    def fits(self) -> bool:
        """True if all processes together stay within the container's limit."""
        return self.limit is None or self.most <= self.limit

    def describe(self) -> str:
        """Return one line for the log."""
        limit = "no limit is set" if self.limit is None else f"the limit is {self.limit // MIB} MiB"
        return f"memory: at most {self.most // MIB} MiB, {self.verifier // MIB} MiB for a verifier process; {limit}"


def plan_memory(settings: Settings, limit: int | None, deciding: int) -> MemoryPlan:
    """Return the limits of the processes under a container's limit of `limit` bytes.

    `deciding` is the most address space of a verifier process without the computer algebra system, in bytes.
    """
    verifier = settings.verifier_memory_bytes
    most = _most(settings, verifier, deciding)
    while limit is not None and most > limit and verifier > LEAST_BYTES:
        verifier = max(LEAST_BYTES, verifier - 16 * MIB)
        most = _most(settings, verifier, deciding)
    return MemoryPlan(limit, verifier, most)


def _most(settings: Settings, verifier: int, deciding: int) -> int:
    processes = settings.verifier_workers + 1  # and the spare
    server = SERVER_BYTES + MAX_UNREAD + settings.max_inflight_body_bytes
    return settings.workers * (server + processes * min(verifier, deciding) + CAS_PROCESSES * verifier)


def container_limit(root: Path = Path("/")) -> int | None:
    """Return the memory limit of this process's control group or of one above it, in bytes; None without one."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be that of the host, which is not visible: the root of the mount is its own.
        group = folder / path.lstrip("/")
        for place in (group, *group.parents):
            if not place.is_relative_to(folder):
                break
            try:
                text = (place / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit() and int(text) < 1 << 60:  # version 1 writes a huge number for "no limit"
                limits.append(int(text))
    return min(limits, default=None)
