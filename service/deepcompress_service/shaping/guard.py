"""The guard: no length reward while accuracy is below what the same problems had before. Pure functions.

The evidence is paired: a problem's pass ratio at this visit less the same problem's stored one. On a policy that
does not change its mean is 0 for every choice of problems, so a step of hard problems raises no alarm. A
stored best would be biased, since the best of a noisy series is above its mean; a stored mean is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

MIN_VISITS = 32
"""Visits of known problems, those long past counted less, below which the guard of the run does not act."""
CHANGE_ONE = 1 << 16
"""A change of a pass ratio by 1, in the whole numbers that are added up."""
KINDS: tuple[Literal["revisits", "squared_weight", "change", "squared_change"], ...] = (
    "revisits",
    "squared_weight",
    "change",
    "squared_change",
)
"""Kinds of the accumulators that hold the evidence from step to step (`strategy.AccumulatorSpec`). A step's visits
lose a sixteenth of their weight with every later step."""


@dataclass(frozen=True, slots=True)
class GuardSums:
    """The evidence of the closed steps: sums over visits, each with a weight that falls with its age."""

    visits: float = 0.0
    """Sum of the weights. A visit is a problem in a step, if it was known before."""
    squared_weight: float = 0.0
    """Sum of the squared weights."""
    total: float = 0.0
    """Weighted sum of the step's pass ratio less the problem's stored one."""
    squares: float = 0.0
    """Weighted sum of the squares of these differences."""

    @classmethod
    def of(cls, values: Sequence[float]) -> GuardSums:
        """Return the sums from the accumulators of `KINDS`."""
        visits, squared_weight, total, squares = values
        return cls(visits, squared_weight, total / CHANGE_ONE, squares / CHANGE_ONE**2)

    @property
    def mean(self) -> float:
        """The mean difference; 0 without visits."""
        return self.total / self.visits if self.visits else 0.0

    @property
    def standard_error(self) -> float:
        """The standard error of the weighted mean, from the sample variance; infinite below two visits."""
        if self.visits < 2:
            return math.inf
        variance = max(0.0, self.squares - self.total * self.mean) / (self.visits - 1)
        return math.sqrt(variance * self.squared_weight) / self.visits


def change(ratio: float, stored: float) -> int:
    """Return a visit's pass ratio less the stored one, rounded to a whole number of 1 / `CHANGE_ONE`.

    So sums are exact, and equal in every order.
    """
    return math.floor((ratio - stored) * CHANGE_ONE + 0.5)


def step_changes(visits: Iterable[tuple[float, float | None]]) -> list[int]:
    """Return the changes of one step from (this visit's pass ratio, the stored one or None) of each problem."""
    return [change(now, before) for now, before in visits if before is not None]


def run_guarded(sums: GuardSums | None, margin: float, z: float) -> bool:
    """Return True if the mean difference is below -margin by more than `z` standard errors."""
    if sums is None or sums.visits < MIN_VISITS:
        return False
    return sums.mean + z * sums.standard_error < -margin


def problem_guarded(
    passes: int, size: int, stored_passes: int, stored_attempts: int, margin: float, z: float, min_rollouts: int
) -> bool:
    """Return True if this visit of one problem is below its stored pass counts by more than margin + z errors.

    The standard error is that of two binomial shares with the pooled pass ratio.
    """
    if stored_attempts < max(min_rollouts, 1):
        return False
    pooled = (passes + stored_passes) / (size + stored_attempts)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / size + 1.0 / stored_attempts))
    return passes / size - stored_passes / stored_attempts + z * error < -margin
