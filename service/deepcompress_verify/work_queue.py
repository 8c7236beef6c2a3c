"""What waits for the workers: batches cut into chunks of items, and lanes in which parties and batches take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from deepcompress_verify.ipc import Pair, Row
from deepcompress_verify.process import Role
from deepcompress_verify.verdict import Verdict


@dataclass(slots=True, eq=False)
class Item:
    """One distinct comparison of a batch and the places that wait for it."""

    pair: Pair
    indices: list[int]
    extraction_verdict: Verdict | None
    """Without an answer to compare: the verdict if the gold can be read."""
    crashes: int = 0
    """Workers that died with it in hand, for no limit that it passed."""
    row: Row | None = None
    """What was decided, once it is."""


@dataclass(slots=True, eq=False)
class CheckBatch:
    verdicts: list[Verdict | None]
    budget_s: float
    done: asyncio.Future[None]
    tenant: str = ""
    """Whose it is: parties take turns, whatever the number of their batches."""
    open_items: int = 0
    all_enqueued: bool = False
    """All of its texts have been searched: it is done when nothing is open."""
    closed: bool = False
    spent_s: float = 0.0
    """CPU time in the computer algebra system, and the budgets of items that were stopped."""
    queues: dict[Role, deque[Chunk]] = field(default_factory=lambda: {"decide": deque(), "cas": deque()})


@dataclass(slots=True, eq=False)
class Chunk:
    batch: CheckBatch
    items: list[Item]
    attempts: int = 0


class WorkQueue:
    """The chunks that wait for one role, taken in turns over the parties, and over the batches of each."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._turns: OrderedDict[str, deque[CheckBatch]] = OrderedDict()
        self._waiting = asyncio.Semaphore(0)

    def put(self, chunk: Chunk, first: bool = False) -> None:
        chunks = chunk.batch.queues[self.role]
        if not chunks:
            self._turns.setdefault(chunk.batch.tenant, deque()).append(chunk.batch)
        chunks.appendleft(chunk) if first else chunks.append(chunk)
        self._waiting.release()

    async def take(self) -> Chunk:
        await self._waiting.acquire()
        tenant, batches = self._turns.popitem(last=False)
        batch = batches.popleft()
        chunk = batch.queues[self.role].popleft()
        if batch.queues[self.role]:
            batches.append(batch)
        if batches:
            self._turns[tenant] = batches
        return chunk
