"""Verification of one response without HTTP and without a pool: `verify`.

The exact tiers run in the caller's process; they are bounded by counted work and need no guard. The rare pair that
only a computer algebra system can decide goes to one worker process, which is started on first use and ends with the
caller, so that no text can make the caller's process hang or grow.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence

import orjson

from deepcompress_verify.checkers.registry import BUILT_IN
from deepcompress_verify.extract import MAX_RESPONSE_CHARS, prepare
from deepcompress_verify.ipc import MAX_LINE, NEEDS_CAS, READY, Pair, Request, Row
from deepcompress_verify.pool import conclude
from deepcompress_verify.process import Role, WorkerLimits, WorkerProcess
from deepcompress_verify.task import decode_task, is_plain
from deepcompress_verify.tiers import decide_pair
from deepcompress_verify.verdict import AnswerFormat, Check, Verdict

_LIMITS = WorkerLimits()
_STALL_SECONDS = 60.0
"""Only detects hangs: the kernel's CPU limit ends a check long before."""


def verify(
    gold: str | Sequence[str],
    response: str,
    *,
    answer_format: AnswerFormat = "boxed",
    truncated: bool = False,
    checker: str | Mapping[str, object] | None = None,
    options: Sequence[str] = (),
) -> Verdict:
    """Compare the answer in `response` with `gold` (one answer, or alternatives of which any one suffices).

    No text content raises an error. The first pair that needs the computer algebra system waits about two seconds for
    its worker to start. `checker` is a name or {"name": ..., parameters} (docs/checkers.md), `options` are the
    choices of a multiple-choice row. A checker that is not built in runs in a worker process.

    Raises:
        CheckerError: The checker or a parameter is unknown.
    """
    alternatives = (gold,) if isinstance(gold, str) else tuple(gold)
    result = prepare(
        Check(alternatives, response, answer_format, truncated, checker, tuple(options)), MAX_RESPONSE_CHARS
    )
    pair = (result.gold, result.answer, result.restated_answer)
    if not is_plain(result.gold) and decode_task(result.gold).checker not in BUILT_IN:
        return conclude(result.answer, result.extraction_verdict, _own.check(pair))
    started = time.thread_time_ns()
    try:
        status, decided_by, reason = decide_pair(result.gold, result.answer, result.restated_answer)
    except Exception as error:  # an internal bug, reported as by a worker of a pool
        status, decided_by, reason = "undecided", "worker", f"internal error: {type(error).__name__}"
    row: Row = (status, decided_by, reason, (time.thread_time_ns() - started) / 1e6)
    if status == NEEDS_CAS:
        row = _cas.check(pair)
    return conclude(result.answer, result.extraction_verdict, row)


class BoundedWorker:
    """One worker process, for callers without an event loop. Thread-safe."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._owner = 0

    def check(self, pair: Pair) -> Row:
        """Return the worker's row for one pair; `undecided` if the worker fails."""
        request: Request = (1, _LIMITS.item_cpu_s, [pair])
        line = orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            for _ in range(2):
                # A worker ends with the thread that started it, and a fork of this process cannot use it.
                # If it has ended already, start another.
                try:
                    process = self._started()
                    process.socket.sendall(line)
                    _, _, [(status, decided_by, reason, cpu_ms)], _ = orjson.loads(_read_line(process))
                except (OSError, ValueError, TypeError):  # it ended, or what it sent is no response
                    self._drop()
                else:
                    return status, decided_by, reason, cpu_ms
        return "undecided", "worker", "its worker died in the middle of this comparison, twice", 0.0

    def renew_lock(self) -> None:
        """Replace the lock after a fork, in the child."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop the worker process."""
        with self._lock:
            self._drop()

    def _started(self) -> WorkerProcess:
        if self._process is not None and self._owner != os.getpid():
            self._process.socket.close()
            self._process = None
        if self._process is None:
            self._process = WorkerProcess(self._role, _LIMITS)
            self._owner = os.getpid()
            self._process.socket.settimeout(_STALL_SECONDS)
            if _read_line(self._process) != READY:
                raise OSError("the worker did not start")
        return self._process

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            with contextlib.suppress(OSError):
                process.reap()


def _read_line(process: WorkerProcess) -> bytes:
    """Return the next line from a worker, which sends one at a time; less of it if it ends early or is too long."""
    with process.socket.makefile("rb") as lines:
        return lines.readline(MAX_LINE)


_cas = BoundedWorker("cas")
_own = BoundedWorker("decide")
"""Runs checkers that are not built in."""
atexit.register(_cas.close)
atexit.register(_own.close)
if hasattr(os, "register_at_fork"):
    # A fork while another thread holds the lock would leave it locked forever in the child.
    for _worker in (_cas, _own):
        os.register_at_fork(after_in_child=_worker.renew_lock)
