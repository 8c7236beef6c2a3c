"""Numbers that change with the run's closed steps: piecewise linear between the points of a schedule.

Sources: SIRI (arXiv 2509.25176) lets a length limit fall and rise in turn, along a cosine or in stairs; Train Long,
Think Short (arXiv 2508.08940) lowers a budget in stairs. Straight lines between points express both: a stair is two
points one step apart, a cosine as many points as it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

MAX_POINTS = 1024
MAX_STEP = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """A number by closed steps. Before the first point it is the first value, after the last one the last value."""

    points: tuple[tuple[int, float], ...]
    """(closed steps, value), closed steps ascending."""
    whole: bool = False
    """True: the value is rounded to a whole number, halves to the even one."""

    def at(self, closed_steps: int) -> float | int:
        """Return the value after that many closed steps."""
        (before, low) = self.points[0]
        value = low
        for after, high in self.points:
            if closed_steps < after:
                if after > before:
                    value = low + (high - low) * ((max(closed_steps, before) - before) / (after - before))
                break
            before, low = after, high
            value = high
        return round(value) if self.whole else value

    @property
    def config(self) -> dict[str, list[list[float]]]:
        """The schedule as a configuration writes it."""
        return {"schedule": [[step, value] for step, value in self.points]}


def read_schedule(value: Mapping[str, Any], field: str, read: Callable[[object, str], Any], whole: bool) -> Schedule:
    """Read `{"schedule": [[closed_steps, value], ...]}`; `read` checks one value.

    Raises:
        ConfigError: It is no such object; the error names the field.
    """
    points = value.get("schedule")
    if set(value) != {"schedule"} or not isinstance(points, (list, tuple)) or not 0 < len(points) <= MAX_POINTS:
        raise ConfigError(field, f'send a number, or {{"schedule": [[closed_steps, value], ...]}}, 1 to {MAX_POINTS}')
    taken: list[tuple[int, float]] = []
    for index, point in enumerate(points):
        path = f"{field}.schedule.{index}"
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise ConfigError(path, "send [closed_steps, value]")
        step, number = point
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
            raise ConfigError(path, f"send closed_steps as a whole number from 0, not {step!r:.80}")
        if taken and step <= taken[-1][0]:
            raise ConfigError(path, "send closed_steps in ascending order")
        taken.append((step, read(number, path)))
    return Schedule(tuple(taken), whole)


def resolve(values: Mapping[str, Any], closed_steps: int) -> dict[str, Any]:
    """Return the values with every schedule replaced by its number after `closed_steps`."""
    return {name: value.at(closed_steps) if isinstance(value, Schedule) else value for name, value in values.items()}


def knots(values: Mapping[str, Any]) -> Iterator[int]:
    """Return the closed steps at which any of the values has a point, ascending; 0 first."""
    steps = {0} | {step for v in values.values() if isinstance(v, Schedule) for step, _ in v.points}
    return iter(sorted(steps))


def has_schedule(values: Mapping[str, Any]) -> bool:
    """Return True if any of the values is a schedule."""
    return any(isinstance(value, Schedule) for value in values.values())


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as a configuration writes them."""
    return {name: value.config if isinstance(value, Schedule) else value for name, value in values.items()}
