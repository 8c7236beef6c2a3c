"""The default strategy, written down a second time from the paper's formulas and the facts about the authors'
code, so that what a trainer saw can be held against it. Pure Python, one group after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Rollout = tuple[bool, int]
"""Correct, and its length in tokens."""

ALPHA, EMA = 0.2, 0.99


def next_level(level: float, steps_groups: Sequence[Sequence[Rollout]]) -> float:
    """P_b after a step: 0.99 of the old one and 0.01 of the mean group pass ratio."""
    ratios = [sum(correct for correct, _ in group) / len(group) for group in steps_groups]
    return EMA * level + (1 - EMA) * (math.fsum(ratios) / len(ratios))


def rewards(group: Sequence[Rollout], level: float) -> list[float]:
    """Outcome plus length reward of one group against a level; none where all or no rollouts are correct."""
    ratio = sum(correct for correct, _ in group) / len(group)
    mean = sum(tokens for _, tokens in group) / len(group)
    std = math.sqrt(sum((tokens - mean) ** 2 for _, tokens in group) / len(group))
    found = []
    for correct, tokens in group:
        z = (tokens - mean) / std if std > 0 else 0.0
        length = ALPHA / (1 + math.exp((ratio - level) * z)) if correct and 0 < ratio < 1 else 0.0
        found.append((1.0 if correct else -1.0) + length)
    return found
