"""The data set and the samples of a run in SQLite.

The rows of a data set have a number of their own, so that a data set that was filled aside becomes a run's by one
change. The table is ordered by problem_id; its index by (source, bin, place) covers the reading of windows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ..bins import STRATUM_BINS, Stratum
from ..dataset import DatasetRecord, Entry, dataset_from_json, dataset_to_json

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS datasets (dataset INTEGER PRIMARY KEY AUTOINCREMENT, space INTEGER UNIQUE,"
    " record TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dataset_problems (dataset INTEGER, problem_id TEXT, source INTEGER NOT NULL,"
    " bin INTEGER NOT NULL, place INTEGER NOT NULL, prior BLOB NOT NULL,"
    " PRIMARY KEY (dataset, problem_id)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS dataset_places ON dataset_problems (dataset, source, bin, place)",
    "CREATE TABLE IF NOT EXISTS dataset_strata (dataset INTEGER, source INTEGER, bin INTEGER,"
    " problems INTEGER NOT NULL, PRIMARY KEY (dataset, source, bin)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS samples (space INTEGER, step INTEGER, record TEXT NOT NULL,"
    " PRIMARY KEY (space, step)) WITHOUT ROWID",
)
AT_ONCE = 500
_SELECT = "SELECT problem_id, source, bin, place, prior FROM dataset_problems WHERE dataset = ?"


@dataclass(slots=True)
class SqliteIndex:
    """Implements `ProblemIndex` for the state of one space."""

    sql: sqlite3.Connection
    space: int | None
    _number: int | None = None

    @property
    def number(self) -> int | None:
        """The number of the state's data set; None if it has none."""
        if self._number is None:
            row = self.sql.execute("SELECT dataset FROM datasets WHERE space = ?", (self.space,)).fetchone()
            self._number = row[0] if row else None
        return self._number

    def load(self) -> DatasetRecord | None:
        """Implement `ProblemIndex.load`."""
        row = self.sql.execute("SELECT record FROM datasets WHERE space = ?", (self.space,)).fetchone()
        return dataset_from_json(row[0]) if row else None

    def save(self, record: DatasetRecord) -> None:
        """Implement `ProblemIndex.save`."""
        self.sql.execute(
            "INSERT INTO datasets (space, record) VALUES (?, ?)"
            " ON CONFLICT (space) DO UPDATE SET record = excluded.record",
            (self.space, dataset_to_json(record)),
        )

    def add(self, entries: Mapping[str, Entry]) -> bool:
        """Implement `ProblemIndex.add`."""
        rows = [(self.number, name, e.source, e.bin, e.place, e.prior) for name, e in sorted(entries.items())]
        try:
            self.sql.executemany("INSERT INTO dataset_problems VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            return False
        self._count(Counter(entry.stratum for entry in entries.values()))
        return True

    def _count(self, changes: Mapping[Stratum, int]) -> None:
        self.sql.executemany(
            "INSERT INTO dataset_strata VALUES (?, ?, ?, ?)"
            " ON CONFLICT (dataset, source, bin) DO UPDATE SET problems = problems + excluded.problems",
            [
                (self.number, *divmod(stratum, STRATUM_BINS), change)
                for stratum, change in sorted(changes.items())
                if change
            ],
        )

    def entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Implement `ProblemIndex.entries`."""
        found: dict[str, Entry] = {}
        pending = iter(ids)
        while batch := list(islice(pending, AT_ONCE)):
            marks = ",".join("?" * len(batch))
            for name, *fields in self.sql.execute(
                f"{_SELECT} AND problem_id IN ({marks})",
                (self.number, *batch),
            ):
                found[name] = Entry(*fields)
        return found

    def move(self, entries: Mapping[str, tuple[Entry, Entry]]) -> None:
        """Implement `ProblemIndex.move`."""
        changes: Counter[Stratum] = Counter()
        for old, new in entries.values():
            changes[old.stratum] -= 1
            changes[new.stratum] += 1
        self.sql.executemany(
            "UPDATE dataset_problems SET bin = ? WHERE dataset = ? AND problem_id = ?",
            [(new.bin, self.number, name) for name, (_, new) in sorted(entries.items())],
        )
        self._count(changes)

    def counts(self) -> dict[Stratum, int]:
        """Implement `ProblemIndex.counts`."""
        rows = self.sql.execute(
            "SELECT source, bin, problems FROM dataset_strata WHERE dataset = ? AND problems > 0", (self.number,)
        )
        return {source * STRATUM_BINS + index: problems for source, index, problems in rows}

    def window(self, stratum: Stratum, first: int, last: int) -> list[str]:
        """Implement `ProblemIndex.window`."""
        rows = self.sql.execute(
            "SELECT problem_id FROM dataset_problems INDEXED BY dataset_places"
            " WHERE dataset = ? AND source = ? AND bin = ? AND place >= ? AND place < ? ORDER BY place, problem_id",
            (self.number, *divmod(stratum, STRATUM_BINS), first, last),
        )
        return [name for (name,) in rows]

    def whole(self, first: Stratum, last: Stratum) -> dict[Stratum, list[str]]:
        """Implement `ProblemIndex.whole`."""
        source, least = divmod(first, STRATUM_BINS)
        found: dict[Stratum, list[str]] = {stratum: [] for stratum in range(first, last + 1)}
        for index, name in self.sql.execute(
            "SELECT bin, problem_id FROM dataset_problems INDEXED BY dataset_places"
            " WHERE dataset = ? AND source = ? AND bin BETWEEN ? AND ? ORDER BY bin, place, problem_id",
            (self.number, source, least, least + last - first),
        ):
            found[first - least + index].append(name)
        return found

    def after(self, problem_id: str, limit: int) -> dict[str, Entry]:
        """Implement `ProblemIndex.after`."""
        rows = self.sql.execute(
            f"{_SELECT} AND problem_id > ? ORDER BY problem_id LIMIT ?",
            (self.number, problem_id, limit),
        )
        return {name: Entry(*fields) for name, *fields in rows}

    def all(self) -> Iterator[tuple[str, Entry]]:
        """Implement `ProblemIndex.all`."""
        for name, *fields in self.sql.execute(
            f"{_SELECT} ORDER BY problem_id",
            (self.number,),
        ):
            yield name, Entry(*fields)

    def sample(self, step: int) -> str | None:
        """Implement `ProblemIndex.sample`."""
        row = self.sql.execute(
            "SELECT record FROM samples WHERE space = ? AND step = ?", (self.space, step)
        ).fetchone()
        return row[0] if row else None

    def put_sample(self, step: int, text: str) -> None:
        """Implement `ProblemIndex.put_sample`."""
        self.sql.execute("INSERT OR REPLACE INTO samples VALUES (?, ?, ?)", (self.space, step, text))

    def sampled_steps(self) -> list[int]:
        """Implement `ProblemIndex.sampled_steps`."""
        rows = self.sql.execute("SELECT step FROM samples WHERE space = ? ORDER BY step", (self.space,))
        return [step for (step,) in rows]

    def drop_samples(self, steps: Iterable[int]) -> None:
        """Implement `ProblemIndex.drop_samples`."""
        self.sql.executemany(
            "DELETE FROM samples WHERE space = ? AND step = ?", [(self.space, step) for step in steps]
        )


def drop_orphans(sql: sqlite3.Connection, limit: int) -> bool:
    """Delete at most `limit` problems of data sets that no state has; return True if there may be more."""
    row = sql.execute("SELECT dataset FROM datasets WHERE space IS NULL LIMIT 1").fetchone()
    if row is None:
        return False
    (number,) = row
    deleted = sql.execute(
        "DELETE FROM dataset_problems WHERE dataset = ? AND problem_id IN"
        " (SELECT problem_id FROM dataset_problems WHERE dataset = ? LIMIT ?)",
        (number, number, limit),
    ).rowcount
    if deleted < limit:
        sql.execute("DELETE FROM dataset_strata WHERE dataset = ?", (number,))
        sql.execute("DELETE FROM datasets WHERE dataset = ?", (number,))
    return True
