"""`sqlite:///PATH`: the embedded store. Durable (WAL, synchronous=FULL), safe for several processes of one machine.

Every request is one transaction: BEGIN IMMEDIATE, so that its reads are what its writes are based on. SQLite runs
in threads of its own: one that writes, one that reads, so a long listing holds up no training request, and one that
writes SQLite's log back into the file, which would else fall on one request in several.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ..errors import StoreTooNew, StoreUnavailable
from ..retention import IMPORT_S, OBSERVATIONS_S, STALLED_S
from .local import LocalStore, LocalTransaction
from .sqlite_view import ADDED, SCHEMA, SCHEMA_VERSION, SqliteTransaction

T = TypeVar("T")

LINES_AT_ONCE = 500
PAGE_BYTES = 1024
"""A request of many groups writes to as many pages all over a large file, and each goes whole into the log: small
ones halve what that costs (bench/store_speed.py). A file that was made with larger pages keeps them."""
LOG_PAGES = 16 * 1024 * 1024 // PAGE_BYTES
"""A request that finds the log this long writes it back itself: where requests follow so closely that the log, which
they go on writing, could never begin anew."""
ROWS_IN_LOG = 4 * 4096
"""Rows changed until the log is written back beside the requests: some 4 MiB of it, four of them to a page."""
LOG_LEFT_BYTES = 64 * 1024 * 1024
"""What is kept of a log that grew longer, when it begins anew."""
CACHE_KIB = 16 * 1024


class SqliteStore(LocalStore):
    """`timeout_s` bounds the wait for other processes' transactions; after it the request is a StoreUnavailable."""

    def __init__(self, path: str, *, timeout_s: float = 5.0, observations_s: float = OBSERVATIONS_S) -> None:
        self._path = path
        self._observations_s = observations_s
        self._timeout_s = timeout_s
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="difficulty-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="difficulty-read")
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="difficulty-log")
        self._write_connection: sqlite3.Connection | None = None
        self._read_connection: sqlite3.Connection | None = None
        self._cleaning: Future[None] | None = None
        self._closed = False
        self._rows_cleaned = 0

    async def open(self) -> None:
        """Not needed: what was not opened yet, since the file could not be used when the service started, is opened
        by the next request."""
        await self._run(self._writer, self._open_writer)
        await self._run(self._reader, self._open_reader)

    def _open_writer(self) -> sqlite3.Connection:
        self._check_open()
        if self._write_connection is None:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect()
            try:
                self._check_schema(connection)
            except BaseException:
                connection.close()
                raise
            self._write_connection, self._rows_cleaned = connection, 0
        return self._write_connection

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed", path=self._path)

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise StoreTooNew(
                    f"{self._path} has schema version {version}, this service knows {SCHEMA_VERSION}: "
                    "run the newer service, or point it at another file",
                    found=version,
                    known=SCHEMA_VERSION,
                )
            if version == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
            for statement in ADDED:
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _open_reader(self) -> sqlite3.Connection:
        self._check_open()
        if self._read_connection is None:
            self._read_connection = self._connect()
        return self._read_connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES:d}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES:d}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LEFT_BYTES:d}")
        connection.execute(f"PRAGMA cache_size = {-CACHE_KIB:d}")
        return connection

    def _write_back(self, rows: int) -> None:
        """Of a writer that has changed so many rows in all: have the log written back, if it is due."""
        if rows - self._rows_cleaned < ROWS_IN_LOG or (self._cleaning is not None and not self._cleaning.done()):
            return
        self._rows_cleaned = rows
        self._cleaning = self._cleaner.submit(self._clean)

    def _clean(self) -> None:
        # What this cannot do now, the next one does, or the writer: nothing depends on it.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    async def close(self) -> None:
        self._closed = True  # what waits in a thread's queue finds that; what was begun ends
        for executor, connection in (
            (self._writer, self._write_connection),
            (self._reader, self._read_connection),
        ):
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(executor, connection.close)
            executor.shutdown(wait=False)
        await asyncio.to_thread(self._cleaner.shutdown)
        self._write_connection = self._read_connection = None

    async def ping(self) -> None:
        def work() -> None:
            connection = self._open_writer()
            # A write, since training requests are: the disk may be full and the file still be read.
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")

        await self._run(self._writer, work)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """In SQLite's thread. A caller that goes away leaves the transaction to end as it would have."""
        self._check_open()
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"SQLite at {self._path}: {error}", path=self._path) from error

    async def _write(self, work: Callable[[LocalTransaction], T]) -> T:
        def transaction() -> T:
            connection = self._open_writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(SqliteTransaction(connection, writing=True))
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            self._write_back(connection.total_changes)
            return result

        return await self._run(self._writer, transaction)

    async def _read(self, work: Callable[[LocalTransaction], T]) -> T:
        def transaction() -> T:
            connection = self._open_reader()
            connection.execute("BEGIN")
            try:
                return work(SqliteTransaction(connection, writing=False))
            finally:
                connection.execute("ROLLBACK")

        await self._check_file()
        return await self._run(self._reader, transaction)

    async def _check_file(self) -> None:
        """Nothing is read from a file whose schema was not looked at."""
        if self._write_connection is None:
            await self._run(self._writer, self._open_writer)

    async def _stream(self, work: Callable[[LocalTransaction], Iterator[str]]) -> AsyncIterator[str]:
        """Over a connection of its own, whose read transaction is one snapshot from the first line to the last."""
        await self._check_file()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="difficulty-export") as executor:
            connection = await self._run(executor, self._connect)
            lines: Iterator[str] = iter(())
            stopped = False

            def stop() -> None:
                nonlocal lines, stopped
                # A statement that is not at its end keeps its snapshot, whatever becomes of the connection.
                lines, stopped = iter(()), True
                connection.close()

            def begin() -> None:
                nonlocal lines
                connection.execute("BEGIN")
                lines = work(SqliteTransaction(connection, writing=False))

            def some() -> list[str]:
                found = list(islice(lines, LINES_AT_ONCE))
                if stopped:
                    raise StoreUnavailable("the export was read too slowly: ask for it again")
                return found

            # An open snapshot keeps SQLite from writing its log back. So it ends in time, also where the reader has
            # stopped reading and nothing of this is run again.
            last = loop.time() + IMPORT_S
            stopping = loop.call_later(STALLED_S, executor.submit, stop)
            try:
                await self._run(executor, begin)
                while portion := await self._run(executor, some):
                    for line in portion:
                        yield line
                    stopping.cancel()
                    stopping = loop.call_at(min(last, loop.time() + STALLED_S), executor.submit, stop)
            finally:
                stopping.cancel()
                await loop.run_in_executor(executor, stop)
