"""The semantics of the difficulty state (docs/design.md, 5.1 to 5.8) over a `View`: what `memory://` and SQLite run.

Every function here happens inside one transaction. It checks everything before it writes anything, so a refusal
leaves no trace. The Redis store has the same semantics in ``stores/lua/``; the contract tests hold both to one model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from . import refusals
from .arithmetic import accumulators_after, finish, mean_pass_ratio, reference_level, step_mean
from .codec import GroupRecord, Meta, StepRecord, group_digest, pack_group, unpack_group, unpack_observed
from .model import Commit, CommitOutcome, DifficultyConfig, GroupCommit, GroupOutcome
from .steps import add_cell, advance_to, close, problems_before, touch
from .view import View

KEPT_REQUESTS = 10_000
"""How many stepless requests are known by their request_id."""


def new_meta(config: DifficultyConfig, config_text: str) -> Meta:
    values = tuple(accumulator.initial for accumulator in (config.level, *config.extra))
    return Meta(config, config_text, values=values, start=values)


def check_epoch(epoch: int, *believed: int | None) -> None:
    for other in believed:
        if other is not None and other != epoch:
            raise refusals.epoch_mismatch(epoch, other)


def commit(view: View, epoch: int, request: Commit) -> CommitOutcome:
    """Count each group once; answer with the state its reward is computed from."""
    check_epoch(epoch, request.epoch, request.expected_epoch)
    meta = view.load()
    created = meta is None
    if meta is None:
        if request.config is None:
            raise refusals.unknown_run(request.run)
        meta = new_meta(request.config, request.config_text)
    kind = "stepless" if request.step is None else "stepped"
    if meta.kind not in (None, kind):
        raise refusals.kind_mismatch(meta.kind)
    seen: set[str] = set()
    for group in request.groups:
        if group.group_id in seen:
            raise refusals.group_twice(group.group_id)
        seen.add(group.group_id)
    meta.kind = "stepless" if request.step is None else "stepped"
    if request.step is None:
        step, level, mean, outcomes = _commit_stepless(view, meta, request)
    else:
        step = observed_step(view, meta, request.groups) if request.step == "observed" else request.step
        level, mean, outcomes = _commit_at(view, meta, step, request)
    view.save(meta)
    return CommitOutcome(
        request.run, epoch, step, level, mean, tuple(outcomes), created=created, config_text=meta.config_text
    )


def _commit_at(view: View, meta: Meta, step: int, request: Commit) -> tuple[float, float, list[GroupOutcome]]:
    """The groups of a stepped request: (the step's level, its mean P_g, the outcomes in order)."""
    if step <= meta.pruned:
        raise refusals.step_too_old(step, meta.pruned, meta.config.keep_steps)
    known = view.groups(step, [group.group_id for group in request.groups])
    for group in request.groups:
        if group.group_id in known and group_digest(known[group.group_id]) != group.digest:
            raise refusals.group_conflict(group.group_id, step)
    new = [group for group in request.groups if group.group_id not in known]
    names = problem_names(view, step, new)
    records = {group_id: unpack_group(data) for group_id, data in known.items()}
    if not new:
        level, mean = _standing(view, meta, step, list(records.values()))
    elif step <= meta.closed:
        fresh, level, mean = _stale(view, meta, step, new, names)
        view.put_groups(step, {group_id: pack_group(record) for group_id, record in fresh.items()})
        records |= fresh
    else:
        advance_to(view, meta, step)
        fresh, level, mean = _count(view, meta, new, names, request.generation or 0)
        view.put_groups(step, {group_id: pack_group(record) for group_id, record in fresh.items()})
        records |= fresh
    return level, mean, [_outcome(g, records[g.group_id], g.group_id in known) for g in request.groups]


def _commit_stepless(view: View, meta: Meta, request: Commit) -> tuple[int, float, float, list[GroupOutcome]]:
    """A request without a step is known by its request_id, and its groups by their place in it."""
    request_id = request.request_id or ""
    data = view.request(request_id)
    if data is not None:
        if data[:16] != request.request_digest:
            raise refusals.request_conflict(request_id)
        step, records = unpack_request(data)
        level, mean = _standing(view, meta, step, records)
        return (
            step,
            level,
            mean,
            [_outcome(group, record, True) for group, record in zip(request.groups, records, strict=True)],
        )
    step = meta.closed + 1 if meta.open is None else meta.open
    names = problem_names(view, step, request.groups)
    advance_to(view, meta, step)
    fresh, level, mean = _count(view, meta, request.groups, names, request.generation or 0)
    records = [fresh[group.group_id] for group in request.groups]
    meta.sequence += 1
    view.put_request(
        request_id, meta.sequence, step, pack_request(request.request_digest, step, records), KEPT_REQUESTS
    )
    if sum(cell.groups for cell in meta.cells.values()) >= (meta.config.groups_per_step or 0):
        close(view, meta)
    return step, level, mean, [_outcome(g, r, False) for g, r in zip(request.groups, records, strict=True)]


def pack_request(digest: bytes, step: int, records: Sequence[GroupRecord]) -> bytes:
    parts = [digest, struct.pack("<d", step)]
    for record in records:
        data = pack_group(record)
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)


def unpack_request(data: bytes) -> tuple[int, list[GroupRecord]]:
    (step,) = struct.unpack_from("<d", data, 16)
    at, records = 24, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise ValueError("a request's record ends early")
        records.append(unpack_group(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return int(step), records


def _outcome(group: GroupCommit, record: GroupRecord, replayed: bool) -> GroupOutcome:
    return GroupOutcome(
        group.group_id,
        record.problem.problem_id,
        record.level,
        record.accumulators,
        record.problem,
        record.payload,
        replayed=replayed,
        stale=record.stale,
    )


def _standing(view: View, meta: Meta, step: int, records: Sequence[GroupRecord]) -> tuple[float, float]:
    """Level and mean of an answer that is all replay: as first answered, where the records agree on it."""
    first = records[0]
    said = {(record.step_level, record.batch_pass_ratio) for record in records}
    if len(said) > 1:
        now = current(view, meta, step)
        if now.mean is not None:
            return now.after[0], now.mean
    return first.step_level, first.batch_pass_ratio


def current(view: View, meta: Meta, step: int) -> StepRecord:
    """The step as it stands: the open one with the groups it has, or the closed one's record."""
    if step == meta.open:
        return finish(meta)
    return view.step(step) or phantom(view, meta, step)


def phantom(view: View, meta: Meta, step: int) -> StepRecord:
    """A step that never opened and lies before one that did: it leaves the accumulators as they were."""
    values = values_before(view, meta, step)
    return StepRecord(values, values)


def values_before(view: View, meta: Meta, step: int) -> tuple[float, ...]:
    """The accumulators at the end of the last step before this one."""
    earlier = [s for s in view.steps(meta.pruned) if s < step]
    record = view.step(earlier[-1] if earlier else meta.pruned)
    return record.after if record else new_meta(meta.config, "").values


def problem_names(view: View, step: int, groups: Iterable[GroupCommit]) -> dict[str, str]:
    """problem_id by group_id; left out by the caller, it is that of the group's observations."""
    missing = [group.group_id for group in groups if group.problem_id is None]
    observed = view.observed(step, missing) if missing else {}
    for group_id in missing:
        if group_id not in observed:
            raise refusals.not_named(group_id, step)
    return {
        g.group_id: g.problem_id if g.problem_id is not None else unpack_observed(observed[g.group_id]).problem_id
        for g in groups
    }


def observed_step(view: View, meta: Meta, groups: Sequence[GroupCommit]) -> int:
    """The step of a request that says ``"step": "observed"``."""
    ids = [group.group_id for group in groups]
    retained = [*view.steps(meta.pruned), *([] if meta.open is None else [meta.open])]
    for step in reversed(retained):
        known = view.groups(step, ids)
        if len(known) == len(ids) and all(group_digest(known[g.group_id]) == g.digest for g in groups):
            return step
    open_steps = [step for step in view.observed_steps(meta.closed) if len(view.observed(step, ids)) == len(ids)]
    if len(open_steps) != 1:
        raise refusals.step_not_observed(open_steps)
    return open_steps[0]


# --- counting -----------------------------------------------------------------------------------------------


def _count(
    view: View, meta: Meta, groups: Sequence[GroupCommit], names: dict[str, str], generation: int
) -> tuple[dict[str, GroupRecord], float, float]:
    """Fold new groups into the open step; their records, and the step's level and mean with them."""
    counted = [group for group in groups if group.counts]
    for group in counted:
        add_cell(meta, generation, group)
    before = touch(view, meta, [(names[g.group_id], g) for g in counted])
    uncounted = {names[group.group_id] for group in groups} - before.keys()
    before |= problems_before(view, meta, meta.open or 0, uncounted)
    after = accumulators_after(meta.config, meta.start, meta.cells)
    mean = step_mean(meta.config, meta.cells)
    if mean is None:
        mean = request_mean(groups)
    level = reference_level(meta.config, meta.start[0], after[0])
    records = {
        g.group_id: GroupRecord(
            level, after[0], mean, False, g.counts, meta.start[1:], before[names[g.group_id]], g.digest, g.payload
        )
        for g in groups
    }
    return records, after[0], mean


def _stale(
    view: View, meta: Meta, step: int, groups: Sequence[GroupCommit], names: dict[str, str]
) -> tuple[dict[str, GroupRecord], float, float]:
    """Groups that came too late: their records say so, and nothing but the step's stale count changes."""
    record = view.step(step)
    if record is None:
        record = phantom(view, meta, step)
        meta.first = step if meta.first is None else min(meta.first, step)
    record.stale_groups += len(groups)
    view.put_step(step, record)
    level = reference_level(meta.config, record.before[0], record.after[0])
    mean = request_mean(groups) if record.mean is None else record.mean
    before = problems_before(view, meta, step, set(names.values()))
    records = {
        g.group_id: GroupRecord(
            level,
            record.after[0],
            mean,
            True,
            g.counts,
            record.before[1:],
            before[names[g.group_id]],
            g.digest,
            g.payload,
        )
        for g in groups
    }
    return records, record.after[0], mean


def request_mean(groups: Sequence[GroupCommit]) -> float:
    counts: dict[int, tuple[int, int]] = {}
    for group in groups:
        number, passes = counts.get(group.size, (0, 0))
        counts[group.size] = (number + 1, passes + group.passes)
    return mean_pass_ratio(counts) or 0.0


def run_exists(view: View, run: str) -> Meta:
    meta = view.load()
    if meta is None:
        raise refusals.unknown_run(run)
    return meta
