"""The memory of a service over a long time, and the rules by which `soak.py` judges it.

- The memory in use of the server (`probe/sitecustomize.py`) is flat. The least bytes of malloc and the least number
  of Python's blocks of each minute, after the warm-up (the first fifth), have fitted lines that rise by less than 3%
  of the median from end to end. A minute's least value has few requests in progress in it.
- All processes together stay within the sum that `serve` logs at its start.
- No verifier process takes more than its limit.

The resident memory (PSS: shared pages are divided, so that sums are exact) is reported too, and its slope. It is not
judged by its slope: up to 224 MiB of it is freed memory that is kept for the next large request
(`server/memory.py`), and how much of it depends on the requests of the last minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from deepcompress_service.server.memory_plan import plan_memory
from deepcompress_service.settings import Settings
from deepcompress_verify.pool import DECIDE_MEMORY_BYTES

FLAT = 0.03
WARM_UP = 0.2
MIB = 2**20


@dataclass(slots=True)
class Sample:
    """The memory at one time, in bytes."""

    at: float
    server: int
    verifiers: int
    resident: int
    largest: int
    """The largest verifier process."""
    done: int
    """Rollouts answered so far."""

    @property
    def total(self) -> int:
        return self.server + self.verifiers


def settled(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples after the warm-up."""
    return [one for one in samples if one.at >= WARM_UP * samples[-1].at]


Points = Sequence[tuple[float, float]]
"""(seconds, value)"""


def slope(points: Points) -> float:
    """Return the growth a second: the median of the slopes between all pairs (Theil and Sen)."""
    thin = points[:: max(1, len(points) // 150)]
    pairs = [(b - a) / (y - x) for i, (x, a) in enumerate(thin) for y, b in thin[i + 1 :] if y > x]
    return median(pairs) if pairs else 0.0


def slope_error(points: Points) -> float:
    """Return the standard error of the growth, by leaving out each of eight blocks (jackknife)."""
    blocks = min(8, len(points))
    left = [
        slope([one for at, one in enumerate(points) if at * blocks // len(points) != block])
        for block in range(blocks)
    ]
    middle = fmean(left)
    return float(((blocks - 1) / blocks * sum((one - middle) ** 2 for one in left)) ** 0.5)


@dataclass(slots=True)
class Line:
    """The least values of each minute after the warm-up, and whether they are flat."""

    least: list[float]
    median: float
    growth: float
    """Growth from end to end, as a share of the median."""

    @property
    def flat(self) -> bool:
        return self.growth <= FLAT


def line(points: Points, begin: float) -> Line:
    """Return the line of the least values of each minute from `begin` on."""
    minutes: dict[int, float] = {}
    for at, value in points:
        if at >= begin:
            minute = int((at - begin) // 60)
            minutes[minute] = min(value, minutes.get(minute, value))
    least = [(60.0 * minute, value) for minute, value in sorted(minutes.items())]
    middle = median(value for _, value in least)
    growth = slope(least) * (least[-1][0] - least[0][0]) / middle
    return Line([value for _, value in least], middle, growth)


def in_use(file: Path, began: float) -> tuple[Points, Points]:
    """Return the probe's figures: bytes of malloc, and blocks, by seconds since the epoch `began`."""
    rows = [tuple(map(float, row.split())) for row in file.read_text().splitlines() if row.count(" ") == 2]
    return [(at - began, value) for at, value, _ in rows], [(at - began, value) for at, _, value in rows]


def verdict(samples: Sequence[Sample], malloc: Points, blocks: Points) -> dict[str, Any]:
    """Return the figures of memory, with `kept`: the rules that hold, by name."""
    after = settled(samples)
    begin, settings = after[0].at, Settings()
    plan = plan_memory(settings, None, DECIDE_MEMORY_BYTES)
    total = [(one.at, float(one.total)) for one in after]
    lines = {"malloc": line(malloc, begin), "blocks": line(blocks, begin)}
    most = max(one.total for one in samples)
    largest = max(one.largest for one in samples)
    return {
        "kept": {
            "the bytes of malloc are flat": lines["malloc"].flat,
            "Python's blocks are flat": lines["blocks"].flat,
            "all processes stay within the planned memory": most <= plan.most,
            "each verifier process stays within its limit": largest <= settings.verifier_memory_bytes,
        },
        "minutes": (after[-1].at - begin) / 60,
        "malloc_mib": lines["malloc"].median / MIB,
        "malloc_growth": lines["malloc"].growth,
        "malloc_least_mib": [round(value / MIB, 2) for value in lines["malloc"].least],
        "blocks": lines["blocks"].median,
        "blocks_growth": lines["blocks"].growth,
        "blocks_least": lines["blocks"].least,
        "planned_mib": plan.most / MIB,
        "most_mib": most / MIB,
        "largest_verifier_mib": largest / MIB,
        "median_mib": median(value for _, value in total) / MIB,
        "slope_mib_per_hour": slope(total) * 3600 / MIB,
        "slope_error_mib_per_hour": slope_error(total) * 3600 / MIB,
        "server_first_third_mib": median(one.server for one in after[: max(1, len(after) // 3)]) / MIB,
        "server_last_third_mib": median(one.server for one in after[-max(1, len(after) // 3) :]) / MIB,
    }
