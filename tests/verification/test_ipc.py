"""Messages between the pool and its workers: every fault of a line ends its worker, and no text breaks a line."""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from deepcompress_verify import Check, PoolClosedError, Verdict, VerifierPool
from deepcompress_verify.ipc import MAX_LINE, READY
from deepcompress_verify.process import WorkerLimits, WorkerProcess
from deepcompress_verify.verify import BoundedWorker
from deepcompress_verify.work_queue import CheckBatch, Chunk, Item, WorkQueue
from deepcompress_verify.worker import requests
from deepcompress_verify.worker_slots import Slot, WorkerSlots

from .misbehaving import LONG_TEXT, ODD_TEXT

DECIDER = "tests.verification.misbehaving:judge"


@pytest.fixture(autouse=True)
def _tests_are_importable_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def box(answer: str, gold: str = "1") -> Check:
    return Check((gold,), rf"So \boxed{{{answer}}}")


def verified(*batches: list[Check]) -> tuple[list[list[Verdict]], int]:
    """Return the verdicts of each batch from one pool, and how many of its workers ended early."""

    async def main() -> tuple[list[list[Verdict]], int]:
        pool = VerifierPool(workers=1, cas_workers=0, item_budget_s=1.0, decider=DECIDER)
        await pool.start()
        try:
            verdicts = [await pool.verify_many(checks) for checks in batches]
            return verdicts, pool.stats().killed + pool.stats().crashed
        finally:
            await pool.close()

    return asyncio.run(main())


@pytest.mark.parametrize("behaviour", ["half a line", "too long", "garbage", "out of turn"])
def test_a_line_that_is_no_response_ends_its_worker_and_costs_its_item(behaviour: str) -> None:
    checks = [box(str(number), str(number)) for number in range(9)]
    checks[4] = box(behaviour)
    (verdicts, again), ended = verified(checks, [box("1")])
    assert [verdict.status for verdict in verdicts] == ["correct"] * 4 + ["undecided"] + ["correct"] * 4
    assert verdicts[4].decided_by == "worker"
    assert again[0].correct
    assert ended == 2


class ScriptedWorker:
    """A worker's process and stream: it sends `data` and ends in item `index`, or between items (-1)."""

    def __init__(self, data: bytes, index: int) -> None:
        self.index = index
        self.checks = self.peak_bytes = 0
        self.reader = asyncio.StreamReader(limit=MAX_LINE)
        self.reader.feed_data(data)
        self.reader.feed_eof()

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    def kill(self) -> None: ...

    def heartbeat(self) -> tuple[int, int]:
        return 1, self.index

    def reap(self) -> int:
        return 1


def run_chunk(data: bytes, index: int = 0, count: int = 1) -> tuple[list[Item], Slot, VerifierPool]:
    """Run a chunk of `count` items on a worker that sends `data`."""

    async def main() -> tuple[list[Item], Slot, VerifierPool]:
        pool = VerifierPool()
        pool._queues = {"decide": WorkQueue("decide")}
        done = asyncio.get_running_loop().create_future()
        batch = CheckBatch([None] * count, 1.0, done, all_enqueued=True, open_items=count)
        items = [Item((("1",), str(number), None), [number], None) for number in range(count)]
        worker = ScriptedWorker(data, index)
        slot = Slot("decide", cast(WorkerProcess, worker), worker.reader, cast(asyncio.StreamWriter, worker))
        await pool._run_chunk(slot, Chunk(batch, items))
        assert done.done() == all(item.row is not None for item in items)
        return items, slot, pool

    return asyncio.run(main())


RESPONSE = b'[1,0,[["correct","test","",1.0]],7]'


def test_a_response_is_taken() -> None:
    (item,), slot, pool = run_chunk(RESPONSE + b"\n")
    assert item.row == ("correct", "test", "", 1.0)
    assert slot.process is not None
    assert pool.stats().peak_memory_bytes == 7 << 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        RESPONSE[:-1],
        RESPONSE[:-1] + b"\n",
        RESPONSE[:9] + b"\n" + RESPONSE[9:] + b"\n",
        RESPONSE + RESPONSE + b"\n",
        b"\xff\xfe\n",
        b'"ready"\n',
        b" " * (MAX_LINE + 1) + b"\n",
        b"[" * 100_000 + b"\n",
        b"null\n",
        b"1\n",
        b"{}\n",
        b"[]\n",
        b"[1,0]\n",
        b'{"1":1,"2":2,"3":3,"4":4}\n',
        b"[1,0,null,7]\n",
        b"[1,0,3,7]\n",
        b'[1,0,["row"],7]\n',
        b"[1,0,[1],7]\n",
        b"[1,0,[[]],7]\n",
        b'[1,0,[["correct","test",""]],7]\n',
        b'[1,0,[["correct","test","","1.0"]],7]\n',
        b'[1,0,[["correct","test","",null]],7]\n',
        b'[1,0,[],"7"]\n',
        b"[1,0,[],7.5]\n",
        b"[1,0,[],null]\n",
        b'[2,0,[["correct","test","",1.0]],7]\n',
        b'[1,1,[["correct","test","",1.0]],7]\n',
        b'[1,0,[["correct","test","",1.0],["correct","test","",1.0]],7]\n',
    ],
    ids=lambda data: ascii(data[:40])[2:-1],
)
def test_anything_else_is_the_end_of_that_worker(data: bytes) -> None:
    """Its item gets a second try, and the call goes on."""
    (item,), slot, pool = run_chunk(data)
    assert item.row is None
    assert slot.process is None
    assert item.crashes == 1
    assert pool.stats().crashed == 1
    assert asyncio.run(pool._queues["decide"].take()).items == [item]


def test_texts_with_line_breaks_arrive_as_they_are() -> None:
    odd = "a\u2028b\u2029\u0085c"
    large = "x" * 900_000
    checks = [box("odd text"), box("long text"), box(odd, odd), box("1", "a\nb"), box("1", large), box("1")]
    checks.append(Check(("1",), "x\n" * 500_000 + r"\boxed{1}"))
    (verdicts,), ended = verified(checks)
    assert [verdict.reason for verdict in verdicts[:2]] == [ODD_TEXT, LONG_TEXT]
    assert [verdict.correct for verdict in verdicts[2:]] == [True, False, False, True, True]
    assert ended == 0


@pytest.mark.parametrize("behaviour", ["no text", "text over the limit"])
def test_a_result_that_no_line_can_carry_costs_its_item(behaviour: str) -> None:
    """A lone surrogate was the end of every worker that met it, and so of the whole call."""
    (verdicts,), ended = verified([box("1"), box(behaviour), box("2", "2")])
    assert [verdict.status for verdict in verdicts] == ["correct", "undecided", "correct"]
    assert verdicts[1].decided_by == "worker"
    assert ended == 0


def test_results_that_are_too_long_together_run_again_each_alone() -> None:
    items, slot, pool = run_chunk(b" " * (MAX_LINE + 1), index=-1, count=3)
    assert slot.process is None
    assert [item.crashes for item in items] == [0, 0, 0]

    async def waiting() -> list[list[Item]]:
        return [(await pool._queues["decide"].take()).items for _ in items]

    assert asyncio.run(waiting()) == [[item] for item in items]


@pytest.mark.parametrize("behaviour", ["half a line", "too long", "garbage", "no text"])
def test_a_worker_of_a_caller_without_a_loop(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules[BoundedWorker.__module__], "WorkerProcess", partial(WorkerProcess, decider=DECIDER)
    )
    worker = BoundedWorker("decide")
    try:
        assert worker.check((("1",), "odd text", None))[:3] == ("wrong", "test", ODD_TEXT)
        assert worker.check((("1",), "long text", None))[:3] == ("wrong", "test", LONG_TEXT)
        assert worker.check((("1",), behaviour, None))[:2] == ("undecided", "worker")
        assert worker.check((("1",), "1", None))[0] == "correct"
    finally:
        worker.close()


def test_a_worker_reads_whole_lines_only() -> None:
    """A pool that is killed leaves half a line behind."""
    pool, worker = socket.socketpair()
    with pool, worker:
        pool.sendall(b'[1,0.5,[[["1"],"2",null]]]\n[2,0.5,[]]\n[3,0.5,[')
        pool.shutdown(socket.SHUT_WR)
        assert list(requests(worker)) == [[1, 0.5, [[["1"], "2", None]]], [2, 0.5, []]]


@pytest.mark.parametrize("data", [b"", READY[:-1], b"nonsense\n", b"[]\n", b"x" * 1001], ids=ascii)
def test_a_process_that_is_not_ready_did_not_start(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unready(WorkerProcess):
        def __init__(self, *_: object) -> None:
            self.socket, other = socket.socketpair()
            with other:
                other.sendall(data)

        def reap(self) -> int:
            self.socket.close()
            return 1

        def kill(self) -> None: ...

    monkeypatch.setattr("deepcompress_verify.worker_slots.WorkerProcess", Unready)
    monkeypatch.setattr("deepcompress_verify.worker_slots.MAX_LINE", 500)

    async def main() -> None:
        slots = WorkerSlots({"decide": 1}, {"decide": WorkerLimits()}, DECIDER, 1.0)
        with pytest.raises(OSError, match="it ended with code 1"):
            await slots.launch(Slot("decide"))
        with pytest.raises(PoolClosedError, match="do not start"):
            await VerifierPool(workers=1).start()

    asyncio.run(main())
