"""Rewind, checkpoint and restore (docs/design.md, 5.4) over a `View`.

A checkpoint is a second view: a copy of the run's, rewound to the step after it. Restoring copies it back, so that
it leaves the run as that rewind would have: the groups of its steps are still answered from their records.
"""

from __future__ import annotations

from . import refusals
from .arithmetic import counted_ratio, finish, fold
from .codec import Meta, pack_problem, unpack_problem
from .engine import new_meta
from .model import Checkpoint, ProblemState, RunState
from .steps import close_before, level_of
from .view import View


def run_state(view: View, run: str, epoch: int, meta: Meta, *, created: bool = False) -> RunState:
    if meta.open is not None:
        now = finish(meta)
        level, mean = now.after[0], now.mean
    else:
        level, mean = standing_level(meta), None
        last = [step for step in view.steps(-1) if step <= meta.closed]
        if last:
            record = view.step(last[-1])
            mean = record.mean if record else None
    return RunState(
        run, epoch, meta.config, meta.config_text, meta.kind, meta.open, level, mean, meta.problems, created
    )


def standing_level(meta: Meta) -> float:
    """The level at the end of the last closed step."""
    return meta.values[0]


def rewind(view: View, meta: Meta, next_step: int | None, checkpoints: list[Checkpoint]) -> Meta:
    """Forget everything at steps >= `next_step` (None: all but the configuration). The step before it is closed:
    what comes for it afterwards is stale. The caller raises the epoch and saves the meta that is returned."""
    check_reach(meta, next_step, checkpoints)
    if next_step is None or meta.first is None or next_step <= meta.first:
        view.wipe()
        fresh = new_meta(meta.config, meta.config_text)
        if next_step is not None:
            fresh.closed = next_step - 1
        return fresh
    close_before(view, meta, next_step)
    touched = [*view.steps(max(meta.pruned, next_step - 1))]
    if meta.open is not None:
        touched.append(meta.open)
    for step in reversed(touched):
        undo = view.undo(step)
        packed = view.problems(undo)
        restored: dict[str, bytes] = {}
        gone: list[str] = []
        for problem_id, old in undo.items():
            record = unpack_problem(problem_id, packed[problem_id])
            meta.ratio_sum -= counted_ratio(meta, record)
            if record.before.last_step is None:
                gone.append(problem_id)
                continue
            if not old:
                old = pack_problem(type(record)(record.before, type(record.tally)()))
            record = unpack_problem(problem_id, old)
            meta.ratio_sum += counted_ratio(meta, record)
            restored[problem_id] = old
        view.put_problems(restored)
        view.drop_problems(gone)
        meta.problems -= len(gone)
    view.forget_from(next_step)
    kept = view.steps(-1)
    last = view.step(kept[-1]) if kept else None
    meta.values = last.after if last else new_meta(meta.config, "").values
    meta.open, meta.closed, meta.cells = None, next_step - 1, {}
    return meta


def check_reach(meta: Meta, next_step: int | None, checkpoints: list[Checkpoint]) -> None:
    """StepTooOld, naming the nearest checkpoint, where the undo of some step from `next_step` on is gone."""
    if next_step is None or meta.first is None or next_step <= meta.first or next_step > meta.pruned:
        return
    usable = [c for c in checkpoints if c.step < next_step]
    nearest = max(usable, key=lambda c: (c.step, c.name), default=None)
    raise refusals.rewind_too_far(
        next_step,
        meta.pruned,
        meta.config.keep_steps,
        nearest.name if nearest else None,
        nearest.step if nearest else -1,
    )


def problem_now(view: View, meta: Meta, problem_id: str, data: bytes) -> ProblemState:
    """A problem as it stands, the open step's groups so far included."""
    record = unpack_problem(problem_id, data)
    return fold(record, meta.config.problem_weight, level_of(view, meta, record.tally.step))
