"""The past of a run: levels at the end of earlier steps, and problems as they were before a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .arithmetic import close_record, fold_record
from .codec import unpack_problem
from .model import ProblemState
from .records import GroupRecord, ProblemRecord, RunRecord, StepDelta, StepRecord
from .run_transaction import RunTransaction


def level_of(state: RunTransaction, run_record: RunRecord, step: int) -> float:
    """Return the level at the end of the step of a problem's delta (0 if it has none)."""
    if step == run_record.open:
        return close_record(run_record).after[0]
    record = state.step(step)
    return record.after[0] if record else 0.0


def recorded_level(
    state: RunTransaction, run_record: RunRecord, step: int, records: Sequence[GroupRecord]
) -> tuple[float, float]:
    """Return level and mean P_g of a request of recorded groups only.

    They are the recorded values if the records agree, else the present ones.
    """
    first = records[0]
    recorded = {(record.step_level, record.batch_pass_ratio) for record in records}
    if len(recorded) > 1:
        present = close_record(run_record) if step == run_record.open else closed_step(state, run_record, step)
        if present.mean is not None:
            return present.after[0], present.mean
    return first.step_level, first.batch_pass_ratio


def closed_step(state: RunTransaction, run_record: RunRecord, step: int) -> StepRecord:
    """Return the record of a closed step.

    In a step that never opened, and precedes one that did, the accumulators do not change.
    """
    record = state.step(step)
    if record is not None:
        return record
    earlier = [one for one in state.steps(run_record.pruned) if one < step]
    last = state.step(earlier[-1] if earlier else run_record.pruned)
    values = last.after if last else run_record.initial
    return StepRecord(values, values)


def problems_before(
    state: RunTransaction, run_record: RunRecord, step: int, ids: Iterable[str]
) -> dict[str, ProblemRecord]:
    """Return problems' records before a step, by following their undo records back; their tallies have no meaning."""
    weight = run_record.config.problem_weight
    states: dict[str, ProblemRecord] = {}
    packed = state.read("problems", None, ids)
    for problem_id in ids:
        data = packed.get(problem_id)
        if data is None:
            states[problem_id] = ProblemRecord(ProblemState(problem_id), StepDelta())
            continue
        record = unpack_problem(problem_id, data)
        while record.before.last_step is not None and record.before.last_step >= step:
            record = unpack_problem(problem_id, state.read("undo", record.delta.step, [problem_id])[problem_id])
        if record.delta.step >= step:
            states[problem_id] = record
        else:
            level = level_of(state, run_record, record.delta.step)
            states[problem_id] = fold_record(record, weight, level, step)
    return states
