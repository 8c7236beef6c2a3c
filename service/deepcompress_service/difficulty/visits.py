"""Problems of a data set by the closed step of their last visit, for policies that retire (docs/design.md, 5.12).

How many problems of a stratum are retired is needed before any is drawn. It is counted once, from the records of the
last closed steps, then kept up to date by each step that closes, and forgotten where bins change in any other way.
``stores/lua/visits.lua`` is the same for Redis.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .bins import Stratum, bin_of_stratum
from .codec import STATE_BYTES

Visit = tuple[int | None, Stratum, Stratum]
"""Of a problem that a step touched: step of its visit before, stratum before and after."""
_VISIT_FIELDS = struct.Struct(f"<{STATE_BYTES - 8}xddI")
"""Last step of a problem's state; step and attempts of its tally."""


@dataclass(slots=True)
class VisitCounts:
    """Problems of the bins from `least_bin` on, by closed step of their last visit and by stratum."""

    least_bin: int
    steps: int
    """The number of closed steps that are counted: the newest."""
    counts: dict[int, dict[Stratum, int]] = field(default_factory=dict)

    def covers(self, least_bin: int, steps: int) -> bool:
        """Return True if the problems of these bins and of as many steps are counted."""
        return self.least_bin <= least_bin and self.steps >= steps

    def since(self, step: int, least_bin: int) -> dict[Stratum, int]:
        """Return the problems by stratum whose last visit was in this closed step or later."""
        found: Counter[Stratum] = Counter()
        for visited, counts in self.counts.items():
            if visited >= step:
                found.update(counts)
        return {stratum: count for stratum, count in found.items() if count and bin_of_stratum(stratum) >= least_bin}

    def add(self, step: int | None, stratum: Stratum, count: int) -> None:
        """Add a number of problems, which may be negative, to those of a step, if they are counted."""
        if step in self.counts and bin_of_stratum(stratum) >= self.least_bin:
            counts = self.counts[step]
            counts[stratum] = counts.get(stratum, 0) + count

    def close(self, step: int, visits: Iterable[Visit]) -> None:
        """Count the visits of a step that closes."""
        self.counts[step] = {}
        for before, old, new in visits:
            self.add(before, old, -1)
            self.add(step, new, 1)
        for visited in sorted(self.counts)[: -self.steps]:
            del self.counts[visited]


def count_visits(least_bin: int, steps: int, visited: Mapping[int, Mapping[str, Stratum]]) -> VisitCounts:
    """Return the counts of steps, from the strata of the problems that each of them touched."""
    counts, seen = VisitCounts(least_bin, steps), set[str]()
    for step in sorted(visited, reverse=True):
        counts.counts[step] = {}
        for problem_id, stratum in visited[step].items():
            if problem_id not in seen:
                seen.add(problem_id)
                counts.add(step, stratum, 1)
    return counts


def last_visit(data: bytes, closed: int) -> int:
    """Return the last step up to `closed` in which a problem counted, from its record; -1 if unknown."""
    before, step, attempts = _VISIT_FIELDS.unpack_from(data)
    return int(step if attempts and step <= closed else before)
