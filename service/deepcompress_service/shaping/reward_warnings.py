"""Warnings about known problems of length rewards: each a stable slug and one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .strategy import Strategy
from .types import Group, ShapedGroup

TRUNCATION_SHARE = 0.2
"""Above this share of truncated rollouts, truncation and not difficulty decides what is learned."""
MIN_STEPS = 10
"""Steps before which no warning is made: any level needs some to move."""
FAR = 0.1
"""A level that is this far from the run's pass ratio decides the sign of most groups' beta."""


def find_warnings(
    strategy: Strategy,
    overlong: Mapping[str, Any] | None,
    groups: Sequence[Group],
    shaped: Sequence[ShapedGroup],
) -> list[tuple[str, str]]:
    """Return the warnings that apply, in a fixed order."""
    result: list[tuple[str, str]] = []
    trained = [g for g in groups if not g.trainable or any(g.trainable)]
    rollouts = sum([len(g.correct) for g in trained])
    truncated = sum([sum(g.truncated) for g in trained])
    if truncated > TRUNCATION_SHARE * rollouts:
        result.append(
            (
                "truncation-rate",
                f"{truncated} of {rollouts} rollouts were truncated (over 20%): raise the limit, or the reward "
                "teaches to stop early rather than to answer",
            )
        )
    measured = [g for g in trained if g.tokens is not None and len(g.tokens) > 1]
    equal = sum(1 for g in measured if len(set(g.tokens or ())) == 1)
    if equal:
        result.append(
            (
                "equal-lengths",
                f"all lengths are equal in {equal} of {len(measured)} groups: no length signal there; check that "
                "tokens are counted per rollout",
            )
        )
    if trained and all(all(g.correct) for g in trained):
        result.append(("all-solved", "every rollout of every group is correct: the outcome gives no signal"))
    below = 0
    for group, of_group in zip(groups, shaped, strict=True):
        if not any(group.correct) or all(group.correct):
            continue
        trainable = group.trainable or (True,) * len(group.correct)
        paid = list(zip(of_group.advantages or of_group.rewards, group.correct, trainable, strict=True))
        right = [value for value, correct, trained_on in paid if correct and trained_on]
        wrong = [value for value, correct, trained_on in paid if not correct and trained_on]
        below += bool(right and wrong) and max(wrong) > min(right)
    if below:
        result.append(
            (
                "correct-below-wrong",
                f"a correct rollout was paid less than a wrong one in {below} of {len(groups)} groups (by the "
                "advantages, where the run has them): lower the weight of the length or overlong term, or set a gate",
            )
        )
    if overlong is not None:
        limit = overlong["max_tokens"]
        beyond = sum(1 for g in trained for tokens in g.tokens or () if tokens > limit)
        if beyond:
            result.append(
                (
                    "longer-than-max",
                    f"{beyond} of {rollouts} rollouts are longer than overlong.max_tokens = {limit}: it should "
                    "be the generation limit",
                )
            )
    if not strategy.correctness_conditioned:
        result.append(
            (
                "wrong-pays-for-length",
                f"under {strategy.name} the length of a wrong rollout changes its reward: failing fast may pay",
            )
        )
    if strategy.certainty == "uncertain":
        result.append(("uncertain-formula", f"{strategy.name}: {strategy.note}"))
    return result


def run_pass_ratio(level: float, initial_level: float, ema: float, steps: int) -> float | None:
    """Return m, the weighted mean pass ratio of the run's steps; None if the level has no part of it.

    After n steps P_b(n) = lambda**n * P_b(0) + (1 - lambda**n) * m, where the mean is weighted as in the moving
    average. So m follows from the level alone.

    `steps` of a run that began later, or that left steps out, is too large; m is then too near to the level.
    """
    start = ema**steps
    if start >= 1.0:
        return None
    return min(1.0, max(0.0, (level - start * initial_level) / (1.0 - start)))


def pace_warnings(level: float, initial_level: float, ema: float, steps: int) -> list[tuple[str, str]]:
    """Return (slug, text) if the level, after `steps` steps, is still far from the run's pass ratio.

    The level is that of the step; `ema` is lambda; `steps` counts the steps in the level.
    """
    if steps < MIN_STEPS:
        return []
    ratio = run_pass_ratio(level, initial_level, ema, steps)
    if ratio is None or abs(level - ratio) <= FAR:
        return []
    left = math.ceil(math.log(FAR / abs(level - ratio)) / math.log(ema))
    above = level > ratio
    side, kind, paid = ("above", "hard", "longer") if above else ("below", "simple", "shorter")
    return [
        (
            "slow-level",
            f"after {steps} steps the level {level:.2f} is still {side} the run's pass ratio {ratio:.2f}: most "
            f"groups count as {kind}, and {paid} answers are paid more. With ema {ema:g} this lasts about {left} "
            "more steps. In a new run set initial_level to the pass ratio of the start, and ema to 1 - 5/N for N "
            "steps (100 steps: 0.95)",
        )
    ]
