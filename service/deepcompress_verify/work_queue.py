"""Queues of the verification pool: batches are cut into chunks of items; tenants and batches take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from functools import partial

from deepcompress_verify.ipc import Pair, Row
from deepcompress_verify.process import Role
from deepcompress_verify.verdict import Verdict


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


@dataclass(slots=True, eq=False)
class CheckBatch:
    """The checks of one `verify_many` call."""

    verdicts: list[Verdict | None]
    """One per check, in order; None while it is open."""
    budget_s: float
    """CPU seconds for the computer algebra system."""
    done: asyncio.Future[None]
    tenant: str = ""
    """Unit of fair scheduling: tenants take turns, independent of their number of batches."""
    open_items: int = 0
    all_enqueued: bool = False
    """All answers are extracted and enqueued: the batch is done when no item is open."""
    closed: bool = False
    """The caller has returned; remaining chunks are dropped."""
    spent_s: float = 0.0
    """CPU seconds in the computer algebra system, plus the budgets of items that were stopped."""
    queues: defaultdict[Role, deque[Chunk]] = field(default_factory=partial(defaultdict, deque))


@dataclass(slots=True, eq=False)
class Chunk:
    """Items of one batch that are sent to a worker in one message."""

    batch: CheckBatch
    items: list[Item]
    attempts: int = 0
    """Runs that ended without any result."""


class WorkQueue:
    """Chunks waiting for one role, taken round-robin over tenants, and over the batches of each tenant."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._turns: OrderedDict[str, deque[CheckBatch]] = OrderedDict()
        self._waiting = asyncio.Semaphore(0)

    def put(self, chunk: Chunk, first: bool = False) -> None:
        """Add a chunk at the end of its batch, or at the front with `first`."""
        chunks = chunk.batch.queues[self.role]
        if not chunks:
            self._turns.setdefault(chunk.batch.tenant, deque()).append(chunk.batch)
        chunks.appendleft(chunk) if first else chunks.append(chunk)
        self._waiting.release()

    async def take(self) -> Chunk:
        """Wait for a chunk and return it; its tenant moves to the end of the round."""
        await self._waiting.acquire()
        tenant, batches = self._turns.popitem(last=False)
        batch = batches.popleft()
        chunk = batch.queues[self.role].popleft()
        if batch.queues[self.role]:
            batches.append(batch)
        if batches:
            self._turns[tenant] = batches
        return chunk
