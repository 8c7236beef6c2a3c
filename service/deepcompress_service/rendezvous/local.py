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
from typing import NamedTuple, TypeVar

from ..difficulty.errors import StoreUnavailable
from .model import TOMBSTONE_S, Arrival, Cohort, Collecting, Refused, Released

_LAYOUT = 2
_SCHEMA = """
create table if not exists rounds (
  key text, round integer, previous integer, attempt integer, size integer, header blob,
  deadline real, released integer, expires real, primary key (key, round)
) without rowid;
create table if not exists slots (
  key text, round integer, slot integer, digest blob, payload blob, primary key (key, round, slot)
) without rowid;
create index if not exists expiry on rounds (expires);
"""

T = TypeVar("T")
Stand = Collecting | Released | Refused


class _Round(NamedTuple):
    key: str
    round: int
    previous: int | None
    attempt: int
    size: int
    header: bytes
    deadline: float
    released: int


class LocalRendezvous:
    """See `model.Rendezvous`. `path` may be ``:memory:``."""

    def __init__(self, path: str, *, timeout_s: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._timeout = timeout_s
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rendezvous")
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Implement `Rendezvous.open`."""
        await self._call(lambda: None)

    async def close(self) -> None:
        """Implement `Rendezvous.close`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def arrive(self, arrival: Arrival) -> Stand:
        """Implement `Rendezvous.arrive`."""
        return await self._call(lambda: self._arrive(arrival))

    async def look(self, cohort: Cohort, round: int, attempt: int, slot: int) -> Stand:
        """Implement `Rendezvous.look`."""
        return await self._call(lambda: self._look(cohort.key, round, attempt, slot))

    async def _call(self, work: Callable[[], T]) -> T:
        def opened() -> T:
            # The file may have been out of reach when the service started.
            if self._db is None:
                self._open()
            return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, opened)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                "the rendezvous file cannot be used", reason=f"the rendezvous file cannot be used: {error}"
            ) from error

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        with self._transaction() as db:
            if db.execute("pragma user_version").fetchone()[0] != _LAYOUT:
                # Waiting rollouts are short-lived: a file of another layout is replaced, and callers try again.
                for table in ("cohorts", "rounds", "slots"):
                    db.execute(f"drop table if exists {table}")
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"pragma user_version = {_LAYOUT}")

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
            newest = db.execute("select max(round) from rounds where key = ?", (key,)).fetchone()[0]
            found = self._load(db, key, newest)
            previous = newest
            if found is not None and arrival.attempt > found.attempt:
                if self._over(db, found, now):
                    if arrival.renewal == "never":
                        return Refused("late")
                else:
                    self._drop(db, found.key, found.round)
                    previous = found.previous
                found = None
            elif found is not None and arrival.attempt < found.attempt:
                return Refused("superseded")
            elif found is not None and arrival.renewal == "content" and not self._holds(db, found, arrival):
                before = self._load(db, key, found.previous)
                if before is not None and self._holds(db, before, arrival):
                    # A late repeat of the round before, while the next one collects already.
                    return self._stand(db, before, now)
                if self._over(db, found, now):
                    found = None
            if found is None:
                found = self._begin(db, arrival, newest, previous, now)
            if found.header != arrival.header:
                return Refused("mismatch")
            if self._digest(db, found, arrival.slot) is None:
                if self._over(db, found, now):
                    return Refused("late")
                row = (key, found.round, arrival.slot, arrival.digest, arrival.payload)
                db.execute("insert into slots values (?, ?, ?, ?, ?)", row)
            elif not self._holds(db, found, arrival):
                return Refused("conflict")
            return self._stand(db, found, now)

    def _look(self, key: str, round: int, attempt: int, slot: int) -> Stand:
        now = self._clock()
        with self._transaction() as db:
            found = self._load(db, key, round)
            if found is None:
                newest = db.execute("select max(attempt) from rounds where key = ?", (key,)).fetchone()[0]
                return Refused("superseded" if newest is not None and attempt < newest else "gone")
            if self._digest(db, found, slot) is None:
                return Refused("late")
            return self._stand(db, found, now)

    def _load(self, db: sqlite3.Connection, key: str, round: int | None) -> _Round | None:
        row = db.execute(
            "select key, round, previous, attempt, size, header, deadline, released from rounds "
            "where key = ? and round = ?",
            (key, round),
        ).fetchone()
        return None if row is None else _Round(*row)

    def _begin(
        self, db: sqlite3.Connection, arrival: Arrival, newest: int | None, previous: int | None, now: float
    ) -> _Round:
        key, round = arrival.cohort.key, max(int(now * 1000), (newest or 0) + 1)
        deadline = now + arrival.timeout_s
        db.execute(
            "insert into rounds values (?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                *(key, round, previous, arrival.attempt, arrival.size, arrival.header),
                *(deadline, deadline + TOMBSTONE_S),
            ),
        )
        return _Round(key, round, previous, arrival.attempt, arrival.size, arrival.header, deadline, 0)

    def _digest(self, db: sqlite3.Connection, found: _Round, slot: int) -> bytes | None:
        row = db.execute(
            "select digest from slots where key = ? and round = ? and slot = ?", (found.key, found.round, slot)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _holds(self, db: sqlite3.Connection, found: _Round, arrival: Arrival) -> bool:
        return self._digest(db, found, arrival.slot) == arrival.digest

    def _over(self, db: sqlite3.Connection, found: _Round, now: float) -> bool:
        """Release the round if it is complete or its time is up; return True if it is released."""
        if found.released:
            return True
        if self._arrived(db, found) < found.size and now < found.deadline:
            return False
        db.execute(
            "update rounds set released = 1, expires = ? where key = ? and round = ? and released = 0",
            (now + TOMBSTONE_S, found.key, found.round),
        )
        return True

    def _arrived(self, db: sqlite3.Connection, found: _Round) -> int:
        query = "select count(*) from slots where key = ? and round = ?"
        return int(db.execute(query, (found.key, found.round)).fetchone()[0])

    def _stand(self, db: sqlite3.Connection, found: _Round, now: float) -> Stand:
        if not self._over(db, found, now):
            return Collecting(found.deadline - now, self._arrived(db, found), found.round)
        slots = db.execute(
            "select slot, payload from slots where key = ? and round = ? order by slot", (found.key, found.round)
        ).fetchall()
        return Released(tuple((int(slot), bytes(payload)) for slot, payload in slots), found.round)

    def _forget_expired(self, db: sqlite3.Connection, now: float) -> None:
        old = db.execute("select key, round from rounds where expires < ? limit 100", (now,)).fetchall()
        for key, round in old:
            self._drop(db, key, round)

    def _drop(self, db: sqlite3.Connection, key: str, round: int) -> None:
        db.execute("delete from slots where key = ? and round = ?", (key, round))
        db.execute("delete from rounds where key = ? and round = ?", (key, round))
