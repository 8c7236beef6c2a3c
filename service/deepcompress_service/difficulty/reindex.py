"""The bins of a data set's problems (docs/design.md, 5.12) over a `RunTransaction`: for `memory://` and SQLite.

The index of a data set has each problem in the bin of its pass ratio at the end of the last closed step. It changes
where a step closes (`reindex_step`), and where problems come to be as they were before (a rewind). Where all problems
may have changed at once (a restore, an import, a reset, a data set registered during a training) the record of the
data set is marked as pending, and the bins are computed again portion by portion before the next sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .bins import bin_of, closed_ratio
from .codec import unpack_problem
from .dataset import Entry, bin_of_prior
from .records import RunRecord
from .run_transaction import RunTransaction
from .visits import Visit

PORTION = 1000
"""Problems whose bins are computed in one transaction."""


def reindex(state: RunTransaction, run_record: RunRecord, ids: Iterable[str]) -> None:
    """Give each of these problems that is in the data set the bin of its pass ratio after the last closed step."""
    entries = state.index.entries(ids)
    if entries:
        _move(state, run_record, entries)


def _move(state: RunTransaction, run_record: RunRecord, entries: dict[str, Entry]) -> list[Visit]:
    """Give entries the bins of their problems' pass ratios; return what a step that closes counts of them."""
    records = state.read("problems", None, entries)
    moved: dict[str, tuple[Entry, Entry]] = {}
    visits: list[Visit] = []
    for problem_id, entry in entries.items():
        data = records.get(problem_id)
        ratio = before = None
        if data is not None:
            record = unpack_problem(problem_id, data)
            ratio = closed_ratio(record, run_record.config.problem_weight, run_record.open)
            before = record.before.last_step
        index = bin_of_prior(entry.prior) if ratio is None else bin_of(ratio)
        changed = entry if index == entry.bin else replace(entry, bin=index)
        if changed is not entry:
            moved[problem_id] = entry, changed
        visits.append((before, entry.stratum, changed.stratum))
    state.index.move(moved)
    return visits


def reindex_step(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Bring the index of a run with a data set up to date with a step that closes."""
    index = state.index
    record = index.load()
    visits = _move(state, run_record, index.entries(state.undo(step)))
    if record is not None and record.visits is not None:
        record.visits.close(step, visits)
        index.save(record)


def mark_pending(state: RunTransaction, run_record: RunRecord) -> None:
    """Mark that all bins must be computed again, if the run has a data set."""
    if run_record.dataset and (record := state.index.load()):
        record.pending, record.visits = "", None
        state.index.save(record)


def reindex_portion(state: RunTransaction, run_record: RunRecord) -> bool:
    """Compute the next bins of a data set that is pending; return True if some are left."""
    record = state.index.load()
    if record is None or record.pending is None:
        return False
    entries = state.index.after(record.pending, PORTION)
    _move(state, run_record, entries)
    record.pending = max(entries) if len(entries) == PORTION else None
    state.index.save(record)
    return record.pending is not None
