"""A training request as one transaction (docs/design.md, 5.1 to 5.8), for `memory://` and SQLite.

`commit` shows a stepped request from top to bottom: the caller's identity is checked, and groups that are recorded
already are found. `_count` closes the steps before the request's one and opens that, adds the new groups to its
tallies and to their problems, computes the level, and writes the records. Every check comes before the writing, so a
request that is refused changes nothing. Redis has the same semantics in ``stores/lua/``; the contract tests compare
both with one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from . import refusals
from .arithmetic import (
    RATIO_ONE,
    accumulators_after,
    close_record,
    counted_ratio,
    fold_record,
    request_mean,
    step_statistics,
    with_ages,
    with_change,
)
from .codec import (
    extended_lengths,
    group_digest,
    pack_group,
    pack_problem,
    pack_state,
    unpack_counts,
    unpack_group,
    unpack_lengths,
    unpack_problem,
)
from .model import (
    CHANGE_KINDS,
    Commit,
    CommitOutcome,
    GroupCommit,
    GroupOutcome,
    ProblemState,
    RunState,
    StepStatistics,
)
from .observations import observed_problems, observed_step, unshaped_groups
from .past import closed_step, level_of, problems_before, recorded_level
from .records import (
    GroupRecord,
    PassCountBucket,
    ProblemRecord,
    RunRecord,
    StepDelta,
    new_incarnation,
    new_run_record,
)
from .reindex import reindex_step
from .run_transaction import RunTransaction, StoreTransaction
from .sources import count_sources
from .stepless import is_full, record_request, recorded_request
from .waiting import discard_expired, forget_waiting, recorded_groups


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
    closed_before = None if request.step is None else run_record.closed
    if request.step is None:
        step, records = recorded_request(state, run_record, request)
    else:
        step = observed_step(state, run_record, request.groups) if request.step == "observed" else request.step
        records = _recorded_in_step(state, run_record, step, request.groups)
    new = [group for group in request.groups if group.group_id not in records]
    counted: dict[str, GroupRecord] = {}
    closed: list[StepStatistics] = []
    if not new:
        level, mean = recorded_level(state, run_record, step, list(records.values()))
    else:
        names = {group.group_id: group.problem_id for group in new if group.problem_id is not None}
        if len(names) < len(new):
            names |= observed_problems(state, run_record, step, [g.group_id for g in new if g.problem_id is None])
        if step <= run_record.closed:
            level, mean, counted = _count_late(state, run_record, step, new, names)
        else:
            level, mean, counted, closed = _count(state, run_record, step, new, names, request.generation or 0)
        records |= counted
        if request.step is None:
            record_request(state, run_record, request, step, list(counted.values()))
            if is_full(run_record):
                close(state, run_record)
        # A run that is new, or of an older version of the service, has no incarnation yet.
        run_record.incarnation = run_record.incarnation or new_incarnation()
        run_record.version += 1
        if created:
            run_record.created_step = step
    state.save(run_record)
    return CommitOutcome(
        request.run,
        epoch,
        step,
        level,
        mean,
        tuple([recorded_outcome(g.group_id, records[g.group_id], g.group_id not in counted) for g in request.groups]),
        created=created,
        config_text=run_record.config_text,
        incarnation=run_record.incarnation,
        version=run_record.version,
        created_step=run_record.created_step,
        closed_before=closed_before,
        closed=tuple(closed),
    )


class SentIdentity(Protocol):
    """The part of a training request that identifies the state which the caller saw."""

    @property
    def run(self) -> str: ...  # noqa: D102 - named as on the wire
    @property
    def epoch(self) -> int | None: ...  # noqa: D102
    @property
    def incarnation(self) -> str | None: ...  # noqa: D102
    @property
    def version(self) -> int | None: ...  # noqa: D102


def check_identity(
    request: SentIdentity, epoch: int, found: RunRecord | RunState | None, expected_epoch: int | None = None
) -> None:
    """Check that the store still has the state that the caller saw (docs/design.md, 5.10).

    A store that lost or rewound its data is noticed so.

    `epoch` and `found` are the run's; `found` is None if it does not exist. `expected_epoch` is the run's epoch on
    arrival, if it was read.

    Raises:
        RunLost: The run does not exist, or is another one of the same name.
        RunRolledBack: The run's state is older than the one that the caller saw.
        EpochMismatch: The run was rewound, restored, imported or deleted.
    """
    sent, run = request.incarnation, request.run
    if sent is not None and found is None:
        raise refusals.run_lost(run, sent)
    if sent is not None and found is not None and sent != found.incarnation:
        if not found.incarnation:  # state from before incarnations existed
            raise refusals.run_rolled_back(run, request.version or 0, 0)
        raise refusals.run_lost(run, sent)
    if request.epoch is not None and found is None and request.epoch >= epoch:
        raise refusals.run_lost(run, None)
    for believed in (request.epoch, expected_epoch):
        if believed is not None and believed != epoch:
            if sent is not None and believed > epoch:
                raise refusals.run_rolled_back(run, believed, epoch, "epoch")
            raise refusals.epoch_mismatch(epoch, believed)
    if request.version is not None and found is not None and found.version < request.version:
        raise refusals.run_rolled_back(run, request.version, found.version)


def _recorded_in_step(
    state: RunTransaction, run_record: RunRecord, step: int, groups: Sequence[GroupCommit]
) -> dict[str, GroupRecord]:
    """Return the records of the groups that are recorded already, by group_id.

    Raises:
        StepTooOld: The records of the step are gone.
        GroupConflict: A group is recorded with other content.
    """
    if step <= run_record.pruned:
        raise refusals.step_too_old(step, run_record.pruned, run_record.config.keep_steps)
    ids = [group.group_id for group in groups]
    if run_record.config.asynchronous:
        known = recorded_groups(state, run_record, ids)
    elif step > run_record.closed and step != run_record.open:
        return {}  # a step that was never opened
    else:
        known = state.read("groups", step, ids)
    for group in groups:
        if group.group_id in known and group_digest(known[group.group_id]) != group.digest:
            raise refusals.group_conflict(group.group_id, step)
    return {group_id: unpack_group(data) for group_id, data in known.items()}


def _count(
    state: RunTransaction,
    run_record: RunRecord,
    step: int,
    groups: Sequence[GroupCommit],
    names: Mapping[str, str],
    generation: int,
) -> tuple[float, float, dict[str, GroupRecord], list[StepStatistics]]:
    """Open the step if it is not open, and add new groups to it.

    Return its level and its mean P_g with them, the groups' records, and the steps that were closed before it.
    """
    if run_record.config.asynchronous and not run_record.incarnation:
        forget_waiting(state)
    opened = run_record.open != step
    closed: list[StepStatistics] = []
    if opened:
        closed = close_before(state, run_record, step)
        open_step(state, run_record, step)
    if any(group.too_old or group.age is not None for group in groups):
        with_ages(run_record, groups)
    if any(group.data_source is not None for group in groups):
        count_sources(state, step, groups, opened=opened)
    changes = apply_groups(state, run_record, [(names[g.group_id], generation, g) for g in groups if g.counts])
    after, mean = accumulators_after(run_record.config, run_record.start, run_record.buckets, run_record.revisits)
    if mean is None:
        mean = request_mean(groups)
    before = dict(changes.records)
    uncounted = {names[group.group_id] for group in groups} - before.keys()
    if uncounted:
        before |= problems_before(state, run_record, step, uncounted)
    records = _new_records(run_record, groups, names, before, run_record.start, after[0], mean, stale=False)
    write_records(state, step, changes, records if run_record.kind == "stepped" else {})
    return after[0], mean, records, closed


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
    unshaped = unshaped_groups(state, step, observed) if observed else []
    if unshaped:
        write_records(state, step, apply_groups(state, run_record, unshaped))
    if asynchronous:
        discard_expired(state, run_record)
    elif observed or run_record.kind != "stepped":
        state.close_observations(step)
    record = close_record(run_record, len(unshaped))
    state.put_step(step, record)
    run_record.values = record.after
    run_record.closed = step
    run_record.open = None
    run_record.buckets, run_record.revisits, run_record.ages = {}, (0, 0, 0), (0, 0, 0, 0, 0)
    if run_record.dataset:
        reindex_step(state, run_record, step)
    return step_statistics(record, step)


@dataclass(slots=True)
class ProblemChanges:
    """Problems that groups of a step were added to, by problem_id."""

    records: dict[str, ProblemRecord] = field(default_factory=dict)
    """Each problem's record with the groups."""
    undo: dict[str, bytes] = field(default_factory=dict)
    """The packed record before the step, of each problem that the step had not changed so far."""


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
            record.end = extended_lengths(record.end, group.lengths)
            if group.correct_tokens_min is not None:
                least = group.correct_tokens_min
                delta.shortest = least if delta.shortest is None else min(delta.shortest, least)
        if dataset:
            run_record.ratio_sum += counted_ratio(run_record, record)
        if changing:
            run_record.revisits = with_change(run_record.revisits, record, 1)
    return changes


def _new_records(
    run_record: RunRecord,
    groups: Sequence[GroupCommit],
    names: Mapping[str, str],
    before: Mapping[str, ProblemRecord],
    start: tuple[float, ...],
    step_level: float,
    mean: float,
    *,
    stale: bool,
) -> dict[str, GroupRecord]:
    """Return the records of new groups, by group_id.

    `names` has their problem_ids, `before` these problems before the step, `start` the accumulators before it.
    """
    level = start[0] if run_record.config.reference == "previous" else step_level
    keeps_lengths, accumulators = run_record.config.group_lengths, start[1:]
    records = {}
    for group in groups:
        problem = before[names[group.group_id]]
        records[group.group_id] = GroupRecord(
            level,
            step_level,
            mean,
            stale,
            group.counts,
            accumulators,
            problem.before,
            group.digest,
            group.payload,
            unpack_lengths(problem.end)[1] if keeps_lengths else b"",
        )
    return records


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


def _count_late(
    state: RunTransaction, run_record: RunRecord, step: int, groups: Sequence[GroupCommit], names: Mapping[str, str]
) -> tuple[float, float, dict[str, GroupRecord]]:
    """Record groups of a closed step as stale; only the step's count of stale groups changes.

    Return the step's level, its mean P_g (that of the groups if it has none) and the groups' records.
    """
    record = state.step(step)
    if record is None:
        record = closed_step(state, run_record, step)
        run_record.first = step if run_record.first is None else min(run_record.first, step)
    record.stale_groups += len(groups)
    state.put_step(step, record)
    mean = request_mean(groups) if record.mean is None else record.mean
    before = problems_before(state, run_record, step, set(names.values()))
    records = _new_records(run_record, groups, names, before, record.before, record.after[0], mean, stale=True)
    write_records(state, step, ProblemChanges(), records)
    return record.after[0], mean, records
