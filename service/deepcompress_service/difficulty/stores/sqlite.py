"""`sqlite:///PATH`: the embedded store. Durable (WAL, synchronous=FULL), safe for several processes of one machine.

Every request is one transaction, begun with BEGIN IMMEDIATE so that its writes are based on its reads. SQLite runs in
three threads: one for writes; one for reads, so that a long listing delays no training request; and one that copies
the write-ahead log back into the database file, which would otherwise delay one request in several.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from .. import engine
from ..errors import StoreTooNew, StoreUnavailable
from ..model import Commit, CommitOutcome
from ..retention import IMPORT_S, OBSERVATIONS_S, STALLED_S
from ..unreadable import UNREADABLE, unreadable_record
from .local import LocalStore
from .local_transaction import LocalTransaction
from .sqlite_tables import ADDED, SCHEMA, SCHEMA_VERSION, SqliteTransaction

T = TypeVar("T")

LINES_AT_ONCE = 500
"""Lines of an export that one call to SQLite's thread reads."""
PAGE_BYTES = 2048
"""Size of a database page. A request of many groups changes about as many pages, and each is written to the log as a
whole, so small pages cost less. A record over a quarter of a page takes a page of its own: one of 1024 bytes is too
small for the records of problems with many lengths. An existing file keeps its page size."""
LOG_PAGES = 16 * 1024 * 1024 // PAGE_BYTES
"""Length of the log at which a commit copies it back itself. Reached only if requests follow each other so closely
that the log, which they keep extending, never restarts."""
ROWS_IN_LOG = 4 * 4096
"""Changed rows after which the log is copied back in the background: about 4 MiB of log, at eight rows a page."""
LOG_LEFT_BYTES = 64 * 1024 * 1024
"""Size to which a longer log file is cut when it starts again."""
CACHE_KIB = 16 * 1024
PROBE_S = 15.0
"""Seconds between two writes of realistic size by the readiness check."""
PROBE_BYTES = 256 * 1024
"""Size of such a write: about that of a training request of a thousand groups."""
PROBE_PIECE = 16 * 1024

FileId = tuple[int, int]
"""Device and inode of a file."""
log = logging.getLogger("deepcompress.store")


def _file_id(path: str) -> FileId | None:
    """Return the identity of the file that the path names; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_foreign(connection: sqlite3.Connection, version: int) -> bool:
    """Return True if a database has tables and is none of this service, by its user_version and its tables."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version > SCHEMA_VERSION:
        return False  # of a newer version of this service
    return bool(tables) if version == 0 else not {"epochs", "spaces"} <= tables


def is_foreign(path: str) -> bool:
    """Return True if a file is a database of another program. One that cannot be read is not."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return _is_foreign(connection, version)
    return False


def _write_probe(path: str) -> None:
    """Write PROBE_BYTES to a file and remove it.

    Raises:
        OSError: There is no room.
    """
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(PROBE_BYTES // PROBE_PIECE):
                if file.write(bytes(PROBE_PIECE)) < PROBE_PIECE:
                    raise OSError(errno.ENOSPC, "no space left: the disk is full")
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _summary(error: Exception) -> str:
    """Return the kind of a failure without paths and texts of exceptions."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the state store is full"
    text = str(error)
    kinds = {"full": "is full", "locked": "is used by others for too long", "readonly": "is read-only"}
    for part, kind in kinds.items():
        if part in text:
            return f"the state store {kind}"
    return "the state store cannot be used"


class SqliteStore(LocalStore):
    """A store in one SQLite file.

    `timeout_s` bounds the wait (seconds) for other processes' transactions; then the request is a StoreUnavailable.
    `observations_s`: how long (seconds) observations are kept for a run that was never trained.
    """

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
        self._file: FileId | None = None
        """The file that the connections have open."""
        self._file_lost = False
        self._probed_at = -PROBE_S

    async def open(self) -> None:
        """Open the file. Optional: connections are also opened by the first request.

        Raises:
            StoreUnavailable: The file cannot be used.
            StoreTooNew: The file's schema is newer than this service.
        """
        await self._run(self._writer, self._open_writer)
        await self._run(self._reader, self._open_reader)

    def _open_writer(self) -> sqlite3.Connection:
        if self._closed:
            raise self._closed_error()
        if self._write_connection is None:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect()
            try:
                self._check_schema(connection)
            except BaseException:
                connection.close()
                raise
            self._write_connection, self._rows_cleaned = connection, 0
            self._file = _file_id(self._path)
        return self._write_connection

    def _check_file(self) -> None:
        """Check that the path names the file that is open: SQLite itself goes on with one that was removed.

        Raises:
            StoreUnavailable: It was removed or replaced.
        """
        found = _file_id(self._path)
        if found == self._file:
            self._file_lost = False
            return
        what = "removed" if found is None else "replaced by another file"
        reason = f"the database file {self._path} was {what} while it was open"
        if not self._file_lost:
            log.critical("%s: nothing is read or written until it is back, or the service is restarted", reason)
        self._file_lost = True
        raise StoreUnavailable(f"the database file was {what} while it was open", reason=reason)

    def _closed_error(self) -> StoreUnavailable:
        return StoreUnavailable("this store is closed")

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if _is_foreign(connection, version):
                raise StoreUnavailable(
                    "the database file belongs to another program",
                    reason=f"{self._path} has tables of another program: give the path of another file",
                )
            if version > SCHEMA_VERSION:
                raise StoreTooNew(
                    f"{self._path} has schema version {version}, this service supports {SCHEMA_VERSION}: "
                    "run the newer service, or point it at another file",
                    found=version,
                    known=SCHEMA_VERSION,
                )
            if version == 0:
                for statement in SCHEMA:
                    connection.execute(statement)
            for statement in ADDED:
                connection.execute(statement)
            if version < SCHEMA_VERSION:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _open_reader(self) -> sqlite3.Connection:
        if self._closed:
            raise self._closed_error()
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

    def _connect_checked(self) -> sqlite3.Connection:
        self._check_file()
        return self._connect()

    def _copy_log(self) -> None:
        # Best effort: the next copy, or a commit, does what this one could not.
        if _file_id(self._path) != self._file:
            return
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    async def close(self) -> None:
        """Finish running transactions and close the connections; queued requests are refused."""
        self._closed = True
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
        """Implement `DifficultyStore.ping`: write to the file, since a full disk can still be read.

        A page is written every time. Every PROBE_S seconds, and every time after a failure, a file of the size of a
        training request's data is written beside the database, since its log may have room that it uses again.
        """

        def work() -> None:
            connection = self._open_writer()
            self._check_file()
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
            if time.monotonic() - self._probed_at >= PROBE_S:
                _write_probe(f"{self._path}-probe-{os.getpid()}")
                self._probed_at = time.monotonic()

        await self._run(self._writer, work)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """Run `work` in one of SQLite's threads. If the caller is cancelled, `work` runs to its end all the same."""
        if self._closed:
            raise self._closed_error()
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except (sqlite3.Error, OSError) as error:
            self._probed_at = -PROBE_S
            raise StoreUnavailable(_summary(error), reason=f"SQLite at {self._path}: {error}") from error
        except UNREADABLE as error:
            raise unreadable_record(repr(error)) from error

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Implement `DifficultyStore.commit`."""
        work = partial(engine.commit, request=commit)
        return await self._run(self._writer, partial(self._commit_work, work, commit.run))

    async def _write(self, work: Callable[[LocalTransaction], T], *, used: str | None = None) -> T:
        return await self._run(self._writer, partial(self._commit_work, work, used))

    def _commit_work(self, work: Callable[[LocalTransaction], T], used: str | None) -> T:
        connection = self._write_connection
        if connection is None or self._closed:
            connection = self._open_writer()
        self._check_file()
        connection.execute("BEGIN IMMEDIATE")
        try:
            transaction = SqliteTransaction(connection, writing=True)
            result = work(transaction)
            if used is not None:
                transaction.use(used, time.time())
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        rows = connection.total_changes
        if rows - self._rows_cleaned >= ROWS_IN_LOG and (self._cleaning is None or self._cleaning.done()):
            self._rows_cleaned = rows
            self._cleaning = self._cleaner.submit(self._copy_log)
        return result

    async def _read(self, work: Callable[[LocalTransaction], T]) -> T:
        await self._ensure_schema_checked()
        return await self._run(self._reader, partial(self._read_work, work))

    def _read_work(self, work: Callable[[LocalTransaction], T]) -> T:
        connection = self._open_reader()
        self._check_file()
        connection.execute("BEGIN")
        try:
            return work(SqliteTransaction(connection, writing=False))
        finally:
            connection.execute("ROLLBACK")

    async def _ensure_schema_checked(self) -> None:
        if self._write_connection is None:
            await self._run(self._writer, self._open_writer)

    async def _stream(self, work: Callable[[LocalTransaction], Iterator[str]]) -> AsyncIterator[str]:
        # A connection of its own, whose read transaction is one snapshot from the first line to the last.
        await self._ensure_schema_checked()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="difficulty-export") as executor:
            connection = await self._run(executor, self._connect_checked)
            lines: Iterator[str] = iter(())
            stopped = False

            def stop() -> None:
                nonlocal lines, stopped
                # An unfinished statement keeps its snapshot even after the connection is closed.
                lines, stopped = iter(()), True
                connection.close()

            def begin() -> None:
                nonlocal lines
                connection.execute("BEGIN")
                lines = work(SqliteTransaction(connection, writing=False))

            def next_lines() -> list[str]:
                result = list(islice(lines, LINES_AT_ONCE))
                if stopped:
                    raise StoreUnavailable("the export was read too slowly: ask for it again")
                return result

            # An open snapshot keeps SQLite from copying its log back. So a timer ends it, even if the reader has
            # stopped reading and this generator is never resumed.
            last = loop.time() + IMPORT_S
            stopping = loop.call_later(STALLED_S, executor.submit, stop)
            try:
                await self._run(executor, begin)
                while portion := await self._run(executor, next_lines):
                    for line in portion:
                        yield line
                    stopping.cancel()
                    stopping = loop.call_at(min(last, loop.time() + STALLED_S), executor.submit, stop)
            finally:
                stopping.cancel()
                await loop.run_in_executor(executor, stop)
