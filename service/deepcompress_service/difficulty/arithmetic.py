"""The formulas of the difficulty state: the level of a step, a problem after a step. Pure.

Every float is computed from integers in one fixed order. So the same groups give the same bits for every order,
every division into requests and every store. ``stores/lua/`` has the same formulas.
"""

from __future__ import annotations

from collections.abc import Mapping

from .codec import RATIO_ONE, PassCountBucket, PassCountKey, ProblemRecord, RunRecord, StepDelta, StepRecord
from .model import DifficultyConfig, ProblemState


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


def accumulators_after(
    config: DifficultyConfig, before: tuple[float, ...], buckets: Mapping[PassCountKey, PassCountBucket]
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
        else:
            after.append(max(0.0, value + accumulator.weight * (accuracy - accumulator.target)))
    if config.reference == "dataset":
        after[0] = before[0]
    return tuple(after), mean


def close_record(run_record: RunRecord, observed_groups: int = 0) -> StepRecord:
    """Return the open step's record as it would be if it closed with the groups it has."""
    after, mean = accumulators_after(run_record.config, run_record.start, run_record.buckets)
    record = StepRecord(run_record.start, after, mean)
    record.observed_groups = observed_groups
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


def fold_delta(record: ProblemRecord, weight: float, level: float) -> ProblemState:
    """Return the problem after the step of its tally, whose level is given."""
    before, delta = record.before, record.delta
    if delta.attempts == 0:
        return before
    last = delta.passes / delta.attempts
    beta = last - level
    side = "simple" if beta > 0 else "hard" if beta < 0 else before.last_side
    turned = before.last_side is not None and side != before.last_side
    shortest = [s for s in (before.shortest_correct_tokens, delta.shortest) if s is not None]
    return ProblemState(
        problem_id=before.problem_id,
        attempts=before.attempts + delta.attempts,
        passes=before.passes + delta.passes,
        pass_ratio=ratio_after(weight, before, delta),
        last_pass_ratio=last,
        last_beta=beta,
        turns=before.turns + turned,
        last_side=side,
        shortest_correct_tokens=min(shortest, default=None),
        correct_tokens_sum=before.correct_tokens_sum + delta.correct_tokens_sum,
        correct_tokens_count=before.correct_tokens_count + delta.correct_tokens_count,
        last_step=delta.step,
    )
