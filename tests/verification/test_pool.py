"""The pool: order, chunks, and isolation of checks that hang or crash."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from deepcompress_verify import Check, PoolBusyError, PoolClosedError, PoolFailedError, Verdict, VerifierPool, verify
from deepcompress_verify.process import WorkerProcess, shared_page

from ..waiting import eventually, eventually_async

ROOT = Path(__file__).parents[2]


def box(answer: str, gold: str = "1") -> Check:
    return Check((gold,), rf"So \boxed{{{answer}}}")


@pytest.fixture(autouse=True)
def _tests_are_importable_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@asynccontextmanager
async def misbehaving(**options: object) -> AsyncIterator[VerifierPool]:
    settings = {"workers": 2, "cas_workers": 0, "item_budget_s": 1.0, **options}
    pool = VerifierPool(decider="tests.verification.misbehaving:judge", **settings)  # type: ignore[arg-type]
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


def run(work: Callable[[VerifierPool], Awaitable[None]], **options: object) -> None:
    async def main() -> None:
        async with misbehaving(**options) as pool:
            await work(pool)

    asyncio.run(main())


def children(parent: int) -> list[int]:
    """Return the ids of the processes that a process started and that run, from /proc."""
    result = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                result.append(int(stat.parent.name))
    return result


def workers_of(parent: int) -> list[int]:
    """Return the ids of the pool's workers among them."""
    workers = []
    for pid in children(parent):
        with contextlib.suppress(OSError):
            if b"deepcompress_verify.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
    return workers


async def accepted(pool: VerifierPool) -> None:
    """Wait until the checks of a call that was started before are in the pool."""

    async def queued() -> bool:
        return pool.stats().queued > 0

    await eventually_async(queued)


def statuses(verdicts: list[Verdict]) -> list[str]:
    return [verdict.status for verdict in verdicts]


def test_verdicts_keep_the_order_of_checks() -> None:
    async def work(pool: VerifierPool) -> None:
        golds = [str(number) for number in range(1000)]
        checks = [box(gold if number % 3 else "no", gold) for number, gold in enumerate(golds)]
        verdicts = await pool.verify_many(checks)
        assert [verdict.correct for verdict in verdicts] == [number % 3 != 0 for number in range(1000)]
        assert [verdict.answer for verdict in verdicts] == [
            gold if number % 3 else "no" for number, gold in enumerate(golds)
        ]
        assert pool.stats().checked == 1000
        assert pool.stats().queued == 0

    run(work)


def test_each_check_has_its_own_row_beside_others_with_the_same_objects() -> None:
    gold, options, other = ("B",), ("3", "5"), ("5", "3")
    number: dict[str, object] = {"name": "number", "absolute": 1}
    rows = [
        (gold, None, ()),
        (gold, None, options),
        (gold, None, other),
        (gold, "text", other),
        (("B",), None, options),
        (("5",), number, ()),
        (("5",), {**number, "absolute": 2}, ()),
    ]
    checks = [
        Check(one, rf"\boxed{{{answer}}}", checker=checker, options=texts)
        for one, checker, texts in rows
        for answer in ("B", "5", "3")
    ]

    async def main() -> list[Verdict]:
        pool = VerifierPool(workers=1, cas_workers=0)
        await pool.start()
        try:
            return await pool.verify_many(checks)
        finally:
            await pool.close()

    alone = [
        verify(one.gold, one.response, checker=one.checker, options=one.options)  # type: ignore[arg-type]
        for one in checks
    ]
    assert [(v.correct, v.status) for v in asyncio.run(main())] == [(v.correct, v.status) for v in alone]
    assert len({tuple(v.correct for v in alone[i : i + 3]) for i in range(0, len(alone), 3)}) > 2


def test_nothing_to_check() -> None:
    async def work(pool: VerifierPool) -> None:
        assert await pool.verify_many([]) == []
        verdicts = await pool.verify_many([Check(("1",), "no box here")])
        assert statuses(verdicts) == ["no_answer"]

    run(work)


@pytest.mark.parametrize(
    ("behaviour", "decided_by"),
    [
        ("spin", "limit"),
        ("die", "worker"),
        ("exit", "worker"),
        ("abort", "worker"),
        ("eat memory", "limit"),
        ("recurse", "limit"),
        ("raise", "worker"),
    ],
)
def test_an_item_that_misbehaves_costs_itself(behaviour: str, decided_by: str) -> None:
    async def work(pool: VerifierPool) -> None:
        checks = [box(str(number), str(number)) for number in range(150)]
        checks[70] = box(behaviour)
        verdicts = await pool.verify_many(checks)
        assert verdicts[70].status == "undecided"
        assert verdicts[70].decided_by == decided_by
        assert all(verdict.correct for place, verdict in enumerate(verdicts) if place != 70)
        again = await pool.verify_many([box("1")] * 5)
        assert all(verdict.correct for verdict in again)
        assert pool.stats().alive >= 1

    run(work)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where workers report their memory")
def test_memory_that_earlier_items_left_taken_is_not_missing_for_others() -> None:
    """As caches do: each item here keeps 12 MiB in its worker, of its 256 MiB."""

    async def work(pool: VerifierPool) -> None:
        for number in range(60):
            await pool.verify_many([box("keep memory", str(number))])
        verdicts = await pool.verify_many([box("need memory", str(number)) for number in range(8)])
        assert statuses(verdicts) == ["wrong"] * 8
        assert pool.stats().undecided == 0
        assert pool.stats().recycled >= 3

    run(work)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose /proc lists the workers")
def test_workers_killed_by_others_change_no_verdict() -> None:
    """Killing workers at random (like an out-of-memory killer) changes no verdict."""

    async def work(pool: VerifierPool) -> None:
        checks = [box(str(number), str(number // 2 * 2)) for number in range(400)]
        killed = 0

        async def kill() -> None:
            nonlocal killed
            random, signals = Random(1), [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]
            checked = -1
            while killed < 12:
                await asyncio.sleep(random.random() * 0.3)
                # The next kill waits for a verdict, or a busy machine would see every worker killed as it starts.
                if pool.stats().checked > checked and (workers := workers_of(os.getpid())):
                    checked = pool.stats().checked
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(random.choice(workers), random.choice(signals))
                        killed += 1

        killer = asyncio.create_task(kill())
        while not killer.done():
            verdicts = await pool.verify_many(checks)
            for number, verdict in enumerate(verdicts):
                assert verdict.status in ("wrong" if number % 2 else "correct", "undecided")
        await killer
        # only an item that was in hand at two kills is given up
        assert pool.stats().undecided < 0.01 * pool.stats().checked
        assert pool.stats().killed + pool.stats().crashed > 3

    run(work)


def test_an_item_whose_worker_was_killed_by_another_gets_a_second_try(tmp_path: Path) -> None:
    """An item whose worker was killed once for an external reason is answered by the next worker."""

    async def work(pool: VerifierPool) -> None:
        mark = tmp_path / "was here"
        verdicts = await pool.verify_many([box("die the first time", str(mark)), box("1")])
        assert mark.exists()
        assert verdicts[0].status == "wrong", verdicts[0].reason
        assert verdicts[1].correct
        stats = pool.stats()
        assert (stats.killed + stats.crashed, stats.undecided) == (1, 0)

    run(work, item_budget_s=20.0)


def test_a_sleeper_is_killed_from_outside() -> None:
    """After a few seconds more than the item's budget, which the worker did not keep to."""

    async def work(pool: VerifierPool) -> None:
        verdicts = await pool.verify_many([box("1"), box("sleep"), box("1", "2")])
        assert statuses(verdicts) == ["correct", "undecided", "wrong"]
        assert verdicts[1].decided_by == "limit"
        assert pool.stats().killed == 1

    run(work, item_budget_s=0.25)


def test_many_that_hang_do_not_keep_another_batch_waiting() -> None:
    async def work(pool: VerifierPool) -> None:
        hanging = asyncio.create_task(pool.verify_many([box("spin", str(number)) for number in range(3)]))
        await accepted(pool)
        verdicts = await pool.verify_many([box("1")] * 200)
        assert not hanging.done()
        assert all(verdict.correct for verdict in verdicts)
        assert statuses(await hanging) == ["undecided"] * 3

    run(work)


def test_batches_take_turns() -> None:
    async def work(pool: VerifierPool) -> None:
        large = asyncio.create_task(pool.verify_many([box("slow", str(number)) for number in range(192)]))
        await accepted(pool)
        await pool.verify_many([box("1")] * 3)
        assert not large.done()
        large.cancel()

    run(work, workers=1)


def test_a_caller_that_leaves_takes_its_work_along() -> None:
    async def work(pool: VerifierPool) -> None:
        leaving = asyncio.create_task(pool.verify_many([box("slow", str(number)) for number in range(600)]))
        await accepted(pool)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert pool.stats().queued == 0
        checked = pool.stats().checked
        assert (await pool.verify_many([box("1")]))[0].correct
        assert pool.stats().checked - checked < 300  # few of those that were left are finished before it

    run(work, workers=1)


def test_closing_ends_the_calls_in_progress_with_an_error() -> None:
    """A service that stops gives no verdicts: the caller sends the request again."""

    async def work(pool: VerifierPool) -> None:
        waiting = asyncio.create_task(pool.verify_many([box("1"), box("spin")]))
        await accepted(pool)
        await pool.close()
        with pytest.raises(PoolClosedError):
            await asyncio.wait_for(waiting, 60)

    run(work, item_budget_s=30.0)


def test_a_batch_in_which_much_hangs_loses_no_other_verdict() -> None:
    """For any share of items that hang, and with nearly no budget for them."""

    async def work(pool: VerifierPool) -> None:
        checks = [box(behaviour, str(number)) for number in range(40) for behaviour in ("spin", str(number))]
        verdicts = await pool.verify_many(checks, budget_s=0.01)
        assert statuses(verdicts) == ["undecided", "correct"] * 40
        assert {verdict.decided_by for verdict in verdicts[::2]} == {"limit"}
        # Ended by its timer, an item costs no worker.
        assert pool.stats().killed + pool.stats().crashed == 0
        assert pool.stats().cpu_s < 40 * 0.2 + 4

    run(work)


def test_an_item_that_needs_longer_than_its_slice_is_decided_later() -> None:
    """The items that need less run first, also those behind it."""

    async def work(pool: VerifierPool) -> None:
        checks = [box("busy", "busy"), *(box(str(number), str(number)) for number in range(200))]
        verdicts = await pool.verify_many(checks, budget_s=60.0)
        assert statuses(verdicts) == ["correct"] * 201
        assert verdicts[0].cpu_ms > 300

    run(work, item_budget_s=20.0)


def test_a_c_call_that_does_not_end_is_killed_and_costs_itself() -> None:
    async def work(pool: VerifierPool) -> None:
        verdicts = await pool.verify_many([box("spin in C"), *(box(str(n), str(n)) for n in range(100))])
        assert statuses(verdicts) == ["undecided"] + ["correct"] * 100
        assert pool.stats().killed >= 1

    run(work)


@pytest.mark.slow
def test_a_worker_that_has_run_for_long_ends_no_innocent_item() -> None:
    """Limits count from the beginning of an item: what its worker used before does not matter."""

    async def work(pool: VerifierPool) -> None:
        for number in range(3):
            busy = [
                box("busy", "busy"),
                *(box(f"busy {n}", f"busy {n}") for n in range(10 * number, 10 * number + 8)),
            ]
            verdicts = await pool.verify_many(busy, budget_s=1000.0)
            assert statuses(verdicts) == ["correct"] * 9
        assert pool.stats().killed + pool.stats().crashed == 0

    run(work, workers=1, item_budget_s=0.6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose /proc lists the workers")
def test_workers_that_no_longer_start_are_an_error_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: VerifierPool) -> None:
        def fails(*_: object) -> WorkerProcess:
            raise OSError("no process")

        async def spare_is_up() -> bool:
            return len(workers_of(os.getpid())) == 3

        await eventually_async(spare_is_up)
        monkeypatch.setattr("deepcompress_verify.worker_slots.WorkerProcess", fails)
        with pytest.raises(PoolFailedError):
            await pool.verify_many([box(behaviour, str(n)) for n in range(6) for behaviour in ("exit", str(n))])
        monkeypatch.undo()
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        assert (await pool.verify_many([box("1")]))[0].correct

    run(work)


def test_workers_that_end_before_they_begin_are_an_error_and_no_verdict() -> None:
    """Such a death is no evidence about any item: none is charged with it."""

    async def work(pool: VerifierPool) -> None:
        async def send(number: int) -> None:
            with contextlib.suppress(PoolFailedError):
                verdicts = await pool.verify_many([box(str(n), str(n)) for n in range(number, number + 8)])
                assert statuses(verdicts) == ["correct"] * 8

        def kill() -> None:
            for slot in pool._workers.slots:
                if slot.process is not None:
                    slot.process.kill()

        for number in range(6):
            kill()
            await send(number)
        assert pool.stats().undecided == 0

    run(work)


def test_boxes_of_megabytes_do_not_travel() -> None:
    async def work(pool: VerifierPool) -> None:
        verdicts = await pool.verify_many([box("9" * 4_000_000)] * 20 + [box("1")] + [box("1" * 10_000)] * 200)
        assert statuses(verdicts)[:21] == ["unreadable"] * 20 + ["correct"]
        assert max(len(verdict.answer or "") for verdict in verdicts) < 300
        # The bound for any worker and any input.
        assert pool.stats().peak_memory_bytes < 400e6

    run(work)


def test_the_queue_is_bounded() -> None:
    async def work(pool: VerifierPool) -> None:
        first = asyncio.create_task(pool.verify_many([box("slow", str(number)) for number in range(9)]))
        await accepted(pool)
        with pytest.raises(PoolBusyError):
            await pool.verify_many([box("1")] * 3)
        await first
        assert (await pool.verify_many([box("1")] * 20))[0].correct

    run(work, max_queued=10)


def test_a_pool_that_does_not_run_raises() -> None:
    with pytest.raises(PoolClosedError):
        asyncio.run(VerifierPool().verify_many([box("1")]))


def test_workers_that_cannot_start_are_an_error_at_start() -> None:
    async def main() -> None:
        with pytest.raises(PoolClosedError):
            await VerifierPool(workers=1, decider="tests.verification.misbehaving:nothing").start()

    asyncio.run(main())


def test_workers_have_no_secrets_and_write_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_API_KEYS", "secret")

    async def work(pool: VerifierPool) -> None:
        target = tmp_path / "file"
        verdicts = await pool.verify_many([box("environment"), box("write", str(target))])
        assert "DEEPCOMPRESS_API_KEYS" not in verdicts[0].reason
        assert statuses(verdicts) == ["wrong", "undecided"]
        assert not target.exists() or target.stat().st_size == 0

    run(work)


def test_a_text_over_the_limit_costs_itself() -> None:
    async def work(pool: VerifierPool) -> None:
        verdicts = await pool.verify_many([Check(("1",), "x" * 2000 + r"\boxed{1}"), box("1")])
        assert statuses(verdicts) == ["unreadable", "correct"]

    run(work, max_text_chars=1000)


def test_lone_surrogates_and_nuls_cross_no_border() -> None:
    async def work(pool: VerifierPool) -> None:
        verdicts = await pool.verify_many([box("\ud800"), box("\x00"), box("1", "\udfff"), Check(("1",), "\ud800")])
        for verdict in verdicts:
            assert not verdict.correct
            f"{verdict.answer}{verdict.reason}".encode()

    run(work)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose /proc lists the workers")
def test_workers_die_with_a_service_that_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "in hand"
    program = (
        "import asyncio\n"
        "from deepcompress_verify import Check, VerifierPool\n"
        "async def main():\n"
        "    pool = VerifierPool(workers=2, decider='tests.verification.misbehaving:judge')\n"
        "    await pool.start()\n"
        "    print('started', flush=True)\n"
        f"    await pool.verify_many([Check(({str(mark)!r},), r'\\boxed{{mark, then spin}}')])\n"
        "asyncio.run(main())\n"
    )
    service = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert service.stdout is not None
    assert service.stdout.readline() == "started\n"
    pids = workers_of(service.pid)
    assert len(pids) >= 2  # the spare may be up already
    eventually(mark.exists)
    service.send_signal(signal.SIGKILL)
    service.wait()
    eventually(lambda: not any(_running(pid) for pid in pids), "workers run on without their service")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


FULL_TMP = """
import asyncio, os
from deepcompress_verify import Check, VerifierPool
from tests.verification.test_pool import workers_of

async def main():
    pool = VerifierPool(workers=1, cas_workers=0)
    await pool.start()
    await asyncio.sleep(1)
    with open(os.path.join(os.environ["TMPDIR"], "full"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for _ in range(3):
        for pid in workers_of(os.getpid()):
            os.kill(pid, 9)
        (verdict,) = await pool.verify_many([Check(("1",), r"\\boxed{1}")])
        assert verdict.correct, verdict
        await asyncio.sleep(0.5)
    await pool.close()
    print("well")

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, to mount a tmpfs")
def test_a_full_tmp_and_dead_workers_do_not_end_the_process(tmp_path: Path) -> None:
    """The page that a worker shares with the pool was a sparse file: reading it on a full tmpfs was a SIGBUS."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        ended = subprocess.run(
            [sys.executable, "-c", FULL_TMP], capture_output=True, text=True, env=environment, timeout=120
        )
        assert (ended.returncode, ended.stdout) == (0, "well\n"), ended.stderr
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_heartbeat_is_allocated_at_once() -> None:
    with shared_page() as page:
        status = os.fstat(page.fileno())
        assert status.st_size == status.st_blocks * 512 == mmap.PAGESIZE
