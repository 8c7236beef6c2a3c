"""The guard: no length reward while accuracy is below what the same problems had before. Pure functions.

The evidence is paired: a problem's pass ratio at this visit less the same problem's stored one. On a policy that does
not change its mean is 0, whatever problems a step happens to have, so a step of hard problems raises no alarm. A
stored best would be biased, since the best of a noisy series is above its mean; a stored mean is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_STEPS = 16
"""Closed steps whose sums are added up for the guard of the run."""
MIN_VISITS = 32
"""Visits of known problems below which the guard of the run does not act."""


@dataclass(frozen=True, slots=True)
class GuardSums:
    """The evidence of one closed step, or of several added up: three numbers, which a store keeps by step."""

    visits: int = 0
    """Groups of problems that were known before the step."""
    total: float = 0.0
    """Sum over them of this visit's pass ratio less the problem's stored one."""
    squares: float = 0.0
    """Sum of the squares of these differences."""

    @property
    def mean(self) -> float:
        """The mean difference; 0 without visits."""
        return self.total / self.visits if self.visits else 0.0

    @property
    def standard_error(self) -> float:
        """The standard error of the mean, from the sample variance; infinite below two visits."""
        if self.visits < 2:
            return math.inf
        variance = max(0.0, self.squares - self.total * self.mean) / (self.visits - 1)
        return math.sqrt(variance / self.visits)


def step_sums(visits: Iterable[tuple[float, float | None]]) -> GuardSums:
    """Return the sums of one step from (this visit's pass ratio, the stored one or None) of each of its groups.

    Sums are correctly rounded, so the order of the groups changes nothing.
    """
    differences = [now - before for now, before in visits if before is not None]
    return GuardSums(len(differences), math.fsum(differences), math.fsum(d * d for d in differences))


def window(steps: Iterable[GuardSums]) -> GuardSums:
    """Return the sums of the last `WINDOW_STEPS` closed steps; `steps` are in ascending order."""
    last = list(steps)[-WINDOW_STEPS:]
    return GuardSums(
        sum(one.visits for one in last),
        math.fsum(one.total for one in last),
        math.fsum(one.squares for one in last),
    )


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
