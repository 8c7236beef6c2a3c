"""The interface between the engine and a store: a transaction, and one run's stored state inside it.

A `RunTransaction` reads and writes; it decides nothing. All binary values are those of `codec`. The store commits the
transaction when the engine returns, and rolls it back when the engine raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, Protocol

from . import refusals
from .problem_index import ProblemIndex
from .records import RunRecord, StepRecord

Row = tuple[str, tuple[str | int, ...], bytes]
"""(table, key, value) of an export; the table is problems, undo, groups, observed, rollouts, requests, steps,
data_sources, dataset or samples."""

Table = Literal["problems", "undo", "groups", "observed"]
"""Tables whose records are read and written by name: problems and undo by problem_id, groups and observed by
group_id."""


class RunTransaction(Protocol):
    """The state of one run (or of one of its checkpoints) as packed records."""

    def load(self) -> RunRecord | None:
        """Return the run's record; None if the run does not exist."""

    def save(self, run_record: RunRecord) -> None:
        """Store the run's record."""

    # records by name

    def read(self, table: Table, step: int | None, ids: Iterable[str]) -> dict[str, bytes]:
        """Return packed records by name, without those that do not exist; `step` is None only for problems."""

    def put(self, table: Table, step: int | None, records: Mapping[str, bytes]) -> None:
        """Insert or replace packed records, given by name; `step` is None only for problems."""

    # problems, and their records before each step

    def drop_problems(self, ids: Iterable[str]) -> None:
        """Delete problem records that exist."""

    def all_problems(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over (problem_id, record) in any order."""

    def problems_after(self, problem_id: str | None) -> Iterator[tuple[str, bytes]]:
        """Iterate lazily over (problem_id, record) after `problem_id` (None: from the first), ids ascending."""

    def undo(self, step: int) -> dict[str, bytes]:
        """Return, for every problem that the step changed, its packed record before the step.

        Empty bytes if the records of that earlier step are pruned: then the problem's state before this step, which
        the current record contains, is all that is left.
        """

    # closed steps

    def steps(self, after: int) -> list[int]:
        """Return the closed steps greater than `after`, ascending."""

    def step(self, step: int) -> StepRecord | None:
        """Return the record of a closed step; None if there is none."""

    def put_step(self, step: int, record: StepRecord) -> None:
        """Insert or replace the record of a closed step."""

    def forget_records(self, step: int) -> None:
        """Delete the step's groups, undo records and observations; keep its line in the history."""

    def forget_from(self, step: int) -> None:
        """Delete everything of this step and later ones, except the problems."""

    def newest_sources(self, step: int) -> tuple[int, bytes] | None:
        """Return the newest record by data source (`sources`) up to a step, and its own step; None without any."""

    def put_sources(self, step: int, record: bytes) -> None:
        """Insert or replace the record by data source of a step."""

    def sources(self, since: int, limit: int | None) -> list[tuple[int, bytes]]:
        """Return the records by data source of the steps from `since` on, ascending; `limit` keeps the newest."""

    # observations

    def observed_steps(self, after: int) -> list[int]:
        """Return the steps greater than `after` that have observations, ascending."""

    def observed(self, step: int) -> dict[str, bytes]:
        """Return all packed observed groups of the step by group_id."""

    def rollouts(self, step: int, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Return packed observed rollouts by (group_id, rollout_id), without those that do not exist."""

    def put_rollouts(self, step: int, records: Mapping[tuple[str, str], bytes]) -> None:
        """Insert or replace observed rollouts of the step."""

    def count_observed(self, step: int) -> int:
        """Return the number of observed groups of the step."""

    def forget_observations(self, step: int) -> None:
        """Delete the observed groups and rollouts of a step."""

    def close_observations(self, step: int) -> None:
        """Delete the observed rollouts of a step that closes; keep its observed groups, which name their problems."""

    # stepless requests

    def request(self, request_id: str) -> bytes | None:
        """Return the packed record of a stepless request; None if there is none."""

    def put_request(self, request_id: str, sequence: int, step: int, record: bytes, keep: int) -> None:
        """Store a request's record, and delete all but the last `keep` requests."""

    # the state as a whole

    @property
    def index(self) -> ProblemIndex:
        """The run's data set and samples."""

    def wipe(self) -> None:
        """Delete everything except the run's record, its data set and its samples."""

    def rows(self) -> Iterator[Row]:
        """Iterate over everything except the run's record, the data set and samples, for an export."""

    def put_rows(self, rows: Iterable[Row]) -> None:
        """Store rows of an export, except those of the data set."""

    def bytes_used(self) -> int:
        """Return the size of all keys and records, in bytes."""


class StoreTransaction(Protocol):
    """The runs of a store, inside one transaction: the part that a commit needs."""

    def epoch(self, run: str) -> int:
        """Return the run's epoch: 0 for an unknown run. It survives the run's deletion."""

    def open_run(self, run: str, checkpoint: str | None = None) -> RunTransaction:
        """Return the run's own state, or that of one of its checkpoints."""


def existing_run(state: RunTransaction, run: str) -> RunRecord:
    """Return the run's record.

    Raises:
        UnknownRun: The run does not exist.
    """
    run_record = state.load()
    if run_record is None:
        raise refusals.unknown_run(run)
    return run_record
