"""Worker process program. Never imported by the service: `process.py` starts it with `python -m`.

There are two roles. A `decide` worker runs the exact tiers, which are bounded by counted work, on chunks of many
items. It writes the index of its current item to memory shared with the pool, so that a hang or a crash affects that
item only. A `cas` worker loads the computer algebra system and forks a fresh child for every check, so that checks
cannot influence each other. The kernel's limits on CPU time and memory, or the pool's SIGKILL, end the child.

Each item has a slice of CPU time. A `decide` worker ends an item at its slice by a timer, which works between two
bytecodes. A single C call that takes longer is ended by the kernel's timer, with the worker. The timer only
decides when an item is put off: the pool runs it again with its whole budget.
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
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import orjson

from deepcompress_verify.ipc import HEARTBEAT, LONG, MAX_ROW, READY, Request, Response, Row
from deepcompress_verify.process_lifetime import end_with_parent

_FLUSH_S = 0.02
"""Maximum age of unsent results, in seconds: a kill loses at most this much finished work."""

_READ_BYTES = 1 << 16

_MARGIN_S = 0.25
"""CPU seconds beyond the slice before the kernel ends the worker."""


class SliceEndedError(BaseException):
    """The item used up its slice of CPU time. No rule catches it: it is no `Exception`."""


class CpuLimit:
    """The CPU time of one item: a timer at its slice, and behind it one whose signal ends the process.

    Both count from the beginning of the item. RLIMIT_CPU counts from the beginning of the process, in ticks of the
    kernel, which on a virtual machine may differ from the process's clock by a tenth: it would end innocent items of
    a worker that has run for long.
    """

    def __init__(self) -> None:
        self._armed = False
        signal.signal(signal.SIGPROF, self._end)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            raise SliceEndedError

    def start(self, slice_s: float) -> None:
        """Begin the slice of an item. From here on `SliceEndedError` may be raised."""
        signal.setitimer(signal.ITIMER_VIRTUAL, slice_s + _MARGIN_S)
        self._armed = True
        # It repeats, because Python drops an exception that is raised in a destructor.
        signal.setitimer(signal.ITIMER_PROF, slice_s, slice_s)

    def stop(self) -> None:
        """End the slice."""
        self._armed = False


def requests(sock: socket.socket) -> Iterator[Request]:
    """Iterate over the pool's requests, until it closes the socket or ends in the middle of one."""
    with sock.makefile("rb", buffering=_READ_BYTES) as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def send(sock: socket.socket, chunk: int, first: int, rows: list[Row]) -> None:
    """Send the rows of the items `first`, `first + 1`, ... of a chunk."""
    response: Response = (chunk, first, rows, _peak_kib())
    sock.sendall(orjson.dumps(response, option=orjson.OPT_APPEND_NEWLINE))


Decider = Callable[[tuple[str, ...], str | None, str | None], tuple[str, str, str]]


def serve_decide(sock: socket.socket, heartbeat: mmap.mmap, item_cpu_s: float, decider: str) -> None:
    """Answer chunks until the pool closes the socket."""
    judge = _load(decider)
    limit = CpuLimit()
    # Trees have no cycles: collect rarely, and exclude imported modules from collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sock.sendall(READY)
    for chunk, slice_s, pairs in requests(sock):
        rows: list[Row] = []
        first = 0
        sent = time.perf_counter()
        for index, (golds, answer, restated_answer) in enumerate(pairs):
            if rows and time.perf_counter() - sent > _FLUSH_S:
                send(sock, chunk, first, rows)
                first, rows, sent = index, [], time.perf_counter()
            HEARTBEAT.pack_into(heartbeat, 0, chunk, index + 1)
            started = time.thread_time_ns()
            exhausted = False
            try:
                try:
                    limit.start(slice_s)
                    status, decided_by, reason = judge(tuple(golds), answer, restated_answer)
                finally:
                    limit.stop()
                if len(orjson.dumps((status, decided_by, reason))) > MAX_ROW:
                    raise ValueError("a result that no message can carry")
            except SliceEndedError:
                status, decided_by, reason = over_slice(slice_s, item_cpu_s)
            except (MemoryError, RecursionError) as error:
                status, decided_by = "undecided", "limit"
                reason = f"the comparison ran out of {'memory' if isinstance(error, MemoryError) else 'stack'}"
                exhausted = True
            except Exception as error:  # an internal bug must affect one item, not the chunk
                status, decided_by, reason = "undecided", "worker", f"internal error: {type(error).__name__}"
            rows.append((status, decided_by, reason, (time.thread_time_ns() - started) / 1e6))
            if exhausted:
                # After MemoryError, send the results and exit; the pool starts a new worker.
                HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
                send(sock, chunk, first, rows)
                return
        HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)
        send(sock, chunk, first, rows)


def over_slice(slice_s: float, item_cpu_s: float) -> tuple[str, str, str]:
    """Return (status, decided_by, reason) of an item that used up its slice: `LONG`, unless it was its budget."""
    if slice_s < item_cpu_s:
        return LONG, "limit", ""
    return "undecided", "limit", f"stopped at its budget of {item_cpu_s:g} s"


def serve_cas(sock: socket.socket, heartbeat: mmap.mmap, item_cpu_s: float) -> None:
    """Answer one check at a time, each in a fork of the process state before the first check."""
    from deepcompress_verify import cas

    cas.warm_up()
    gc.collect()
    gc.freeze()
    sock.sendall(READY)
    for chunk, slice_s, pairs in requests(sock):
        for index, (golds, answer, restated_answer) in enumerate(pairs):
            assert answer is not None  # only comparisons are sent here
            HEARTBEAT.pack_into(heartbeat, 0, chunk, index + 1)
            row = check_in_fork(partial(cas.compare, tuple(golds), answer, restated_answer), slice_s)
            if row[0] == LONG and slice_s >= item_cpu_s:
                reason = f"the computer algebra system used its {item_cpu_s:g} s of CPU time"
                row = "undecided", "limit", reason, row[3]
            send(sock, chunk, index, [row])
        HEARTBEAT.pack_into(heartbeat, 0, chunk, 0)


def check_in_fork(compare: Callable[[], tuple[str, str, str]], slice_s: float) -> Row:
    """Run `compare` in a forked child with a CPU limit, and return its row.

    A child that is ended by the limit gives `LONG`, one that crashes `undecided`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            end_with_parent(signal.SIGKILL)  # Linux only; elsewhere the closed socket ends the process
            seconds = math.ceil(slice_s) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            signal.signal(signal.SIGPROF, signal.SIG_DFL)  # it ends the child, also in the middle of a C call
            signal.setitimer(signal.ITIMER_PROF, slice_s)
            try:
                row = compare()
            except (MemoryError, RecursionError):
                row = ("undecided", "limit", "the computer algebra system ran out of memory or stack")
            except Exception as error:
                row = ("undecided", "cas", f"the computer algebra system failed: {type(error).__name__}")
            os.write(writer, orjson.dumps(row))
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
        verdict, decided_by, reason = orjson.loads(data)
        return verdict, decided_by, reason, cpu_ms
    ended = -os.waitstatus_to_exitcode(status)
    if ended in (signal.SIGPROF, signal.SIGXCPU, signal.SIGKILL):
        return LONG, "limit", "", cpu_ms  # SIGKILL: from outside, as by the kernel without memory; it is tried again
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
    with contextlib.suppress(ConnectionError):
        if role == "cas":
            serve_cas(sock, heartbeat, float(item_cpu_s))
        else:
            serve_decide(sock, heartbeat, float(item_cpu_s), decider)


if __name__ == "__main__":
    main(sys.argv[1:])
