"""Checking one response without HTTP and without a pool: `verify`.

Our own tiers run in the caller's process; they are bounded by counted work and need no guard. The rare pair that
only a computer algebra system can settle goes to one worker process that is started when first needed and ends
with the caller, so that nothing a model wrote can hang or grow the caller's process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Sequence

from deepcompress_verify.extract import MAX_RESPONSE_CHARS
from deepcompress_verify.ipc import NEEDS_CAS, Pair, Row, encode_request, read_frame
from deepcompress_verify.prepare import conclude, prepare
from deepcompress_verify.process import WorkerLimits, WorkerProcess
from deepcompress_verify.tiers import decide_pair
from deepcompress_verify.verdict import AnswerFormat, Check, Verdict

_LIMITS = WorkerLimits()
_STALL_SECONDS = 60.0
"""Liveness only: the kernel's CPU limit ends a check long before."""


def verify(
    gold: str | Sequence[str],
    response: str,
    *,
    answer_format: AnswerFormat = "boxed",
    truncated: bool = False,
) -> Verdict:
    """Whether the answer in `response` equals `gold` (any one of several alternatives).

    Never raises for what a text holds. The first pair that needs the computer algebra system waits about two
    seconds for its worker to start.
    """
    alternatives = (gold,) if isinstance(gold, str) else tuple(gold)
    result = prepare(Check(alternatives, response, answer_format, truncated), MAX_RESPONSE_CHARS)
    started = time.thread_time_ns()
    try:
        status, decided_by, reason = decide_pair(result.gold, result.answer, result.restated_answer)
    except Exception as error:  # a bug of ours, as a pool's worker would report it
        status, decided_by, reason = "undecided", "worker", f"internal error: {type(error).__name__}"
    row: Row = (status, decided_by, reason, (time.thread_time_ns() - started) / 1e6)
    if status == NEEDS_CAS:
        row = _cas.check((result.gold, result.answer, result.restated_answer))
    return conclude(result.answer, result.extraction_verdict, row)


class CasWorker:
    """One worker with the computer algebra system, for callers without an event loop. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._owner = 0

    def check(self, pair: Pair) -> Row:
        """The computer algebra system's row for one pair; undecided where its worker fails."""
        with self._lock:
            for _ in range(2):
                # A worker dies with the thread that started it, and is not shared with a fork of this process:
                # one that is gone before it began is simply started again.
                try:
                    process = self._started()
                    process.socket.sendall(encode_request(1, [pair]))
                    _, _, rows, _ = read_frame(process.socket)
                    status, decided_by, reason, cpu_ms = rows[0]
                except OSError:
                    self._drop()
                else:
                    return status, decided_by, reason, cpu_ms
        return "undecided", "worker", "the worker of the computer algebra system died", 0.0

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _started(self) -> WorkerProcess:
        if self._process is not None and self._owner != os.getpid():
            self._process.socket.close()
            self._process = None
        if self._process is None:
            self._process = WorkerProcess("cas", _LIMITS)
            self._owner = os.getpid()
            self._process.socket.settimeout(_STALL_SECONDS)
            read_frame(self._process.socket)
        return self._process

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            with contextlib.suppress(OSError):
                process.reap()


_cas = CasWorker()
atexit.register(_cas.close)
if hasattr(os, "register_at_fork"):
    # A fork while another thread holds the lock would leave it locked for ever in the child.
    os.register_at_fork(after_in_child=lambda: setattr(_cas, "_lock", threading.Lock()))
