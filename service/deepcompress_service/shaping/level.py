"""State from step to step, as pure functions: the level, accumulators and histories, for offline use."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .strategy import AccumulatorSpec
from .types import Group, ProblemHistory


def next_level(previous: float, batch_pass_ratio: float, ema: float) -> float:
    """P_b(t) = lambda * P_b(t-1) + (1 - lambda) * mean of P_g at step t (arXiv 2510.27419)."""
    return ema * previous + (1.0 - ema) * batch_pass_ratio


def mean_pass_ratio(groups: Sequence[Group]) -> float | None:
    """Return the mean of P_g over a step's groups; None where there is none.

    Passes are summed by group size in whole numbers, sizes ascending, so that the order of groups changes nothing
    and a store that does likewise gets the same bits.
    """
    passes: dict[int, int] = {}
    for group in groups:
        size = len(group.correct)
        passes[size] = passes.get(size, 0) + sum(group.correct)
    total = 0.0
    for size in sorted(passes):
        total += passes[size] / size
    return total / len(groups) if groups else None


def next_value(
    spec: AccumulatorSpec, value: float, mean_pass_ratio: float, accuracy: float, changes: Sequence[int] = ()
) -> float:
    """Return an accumulator after a step: see `AccumulatorSpec`.

    `accuracy` is correct rollouts / rollouts, `changes` are those of the revisited problems (`guard.step_changes`).
    """
    if spec.kind == "ema":
        return next_level(value, mean_pass_ratio, spec.weight)
    if spec.kind == "max":
        return max(value, accuracy)
    if spec.kind == "integrator":
        return max(0.0, value + spec.weight * (accuracy - spec.target))
    if spec.kind == "squared_weight":
        return value - math.floor(31 * value / 256) + len(changes)
    kept = value - math.floor(value / 16)
    if spec.kind == "revisits":
        return kept + len(changes)
    return kept + (sum(changes) if spec.kind == "change" else sum(one * one for one in changes))


def next_history(before: ProblemHistory, groups: Sequence[Group], weight: float) -> ProblemHistory:
    """Return a problem after a step: its state before it and all its groups of the step, of any order.

    `weight` is that of the step's pass ratio in the smoothed one; lengths are those of correct rollouts.
    """
    attempts = sum(len(g.correct) for g in groups)
    passes = sum(sum(g.correct) for g in groups)
    newest = passes / attempts
    lengths = [tokens for g in groups for tokens, correct in zip(g.tokens or (), g.correct, strict=False) if correct]
    known = [] if before.shortest_correct_tokens is None else [before.shortest_correct_tokens]
    kept = before.passes if before.mean_correct_tokens is not None else 0
    total = (before.mean_correct_tokens or 0.0) * kept + sum(lengths)
    return ProblemHistory(
        attempts=before.attempts + attempts,
        passes=before.passes + passes,
        pass_ratio=newest if before.pass_ratio is None else (1.0 - weight) * before.pass_ratio + weight * newest,
        shortest_correct_tokens=min(known + lengths, default=None),
        mean_correct_tokens=total / (kept + len(lengths)) if kept + len(lengths) else None,
    )
