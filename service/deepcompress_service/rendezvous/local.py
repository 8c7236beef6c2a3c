"""Cohorts on one machine: in SQLite, a file of their own beside the state's, or in memory.

The same steps as ``meet.lua``; one contract suite holds both. Several processes may share the file.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ..difficulty.errors import StoreUnavailable
from .model import TOMBSTONE_S, Arrival, Cohort, Collecting, Refused, Released

_SCHEMA = """
create table if not exists cohorts (
  key text primary key, attempt integer, size integer, header blob, deadline real, released integer, expires real
) without rowid;
create table if not exists slots (
  key text, slot integer, digest blob, payload blob, primary key (key, slot)
) without rowid;
create index if not exists expiry on cohorts (expires);
"""

T = TypeVar("T")
Stand = Collecting | Released | Refused


class LocalRendezvous:
    """See `model.Rendezvous`. `path` may be ``:memory:``."""

    def __init__(self, path: str, *, timeout_s: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._timeout = timeout_s
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rendezvous")
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._call(self._open)

    async def close(self) -> None:
        await self._call(self._close)
        self._thread.shutdown(wait=False)

    async def arrive(self, arrival: Arrival) -> Stand:
        return await self._call(lambda: self._arrive(arrival))

    async def look(self, cohort: Cohort, attempt: int, slot: int) -> Stand:
        return await self._call(lambda: self._look(cohort.key, attempt, slot))

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the rendezvous file cannot be used: {error}") from error

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(_SCHEMA)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._db is None:
            raise StoreUnavailable("the rendezvous is closed")
        self._db.execute("begin immediate")
        try:
            yield self._db
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def _arrive(self, arrival: Arrival) -> Stand:
        key, now = arrival.cohort.key, self._clock()
        with self._transaction() as db:
            self._forget_expired(db, now)
            row = db.execute("select attempt, released from cohorts where key = ?", (key,)).fetchone()
            if row is not None and arrival.attempt > row[0]:
                if row[1]:
                    return Refused("late")
                self._forget(db, key)
                row = None
            if row is None:
                deadline = now + arrival.timeout_s
                db.execute(
                    "insert into cohorts values (?, ?, ?, ?, ?, 0, ?)",
                    (key, arrival.attempt, arrival.size, arrival.header, deadline, deadline + TOMBSTONE_S),
                )
            attempt, header, deadline, released = db.execute(
                "select attempt, header, deadline, released from cohorts where key = ?", (key,)
            ).fetchone()
            if arrival.attempt < attempt:
                return Refused("superseded")
            if header != arrival.header:
                return Refused("mismatch")
            there = db.execute("select digest from slots where key = ? and slot = ?", (key, arrival.slot)).fetchone()
            if there is None:
                if released or now >= deadline:
                    self._release(db, key, now)
                    return Refused("late")
                db.execute(
                    "insert into slots values (?, ?, ?, ?)", (key, arrival.slot, arrival.digest, arrival.payload)
                )
            elif there[0] != arrival.digest:
                return Refused("conflict")
            return self._stand(db, key, now)

    def _look(self, key: str, attempt: int, slot: int) -> Stand:
        now = self._clock()
        with self._transaction() as db:
            row = db.execute("select attempt from cohorts where key = ?", (key,)).fetchone()
            if row is None:
                return Refused("gone")
            if attempt < row[0]:
                return Refused("superseded")
            if db.execute("select 1 from slots where key = ? and slot = ?", (key, slot)).fetchone() is None:
                return Refused("late")
            return self._stand(db, key, now)

    def _stand(self, db: sqlite3.Connection, key: str, now: float) -> Stand:
        size, deadline, released = db.execute(
            "select size, deadline, released from cohorts where key = ?", (key,)
        ).fetchone()
        slots = db.execute("select slot, payload from slots where key = ? order by slot", (key,)).fetchall()
        if not released and (len(slots) >= size or now >= deadline):
            self._release(db, key, now)
            released = 1
        if not released:
            return Collecting(deadline - now, len(slots))
        return Released(tuple((int(slot), bytes(payload)) for slot, payload in slots))

    def _release(self, db: sqlite3.Connection, key: str, now: float) -> None:
        db.execute(
            "update cohorts set released = 1, expires = ? where key = ? and released = 0", (now + TOMBSTONE_S, key)
        )

    def _forget_expired(self, db: sqlite3.Connection, now: float) -> None:
        old = db.execute("select key from cohorts where expires < ? limit 100", (now,)).fetchall()
        for (key,) in old:
            self._forget(db, key)

    def _forget(self, db: sqlite3.Connection, key: str) -> None:
        db.execute("delete from slots where key = ?", (key,))
        db.execute("delete from cohorts where key = ?", (key,))
