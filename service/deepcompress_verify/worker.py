"""What runs inside a worker process. Never imported by the service: started as a program by `process.py`.

Two roles. A `decide` worker runs our own tiers, which are bounded by counted work, on chunks of many items; it
keeps the item in hand in memory shared with the pool, so that a worker that hangs or dies costs that item only.
A `cas` worker holds the computer algebra system and forks a fresh child for every check, so that nothing that
one check does is seen by another; the child dies by the kernel's limits on CPU time and memory, or by the pool's
SIGKILL. There is no alarm and no signal handler anywhere: a limit that runs inside the interpreter waits for the
very C call that it should end.
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
"""Results are sent on once this old, so that a kill loses at most this much of finished work."""


class CpuLimit:
    """Keeps the kernel's CPU limit of this process one item's budget ahead of what it has used."""

    def __init__(self, item_cpu_s: float) -> None:
        self._budget = item_cpu_s
        self._soft = 0

    def renew(self) -> None:
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
    # Trees hold no cycles: collect rarely, and never look again at what was imported.
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
                spoiled = False
                try:
                    status, decided_by, reason = judge(gold, answer, restated_answer)
                except (MemoryError, RecursionError) as error:
                    status, decided_by = "undecided", "limit"
                    reason = f"the comparison ran out of {'memory' if isinstance(error, MemoryError) else 'stack'}"
                    spoiled = True
                except Exception as error:  # a bug of ours must cost one item, not a chunk
                    status, decided_by, reason = "undecided", "worker", f"internal error: {type(error).__name__}"
                rows.append((status, decided_by, reason, (time.thread_time_ns() - started) / 1e6))
                index += 1
                if spoiled:
                    # What a failed allocation left behind is anyone's guess: hand over and start afresh.
                    HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
                    sock.sendall(encode([chunk, first, rows, _peak_kib()]))
                    return
        HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
        sock.sendall(encode([chunk, first, rows, _peak_kib()]))


def serve_cas(sock: socket.socket, heartbeat: mmap.mmap, item_cpu_s: float) -> None:
    """Answer one check at a time, each in a fork of this process as it was before the first."""
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
    """`compare()` in a child of its own with a CPU limit; what a limit or a crash ends is undecided."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            end_with_parent(signal.SIGKILL)  # where that is not known, the closed socket ends it
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
    """Give up what a worker has no use for: memory over the limit, core dumps, writing files."""
    for name, value in (("RLIMIT_AS", memory_bytes), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system has all of them
            resource.setrlimit(getattr(resource, name), (value, value))


def _peak_kib() -> int:
    """The most memory this program held. On Linux not getrusage's figure, which a program takes over from the process
    that it was forked off, and so counts its parent's."""
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
    role, socket_fd, heartbeat_fd, item_cpu_s, memory_bytes, decider = arguments
    end_with_parent(signal.SIGKILL)  # where that is not known, the closed socket ends it
    sock = socket.socket(fileno=int(socket_fd))
    # The pool may have gone before the kernel was told to kill us with it.
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
