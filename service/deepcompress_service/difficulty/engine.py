"""The semantics of the difficulty state (docs/design.md, 5.1 to 5.8) over a `RunTransaction`.

It is what `memory://` and SQLite run. Every function runs inside one transaction. It checks everything before it
writes anything, so a request that is refused changes nothing. The Redis store has the same semantics in
``stores/lua/``; the contract tests compare both with one model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from . import refusals
from .arithmetic import (
    accumulators_after,
    close_record,
    counted_ratio,
    fold_record,
    mean_pass_ratio,
    tracks_changes,
    with_change,
)
from .codec import (
    RATIO_ONE,
    GroupRecord,
    ObservedGroup,
    PassCountBucket,
    ProblemRecord,
    RunRecord,
    StepDelta,
    StepRecord,
    group_digest,
    pack_group,
    pack_problem,
    unpack_group,
    unpack_observed,
    unpack_problem,
)
from .identity import check_identity, count_commit
from .length_counts import joined, unpack_counts
from .model import Commit, CommitOutcome, DifficultyConfig, GroupCommit, GroupOutcome, ProblemState
from .run_transaction import RunTransaction, StoreTransaction

KEPT_REQUESTS = 10_000
"""Number of the latest stepless requests that are recognised by their request_id."""


def new_run_record(config: DifficultyConfig, config_text: str) -> RunRecord:
    """Return the record of a run without state."""
    values = tuple(accumulator.initial for accumulator in (config.level, *config.extra))
    return RunRecord(config, config_text, values=values, start=values)


def commit(transaction: StoreTransaction, request: Commit) -> CommitOutcome:
    """Count each group once; return the state that its reward is computed from.

    Raises:
        RunLost, RunRolledBack, EpochMismatch, UnknownRun, StepKindMismatch, GroupConflict, NotObserved, StepTooOld:
            Nothing was changed.
    """
    state, epoch = transaction.open_run(request.run), transaction.epoch(request.run)
    run_record = state.load()
    check_identity(request, epoch, run_record, request.expected_epoch)
    created = run_record is None
    if run_record is None:
        if request.config is None:
            raise refusals.unknown_run(request.run)
        run_record = new_run_record(request.config, request.config_text)
    kind: Literal["stepless", "stepped"] = "stepless" if request.step is None else "stepped"
    if run_record.kind not in (None, kind):
        raise refusals.kind_mismatch(run_record.kind)
    seen: set[str] = set()
    for group in request.groups:
        if group.group_id in seen:
            raise refusals.duplicate_group(group.group_id)
        seen.add(group.group_id)
    run_record.kind = kind
    if request.step is None:
        step, level, mean, outcomes = _commit_stepless(state, run_record, request)
    else:
        step = observed_step(state, run_record, request.groups) if request.step == "observed" else request.step
        level, mean, outcomes = _commit_at(state, run_record, step, request)
    outcome = CommitOutcome(
        request.run, epoch, step, level, mean, tuple(outcomes), created=created, config_text=run_record.config_text
    )
    outcome = count_commit(run_record, outcome)
    state.save(run_record)
    return outcome


def _commit_at(
    state: RunTransaction, run_record: RunRecord, step: int, request: Commit
) -> tuple[float, float, list[GroupOutcome]]:
    """Count the groups of a stepped request; return the step's level, its mean P_g, and the outcomes in order."""
    if step <= run_record.pruned:
        raise refusals.step_too_old(step, run_record.pruned, run_record.config.keep_steps)
    known = state.read("groups", step, [group.group_id for group in request.groups])
    for group in request.groups:
        if group.group_id in known and group_digest(known[group.group_id]) != group.digest:
            raise refusals.group_conflict(group.group_id, step)
    new = [group for group in request.groups if group.group_id not in known]
    names = problem_names(state, step, new)
    records = {group_id: unpack_group(data) for group_id, data in known.items()}
    if not new:
        counted = Counted(*_recorded_level(state, run_record, step, list(records.values())))
    elif step <= run_record.closed:
        counted = _count_late(state, run_record, step, new, names)
    else:
        counted = _count(state, run_record, step, new, names, request.generation or 0)
    records |= counted.groups
    outcomes = [_outcome(g, records[g.group_id], g.group_id in known) for g in request.groups]
    write_records(state, step, counted.problems, counted.groups)
    return counted.level, counted.mean, outcomes


def _commit_stepless(
    state: RunTransaction, run_record: RunRecord, request: Commit
) -> tuple[int, float, float, list[GroupOutcome]]:
    """Count the groups of a stepless request, or replay them if its request_id is known."""
    request_id = request.request_id or ""
    data = state.request(request_id)
    if data is not None:
        if data[:16] != request.request_digest:
            raise refusals.request_conflict(request_id)
        step, records = unpack_request(data)
        level, mean = _recorded_level(state, run_record, step, records)
        return (
            step,
            level,
            mean,
            [_outcome(group, record, True) for group, record in zip(request.groups, records, strict=True)],
        )
    step = run_record.closed + 1 if run_record.open is None else run_record.open
    names = problem_names(state, step, request.groups)
    counted = _count(state, run_record, step, request.groups, names, request.generation or 0)
    records = [counted.groups[group.group_id] for group in request.groups]
    write_records(state, step, counted.problems)
    run_record.sequence += 1
    state.put_request(
        request_id, run_record.sequence, step, pack_request(request.request_digest, step, records), KEPT_REQUESTS
    )
    if sum(bucket.groups for bucket in run_record.buckets.values()) >= (run_record.config.groups_per_step or 0):
        close(state, run_record)
    outcomes = [_outcome(group, record, False) for group, record in zip(request.groups, records, strict=True)]
    return step, counted.level, counted.mean, outcomes


def pack_request(digest: bytes, step: int, records: Sequence[GroupRecord]) -> bytes:
    """Return the record of a stepless request: digest (16 bytes), step (float64), then each packed group."""
    parts = [digest, struct.pack("<d", step)]
    for record in records:
        data = pack_group(record)
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)


def unpack_request(data: bytes) -> tuple[int, list[GroupRecord]]:
    """Return the step and the group records of a packed request.

    Raises:
        ValueError: The record ends early.
    """
    (step,) = struct.unpack_from("<d", data, 16)
    at, records = 24, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise ValueError("a request's record ends early")
        records.append(unpack_group(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return int(step), records


def payloads_of_request(data: bytes | None, groups: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the payloads of the groups (group_id to digest) in the record of a stepless request."""
    records = [] if data is None else unpack_request(data)[1]
    payloads = {record.digest: record.payload for record in records}
    return {name: payloads[digest] for name, digest in groups.items() if digest in payloads}


def _outcome(group: GroupCommit, record: GroupRecord, replayed: bool) -> GroupOutcome:
    return recorded_outcome(group.group_id, record, replayed)


def recorded_outcome(group_id: str, record: GroupRecord, replayed: bool) -> GroupOutcome:
    """Return a group's outcome from its record."""
    problem = record.problem
    if record.lengths:
        problem = replace(problem, lengths=unpack_counts(record.lengths))
    return GroupOutcome(
        group_id,
        problem.problem_id,
        record.level,
        record.accumulators,
        problem,
        record.payload,
        replayed=replayed,
        stale=record.stale,
    )


def _recorded_level(
    state: RunTransaction, run_record: RunRecord, step: int, records: Sequence[GroupRecord]
) -> tuple[float, float]:
    """Return level and mean of a request of replayed groups only.

    They are the recorded values if the records agree, else the present ones.
    """
    first = records[0]
    recorded = {(record.step_level, record.batch_pass_ratio) for record in records}
    if len(recorded) > 1:
        present = step_now(state, run_record, step)
        if present.mean is not None:
            return present.after[0], present.mean
    return first.step_level, first.batch_pass_ratio


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
    return record.after if record else new_run_record(run_record.config, "").values


def problem_names(state: RunTransaction, step: int, groups: Iterable[GroupCommit]) -> dict[str, str]:
    """Return problem_id by group_id; if the caller left it out, that of the group's observations.

    Raises:
        NotObserved: A group has neither.
    """
    missing = [group.group_id for group in groups if group.problem_id is None]
    observed = state.read("observed", step, missing) if missing else {}
    for group_id in missing:
        if group_id not in observed:
            raise refusals.missing_problem_id(group_id, step)
    return {
        g.group_id: g.problem_id if g.problem_id is not None else unpack_observed(observed[g.group_id]).problem_id
        for g in groups
    }


def observed_step(state: RunTransaction, run_record: RunRecord, groups: Sequence[GroupCommit]) -> int:
    """Return the step of a request with ``"step": "observed"``.

    Raises:
        NotObserved: The groups were not observed at exactly one open step.
    """
    ids = [group.group_id for group in groups]
    retained = [*state.steps(run_record.pruned), *([] if run_record.open is None else [run_record.open])]
    for step in reversed(retained):
        known = state.read("groups", step, ids)
        if len(known) == len(ids) and all(group_digest(known[g.group_id]) == g.digest for g in groups):
            return step
    open_steps = [
        step for step in state.observed_steps(run_record.closed) if len(state.read("observed", step, ids)) == len(ids)
    ]
    if len(open_steps) != 1:
        raise refusals.step_not_observed(open_steps)
    return open_steps[0]


# --- counting -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ProblemChanges:
    """Problems that groups of a step were added to, by problem_id."""

    records: dict[str, ProblemRecord] = field(default_factory=dict)
    """Each problem's record with the groups."""
    undo: dict[str, bytes] = field(default_factory=dict)
    """The packed record before the step, of each problem that the step had not changed so far."""


@dataclass(slots=True)
class Counted:
    """The result of counting groups of one step."""

    level: float
    """The step's level with these groups."""
    mean: float
    """The step's mean P_g with these groups."""
    groups: dict[str, GroupRecord] = field(default_factory=dict)
    """The new records, by group_id."""
    problems: ProblemChanges = field(default_factory=ProblemChanges)


def write_records(
    state: RunTransaction, step: int, problems: ProblemChanges, groups: Mapping[str, GroupRecord] | None = None
) -> None:
    """Write the records of a step's groups and of the problems that they were added to."""
    packed_problems = {problem_id: pack_problem(record) for problem_id, record in problems.records.items()}
    packed_groups = {group_id: pack_group(record) for group_id, record in (groups or {}).items()}
    state.put("problems", None, packed_problems)
    state.put("undo", step, problems.undo)
    state.put("groups", step, packed_groups)


def _count(
    state: RunTransaction,
    run_record: RunRecord,
    step: int,
    groups: Sequence[GroupCommit],
    names: dict[str, str],
    generation: int,
) -> Counted:
    """Open `step` if it is not the open one, and fold new groups into it."""
    if run_record.open != step:
        close_before(state, run_record, step)
        open_step(state, run_record, step)
    problems = apply_groups(state, run_record, [(names[g.group_id], generation, g) for g in groups if g.counts])
    after, mean = accumulators_after(run_record.config, run_record.start, run_record.buckets, run_record.revisits)
    if mean is None:
        mean = request_mean(groups)
    level = run_record.start[0] if run_record.config.reference == "previous" else after[0]
    before = dict(problems.records)
    uncounted = {names[group.group_id] for group in groups} - before.keys()
    if uncounted:
        before |= problems_before(state, run_record, step, uncounted)
    keeps_lengths = run_record.config.group_lengths
    records = {
        g.group_id: GroupRecord(
            level,
            after[0],
            mean,
            False,
            g.counts,
            run_record.start[1:],
            before[names[g.group_id]].before,
            g.digest,
            g.payload,
            before[names[g.group_id]].lengths if keeps_lengths else b"",
        )
        for g in groups
    }
    return Counted(after[0], mean, records, problems)


def _count_late(
    state: RunTransaction, run_record: RunRecord, step: int, groups: Sequence[GroupCommit], names: dict[str, str]
) -> Counted:
    """Record groups of a closed step as stale; only the step's count of stale groups changes."""
    record = state.step(step)
    if record is None:
        record = empty_step(state, run_record, step)
        run_record.first = step if run_record.first is None else min(run_record.first, step)
    record.stale_groups += len(groups)
    state.put_step(step, record)
    level = record.before[0] if run_record.config.reference == "previous" else record.after[0]
    mean = request_mean(groups) if record.mean is None else record.mean
    before = problems_before(state, run_record, step, set(names.values()))
    records = {
        g.group_id: GroupRecord(
            level,
            record.after[0],
            mean,
            True,
            g.counts,
            record.before[1:],
            before[names[g.group_id]].before,
            g.digest,
            g.payload,
            before[names[g.group_id]].lengths if run_record.config.group_lengths else b"",
        )
        for g in groups
    }
    return Counted(record.after[0], mean, records)


def request_mean(groups: Sequence[GroupCommit]) -> float:
    """Return the mean P_g of these groups; 0.0 without groups."""
    counts: dict[int, tuple[int, int]] = {}
    for group in groups:
        number, passes = counts.get(group.size, (0, 0))
        counts[group.size] = (number + 1, passes + group.passes)
    return mean_pass_ratio(counts) or 0.0


def existing_run(state: RunTransaction, run: str) -> RunRecord:
    """Return the run's record.

    Raises:
        UnknownRun: The run does not exist.
    """
    run_record = state.load()
    if run_record is None:
        raise refusals.unknown_run(run)
    return run_record


# --- steps --------------------------------------------------------------------------------------------------


def close_before(state: RunTransaction, run_record: RunRecord, step: int) -> None:
    """Close every step before this one, also steps that have only observations."""
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
    run_record.start = run_record.values
    if run_record.config.reference == "dataset" and run_record.problems:
        # The mean over all problems at the end of the last step: fixed for the step, in any order, with any shards.
        run_record.start = (run_record.ratio_sum / RATIO_ONE / run_record.problems, *run_record.values[1:])
    run_record.buckets, run_record.revisits = {}, (0, 0, 0)
    kept = state.steps(run_record.pruned)
    for old in kept[: max(0, len(kept) + 1 - run_record.config.keep_steps)]:
        state.forget_records(old)
        run_record.pruned = old


def close(state: RunTransaction, run_record: RunRecord) -> None:
    """Close the open step: count the groups that were observed but never shaped, then fix its level."""
    step = run_record.open
    assert step is not None
    observed = state.observed(step) if run_record.kind == "stepped" else {}
    counted: list[tuple[str, int, GroupCommit]] = []
    if observed:
        shaped = state.read("groups", step, observed)
        for group_id in sorted(observed.keys() - shaped.keys()):
            group = unpack_observed(observed[group_id])
            if group.counts:
                counted.append((group.problem_id, group.generation, observed_commit(group_id, group)))
        write_records(state, step, apply_groups(state, run_record, counted))
    state.close_observations(step)
    record = close_record(run_record, len(counted))
    state.put_step(step, record)
    run_record.values = record.after
    run_record.closed = step
    run_record.open = None
    run_record.buckets, run_record.revisits = {}, (0, 0, 0)


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
    changing = tracks_changes(run_record.config)
    assert step is not None
    packed = state.read("problems", None, {problem_id for problem_id, _, _ in groups})
    changes = ProblemChanges()
    records, undo = changes.records, changes.undo
    levels: dict[int, float] = {}
    for problem_id, generation, group in groups:
        bucket = run_record.buckets.setdefault((generation, group.size, group.passes), PassCountBucket())
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
            delta.lengths = joined(delta.lengths, group.lengths)
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
