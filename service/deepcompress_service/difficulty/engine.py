"""The semantics of the difficulty state (docs/design.md, 5.1 to 5.8) over a `RunTransaction`.

It is what `memory://` and SQLite run. Every function runs inside one transaction. It checks everything before it
writes anything, so a request that is refused changes nothing. The Redis store has the same semantics in
``stores/lua/``; the contract tests compare both with one model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Literal

from . import refusals
from .arithmetic import (
    accumulators_after,
    mean_pass_ratio,
    with_ages,
)
from .codec import (
    GroupRecord,
    RunRecord,
    group_digest,
    pack_group,
    unpack_group,
)
from .identity import check_identity, new_incarnation
from .length_counts import unpack_counts
from .model import Commit, CommitOutcome, GroupCommit, GroupOutcome, StepStatistics
from .observed_codec import unpack_observed
from .run_transaction import RunTransaction, StoreTransaction
from .sources import count_sources
from .steps import (
    ProblemChanges,
    apply_groups,
    close,
    close_before,
    empty_step,
    new_run_record,
    open_step,
    problems_before,
    step_now,
    write_records,
)
from .waiting import forget_waiting, kept_steps, recorded_groups, waiting_groups

_is_replayed = attrgetter("replayed")
KEPT_REQUESTS = 10_000
"""Number of the latest stepless requests that are recognised by their request_id."""


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
    closed_before: int | None = run_record.closed
    closed: list[StepStatistics] = []
    if request.step is None:
        closed_before = None
        step, level, mean, outcomes = _commit_stepless(state, run_record, request)
    else:
        step = observed_step(state, run_record, request.groups) if request.step == "observed" else request.step
        level, mean, outcomes, closed = _commit_at(state, run_record, step, request)
    if not all(map(_is_replayed, outcomes)):
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
        tuple(outcomes),
        created=created,
        config_text=run_record.config_text,
        incarnation=run_record.incarnation,
        version=run_record.version,
        created_step=run_record.created_step,
        closed_before=closed_before,
        closed=tuple(closed),
    )


def _commit_at(
    state: RunTransaction, run_record: RunRecord, step: int, request: Commit
) -> tuple[float, float, list[GroupOutcome], list[StepStatistics]]:
    """Count the groups of a stepped request.

    Return the step's level, its mean P_g, the outcomes in order, and the steps that were closed.
    """
    if step <= run_record.pruned:
        raise refusals.step_too_old(step, run_record.pruned, run_record.config.keep_steps)
    ids = [group.group_id for group in request.groups]
    if run_record.config.asynchronous:
        known = recorded_groups(state, run_record, ids)
    else:
        known = state.read("groups", step, ids)
    for group in request.groups:
        if group.group_id in known and group_digest(known[group.group_id]) != group.digest:
            raise refusals.group_conflict(group.group_id, step)
    new = [group for group in request.groups if group.group_id not in known]
    names = problem_names(state, run_record, step, new)
    records = {group_id: unpack_group(data) for group_id, data in known.items()}
    if not new:
        counted = Counted(*_recorded_level(state, run_record, step, list(records.values())))
    elif step <= run_record.closed:
        counted = _count_late(state, run_record, step, new, names)
    else:
        counted = _count(state, run_record, step, new, names, request.generation or 0)
    records |= counted.groups
    outcomes = [recorded_outcome(g.group_id, records[g.group_id], g.group_id in known) for g in request.groups]
    write_records(state, step, counted.problems, counted.groups)
    return counted.level, counted.mean, outcomes, counted.closed


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
            [
                recorded_outcome(group.group_id, record, True)
                for group, record in zip(request.groups, records, strict=True)
            ],
        )
    step = run_record.closed + 1 if run_record.open is None else run_record.open
    names = problem_names(state, run_record, step, request.groups)
    counted = _count(state, run_record, step, request.groups, names, request.generation or 0)
    records = [counted.groups[group.group_id] for group in request.groups]
    write_records(state, step, counted.problems)
    run_record.sequence += 1
    state.put_request(
        request_id, run_record.sequence, step, pack_request(request.request_digest, step, records), KEPT_REQUESTS
    )
    if sum(bucket.groups for bucket in run_record.buckets.values()) >= (run_record.config.groups_per_step or 0):
        close(state, run_record)
    outcomes = [
        recorded_outcome(group.group_id, record, False) for group, record in zip(request.groups, records, strict=True)
    ]
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


def problem_names(
    state: RunTransaction, run_record: RunRecord, step: int, groups: Iterable[GroupCommit]
) -> dict[str, str]:
    """Return problem_id by group_id; if the caller left it out, that of the group's observations.

    Raises:
        NotObserved: A group has neither.
    """
    missing = [group.group_id for group in groups if group.problem_id is None]
    if run_record.config.asynchronous and not run_record.incarnation:
        observed = {}  # a run that this request creates: what waits is from before it was asynchronous
    elif run_record.config.asynchronous:
        observed = {name: data for name, (_, data) in waiting_groups(state, missing).items()}
    else:
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
    for step in kept_steps(state, run_record):
        known = state.read("groups", step, ids)
        if len(known) == len(ids) and all(group_digest(known[g.group_id]) == g.digest for g in groups):
            return step
    waiting = [] if run_record.config.asynchronous else state.observed_steps(run_record.closed)
    open_steps = [step for step in waiting if len(state.read("observed", step, ids)) == len(ids)]
    if len(open_steps) != 1:
        raise refusals.step_not_observed(open_steps)
    return open_steps[0]


# --- counting -----------------------------------------------------------------------------------------------


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
    closed: list[StepStatistics] = field(default_factory=list)
    """The steps that were closed, since the groups' step was opened."""


def _count(
    state: RunTransaction,
    run_record: RunRecord,
    step: int,
    groups: Sequence[GroupCommit],
    names: dict[str, str],
    generation: int,
) -> Counted:
    """Open `step` if it is not the open one, and fold new groups into it."""
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
    problems = apply_groups(state, run_record, [(names[g.group_id], generation, g) for g in groups if g.counts])
    after, mean = accumulators_after(run_record.config, run_record.start, run_record.buckets, run_record.revisits)
    if mean is None:
        mean = request_mean(groups)
    level = run_record.start[0] if run_record.config.reference == "previous" else after[0]
    before = dict(problems.records)
    uncounted = {names[group.group_id] for group in groups} - before.keys()
    if uncounted:
        before |= problems_before(state, run_record, step, uncounted)
    keeps_lengths, accumulators = run_record.config.group_lengths, run_record.start[1:]
    records = {
        g.group_id: GroupRecord(
            level,
            after[0],
            mean,
            False,
            g.counts,
            accumulators,
            before[names[g.group_id]].before,
            g.digest,
            g.payload,
            before[names[g.group_id]].lengths if keeps_lengths else b"",
        )
        for g in groups
    }
    return Counted(after[0], mean, records, problems, closed)


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
