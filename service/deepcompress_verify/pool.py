"""Verification of many checks on a few isolated worker processes.

The service extracts the answer from each text itself, in time linear in the text, and sends only the short (gold,
answer) pairs to pre-started workers. `decide` workers run the exact tiers. Separate `cas` workers run the computer
algebra system, so that the few pairs that need it do not delay the others.

Guarantees:

- A failure affects one item only. A worker that hangs or dies is killed and replaced by a spare that is already
  running. The item it was working on becomes `undecided`: at once at its limit, otherwise after a second crash.
  The other items of its chunk run again on another worker. If workers die before they begin an item, or cannot be
  started, that is an error of the pool (`PoolFailedError`), never a verdict.
- Every item gets a first slice of CPU time. An item that used it up is deferred: it runs again, alone, when the
  others of its batch have run, with longer and longer slices up to the budget of an item. Only deferred items use the
  budget of their batch, so an item that never ran long cannot lose its verdict to those that did.
- Budgets are CPU time, which is independent of load. Wall-clock limits only detect hangs, and are generous.
- Tenants (runs) take turns, and so do the calls of each tenant, one chunk at a time. Neither a large batch nor a run
  with many requests delays the others.
- The queue is bounded: above the bound `PoolBusyError` is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from deepcompress_verify.extract import PreparedGold, prepare, prepare_gold
from deepcompress_verify.ipc import LONG, NEEDS_CAS, READABLE, Request, Row
from deepcompress_verify.process import DECIDER, Role, WorkerLimits
from deepcompress_verify.verdict import MAX_SHOWN_CHARS, Check, Status, Verdict, truncate_answer
from deepcompress_verify.work_queue import CheckBatch, Chunk, Item, WorkQueue
from deepcompress_verify.worker_slots import Slot, WorkerSlots

logger = logging.getLogger(__name__)

CHUNK_ITEMS = 64
"""Maximum items per message: about 3 ms of work, so about a hundred messages a second keep a worker busy."""
CHUNK_CHARS = 1_000_000
"""Maximum characters per message; a single longer item is still sent, alone."""
_SLICE_CHARS = 500_000
"""Characters searched for answers before the event loop runs other tasks; each check counts as _CHECK_CHARS more."""
_CHECK_CHARS = 500
_RECYCLE_CHECKS = 200_000
_MAX_ATTEMPTS = 3
"""Attempts to run a chunk if no single item can be identified as the cause."""
FIRST_SLICE_S = 0.15
"""CPU seconds in which an item must end in order not to be deferred."""
SHORT_SLICE_S = 0.03
"""First slice of the remaining items of a batch in which many were deferred. The median item takes 0.5 ms."""
SECOND_SLICE_S = 0.4
WASTE_S = 1.0
"""CPU seconds of first slices without a result from which a batch gets the short slice."""
DECIDE_MEMORY_BYTES = 256 << 20
"""Largest address space of a `decide` worker. It begins with about 60 MiB."""
_KEPT_SHARE = 0.6
"""A `decide` worker that took more of its memory is replaced after the chunk: its cached golds must not take the
memory that an item of another request needs."""
BUDGET_PER_CHECK_S = 0.001
"""CPU seconds that each check adds to the budget of its batch: a large batch has more items that take long."""
_AT_LIMIT = (-signal.SIGVTALRM, -signal.SIGXCPU)
"""Exit codes of workers that the kernel ended at a limit on CPU time."""
_STUCK_S = 180.0
"""Seconds without any result, in the whole pool, after which the calls in progress fail."""


class PoolBusyError(Exception):
    """The queue is full. Nothing was checked; retry later."""


class PoolClosedError(Exception):
    """The pool is not running, or its workers cannot be started."""


class PoolFailedError(Exception):
    """The workers of a running pool cannot be started, or end before they do anything. Retry later."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters since the start, and gauges of the current state."""

    workers: int
    """Configured number of `decide` workers."""
    alive: int
    """Running `decide` workers, without the spare."""
    cas_workers: int
    """Configured number of `cas` workers."""
    cas_alive: int
    """Running `cas` workers."""
    queued: int
    """Checks accepted and not yet answered."""
    batches: int
    """Calls in progress."""
    checked: int
    """Checks answered."""
    undecided: int
    """Checks answered with status `undecided`."""
    cas_checks: int
    """Distinct pairs sent to the computer algebra system."""
    killed: int
    """Workers ended by a limit or by the watchdog."""
    crashed: int
    """Workers that ended for another reason while they had work."""
    recycled: int
    """Workers replaced after their maximum number of checks, or because they took much memory."""
    cpu_s: float
    """CPU seconds of all checks, all workers together."""
    peak_memory_bytes: int
    """Largest peak memory of any worker, in bytes."""


class VerifierPool:
    """Checks answers on its own worker processes. Use one pool per service process, within one event loop."""

    def __init__(
        self,
        workers: int = 2,
        item_budget_s: float = 2.0,
        batch_budget_s: float = 2.0,
        memory_bytes: int = 512 << 20,
        max_text_chars: int = 8 << 20,
        cas_workers: int = 1,
        max_queued: int = 1 << 19,
        decider: str = DECIDER,
    ) -> None:
        """Configure the pool; `start` launches the processes.

        - `workers`: number of processes for the exact tiers.
        - `cas_workers`: number of processes for the computer algebra system.
        - `item_budget_s`: CPU seconds for one comparison.
        - `batch_budget_s`: CPU seconds for the deferred items of one call, beside BUDGET_PER_CHECK_S for each check.
        - `memory_bytes`: address space of one worker; `decide` workers get at most DECIDE_MEMORY_BYTES.
        - `max_text_chars`: longer responses get status `unreadable`.
        - `max_queued`: number of checks in progress above which `PoolBusyError` is raised.
        - `decider`: `module:function` that a `decide` worker calls for each pair.
        """
        self.workers = workers
        self.cas_workers = cas_workers
        self.item_budget_s = item_budget_s
        self.batch_budget_s = batch_budget_s
        self.max_text_chars = max_text_chars
        self.max_queued = max_queued
        self._decide_memory = min(memory_bytes, DECIDE_MEMORY_BYTES)
        limits: dict[Role, WorkerLimits] = {
            "decide": WorkerLimits(item_budget_s, self._decide_memory),
            "cas": WorkerLimits(item_budget_s, memory_bytes),
        }
        counts: dict[Role, int] = {"decide": workers, "cas": cas_workers}
        self._workers = WorkerSlots(counts, limits, decider, stall_seconds=5.0 + 4 * item_budget_s)
        self._queues: dict[Role, WorkQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False
        self._sequence = 0
        self._batches: set[CheckBatch] = set()
        self._queued = self._checked = self._undecided = self._cas_checks = 0
        self._killed = self._crashed = self._recycled = 0
        self._cpu_ms = 0.0
        self._peak_bytes = 0
        self._progress_at = time.monotonic()

    # Lifecycle

    async def start(self) -> None:
        """Start the workers, and return when all `decide` workers are ready.

        Raises:
            PoolClosedError: The workers cannot be started.
        """
        if self._running:
            return
        self._running = True
        self._queues = {
            "decide": WorkQueue("decide", max(1, self.workers // 2)),
            "cas": WorkQueue("cas", max(1, self.cas_workers // 2)),
        }
        try:
            await self._workers.start()
        except (OSError, TimeoutError) as error:
            await self.close()
            raise PoolClosedError(f"the verification workers do not start: {error}") from error
        for slot in self._workers.slots:
            self._spawn(self._run_slot(slot))
        self._spawn(self._workers.watch())

    async def close(self) -> None:
        """Stop all workers. Calls in progress raise `PoolClosedError`."""
        self._running = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._workers.close()
        for batch in self._batches:
            _fail(batch, PoolClosedError("the verification pool was closed"))

    def stats(self) -> PoolStats:
        """Return the current counters and gauges."""
        return PoolStats(
            workers=self.workers,
            alive=self._workers.alive("decide"),
            cas_workers=self.cas_workers,
            cas_alive=self._workers.alive("cas"),
            queued=self._queued,
            batches=len(self._batches),
            checked=self._checked,
            undecided=self._undecided,
            cas_checks=self._cas_checks,
            killed=self._killed,
            crashed=self._crashed,
            recycled=self._recycled,
            cpu_s=self._cpu_ms / 1e3,
            peak_memory_bytes=self._peak_bytes,
        )

    # Checking

    async def verify_many(
        self, checks: Sequence[Check], *, budget_s: float | None = None, tenant: str = ""
    ) -> list[Verdict]:
        """Return the verdicts in the order of `checks`.

        `budget_s` replaces the batch budget (CPU seconds) for this call. `tenant` is the unit of fair scheduling. No
        text content raises an error.

        Raises:
            PoolBusyError: Too many checks are queued. Nothing was checked.
            PoolClosedError: The pool is not running, or was closed before the call was done.
            PoolFailedError: The workers cannot be started, or gave no result for minutes.
        """
        if not self._running:
            raise PoolClosedError("the verification pool is not running")
        if self._queued and self._queued + len(checks) > self.max_queued:
            raise PoolBusyError(f"{self._queued} checks are waiting")
        batch = CheckBatch(
            verdicts=[None] * len(checks),
            budget_s=(self.batch_budget_s if budget_s is None else budget_s) + BUDGET_PER_CHECK_S * len(checks),
            done=asyncio.get_running_loop().create_future(),
            tenant=tenant,
        )
        if not self._queued:
            self._progress_at = time.monotonic()
        self._queued += len(checks)
        self._batches.add(batch)
        try:
            await self._prepare_and_enqueue(batch, checks)
            while not batch.done.done():
                # A batch waits for as long as the pool makes progress: load never costs a verdict.
                await asyncio.wait((batch.done,), timeout=_STUCK_S / 10)
                if time.monotonic() - self._progress_at > _STUCK_S:
                    _fail(batch, PoolFailedError(f"no check ended in {_STUCK_S:g} s"))
            batch.done.result()
        finally:
            batch.closed = True
            if batch.done.done():
                batch.done.exception()  # so that asyncio does not report it as unseen
            self._queued -= len(checks)
            self._batches.discard(batch)
        verdicts = [verdict for verdict in batch.verdicts if verdict is not None]
        assert len(verdicts) == len(checks)
        self._checked += len(verdicts)
        self._undecided += sum(verdict.status == "undecided" for verdict in verdicts)
        return verdicts

    async def _prepare_and_enqueue(self, batch: CheckBatch, checks: Sequence[Check]) -> None:
        """Extract the answers and enqueue the distinct pairs; workers start on the first chunks meanwhile."""
        size = max(8, min(CHUNK_ITEMS, -(-len(checks) // (2 * self.workers))))
        queue = self._queues["decide"]
        known: dict[Hashable, Item] = {}
        pending: list[Item] = []
        searched_chars = chars = 0
        gold: PreparedGold | None = None
        previous: tuple[int, int, int] | None = None
        for index, check in enumerate(checks):
            row = (id(check.gold), id(check.options), id(check.checker))
            if row != previous:  # checks of one row share its very objects; equal ones are not searched for
                gold, previous = prepare_gold(check), row
            result = prepare(check, self.max_text_chars, gold)
            searched_chars += len(check.response) + _CHECK_CHARS
            key = result if result.extraction_verdict else (result.gold, result.answer, result.restated_answer)
            item = known.get(key)
            if item is None:
                item = Item((result.gold, result.answer, result.restated_answer), [index], result.extraction_verdict)
                known[key] = item
                pending.append(item)
                chars += len(result.answer or "") + len(result.restated_answer or "") + sum(map(len, result.gold))
            elif item.row is None:
                item.indices.append(index)
            else:
                batch.verdicts[index] = batch.verdicts[item.indices[0]]
            if len(pending) >= size or chars > CHUNK_CHARS:
                batch.open_items += len(pending)
                queue.put(Chunk(batch, pending))
                pending, chars = [], 0
            if searched_chars > _SLICE_CHARS:
                searched_chars = 0
                await asyncio.sleep(0)
        if pending:
            batch.open_items += len(pending)
            queue.put(Chunk(batch, pending))
        batch.all_enqueued = True
        if not batch.open_items and not batch.done.done():
            batch.done.set_result(None)

    def _record_result(self, batch: CheckBatch, items: Iterable[Item], row: Row) -> None:
        """Set the verdict of every open item, and complete the batch if none is left."""
        for item in items:
            if item.row is not None:
                continue
            item.row = row
            verdict = conclude(item.pair[1], item.extraction_verdict, row)
            for index in item.indices:
                batch.verdicts[index] = verdict
            batch.open_items -= 1
        if batch.all_enqueued and not batch.open_items and not batch.done.done():
            batch.done.set_result(None)

    def _handle_row(self, chunk: Chunk, item: Item, row: Row, role: Role) -> None:
        """Process one item's row from a worker: record it, or forward the pair to a `cas` worker."""
        self._cpu_ms += row[3]
        self._progress_at = time.monotonic()
        batch = chunk.batch
        if chunk.level:
            batch.spent_s += row[3] / 1e3
        if row[0] == LONG:
            if not chunk.level:
                batch.wasted_s += row[3] / 1e3
            self._queues[role].put(Chunk(batch, [item], level=chunk.level + 1))
            return
        if role == "decide" and row[0] == NEEDS_CAS:
            self._cas_checks += 1
            if self.cas_workers:
                self._queues["cas"].put(Chunk(batch, [item]))
                return
            row = ("undecided", "limit", "only a computer algebra system could tell, and none is configured", row[3])
        self._record_result(batch, [item], row)

    def _slice(self, chunk: Chunk) -> float:
        """Return the CPU seconds of each item of a chunk."""
        if not chunk.level:
            first = SHORT_SLICE_S if chunk.batch.wasted_s > WASTE_S else FIRST_SLICE_S
            return min(self.item_budget_s, first)
        batch = chunk.batch
        longer = min(self.item_budget_s, SECOND_SLICE_S) if chunk.level == 1 else self.item_budget_s
        # The last one gets what is left, or another first slice.
        return min(longer, max(batch.budget_s - batch.spent_s, FIRST_SLICE_S))

    # Workers

    async def _run_slot(self, slot: Slot) -> None:
        """Feed chunks to one slot until the pool closes."""
        queue = self._queues[slot.role]
        if slot.process is None:
            with contextlib.suppress(OSError, TimeoutError):
                await self._workers.launch(slot)  # before the first chunk arrives
        while True:
            chunk = await queue.take()
            try:
                if chunk.batch.closed:
                    continue
                if chunk.level and chunk.batch.spent_s >= chunk.batch.budget_s:
                    self._end_without_budget(chunk)
                elif slot.process is None and not await self._workers.replace(slot):
                    _fail(chunk.batch, PoolFailedError("no verification worker can be started"))
                else:
                    await self._run_chunk(slot, chunk)
            except Exception:  # an internal bug must not end the slot
                logger.exception("a %s slot failed", slot.role)
                self._workers.discard(slot)
                _fail(chunk.batch, PoolFailedError("an internal error of the verification pool"))
            finally:
                if chunk.level:
                    queue.finish()

    def _end_without_budget(self, chunk: Chunk) -> None:
        budget = chunk.batch.budget_s
        reason = f"it took long, and the batch had used up its budget of {budget:g} s for such items"
        self._record_result(chunk.batch, chunk.items, ("undecided", "limit", reason, 0.0))

    async def _run_chunk(self, slot: Slot, chunk: Chunk) -> None:
        """Run one chunk on one worker. In every case each item is settled or queued again."""
        assert slot.process and slot.reader and slot.writer
        self._sequence = number = (self._sequence + 1) & 0xFFFFFFFF
        slot.busy, slot.stalled = True, False
        slot.last_heartbeat, slot.last_change_at = (number, -1), time.monotonic()
        received = 0
        try:
            request: Request = (number, self._slice(chunk), [item.pair for item in chunk.items])
            slot.writer.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            await slot.writer.drain()
            while received < len(chunk.items):
                # A line that is empty, incomplete, too long or not a response is a `ValueError` or a `TypeError`.
                answered, first, rows, peak_kib = orjson.loads(await slot.reader.readline())
                if answered != number or first != received or received + len(rows) > len(chunk.items):
                    raise ValueError("an answer out of turn")
                slot.process.peak_bytes = peak_kib << 10
                for status, decided_by, reason, cpu_ms in rows:
                    self._handle_row(chunk, chunk.items[received], (status, decided_by, reason, cpu_ms), slot.role)
                    received += 1
        except (OSError, ValueError, TypeError):
            self._handle_worker_exit(slot, chunk, number, received)
            return
        finally:
            slot.busy = False
        slot.process.checks += len(chunk.items)
        self._peak_bytes = max(self._peak_bytes, slot.process.peak_bytes)
        large = slot.process.peak_bytes > _KEPT_SHARE * self._decide_memory
        if slot.role == "decide" and (large or slot.process.checks > _RECYCLE_CHECKS):
            self._recycled += 1
            self._workers.discard(slot)

    def _handle_worker_exit(self, slot: Slot, chunk: Chunk, number: int, received: int) -> None:
        """Handle a worker that ended during `chunk`: blame the current item, and requeue the others."""
        assert slot.process
        self._peak_bytes = max(self._peak_bytes, slot.process.peak_bytes)
        at, index = slot.process.heartbeat()
        stalled = slot.stalled
        code = self._workers.discard(slot, dead=True)
        if index < 0 and code == 0:
            self._recycled += 1  # it exited on purpose after a failed allocation
        elif stalled or code in (*_AT_LIMIT, -signal.SIGKILL):
            self._killed += 1
        else:
            self._crashed += 1
            logger.warning("a %s worker ended with code %s", slot.role, code)
        rest = chunk.items[received:]
        if at == number and received <= index < len(chunk.items):
            blamed = chunk.items[index]
            rest.remove(blamed)
            at_limit = stalled or code in _AT_LIMIT
            self._retry_or_end(slot.role, chunk, blamed, at_limit=at_limit, stalled=stalled)
        elif not received:
            chunk.attempts += 1
        if not rest:
            return
        if chunk.attempts >= _MAX_ATTEMPTS:
            _fail(chunk.batch, PoolFailedError("the verification workers end before they check anything"))
        elif chunk.attempts:
            # The cause is unknown: from here on each item has a message of its own.
            for item in rest:
                self._queues[slot.role].put(Chunk(chunk.batch, [item], chunk.attempts, chunk.level))
        else:
            self._queues[slot.role].put(Chunk(chunk.batch, rest, level=chunk.level), first=True)

    def _retry_or_end(self, role: Role, chunk: Chunk, item: Item, *, at_limit: bool, stalled: bool) -> None:
        """Decide about the item whose worker ended.

        If the item hit its slice, it is deferred, or ended if the slice was its whole budget. If the worker died
        otherwise (e.g. the OOM killer), it is tried once more, alone.
        """
        batch, used_s = chunk.batch, self._slice(chunk)
        if at_limit and not stalled and used_s < self.item_budget_s:
            self._handle_row(chunk, item, (LONG, "limit", "", used_s * 1e3), role)
        elif at_limit:
            batch.spent_s += self.item_budget_s
            self._record_result(
                batch, [item], ("undecided", "limit", f"stopped at its budget of {self.item_budget_s:g} s", 0.0)
            )
        elif item.crashes:
            self._record_result(
                batch, [item], ("undecided", "worker", "its worker died in the middle of this comparison, twice", 0.0)
            )
        else:
            item.crashes += 1
            self._queues[role].put(Chunk(batch, [item], level=chunk.level), first=True)

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fail(batch: CheckBatch, error: Exception) -> None:
    """End the call of a batch with an error."""
    batch.closed = True
    if not batch.done.done():
        batch.done.set_exception(error)


def conclude(answer: str | None, extraction_verdict: Verdict | None, row: Row) -> Verdict:
    """Return the verdict from a worker's row; `extraction_verdict` is the verdict of extraction alone, if any."""
    if extraction_verdict is not None:
        if row[0] == READABLE:
            return extraction_verdict
        answer = extraction_verdict.answer
    elif answer is not None and len(answer) > MAX_SHOWN_CHARS:
        answer = truncate_answer(answer)
    status = cast(Status, row[0])
    return Verdict(status == "correct", status, answer, row[1], row[2], row[3])
