"""Queues of the verification pool: batches are cut into chunks of items; tenants and batches take turns.

Each role has two lanes. Every item begins in the prompt lane. An item that used up its first slice of CPU time is
deferred: it runs again, alone, in the second lane, with the cheapest forms first. Deferred items use at most half of
the workers, so short items of any batch never wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from functools import partial

from deepcompress_verify.ipc import Pair, Row
from deepcompress_verify.process import Role
from deepcompress_verify.verdict import Verdict

_DEFERRED_TURN = 8
"""One chunk of this number comes from the deferred lane first, so that a steady load does not keep it waiting."""


@dataclass(slots=True, eq=False)
class Item:
    """One distinct comparison of a batch, and the indices of the checks that share it."""

    pair: Pair
    indices: list[int]
    extraction_verdict: Verdict | None
    """If there is no answer to compare: the verdict unless the gold is unreadable."""
    crashes: int = 0
    """Workers that crashed on this item without hitting one of its limits."""
    row: Row | None = None
    """The result, once there is one."""

    @property
    def chars(self) -> int:
        """Characters of the pair."""
        gold, answer, restated_answer = self.pair
        return sum(map(len, gold)) + len(answer or "") + len(restated_answer or "")


@dataclass(slots=True, eq=False)
class CheckBatch:
    """The checks of one `verify_many` call."""

    verdicts: list[Verdict | None]
    """One per check, in order; None while it is open."""
    budget_s: float
    """CPU seconds for the deferred items."""
    done: asyncio.Future[None]
    tenant: str = ""
    """Unit of fair scheduling: tenants take turns, independent of their number of batches."""
    open_items: int = 0
    all_enqueued: bool = False
    """All answers are extracted and enqueued: the batch is done when no item is open."""
    closed: bool = False
    """The caller has returned; remaining chunks are dropped."""
    spent_s: float = 0.0
    """CPU seconds of the deferred items."""
    wasted_s: float = 0.0
    """CPU seconds of first slices that ended without a result."""
    queues: defaultdict[tuple[Role, bool], deque[Chunk]] = field(default_factory=partial(defaultdict, deque))
    """Waiting chunks by role, and by whether they are deferred."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Items of one batch that are sent to a worker in one message."""

    batch: CheckBatch
    items: list[Item]
    attempts: int = 0
    """Runs that ended without any result."""
    level: int = 0
    """Slices that its item has used up; above 0 it is deferred, and has one item."""


class _Lane:
    """Chunks taken round-robin over tenants, and over the batches of each tenant."""

    def __init__(self, role: Role, deferred: bool) -> None:
        self._key = (role, deferred)
        self.turns: OrderedDict[str, deque[CheckBatch]] = OrderedDict()
        """Batches with waiting chunks by tenant, in the order of their turns."""

    def put(self, chunk: Chunk, first: bool) -> None:
        chunks = chunk.batch.queues[self._key]
        if not chunks:
            self.turns.setdefault(chunk.batch.tenant, deque()).append(chunk.batch)
        if chunk.level:
            # By level, then by size; a batch has few of them.
            order = (chunk.level, chunk.items[0].chars)
            place = len(chunks)
            while place and order < (chunks[place - 1].level, chunks[place - 1].items[0].chars):
                place -= 1
            chunks.insert(place, chunk)
        elif first:
            chunks.appendleft(chunk)
        else:
            chunks.append(chunk)

    def take(self) -> Chunk:
        tenant, batches = self.turns.popitem(last=False)
        batch = batches.popleft()
        chunk = batch.queues[self._key].popleft()
        if batch.queues[self._key]:
            batches.append(batch)
        if batches:
            self.turns[tenant] = batches
        return chunk


class WorkQueue:
    """Chunks waiting for one role. `max_deferred` is the number of deferred chunks that run at once."""

    def __init__(self, role: Role, max_deferred: int = 1) -> None:
        self.role = role
        self._prompt, self._deferred = _Lane(role, False), _Lane(role, True)
        self._free_deferred = max_deferred
        self._taken = 0
        self._changed = asyncio.Event()

    def put(self, chunk: Chunk, first: bool = False) -> None:
        """Add a chunk at the end of its batch, or at the front with `first`; deferred ones in order of their size."""
        (self._deferred if chunk.level else self._prompt).put(chunk, first)
        self._changed.set()

    async def take(self) -> Chunk:
        """Wait for a chunk and return it; its tenant then has the last turn. Call `finish` after a deferred one."""
        while True:
            may_defer = bool(self._deferred.turns) and self._free_deferred > 0
            if may_defer and (not self._prompt.turns or self._taken % _DEFERRED_TURN == _DEFERRED_TURN - 1):
                self._free_deferred -= 1
                self._taken += 1
                return self._deferred.take()
            if self._prompt.turns:
                self._taken += 1
                return self._prompt.take()
            self._changed.clear()
            await self._changed.wait()

    def finish(self) -> None:
        """Release the place of a deferred chunk that was taken."""
        self._free_deferred += 1
        self._changed.set()
