"""The formulas of the difficulty state: the level of a step, a problem after a step. Pure.

Every float is computed from integers in one fixed order, so that the same groups give the same bits whatever
the order, the cutting into requests or the store they came through. ``stores/lua/`` has the same formulas.
"""

from __future__ import annotations

from collections.abc import Mapping

from .codec import RATIO_ONE, Cell, CellKey, Meta, ProblemRecord, StepRecord, Tally
from .model import Accumulator, DifficultyConfig, ProblemState


def selected(config: DifficultyConfig, cells: Mapping[CellKey, Cell]) -> list[tuple[CellKey, Cell]]:
    """The cells that make the step's level: all, or those of the greatest generation."""
    if config.step_level == "all" or not cells:
        return list(cells.items())
    greatest = max(generation for generation, _, _ in cells)
    return [(key, cell) for key, cell in cells.items() if key[0] == greatest]


def mean_pass_ratio(counts: Mapping[int, tuple[int, int]]) -> float | None:
    """The mean of P_g from (groups, passes) by group size: sizes ascending, one division a size, one at the end."""
    groups = sum(number for number, _ in counts.values())
    if not groups:
        return None
    total = 0.0
    for size in sorted(counts):
        total += counts[size][1] / size
    return total / groups


def step_mean(config: DifficultyConfig, cells: Mapping[CellKey, Cell]) -> float | None:
    """The mean P_g of a step (None where no group counts)."""
    counts: dict[int, tuple[int, int]] = {}
    for (_, size, passes), cell in selected(config, cells):
        groups, total = counts.get(size, (0, 0))
        counts[size] = (groups + cell.groups, total + passes * cell.groups)
    return mean_pass_ratio(counts)


def accumulators_after(
    config: DifficultyConfig, before: tuple[float, ...], cells: Mapping[CellKey, Cell]
) -> tuple[float, ...]:
    """The level and the further accumulators of a step, from their values before it and its tallies."""
    mean = step_mean(config, cells)
    if mean is None:
        return before
    rollouts = correct = 0
    for (_, size, passes), cell in selected(config, cells):
        rollouts += size * cell.groups
        correct += passes * cell.groups
    accuracy = correct / rollouts
    after = [
        advance(accumulator, value, mean, accuracy)
        for accumulator, value in zip((config.level, *config.extra), before, strict=True)
    ]
    if config.reference == "dataset":
        after[0] = before[0]
    return tuple(after)


def advance(accumulator: Accumulator, value: float, mean: float, accuracy: float) -> float:
    """One accumulator over one step (the formulas and papers are in `model.Accumulator`)."""
    if accumulator.kind == "ema":
        return accumulator.weight * value + (1.0 - accumulator.weight) * mean
    if accumulator.kind == "max":
        return max(value, accuracy)
    return max(0.0, value + accumulator.weight * (accuracy - accumulator.target))


def start_values(meta: Meta) -> tuple[float, ...]:
    """The accumulators that the groups of a step opened now would read.

    With ``reference: "dataset"`` the level is the mean over all problems' smoothed pass ratios as the last step
    left them: fixed for the whole step, so it depends on neither order nor shards.
    """
    if meta.config.reference == "dataset" and meta.problems:
        return (meta.ratio_sum / RATIO_ONE / meta.problems, *meta.values[1:])
    return meta.values


def finish(meta: Meta, observed_groups: int = 0) -> StepRecord:
    """The open step's record as it would be if it closed with the groups it has."""
    after = accumulators_after(meta.config, meta.start, meta.cells)
    record = StepRecord(meta.start, after, step_mean(meta.config, meta.cells))
    record.observed_groups = observed_groups
    for (_, size, passes), cell in meta.cells.items():
        record.groups += cell.groups
        record.rollouts += size * cell.groups
        record.correct += passes * cell.groups
        record.truncated += cell.truncated
        record.tokens_sum += cell.tokens_sum
        record.tokens_count += cell.tokens_count
        record.correct_tokens_sum += cell.correct_tokens_sum
        record.correct_tokens_count += cell.correct_tokens_count
        beta = passes / size - after[0]
        if beta > 0:
            record.simple += cell.groups
            record.simple_tokens_sum += cell.tokens_sum
            record.simple_tokens_count += cell.tokens_count
        elif beta < 0:
            record.hard += cell.groups
            record.hard_tokens_sum += cell.tokens_sum
            record.hard_tokens_count += cell.tokens_count
    return record


def reference_level(config: DifficultyConfig, before: float, after: float) -> float:
    """The level that a step's betas are taken against."""
    return before if config.reference == "previous" else after


def ratio_after(weight: float, before: ProblemState, tally: Tally) -> float | None:
    """The smoothed pass ratio once the tally is counted; a problem's first step gives it as it is."""
    if tally.attempts == 0:
        return before.pass_ratio
    newest = tally.passes / tally.attempts
    if before.pass_ratio is None:
        return newest
    return (1.0 - weight) * before.pass_ratio + weight * newest


def counted_ratio(meta: Meta, record: ProblemRecord) -> int:
    """A problem's part in the sum over all problems: its smoothed pass ratio in units of 2^-30, so that the sum is
    exact in any order. Only ``reference: "dataset"`` needs that sum; else it stays 0."""
    if meta.config.reference != "dataset":
        return 0
    ratio = ratio_after(meta.config.problem_weight, record.before, record.tally)
    return 0 if ratio is None else int(ratio * RATIO_ONE + 0.5)


def fold(record: ProblemRecord, weight: float, level: float) -> ProblemState:
    """The problem after the step of its tally, whose level is given."""
    before, tally = record.before, record.tally
    if tally.attempts == 0:
        return before
    last = tally.passes / tally.attempts
    beta = last - level
    side = "simple" if beta > 0 else "hard" if beta < 0 else before.last_side
    turned = before.last_side is not None and side != before.last_side
    shortest = [s for s in (before.shortest_correct_tokens, tally.shortest) if s is not None]
    return ProblemState(
        problem_id=before.problem_id,
        attempts=before.attempts + tally.attempts,
        passes=before.passes + tally.passes,
        pass_ratio=ratio_after(weight, before, tally),
        last_pass_ratio=last,
        last_beta=beta,
        turns=before.turns + turned,
        last_side=side,
        shortest_correct_tokens=min(shortest, default=None),
        correct_tokens_sum=before.correct_tokens_sum + tally.correct_tokens_sum,
        correct_tokens_count=before.correct_tokens_count + tally.correct_tokens_count,
        last_step=tally.step,
    )
