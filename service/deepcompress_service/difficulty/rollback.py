"""Rewind, checkpoint and restore (docs/design.md, 5.4) over a `RunTransaction`.

A checkpoint is a copy of the run's state, rewound to the step after it. Restoring copies it back, so the
run is then in the state after that rewind: groups of its steps are still replayed from their records.
"""

from __future__ import annotations

from . import refusals
from .arithmetic import close_record, counted_ratio, present_problem
from .codec import pack_lengths, pack_problem, unpack_lengths, unpack_problem
from .engine import close_before
from .model import Checkpoint, ProblemState, RunState
from .past import level_of
from .records import ProblemRecord, RunRecord, StepDelta, new_run_record
from .reindex import mark_pending, reindex
from .run_transaction import RunTransaction
from .samples import drop_samples_from


def run_state(
    state: RunTransaction, run: str, epoch: int, run_record: RunRecord, *, created: bool = False
) -> RunState:
    """Return the run's present state."""
    mean = None
    if run_record.open is None:
        closed = [step for step in state.steps(-1) if step <= run_record.closed]
        record = state.step(closed[-1]) if closed else None
        mean = record.mean if record else None
    return state_of_run(run, epoch, run_record, mean, created=created)


def state_of_run(
    run: str, epoch: int, run_record: RunRecord, closed_mean: float | None, *, created: bool = False
) -> RunState:
    """Return the state that a run's record gives. `closed_mean` is the mean pass ratio of the last closed step."""
    level, mean = closed_level(run_record), closed_mean
    if run_record.open is not None:
        now = close_record(run_record)
        level, mean = now.after[0], now.mean
    return RunState(
        run,
        epoch,
        run_record.config,
        run_record.config_text,
        run_record.kind,
        run_record.open,
        level,
        mean,
        run_record.problems,
        created,
        run_record.incarnation,
        run_record.version,
        bool(run_record.begun),
    )


def closed_level(run_record: RunRecord) -> float:
    """Return the level at the end of the last closed step."""
    return run_record.values[0]


def rewind(
    state: RunTransaction, run_record: RunRecord, next_step: int | None, checkpoints: list[Checkpoint]
) -> RunRecord:
    """Forget everything at steps >= `next_step` (None: all but the configuration); return the run's new record.

    The step before `next_step` is closed: new groups for it are stale. A run that continues another one keeps the
    state that it began with, except for None. The caller raises the epoch and saves the record.

    Raises:
        StepTooOld: The undo records of a step are gone; nothing was changed.
    """
    check_rewindable(run_record, next_step, checkpoints)
    before_all = next_step is None or run_record.first is None or next_step <= run_record.first
    if next_step is None or (before_all and not run_record.begun):
        state.wipe()
        fresh = new_run_record(run_record.config, run_record.config_text)
        fresh.incarnation, fresh.dataset = run_record.incarnation, run_record.dataset
        drop_samples_from(state, next_step)
        if run_record.problems:
            mark_pending(state, fresh)
        if next_step is not None:
            fresh.closed = next_step - 1
        return fresh
    if not before_all:
        close_before(state, run_record, next_step)
    touched = [*state.steps(max(run_record.pruned, next_step - 1))]
    if run_record.open is not None:
        touched.append(run_record.open)
    visited: set[str] = set()
    for step in reversed(touched):
        undo = state.undo(step)
        visited |= undo.keys()
        packed = state.read("problems", None, undo)
        restored: dict[str, bytes] = {}
        gone: list[str] = []
        for problem_id, old in undo.items():
            if problem_id not in packed:
                continue  # an import whose rows contradict each other
            record = unpack_problem(problem_id, packed[problem_id])
            run_record.ratio_sum -= counted_ratio(run_record, record)
            if not record.before.attempts:  # a problem of a continued run has attempts, and no last step
                gone.append(problem_id)
                continue
            if not old:
                visits, lengths, _ = unpack_lengths(record.end)
                old = pack_problem(ProblemRecord(record.before, StepDelta(), pack_lengths(visits, lengths, b"")))
            record = unpack_problem(problem_id, old)
            run_record.ratio_sum += counted_ratio(run_record, record)
            restored[problem_id] = old
        state.put("problems", None, restored)
        state.drop_problems(gone)
        run_record.problems -= len(gone)
    state.forget_from(0 if before_all else next_step)
    kept = state.steps(-1)
    last = state.step(kept[-1]) if kept else None
    run_record.values = last.after if last else run_record.initial
    run_record.open, run_record.closed, run_record.buckets = None, next_step - 1, {}
    run_record.revisits, run_record.ages, run_record.version = (0, 0, 0), (0, 0, 0, 0, 0), 0
    if before_all:
        run_record.kind, run_record.first, run_record.created_step = None, None, None
        run_record.pruned, run_record.sequence, run_record.start = -1, 0, run_record.values
    if run_record.dataset:
        reindex(state, run_record, visited)
        drop_samples_from(state, next_step)
    return run_record


def check_rewindable(run_record: RunRecord, next_step: int | None, checkpoints: list[Checkpoint]) -> None:
    """Check that every step from `next_step` on can be undone.

    Raises:
        StepTooOld: Some undo records are gone; the error names the nearest checkpoint.
    """
    if (
        next_step is None
        or run_record.first is None
        or (next_step <= run_record.first and not run_record.begun)
        or next_step > run_record.pruned
    ):
        return
    usable = [c for c in checkpoints if c.step < next_step]
    nearest = max(usable, key=lambda c: (c.step, c.name), default=None)
    raise refusals.rewind_too_far(
        next_step,
        run_record.pruned,
        run_record.config.keep_steps,
        nearest.name if nearest else None,
        nearest.step if nearest else -1,
    )


def problem_now(state: RunTransaction, run_record: RunRecord, problem_id: str, data: bytes) -> ProblemState:
    """Return a problem's state with the open step's groups so far."""
    record = unpack_problem(problem_id, data)
    return present_problem(record, run_record.config.problem_weight, level_of(state, run_record, record.delta.step))
