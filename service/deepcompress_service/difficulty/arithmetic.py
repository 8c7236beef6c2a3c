"""The formulas of the difficulty state: the level of a step, a problem after a step. Pure.

Every float is computed from integers in one fixed order. So the same groups give the same bits for every order,
every division into requests and every store. ``stores/lua/`` has the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .codec import closed_lengths, folded_lengths, unpack_counts, unpack_lengths
from .model import CHANGE_KINDS, DifficultyConfig, GroupCommit, ProblemState, StepStatistics
from .records import (
    AGE_INTEGERS,
    STEP_INTEGERS,
    PassCountBucket,
    PassCountKey,
    ProblemRecord,
    RunRecord,
    StepDelta,
    StepRecord,
)

RATIO_ONE = 1 << 30
"""A smoothed pass ratio of 1 in the fixed-point sum over all problems: exact for 2^23 problems in a double."""
CHANGE_ONE = 1 << 16
"""A change of the pass ratio by 1 in the sums over revisited problems: their squares are exact for 2^21 of them."""


def mean_pass_ratio(counts: Mapping[int, tuple[int, int]]) -> float | None:
    """Return the mean of P_g from (groups, passes) by group size; None without groups.

    Sizes are added in ascending order, with one division for each size and one at the end.
    """
    groups = sum(number for number, _ in counts.values())
    if not groups:
        return None
    total = 0.0
    for size in sorted(counts):
        total += counts[size][1] / size
    return total / groups


def request_mean(groups: Iterable[GroupCommit]) -> float:
    """Return the mean P_g of these groups; 0.0 without groups."""
    counts: dict[int, tuple[int, int]] = {}
    for group in groups:
        number, passes = counts.get(group.size, (0, 0))
        counts[group.size] = (number + 1, passes + group.passes)
    return mean_pass_ratio(counts) or 0.0


def accumulators_after(
    config: DifficultyConfig,
    before: tuple[float, ...],
    buckets: Mapping[PassCountKey, PassCountBucket],
    revisits: tuple[int, int, int],
) -> tuple[tuple[float, ...], float | None]:
    """Return a step's accumulators (the level first) and its mean P_g, from the values before it and its tallies.

    If no group counts, the accumulators do not change and the mean is None. The formulas and papers are in
    `model.Accumulator`.
    """
    greatest = max((generation for generation, _, _ in buckets), default=0)
    counts: dict[int, tuple[int, int]] = {}
    for (generation, size, passes), bucket in buckets.items():
        if config.step_level == "all" or generation == greatest:
            groups, total = counts.get(size, (0, 0))
            counts[size] = (groups + bucket.groups, total + passes * bucket.groups)
    mean = mean_pass_ratio(counts)
    if mean is None:
        return before, None
    rollouts = sum(size * groups for size, (groups, _) in counts.items())
    accuracy = sum(passes for _, passes in counts.values()) / rollouts
    after = []
    for accumulator, value in zip((config.level, *config.extra), before, strict=True):
        if accumulator.kind == "ema":
            after.append(accumulator.weight * value + (1.0 - accumulator.weight) * mean)
        elif accumulator.kind == "max":
            after.append(max(value, accuracy))
        elif accumulator.kind in CHANGE_KINDS:
            after.append(_changes_after(accumulator.kind, value, revisits))
        else:
            after.append(max(0.0, value + accumulator.weight * (accuracy - accumulator.target)))
    if config.reference == "dataset":
        after[0] = before[0]
    return tuple(after), mean


def _changes_after(kind: str, before: float, revisits: tuple[int, int, int]) -> float:
    """Return an accumulator of `CHANGE_KINDS` after a step. All values are whole numbers."""
    count, total, squares = revisits
    if kind == "squared_weight":
        return before - math.floor(31 * before / 256) + count
    added = count if kind == "revisits" else total if kind == "change" else squares
    return before - math.floor(before / 16) + added


def close_record(run_record: RunRecord, observed_groups: int = 0) -> StepRecord:
    """Return the open step's record as it would be if it closed with the groups it has."""
    after, mean = accumulators_after(run_record.config, run_record.start, run_record.buckets, run_record.revisits)
    record = StepRecord(run_record.start, after, mean)
    record.observed_groups = observed_groups
    record.age_sum, record.age_count, record.age_max, record.too_old_groups, record.discarded_groups = run_record.ages
    for (_, size, passes), bucket in run_record.buckets.items():
        record.groups += bucket.groups
        record.rollouts += size * bucket.groups
        record.correct += passes * bucket.groups
        record.truncated += bucket.truncated
        record.tokens_sum += bucket.tokens_sum
        record.tokens_count += bucket.tokens_count
        record.correct_tokens_sum += bucket.correct_tokens_sum
        record.correct_tokens_count += bucket.correct_tokens_count
        beta = passes / size - after[0]
        if beta > 0:
            record.simple += bucket.groups
            record.simple_tokens_sum += bucket.tokens_sum
            record.simple_tokens_count += bucket.tokens_count
        elif beta < 0:
            record.hard += bucket.groups
            record.hard_tokens_sum += bucket.tokens_sum
            record.hard_tokens_count += bucket.tokens_count
    return record


def step_statistics(record: StepRecord, step: int, *, closed: bool = True) -> StepStatistics:
    """Return a step's record as its statistics."""
    return StepStatistics(
        step=step,
        level=record.after[0],
        batch_pass_ratio=record.mean,
        accumulators=record.after[1:],
        closed=closed,
        **{name: getattr(record, name) for name in (*STEP_INTEGERS, *AGE_INTEGERS)},
    )


def with_ages(run_record: RunRecord, groups: Iterable[GroupCommit], discarded: int = 0) -> None:
    """Add the ages of new groups of the open step, and a number of discarded groups, to the run's record."""
    total, count, greatest, too_old, dropped = run_record.ages
    for group in groups:
        too_old += group.too_old
        if group.age is not None:
            total, count, greatest = total + group.age, count + 1, max(greatest, group.age)
    run_record.ages = (total, count, greatest, too_old, dropped + discarded)


def ratio_after(weight: float, before: ProblemState, delta: StepDelta) -> float | None:
    """Return the smoothed pass ratio after the tally is counted; after the first step it is that step's ratio."""
    if delta.attempts == 0:
        return before.pass_ratio
    newest = delta.passes / delta.attempts
    if before.pass_ratio is None:
        return newest
    return (1.0 - weight) * before.pass_ratio + weight * newest


def counted_ratio(run_record: RunRecord, record: ProblemRecord) -> int:
    """Return a problem's term of the sum over all problems: its smoothed pass ratio in units of 2^-30.

    In these units the sum is exact in any order. Only ``reference: "dataset"`` needs it; otherwise it is 0.
    """
    if run_record.config.reference != "dataset":
        return 0
    ratio = ratio_after(run_record.config.problem_weight, record.before, record.delta)
    return 0 if ratio is None else int(ratio * RATIO_ONE + 0.5)


def visit_change(record: ProblemRecord) -> int | None:
    """Return the problem's pass ratio in the step of its tally, less its smoothed one before, in units of 2^-16.

    None if the problem has no tally, or was not known before.
    """
    before, delta = record.before.pass_ratio, record.delta
    if before is None or delta.attempts == 0:
        return None
    return math.floor((delta.passes / delta.attempts - before) * CHANGE_ONE + 0.5)


def with_change(revisits: tuple[int, int, int], record: ProblemRecord, sign: int) -> tuple[int, int, int]:
    """Return the sums over revisited problems with (`sign` 1) or without (-1) this one."""
    change = visit_change(record)
    if change is None:
        return revisits
    count, total, squares = revisits
    return count + sign, total + sign * change, squares + sign * change * change


def present_problem(record: ProblemRecord, weight: float, level: float) -> ProblemState:
    """Return the problem after the step of its tally, whose level is given, with its lengths."""
    _, lengths = folded_lengths(*unpack_lengths(record.end))
    return replace(fold_delta(record, weight, level), lengths=unpack_counts(lengths))


def problem_before(record: ProblemRecord) -> ProblemState:
    """Return the problem before the step of its tally, with its lengths."""
    return replace(record.before, lengths=unpack_counts(unpack_lengths(record.end)[1]))


def fold_record(record: ProblemRecord, weight: float, level: float, step: int) -> ProblemRecord:
    """Return the problem's record with its tally folded in, and an empty tally of `step`."""
    return ProblemRecord(fold_delta(record, weight, level), StepDelta(step), closed_lengths(record.end))


def fold_delta(record: ProblemRecord, weight: float, level: float) -> ProblemState:
    """Return the problem after the step of its tally, whose level is given."""
    before, delta = record.before, record.delta
    if delta.attempts == 0:
        return before
    last = delta.passes / delta.attempts
    beta = last - level
    side = "simple" if beta > 0 else "hard" if beta < 0 else before.last_side
    turned = before.last_side is not None and side != before.last_side
    shortest, least = before.shortest_correct_tokens, delta.shortest
    if shortest is None or (least is not None and least < shortest):
        shortest = least
    return ProblemState(
        before.problem_id,
        before.attempts + delta.attempts,
        before.passes + delta.passes,
        last if before.pass_ratio is None else (1.0 - weight) * before.pass_ratio + weight * last,
        last,
        beta,
        before.turns + turned,
        side,
        shortest,
        before.correct_tokens_sum + delta.correct_tokens_sum,
        before.correct_tokens_count + delta.correct_tokens_count,
        delta.step,
    )
