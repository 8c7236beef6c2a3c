"""Open a step, count groups in it, and close it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .arithmetic import close_record, counted_ratio, fold_delta, start_values
from .codec import (
    ObservedGroup,
    PassCountBucket,
    ProblemRecord,
    RunRecord,
    StepDelta,
    pack_problem,
    unpack_observed,
    unpack_problem,
)
from .model import GroupCommit, ProblemState
from .run_transaction import RunTransaction


def advance_to(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Make `step`, which is not closed, the open one; everything before it closes."""
    if run_record.open != step:
        close_before(state, run_record, step)
        open_step(state, run_record, step)


def close_before(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Close every step before this one, those included of which only observations are known."""
    if run_record.open is not None and run_record.open < step:
        close(state, run_record)
    waiting_steps = state.observed_steps(run_record.closed) if run_record.kind == "stepped" else []
    for waiting in waiting_steps:
        if waiting < step:
            open_step(state, run_record, waiting)
            close(state, run_record)


def open_step(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Make `step` the open one, and delete the records of steps beyond `keep_steps`."""
    run_record.open = step
    run_record.closed = step - 1
    run_record.first = step if run_record.first is None else min(run_record.first, step)
    run_record.start = start_values(run_record)
    run_record.buckets = {}
    kept = state.steps(run_record.pruned)
    for old in kept[: max(0, len(kept) + 1 - run_record.config.keep_steps)]:
        state.forget_records(old)
        run_record.pruned = old


def close(state: RunTransaction, run_record: RunRecord) -> None:
    """Close the open step: count the groups that were observed but never shaped, then fix its level."""
    step = run_record.open
    assert step is not None
    observed = state.observed(step) if run_record.kind == "stepped" else {}
    shaped = state.groups(step, observed)
    counted: list[tuple[str, GroupCommit]] = []
    for group_id in sorted(observed.keys() - shaped.keys()):
        group = unpack_observed(observed[group_id])
        if group.counts:
            as_commit = observed_commit(group_id, group)
            add_to_bucket(run_record, group.generation, as_commit)
            counted.append((group.problem_id, as_commit))
    apply_groups(state, run_record, counted)
    state.close_observations(step)
    record = close_record(run_record, len(counted))
    state.put_step(step, record)
    run_record.values = record.after
    run_record.closed = step
    run_record.open = None
    run_record.buckets = {}


def observed_commit(group_id: str, group: ObservedGroup) -> GroupCommit:
    """Return an observed group as the commit that counts it."""
    return GroupCommit(
        group_id,
        group.problem_id,
        b"",
        b"",
        group.size,
        group.passes,
        truncated=group.truncated,
        tokens_known=group.tokens_known == group.size,
        tokens_sum=group.tokens_sum,
        correct_tokens_sum=group.correct_tokens_sum,
        correct_tokens_min=group.correct_tokens_min,
    )


def add_to_bucket(run_record: RunRecord, generation: int, group: GroupCommit) -> None:
    """Add a group to its bucket of the open step."""
    bucket = run_record.buckets.setdefault((generation, group.size, group.passes), PassCountBucket())
    bucket.groups += 1
    bucket.truncated += group.truncated
    if group.tokens_known:
        bucket.tokens_sum += group.tokens_sum
        bucket.tokens_count += group.size
        bucket.correct_tokens_sum += group.correct_tokens_sum
        bucket.correct_tokens_count += group.passes


def apply_groups(
    state: RunTransaction, run_record: RunRecord, groups: Sequence[tuple[str, GroupCommit]]
) -> dict[str, ProblemState]:
    """Add groups of the open step to their problems; return each problem's state before the step."""
    step, weight = run_record.open, run_record.config.problem_weight
    assert step is not None
    packed = state.problems({problem_id for problem_id, _ in groups})
    records: dict[str, ProblemRecord] = {}
    undo: dict[str, bytes] = {}
    levels: dict[int, float] = {}
    for problem_id, group in groups:
        record = records.get(problem_id)
        if record is None:
            data = packed.get(problem_id)
            if data is None:
                record = ProblemRecord(ProblemState(problem_id), StepDelta(step))
                run_record.problems += 1
                undo[problem_id] = b""
            else:
                record = unpack_problem(problem_id, data)
                if record.delta.step != step:
                    undo[problem_id] = data if record.delta.step > run_record.pruned else b""
                    last = record.delta.step
                    if last not in levels:
                        levels[last] = level_of(state, run_record, last)
                    before = fold_delta(record, weight, levels[last])
                    record = ProblemRecord(before, StepDelta(step))
            records[problem_id] = record
        run_record.ratio_sum -= counted_ratio(run_record, record)
        record.delta.add(
            group.size, group.passes, group.tokens_known, group.correct_tokens_sum, group.correct_tokens_min
        )
        run_record.ratio_sum += counted_ratio(run_record, record)
    state.put_problems({problem_id: pack_problem(record) for problem_id, record in records.items()})
    state.put_undo(step, undo)
    return {problem_id: record.before for problem_id, record in records.items()}


def level_of(state: RunTransaction, run_record: RunRecord, step: int) -> float:
    """Return the level at the end of the step of a problem's delta (0 if it has none)."""
    if step == run_record.open:
        return close_record(run_record).after[0]
    record = state.step(step)
    return record.after[0] if record else 0.0


def problems_before(
    state: RunTransaction, run_record: RunRecord, step: int, ids: Iterable[str]
) -> dict[str, ProblemState]:
    """Return problems' states before a step, by following their undo records back."""
    weight, states = run_record.config.problem_weight, {}
    packed = state.problems(ids)
    for problem_id in ids:
        data = packed.get(problem_id)
        if data is None:
            states[problem_id] = ProblemState(problem_id)
            continue
        record = unpack_problem(problem_id, data)
        while record.before.last_step is not None and record.before.last_step >= step:
            record = unpack_problem(problem_id, state.undo_of(record.delta.step, problem_id))
        if record.delta.step >= step:
            states[problem_id] = record.before
        else:
            states[problem_id] = fold_delta(record, weight, level_of(state, run_record, record.delta.step))
    return states
