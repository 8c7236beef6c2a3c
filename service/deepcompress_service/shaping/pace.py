"""The warning of a level that is still near its initial value and far from the run's pass ratio. Pure functions.

After n steps P_b(n) = lambda**n * P_b(0) + (1 - lambda**n) * m, where m is the mean of the steps' pass ratios,
weighted as in the moving average. So m follows from the level alone.
"""

from __future__ import annotations

import math

MIN_STEPS = 10
"""Steps before which no warning is made: any level needs some to move."""
FAR = 0.1
"""A level that is this far from the run's pass ratio decides the sign of most groups' beta."""


def run_pass_ratio(level: float, initial_level: float, ema: float, steps: int) -> float | None:
    """Return m, the weighted mean pass ratio of the run's steps; None if the level has no part of it.

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
    if steps < MIN_STEPS or not 0.0 < ema < 1.0:
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
