"""A run whose accuracy falls while its answers get shorter, from the statistics of its closed steps. Pure functions.

Two windows of steps are compared: the newest one, and the earlier one of the greatest accuracy. The errors come from
the spread between steps, so they include that of the problems that a step happens to have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 16
"""Steps of a window."""
MAX_STEPS = 512
"""Closed steps that are read, the newest ones."""
LEAST_FALL = 0.02
"""A smaller fall of the accuracy is no warning."""
SHORTER = 0.98
"""Lengths have fallen if the newest window's mean is below this share of the earlier one's."""
Z = 4.5
"""Standard errors that the fall must exceed: the earlier window is the best of many, which is biased."""


@dataclass(frozen=True, slots=True)
class ClosedStep:
    """One closed step: its number, the share of correct rollouts, and the mean length in tokens."""

    step: int
    accuracy: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Decline:
    """A fall of the accuracy with shorter answers."""

    since: int
    """The last step of the earlier window."""
    accuracy_before: float
    accuracy_now: float
    tokens_before: float
    tokens_now: float


def find_decline(steps: Sequence[ClosedStep]) -> Decline | None:
    """Return the fall of the accuracy in the newest window, if it is larger than chance; `steps` ascend."""
    if len(steps) < 2 * WINDOW:
        return None
    accuracies, lengths = [one.accuracy for one in steps], [one.tokens for one in steps]
    accuracy, error = _mean_and_error(accuracies[-WINDOW:])
    sums = [math.fsum(accuracies[start : start + WINDOW]) for start in range(len(steps) - 2 * WINDOW + 1)]
    first = sums.index(max(sums))
    last = first + WINDOW - 1
    best, best_error = _mean_and_error(accuracies[first : last + 1])
    tokens = math.fsum(lengths[-WINDOW:]) / WINDOW
    tokens_before = math.fsum(lengths[first : last + 1]) / WINDOW
    if best - accuracy <= max(LEAST_FALL, Z * math.hypot(error, best_error)) or tokens >= SHORTER * tokens_before:
        return None
    return Decline(steps[last].step, best, accuracy, tokens_before, tokens)


def decline_warnings(steps: Sequence[ClosedStep]) -> list[tuple[str, str]]:
    """Return (slug, text) if the accuracy fell while lengths fell."""
    found = find_decline(steps)
    if found is None:
        return []
    points = 100 * (found.accuracy_before - found.accuracy_now)
    return [
        (
            "accuracy-fell",
            f"accuracy fell {points:.1f} points since step {found.since} ({found.accuracy_before:.1%} to "
            f"{found.accuracy_now:.1%}) while lengths fell from {found.tokens_before:.0f} to {found.tokens_now:.0f} "
            "tokens: lower length_weight, or set a gate or a guard",
        )
    ]


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
