"""The tables of the SQLite store, and the engine's view of them.

A `space` is one state: a run's own (name NULL), or a checkpoint's. All values are those of `codec`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice

from ..codec import format_step, parse_step, run_record_from_json, run_record_to_json
from ..model import Checkpoint
from ..names import decode, encode
from ..records import RunRecord, StepRecord
from ..run_transaction import Row, Table
from . import sqlite_index
from .sqlite_index import SqliteIndex

SCHEMA_VERSION = 3
"""2: a run's record has its incarnation, version and created_step. 3: portions of lengths. Files of
earlier versions are read as they are."""
SCHEMA = (
    "CREATE TABLE epochs (run TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE spaces (space INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, checkpoint TEXT, meta TEXT,"
    " step INTEGER, level REAL, problems INTEGER, epoch INTEGER, bytes INTEGER)",
    "CREATE UNIQUE INDEX spaces_by_name ON spaces (run, ifnull(checkpoint, char(0)))",
    "CREATE TABLE problems (space INTEGER, problem_id TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (space, problem_id)) WITHOUT ROWID",
    "CREATE TABLE undo (space INTEGER, step INTEGER, problem_id TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (space, step, problem_id)) WITHOUT ROWID",
    "CREATE TABLE groups (space INTEGER, step INTEGER, group_id TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (space, step, group_id)) WITHOUT ROWID",
    "CREATE TABLE steps (space INTEGER, step INTEGER, record TEXT NOT NULL, PRIMARY KEY (space, step)) WITHOUT ROWID",
    "CREATE TABLE observed (space INTEGER, step INTEGER, group_id TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (space, step, group_id)) WITHOUT ROWID",
    "CREATE TABLE rollouts (space INTEGER, step INTEGER, group_id TEXT, rollout_id TEXT, record BLOB NOT NULL,"
    " PRIMARY KEY (space, step, group_id, rollout_id)) WITHOUT ROWID",
    "CREATE TABLE requests (space INTEGER, request_id TEXT, sequence INTEGER NOT NULL, step INTEGER NOT NULL,"
    " record BLOB NOT NULL, PRIMARY KEY (space, request_id)) WITHOUT ROWID",
    "CREATE INDEX requests_by_sequence ON requests (space, sequence)",
)
ADDED = (
    "CREATE TABLE IF NOT EXISTS used (run TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS data_sources (space INTEGER, step INTEGER, record BLOB NOT NULL,"
    " PRIMARY KEY (space, step)) WITHOUT ROWID",
    *sqlite_index.SCHEMA,
)
"""Tables that older files of this version may lack: when each run was last used, in seconds since the epoch; sums by
data source; data sets and samples."""
KEYS = {
    "steps": ("step",),
    "data_sources": ("step",),
    "problems": ("problem_id",),
    "undo": ("step", "problem_id"),
    "groups": ("step", "group_id"),
    "observed": ("step", "group_id"),
    "rollouts": ("step", "group_id", "rollout_id"),
    "requests": ("request_id", "sequence", "step"),
}
"""The tables of a space, and what a row is known by. Table and column names in statements come from here only."""
BESIDE = {"requests": ("sequence", "step")}
"""Those of them that are no part of the primary key."""
AT_ONCE = 500


def _upsert(table: str) -> str:
    """Return the statement that inserts a row or updates it in place.

    With INSERT OR REPLACE, in any order, a request of many groups takes about a sixth longer.
    """
    marks = ",".join("?" * (len(KEYS[table]) + 2))
    other = BESIDE.get(table, ())
    key = ", ".join(column for column in KEYS[table] if column not in other)
    changes = ", ".join(f"{column} = excluded.{column}" for column in (*other, "record"))
    return (
        f"INSERT INTO {table} (space, {', '.join(KEYS[table])}, record) VALUES ({marks})"  # noqa: S608
        f" ON CONFLICT (space, {key}) DO UPDATE SET {changes}"
    )


_UPSERT = {table: _upsert(table) for table in KEYS}


@dataclass(frozen=True, slots=True)
class SqliteRun:
    """One state in the tables: the rows of a space."""

    sql: sqlite3.Connection
    space: int | None
    meta: str | None = None
    """The run's record when the state was opened, as `codec` writes it; None if the run does not exist."""

    @property
    def index(self) -> SqliteIndex:
        """Implement `RunTransaction.index`."""
        return SqliteIndex(self.sql, self.space)

    def load(self) -> RunRecord | None:
        """Implement `RunTransaction.load`."""
        return None if self.meta is None else run_record_from_json(self.meta)

    def save(self, run_record: RunRecord) -> None:
        """Implement `RunTransaction.save`."""
        self.sql.execute("UPDATE spaces SET meta = ? WHERE space = ?", (run_record_to_json(run_record), self.space))

    def read(self, table: Table, step: int | None, ids: Iterable[str]) -> dict[str, bytes]:
        """Implement `RunTransaction.read`."""
        name = KEYS[table][-1]
        of_step, values = ("", ()) if step is None else (" AND step = ?", (step,))
        records: dict[str, bytes] = {}
        pending = iter(ids)
        while batch := list(islice(pending, AT_ONCE)):
            marks = ",".join("?" * len(batch))
            records.update(
                self.sql.execute(
                    f"SELECT {name}, record FROM {table} WHERE space = ?{of_step} AND {name} IN ({marks})",  # noqa: S608
                    (self.space, *values, *batch),
                )
            )
        return records

    def put(self, table: Table, step: int | None, records: Mapping[str, bytes]) -> None:
        """Implement `RunTransaction.put`: in the order of the table."""
        key = (self.space,) if step is None else (self.space, step)
        self.sql.executemany(_UPSERT[table], [(*key, name, record) for name, record in sorted(records.items())])

    def _put(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Insert or replace rows of (key columns, record), in the order of the table."""
        self.sql.executemany(_UPSERT[table], [(self.space, *row) for row in sorted(rows)])

    def _delete(self, table: str, condition: str = "", *values: object) -> None:
        self.sql.execute(f"DELETE FROM {table} WHERE space = ?{condition}", (self.space, *values))  # noqa: S608

    def drop_problems(self, ids: Iterable[str]) -> None:
        """Implement `RunTransaction.drop_problems`."""
        self.sql.executemany(
            "DELETE FROM problems WHERE space = ? AND problem_id = ?", ((self.space, i) for i in ids)
        )

    def all_problems(self) -> Iterator[tuple[str, bytes]]:
        """Implement `RunTransaction.all_problems`."""
        return self.sql.execute("SELECT problem_id, record FROM problems WHERE space = ?", (self.space,))

    def problems_after(self, problem_id: str | None) -> Iterator[tuple[str, bytes]]:
        """Implement `RunTransaction.problems_after`."""
        # Text is compared by its UTF-8 bytes, which is the order of Python's strings; the primary key has it so.
        after, values = ("", ()) if problem_id is None else (" AND problem_id > ?", (problem_id,))
        return self.sql.execute(
            f"SELECT problem_id, record FROM problems WHERE space = ?{after} ORDER BY problem_id",  # noqa: S608
            (self.space, *values),
        )

    def undo(self, step: int) -> dict[str, bytes]:
        """Implement `RunTransaction.undo`."""
        return dict(
            self.sql.execute("SELECT problem_id, record FROM undo WHERE space = ? AND step = ?", (self.space, step))
        )

    def steps(self, after: int) -> list[int]:
        """Implement `RunTransaction.steps`."""
        rows = self.sql.execute(
            "SELECT step FROM steps WHERE space = ? AND step > ? ORDER BY step", (self.space, after)
        )
        return [step for (step,) in rows]

    def step(self, step: int) -> StepRecord | None:
        """Implement `RunTransaction.step`."""
        row = self.sql.execute("SELECT record FROM steps WHERE space = ? AND step = ?", (self.space, step)).fetchone()
        return parse_step(row[0]) if row else None

    def put_step(self, step: int, record: StepRecord) -> None:
        """Implement `RunTransaction.put_step`."""
        self.sql.execute(_UPSERT["steps"], (self.space, step, format_step(record)))

    def forget_records(self, step: int) -> None:
        """Implement `RunTransaction.forget_records`."""
        for table in ("groups", "undo", "observed", "rollouts"):
            self._delete(table, " AND step = ?", step)

    def forget_from(self, step: int) -> None:
        """Implement `RunTransaction.forget_from`."""
        for table in ("groups", "undo", "steps", "data_sources", "observed", "rollouts", "requests"):
            self._delete(table, " AND step >= ?", step)

    def newest_sources(self, step: int) -> tuple[int, bytes] | None:
        """Implement `RunTransaction.newest_sources`."""
        row: tuple[int, bytes] | None = self.sql.execute(
            "SELECT step, record FROM data_sources WHERE space = ? AND step <= ? ORDER BY step DESC LIMIT 1",
            (self.space, step),
        ).fetchone()
        return row

    def put_sources(self, step: int, record: bytes) -> None:
        """Implement `RunTransaction.put_sources`."""
        self.sql.execute(_UPSERT["data_sources"], (self.space, step, record))

    def sources(self, since: int, limit: int | None) -> list[tuple[int, bytes]]:
        """Implement `RunTransaction.sources`."""
        rows = self.sql.execute(
            "SELECT step, record FROM data_sources WHERE space = ? AND step >= ? ORDER BY step DESC LIMIT ?",
            (self.space, since, -1 if limit is None else limit),
        )
        return rows.fetchall()[::-1]

    def observed_steps(self, after: int) -> list[int]:
        """Implement `RunTransaction.observed_steps`."""
        steps: list[int] = []  # a look-up for each step: DISTINCT would read every group that waits
        while True:
            (step,) = self.sql.execute(
                "SELECT min(step) FROM observed WHERE space = ? AND step > ?", (self.space, after)
            ).fetchone()
            if step is None:
                return steps
            steps.append(step)
            after = step

    def observed(self, step: int) -> dict[str, bytes]:
        """Implement `RunTransaction.observed`."""
        return dict(
            self.sql.execute("SELECT group_id, record FROM observed WHERE space = ? AND step = ?", (self.space, step))
        )

    def rollouts(self, step: int, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Implement `RunTransaction.rollouts`."""
        found: dict[tuple[str, str], bytes] = {}
        for group_id, rollout_id in keys:
            row = self.sql.execute(
                "SELECT record FROM rollouts WHERE space = ? AND step = ? AND group_id = ? AND rollout_id = ?",
                (self.space, step, group_id, rollout_id),
            ).fetchone()
            if row:
                found[group_id, rollout_id] = row[0]
        return found

    def put_rollouts(self, step: int, records: Mapping[tuple[str, str], bytes]) -> None:
        """Implement `RunTransaction.put_rollouts`."""
        self._put("rollouts", ((step, *key, record) for key, record in records.items()))

    def count_observed(self, step: int) -> int:
        """Implement `RunTransaction.count_observed`."""
        (count,) = self.sql.execute(
            "SELECT count(*) FROM observed WHERE space = ? AND step = ?", (self.space, step)
        ).fetchone()
        return int(count)

    def forget_observations(self, step: int) -> None:
        """Implement `RunTransaction.forget_observations`."""
        for table in ("observed", "rollouts"):
            self._delete(table, " AND step = ?", step)

    def close_observations(self, step: int) -> None:
        """Implement `RunTransaction.close_observations`."""
        self.sql.execute("DELETE FROM rollouts WHERE space = ? AND step = ?", (self.space, step))

    def request(self, request_id: str) -> bytes | None:
        """Implement `RunTransaction.request`."""
        row = self.sql.execute(
            "SELECT record FROM requests WHERE space = ? AND request_id = ?", (self.space, request_id)
        ).fetchone()
        return row[0] if row else None

    def put_request(self, request_id: str, sequence: int, step: int, record: bytes, keep: int) -> None:
        """Implement `RunTransaction.put_request`."""
        self._put("requests", [(request_id, sequence, step, record)])
        self._delete("requests", " AND sequence <= ?", sequence - keep)

    def wipe(self) -> None:
        """Implement `RunTransaction.wipe`."""
        for table in KEYS:
            self._delete(table)

    def bytes_used(self) -> int:
        """Implement `RunTransaction.bytes_used`."""
        total = 0
        for table in ("problems", "undo", "groups", "observed"):
            name = KEYS[table][-1]
            (size,) = self.sql.execute(
                f"SELECT ifnull(sum(length({name}) + length(record)), 0) FROM {table} WHERE space = ?",  # noqa: S608
                (self.space,),
            ).fetchone()
            total += size
        return total

    def rows(self) -> Iterator[Row]:
        """Implement `RunTransaction.rows`."""
        for table, columns in KEYS.items():
            names = ", ".join(columns)
            for *key, value in self.sql.execute(
                f"SELECT {names}, record FROM {table} WHERE space = ? ORDER BY {names}",  # noqa: S608
                (self.space,),
            ):
                yield table, tuple(key), encode(value) if isinstance(value, str) else value

    def put_rows(self, rows: Iterable[Row]) -> None:
        """Implement `RunTransaction.put_rows`."""
        for table, some in groupby(rows, key=lambda row: row[0]):
            self._put(table, ((*key, decode(value) if table == "steps" else value) for _, key, value in some))


@dataclass(frozen=True, slots=True)
class SqliteTransaction:
    """All runs inside one transaction."""

    sql: sqlite3.Connection
    writing: bool
    """If False, the state of an unknown run is empty and cannot be written."""

    def epoch(self, run: str) -> int:
        """Implement `LocalTransaction.epoch`."""
        row = self.sql.execute("SELECT epoch FROM epochs WHERE run = ?", (run,)).fetchone()
        return row[0] if row else 0

    def set_epoch(self, run: str, epoch: int) -> None:
        """Implement `LocalTransaction.set_epoch`."""
        self.sql.execute("INSERT OR REPLACE INTO epochs (run, epoch) VALUES (?, ?)", (run, epoch))

    def runs(self) -> list[str]:
        """Implement `LocalTransaction.runs`."""
        rows = self.sql.execute("SELECT run FROM spaces WHERE checkpoint IS NULL AND meta IS NOT NULL ORDER BY run")
        return [run for (run,) in rows]

    def names(self) -> list[str]:
        """Implement `LocalTransaction.names`."""
        return [run for (run,) in self.sql.execute("SELECT DISTINCT run FROM spaces ORDER BY run")]

    def use(self, run: str, now: float) -> None:
        """Implement `LocalTransaction.use`."""
        self.sql.execute("INSERT OR REPLACE INTO used (run, at) VALUES (?, ?)", (run, now))

    def last_used(self, run: str) -> float | None:
        """Implement `LocalTransaction.last_used`."""
        row = self.sql.execute("SELECT at FROM used WHERE run = ?", (run,)).fetchone()
        return row[0] if row else None

    def _space(self, run: str, checkpoint: str | None) -> int | None:
        row = self.sql.execute(
            "SELECT space FROM spaces WHERE run = ? AND checkpoint IS ?", (run, checkpoint)
        ).fetchone()
        return row[0] if row else None

    def open_run(self, run: str, checkpoint: str | None = None) -> SqliteRun:
        """Implement `LocalTransaction.open_run`."""
        row = self.sql.execute(
            "SELECT space, meta FROM spaces WHERE run = ? AND checkpoint IS ?", (run, checkpoint)
        ).fetchone()
        if row is not None:
            return SqliteRun(self.sql, *row)
        return SqliteRun(self.sql, self._add(run, checkpoint) if self.writing else None)

    def _add(self, run: str, checkpoint: str | None) -> int | None:
        return self.sql.execute("INSERT INTO spaces (run, checkpoint) VALUES (?, ?)", (run, checkpoint)).lastrowid

    def copy(self, run: str, source: str | None, target: str | None) -> None:
        """Implement `LocalTransaction.copy`."""
        origin, space = self._space(run, source), self._space(run, target)
        if space is None:
            space = self._add(run, target)
        SqliteRun(self.sql, space).wipe()
        self.sql.execute(
            "UPDATE spaces SET meta = (SELECT meta FROM spaces WHERE space = ?) WHERE space = ?", (origin, space)
        )
        for table, columns in KEYS.items():
            names = ", ".join(columns)
            self.sql.execute(
                f"INSERT INTO {table} (space, {names}, record)"  # noqa: S608
                f" SELECT ?, {names}, record FROM {table} WHERE space = ?",
                (space, origin),
            )

    def adopt(self, source: str, run: str) -> None:
        """Implement `LocalTransaction.adopt`."""
        self._drop_space(run, None)
        self.sql.execute("UPDATE spaces SET run = ? WHERE run = ? AND checkpoint IS NULL", (run, source))

    def _drop_space(self, run: str, checkpoint: str | None) -> None:
        space = self._space(run, checkpoint)
        if space is not None:
            SqliteRun(self.sql, space).wipe()
            self.sql.execute("DELETE FROM samples WHERE space = ?", (space,))
            self.sql.execute("UPDATE datasets SET space = NULL WHERE space = ?", (space,))
            self.sql.execute("DELETE FROM spaces WHERE space = ?", (space,))

    def exchange_indexes(self, run: str, other: str) -> None:
        """Implement `LocalTransaction.exchange_indexes`."""
        one, two = self._space(run, None), self._space(other, None)
        numbers = [SqliteIndex(self.sql, space).number for space in (one, two)]
        self.sql.execute("UPDATE datasets SET space = NULL WHERE space IN (?, ?)", (one, two))
        for number, space in zip(numbers, (two, one), strict=True):
            self.sql.execute("UPDATE datasets SET space = ? WHERE dataset = ?", (space, number))

    def drop_orphans(self, limit: int) -> bool:
        """Implement `LocalTransaction.drop_orphans`."""
        return sqlite_index.drop_orphans(self.sql, limit)

    def checkpoints(self, run: str) -> list[Checkpoint]:
        """Implement `LocalTransaction.checkpoints`."""
        rows = self.sql.execute(
            "SELECT checkpoint, step, level, problems, epoch, bytes FROM spaces"
            " WHERE run = ? AND checkpoint IS NOT NULL AND step IS NOT NULL",
            (run,),
        )
        return [Checkpoint(*row) for row in rows]

    def put_checkpoint(self, run: str, checkpoint: Checkpoint) -> None:
        """Implement `LocalTransaction.put_checkpoint`."""
        self.sql.execute(
            "UPDATE spaces SET step = ?, level = ?, problems = ?, epoch = ?, bytes = ?"
            " WHERE run = ? AND checkpoint = ?",
            (
                checkpoint.step,
                checkpoint.level,
                checkpoint.problems,
                checkpoint.epoch,
                checkpoint.bytes,
                run,
                checkpoint.name,
            ),
        )

    def drop_checkpoint(self, run: str, name: str) -> None:
        """Implement `LocalTransaction.drop_checkpoint`."""
        self._drop_space(run, name)

    def drop(self, run: str) -> None:
        """Implement `LocalTransaction.drop`."""
        names = self.sql.execute("SELECT checkpoint FROM spaces WHERE run = ?", (run,)).fetchall()
        for (name,) in names:
            self._drop_space(run, name)
        self.sql.execute("DELETE FROM used WHERE run = ?", (run,))
