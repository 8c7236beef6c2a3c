"""A run whose accuracy falls while its answers get shorter, from the statistics of its closed steps. Pure functions.

Two windows of steps are compared: the newest one, and the earlier one of the greatest accuracy. The errors come from
the spread between steps, so they include that of the problems that a step happens to have.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

WINDOW = 16
"""Steps of a window."""
MAX_STEPS = 512
"""Closed steps that are read and kept, the newest ones."""
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


class ClosedSteps:
    """The newest closed steps of a run, in order, with the sum of the accuracies of each window."""

    def __init__(self, steps: Iterable[ClosedStep] = ()) -> None:
        self._steps: deque[ClosedStep] = deque(maxlen=MAX_STEPS)
        self._sums: deque[float] = deque(maxlen=MAX_STEPS - WINDOW + 1)
        for one in steps:
            self.add(one)

    def add(self, step: ClosedStep) -> None:
        """Add a step; beyond MAX_STEPS the oldest one is left out."""
        self._steps.append(step)
        if len(self._steps) >= WINDOW:
            self._sums.append(math.fsum([self._steps[-back].accuracy for back in range(1, WINDOW + 1)]))

    def find_decline(self) -> Decline | None:
        """Return the fall of the accuracy in the newest window, if it is larger than chance."""
        start = len(self._steps) - WINDOW
        sums = list(islice(self._sums, max(0, start - WINDOW + 1)))
        if not sums:
            return None
        greatest = max(sums)
        if (greatest - self._sums[-1]) / WINDOW <= LEAST_FALL:
            return None
        first = sums.index(greatest)
        newest, earlier = list(islice(self._steps, start, None)), list(islice(self._steps, first, first + WINDOW))
        accuracy, error = _mean_and_error([one.accuracy for one in newest])
        best, best_error = _mean_and_error([one.accuracy for one in earlier])
        tokens = math.fsum([one.tokens for one in newest]) / WINDOW
        tokens_before = math.fsum([one.tokens for one in earlier]) / WINDOW
        if best - accuracy <= max(LEAST_FALL, Z * math.hypot(error, best_error)) or tokens >= SHORTER * tokens_before:
            return None
        return Decline(earlier[-1].step, best, accuracy, tokens_before, tokens)


def decline_warnings(steps: ClosedSteps) -> list[tuple[str, str]]:
    """Return (slug, text) if the accuracy fell while lengths fell."""
    found = steps.find_decline()
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
