"""Worker process program. Never imported by the service: `process.py` starts it with `python -m`.

There are two roles. A `decide` worker runs the exact tiers, which are bounded by counted work, on chunks of many
items. It writes the index of its current item to memory shared with the pool, so that a hang or a crash affects that
item only. A `cas` worker loads the computer algebra system and forks a fresh child for every check, so that checks
cannot influence each other. The kernel's limits on CPU time and memory, or the pool's SIGKILL, end the child.

There are no alarms and no signal handlers: a limit inside the interpreter would have to wait for the C call that it
should interrupt.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import mmap
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import orjson

from deepcompress_verify.ipc import HEADER, HEARTBEAT, FrameError, Row, encode, read_frame
from deepcompress_verify.process_lifetime import end_with_parent

_FLUSH_S = 0.005
"""Maximum age of unsent results, in seconds: a kill loses at most this much finished work."""


class CpuLimit:
    """The kernel's CPU limit of this process, kept one item budget above the time used so far."""

    def __init__(self, item_cpu_s: float) -> None:
        self._budget = item_cpu_s
        self._soft = 0

    def renew(self) -> None:
        """Grant the next item its full budget."""
        soft = math.ceil(time.process_time() + self._budget)
        if soft != self._soft:
            self._soft = soft
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


Decider = Callable[[tuple[str, ...], str | None, str | None], tuple[str, str, str]]


def serve_decide(sock: socket.socket, heartbeat: mmap.mmap, item_cpu_s: float, decider: str) -> None:
    """Answer chunks until the pool closes the socket."""
    judge = _load(decider)
    limit = CpuLimit(item_cpu_s)
    limit.renew()
    # Trees have no cycles: collect rarely, and exclude imported modules from collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sock.sendall(encode("ready"))
    while True:
        chunk, groups = read_frame(sock)
        rows: list[Row] = []
        first = index = 0
        sent = time.perf_counter()
        for golds, answers in groups:
            gold = tuple(golds)
            for answer, restated_answer in answers:
                if rows and time.perf_counter() - sent > _FLUSH_S:
                    sock.sendall(encode([chunk, first, rows, _peak_kib()]))
                    first, rows, sent = index, [], time.perf_counter()
                HEARTBEAT.pack_into(heartbeat, 0, chunk, index + 1)
                limit.renew()
                started = time.thread_time_ns()
                exhausted = False
                try:
                    status, decided_by, reason = judge(gold, answer, restated_answer)
                except (MemoryError, RecursionError) as error:
                    status, decided_by = "undecided", "limit"
                    reason = f"the comparison ran out of {'memory' if isinstance(error, MemoryError) else 'stack'}"
                    exhausted = True
                except Exception as error:  # an internal bug must affect one item, not the chunk
                    status, decided_by, reason = "undecided", "worker", f"internal error: {type(error).__name__}"
                rows.append((status, decided_by, reason, (time.thread_time_ns() - started) / 1e6))
                index += 1
                if exhausted:
                    # After MemoryError, send the results and exit; the pool starts a new worker.
                    HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
                    sock.sendall(encode([chunk, first, rows, _peak_kib()]))
                    return
        HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
        sock.sendall(encode([chunk, first, rows, _peak_kib()]))


def serve_cas(sock: socket.socket, heartbeat: mmap.mmap, item_cpu_s: float) -> None:
    """Answer one check at a time, each in a fork of the process state before the first check."""
    from deepcompress_verify import cas

    cas.warm_up()
    gc.collect()
    gc.freeze()
    sock.sendall(encode("ready"))
    while True:
        chunk, groups = read_frame(sock)
        index = 0
        for golds, answers in groups:
            for answer, restated_answer in answers:
                HEARTBEAT.pack_into(heartbeat, 0, chunk, index + 1)
                row = check_in_fork(partial(cas.compare, tuple(golds), answer, restated_answer), item_cpu_s)
                sock.sendall(encode([chunk, index, [row], _peak_kib()]))
                index += 1
        HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)


def check_in_fork(compare: Callable[[], tuple[str, str, str]], item_cpu_s: float) -> Row:
    """Run `compare` in a forked child with a CPU limit, and return its row.

    A child that is ended by a limit or by a crash gives `undecided`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            end_with_parent(signal.SIGKILL)  # Linux only; elsewhere the closed socket ends the process
            seconds = max(1, math.ceil(item_cpu_s))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            try:
                row = compare()
            except (MemoryError, RecursionError):
                row = ("undecided", "limit", "the computer algebra system ran out of memory or stack")
            except Exception as error:
                row = ("undecided", "cas", f"the computer algebra system failed: {type(error).__name__}")
            os.write(writer, encode(row))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    data = b""
    with open(reader, "rb", buffering=0) as pipe:
        while piece := pipe.read(65536):
            data += piece
    _, status, usage = os.wait4(child, 0)
    cpu_ms = (usage.ru_utime + usage.ru_stime) * 1e3
    if os.waitstatus_to_exitcode(status) == 0 and data:
        verdict, decided_by, reason = orjson.loads(data[HEADER.size :])
        return verdict, decided_by, reason, cpu_ms
    ended = -os.waitstatus_to_exitcode(status)
    if ended in (signal.SIGXCPU, signal.SIGKILL):
        return "undecided", "limit", f"the computer algebra system used its {item_cpu_s:g} s of CPU time", cpu_ms
    return "undecided", "worker", "the computer algebra system died", cpu_ms


def confine(memory_bytes: int) -> None:
    """Limit this process: `memory_bytes` of address space, no core dumps, no file writes."""
    for name, value in (("RLIMIT_AS", memory_bytes), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system supports all of them
            resource.setrlimit(getattr(resource, name), (value, value))


def _peak_kib() -> int:
    """Return the peak memory of this program in KiB.

    On Linux `getrusage` also counts the parent's memory before exec, so VmHWM is used instead.
    """
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def _load(name: str) -> Decider:
    module, _, attribute = name.partition(":")
    decider: Decider = getattr(importlib.import_module(module), attribute)
    return decider


def main(arguments: list[str]) -> None:
    """Run the worker with the arguments that `WorkerProcess` passes."""
    role, socket_fd, heartbeat_fd, item_cpu_s, memory_bytes, decider = arguments
    end_with_parent(signal.SIGKILL)  # Linux only; elsewhere the closed socket ends the process
    sock = socket.socket(fileno=int(socket_fd))
    # The pool may have ended before `end_with_parent` took effect; then the socket is readable.
    if select.select([sock], [], [], 0)[0]:
        return
    heartbeat = mmap.mmap(int(heartbeat_fd), mmap.PAGESIZE)
    confine(int(memory_bytes))
    with contextlib.suppress(FrameError, ConnectionError):
        if role == "cas":
            serve_cas(sock, heartbeat, float(item_cpu_s))
        else:
            serve_decide(sock, heartbeat, float(item_cpu_s), decider)


if __name__ == "__main__":
    main(sys.argv[1:])
