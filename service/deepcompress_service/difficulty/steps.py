"""The steps of a run (docs/design.md, 5.1 and 5.2): a step is opened, groups are added to it, and it is closed.

`engine` counts the groups of a request with these functions, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import refusals
from .arithmetic import (
    close_record,
    counted_ratio,
    fold_record,
    with_change,
)
from .codec import (
    RATIO_ONE,
    GroupRecord,
    PassCountBucket,
    ProblemRecord,
    RunRecord,
    StepDelta,
    StepRecord,
    pack_group,
    pack_problem,
    pack_state,
    unpack_problem,
)
from .length_counts import extended
from .model import CHANGE_KINDS, DifficultyConfig, GroupCommit, ProblemState, StepStatistics
from .observed_codec import ObservedGroup, unpack_observed
from .run_transaction import RunTransaction
from .samples import reindex_step
from .waiting import discard_expired


def new_run_record(config: DifficultyConfig, config_text: str) -> RunRecord:
    """Return the record of a run without state."""
    run_record = RunRecord(config, config_text)
    run_record.values = run_record.start = run_record.initial
    return run_record


def existing_run(state: RunTransaction, run: str) -> RunRecord:
    """Return the run's record.

    Raises:
        UnknownRun: The run does not exist.
    """
    run_record = state.load()
    if run_record is None:
        raise refusals.unknown_run(run)
    return run_record


def step_now(state: RunTransaction, run_record: RunRecord, step: int) -> StepRecord:
    """Return the step's record so far: of the open step with its groups, or of the closed one."""
    if step == run_record.open:
        return close_record(run_record)
    return state.step(step) or empty_step(state, run_record, step)


def empty_step(state: RunTransaction, run_record: RunRecord, step: int) -> StepRecord:
    """Return the record of a step that never opened and precedes one that did: the accumulators do not change."""
    values = values_before(state, run_record, step)
    return StepRecord(values, values)


def values_before(state: RunTransaction, run_record: RunRecord, step: int) -> tuple[float, ...]:
    """Return the accumulators at the end of the last step before this one."""
    earlier = [s for s in state.steps(run_record.pruned) if s < step]
    record = state.step(earlier[-1] if earlier else run_record.pruned)
    return record.after if record else run_record.initial


def close_before(state: RunTransaction, run_record: RunRecord, step: int) -> list[StepStatistics]:
    """Close every step before this one, also steps that have only observations; return them."""
    closed = []
    if run_record.open is not None and run_record.open < step:
        closed.append(close(state, run_record))
    counts_observed = run_record.kind == "stepped" and not run_record.config.asynchronous
    waiting_steps = state.observed_steps(run_record.closed) if counts_observed else []
    for waiting in waiting_steps:
        if waiting < step:
            open_step(state, run_record, waiting)
            closed.append(close(state, run_record))
    return closed


def open_step(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Make `step` the open one, and delete the records of steps beyond `keep_steps`."""
    if run_record.config.asynchronous:
        discard_expired(state, run_record)
    run_record.open = step
    run_record.closed = step - 1
    run_record.first = step if run_record.first is None else min(run_record.first, step)
    run_record.start = run_record.values
    if run_record.config.reference == "dataset" and run_record.problems:
        # The mean over all problems at the end of the last step: fixed for the step, in any order, with any shards.
        run_record.start = (run_record.ratio_sum / RATIO_ONE / run_record.problems, *run_record.values[1:])
    run_record.buckets, run_record.revisits = {}, (0, 0, 0)
    kept = state.steps(run_record.pruned)
    for old in kept[: max(0, len(kept) + 1 - run_record.config.keep_steps)]:
        state.forget_records(old)
        run_record.pruned = old


def close(state: RunTransaction, run_record: RunRecord) -> StepStatistics:
    """Close the open step and return it: count the groups that were observed but never shaped, then fix its level."""
    step = run_record.open
    assert step is not None
    asynchronous = run_record.config.asynchronous
    observed = state.observed(step) if run_record.kind == "stepped" and not asynchronous else {}
    counted: list[tuple[str, int, GroupCommit]] = []
    if observed:
        shaped = state.read("groups", step, observed)
        for group_id in sorted(observed.keys() - shaped.keys()):
            group = unpack_observed(observed[group_id])
            if group.counts:
                counted.append((group.problem_id, group.generation, observed_commit(group_id, group)))
        write_records(state, step, apply_groups(state, run_record, counted))
    if asynchronous:
        discard_expired(state, run_record)
    elif observed or run_record.kind != "stepped":
        state.close_observations(step)
    record = close_record(run_record, len(counted))
    state.put_step(step, record)
    run_record.values = record.after
    run_record.closed = step
    run_record.open = None
    run_record.buckets, run_record.revisits, run_record.ages = {}, (0, 0, 0), (0, 0, 0, 0, 0)
    if run_record.dataset:
        reindex_step(state, run_record, step)
    return record.statistics(step)


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
        lengths=group.lengths,
    )


def apply_groups(
    state: RunTransaction, run_record: RunRecord, groups: Sequence[tuple[str, int, GroupCommit]]
) -> ProblemChanges:
    """Add groups of the open step to its buckets and to their problems; return the problems, which it does not write.

    Each group comes with its problem_id and its generation.
    """
    step, weight = run_record.open, run_record.config.problem_weight
    dataset = run_record.config.reference == "dataset"
    changing = any(one.kind in CHANGE_KINDS for one in run_record.config.extra)
    assert step is not None
    packed = state.read("problems", None, {problem_id for problem_id, _, _ in groups})
    changes = ProblemChanges()
    records, undo = changes.records, changes.undo
    levels, buckets = {run_record.closed: run_record.values[0]}, run_record.buckets
    for problem_id, generation, group in groups:
        key = generation, group.size, group.passes
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = PassCountBucket()
        bucket.groups += 1
        bucket.truncated += group.truncated
        if group.tokens_known:
            bucket.tokens_sum += group.tokens_sum
            bucket.tokens_count += group.size
            bucket.correct_tokens_sum += group.correct_tokens_sum
            bucket.correct_tokens_count += group.passes
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
                    record = fold_record(record, weight, levels[last], step)
            records[problem_id] = record
        if dataset:
            run_record.ratio_sum -= counted_ratio(run_record, record)
        if changing:
            run_record.revisits = with_change(run_record.revisits, record, -1)
        delta = record.delta
        delta.attempts += group.size
        delta.passes += group.passes
        if group.tokens_known:
            delta.correct_tokens_sum += group.correct_tokens_sum
            delta.correct_tokens_count += group.passes
            record.end = extended(record.end, group.lengths)
            if group.correct_tokens_min is not None:
                least = group.correct_tokens_min
                delta.shortest = least if delta.shortest is None else min(delta.shortest, least)
        if dataset:
            run_record.ratio_sum += counted_ratio(run_record, record)
        if changing:
            run_record.revisits = with_change(run_record.revisits, record, 1)
    return changes


def level_of(state: RunTransaction, run_record: RunRecord, step: int) -> float:
    """Return the level at the end of the step of a problem's delta (0 if it has none)."""
    if step == run_record.open:
        return close_record(run_record).after[0]
    record = state.step(step)
    return record.after[0] if record else 0.0


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


@dataclass(slots=True)
class ProblemChanges:
    """Problems that groups of a step were added to, by problem_id."""

    records: dict[str, ProblemRecord] = field(default_factory=dict)
    """Each problem's record with the groups."""
    undo: dict[str, bytes] = field(default_factory=dict)
    """The packed record before the step, of each problem that the step had not changed so far."""


def write_records(
    state: RunTransaction, step: int, problems: ProblemChanges, groups: Mapping[str, GroupRecord] | None = None
) -> None:
    """Write the records of a step's groups and of the problems that they were added to."""
    states, packed_problems, packed_groups = {}, {}, {}
    for problem_id, problem in problems.records.items():
        states[problem_id] = before = pack_state(problem.before)
        packed_problems[problem_id] = pack_problem(problem, before)
    for group_id, group in (groups or {}).items():
        packed_groups[group_id] = pack_group(group, states.get(group.problem.problem_id))
    state.put("problems", None, packed_problems)
    state.put("undo", step, problems.undo)
    state.put("groups", step, packed_groups)
