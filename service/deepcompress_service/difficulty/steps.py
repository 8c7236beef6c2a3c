"""Opening, counting in and closing a step: how the tallies of a run move from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .arithmetic import counted_ratio, finish, fold, start_values
from .codec import (
    Cell,
    Meta,
    ObservedGroup,
    ProblemRecord,
    Tally,
    pack_problem,
    unpack_observed,
    unpack_problem,
)
from .model import GroupCommit, ProblemState
from .view import View


def advance_to(view: View, meta: Meta, step: int) -> None:
    """Make `step`, which is not closed, the open one; everything before it closes."""
    if meta.open != step:
        close_before(view, meta, step)
        open_step(view, meta, step)


def close_before(view: View, meta: Meta, step: int) -> None:
    """Close every step before this one, those included of which only observations are known."""
    if meta.open is not None and meta.open < step:
        close(view, meta)
    waiting_steps = view.observed_steps(meta.closed) if meta.kind == "stepped" else []
    for waiting in waiting_steps:
        if waiting < step:
            open_step(view, meta, waiting)
            close(view, meta)


def open_step(view: View, meta: Meta, step: int) -> None:
    meta.open = step
    meta.closed = step - 1
    meta.first = step if meta.first is None else min(meta.first, step)
    meta.start = start_values(meta)
    meta.cells = {}
    kept = view.steps(meta.pruned)
    for old in kept[: max(0, len(kept) + 1 - meta.config.keep_steps)]:
        view.forget_records(old)
        meta.pruned = old


def close(view: View, meta: Meta) -> None:
    """Close the open step: groups that were observed and never shaped count, then its level is final."""
    step = meta.open
    assert step is not None
    observed = view.observed(step) if meta.kind == "stepped" else {}
    shaped = view.groups(step, observed)
    counted: list[tuple[str, GroupCommit]] = []
    for group_id in sorted(observed.keys() - shaped.keys()):
        group = unpack_observed(observed[group_id])
        if group.counts:
            as_commit = observed_commit(group_id, group)
            add_cell(meta, group.generation, as_commit)
            counted.append((group.problem_id, as_commit))
    touch(view, meta, counted)
    view.close_observations(step)
    record = finish(meta, len(counted))
    view.put_step(step, record)
    meta.values = record.after
    meta.closed = step
    meta.open = None
    meta.cells = {}


def observed_commit(group_id: str, group: ObservedGroup) -> GroupCommit:
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


def add_cell(meta: Meta, generation: int, group: GroupCommit) -> None:
    cell = meta.cells.setdefault((generation, group.size, group.passes), Cell())
    cell.groups += 1
    cell.truncated += group.truncated
    if group.tokens_known:
        cell.tokens_sum += group.tokens_sum
        cell.tokens_count += group.size
        cell.correct_tokens_sum += group.correct_tokens_sum
        cell.correct_tokens_count += group.passes


def touch(view: View, meta: Meta, groups: Sequence[tuple[str, GroupCommit]]) -> dict[str, ProblemState]:
    """Add groups of the open step to their problems; each problem as it stood before the step."""
    step, weight = meta.open, meta.config.problem_weight
    assert step is not None
    packed = view.problems({problem_id for problem_id, _ in groups})
    records: dict[str, ProblemRecord] = {}
    undo: dict[str, bytes] = {}
    levels: dict[int, float] = {}
    for problem_id, group in groups:
        record = records.get(problem_id)
        if record is None:
            data = packed.get(problem_id)
            if data is None:
                record = ProblemRecord(ProblemState(problem_id), Tally(step))
                meta.problems += 1
                undo[problem_id] = b""
            else:
                record = unpack_problem(problem_id, data)
                if record.tally.step != step:
                    undo[problem_id] = data if record.tally.step > meta.pruned else b""
                    last = record.tally.step
                    if last not in levels:
                        levels[last] = level_of(view, meta, last)
                    before = fold(record, weight, levels[last])
                    record = ProblemRecord(before, Tally(step))
            records[problem_id] = record
        meta.ratio_sum -= counted_ratio(meta, record)
        record.tally.add(
            group.size, group.passes, group.tokens_known, group.correct_tokens_sum, group.correct_tokens_min
        )
        meta.ratio_sum += counted_ratio(meta, record)
    view.put_problems({problem_id: pack_problem(record) for problem_id, record in records.items()})
    view.put_undo(step, undo)
    return {problem_id: record.before for problem_id, record in records.items()}


def level_of(view: View, meta: Meta, step: int) -> float:
    """The level at the end of a step that a problem's tally belongs to (0 where it belongs to none)."""
    if step == meta.open:
        return finish(meta).after[0]
    record = view.step(step)
    return record.after[0] if record else 0.0


def problems_before(view: View, meta: Meta, step: int, ids: Iterable[str]) -> dict[str, ProblemState]:
    """Problems as they stood before a step, found by following their records back through the undo of later ones."""
    weight, states = meta.config.problem_weight, {}
    packed = view.problems(ids)
    for problem_id in ids:
        data = packed.get(problem_id)
        if data is None:
            states[problem_id] = ProblemState(problem_id)
            continue
        record = unpack_problem(problem_id, data)
        while record.before.last_step is not None and record.before.last_step >= step:
            record = unpack_problem(problem_id, view.undo_of(record.tally.step, problem_id))
        if record.tally.step >= step:
            states[problem_id] = record.before
        else:
            states[problem_id] = fold(record, weight, level_of(view, meta, record.tally.step))
    return states
