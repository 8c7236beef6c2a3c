"""The data set and the samples of a run in `memory://`: a sorted list for each stratum."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..bins import PLACES, Stratum
from ..dataset import DatasetRecord, Entry


@dataclass(slots=True)
class MemoryIndex:
    """Implements `ProblemIndex`."""

    record: DatasetRecord | None = None
    problems: dict[str, Entry] = field(default_factory=dict)
    strata: dict[Stratum, list[tuple[int, str]]] = field(default_factory=dict)
    """(place, problem_id) of the problems of each stratum, ascending unless the stratum is in `unsorted`."""
    unsorted: set[Stratum] = field(default_factory=set)
    """Strata that problems were appended to: each is sorted once, when it is used."""
    samples: dict[int, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """The problem_ids ascending, as of the last `after`; out of date if it has another length than `problems`."""

    def load(self) -> DatasetRecord | None:
        """Implement `ProblemIndex.load`."""
        return copy.deepcopy(self.record)

    def save(self, record: DatasetRecord) -> None:
        """Implement `ProblemIndex.save`."""
        self.record = copy.deepcopy(record)

    def add(self, entries: Mapping[str, Entry]) -> bool:
        """Implement `ProblemIndex.add`."""
        if not self.problems.keys().isdisjoint(entries):
            return False
        self.problems.update(entries)
        for problem_id, entry in entries.items():
            self.strata.setdefault(entry.stratum, []).append((entry.place, problem_id))
            self.unsorted.add(entry.stratum)
        return True

    def _sorted(self, stratum: Stratum) -> list[tuple[int, str]]:
        problems = self.strata.setdefault(stratum, [])
        if stratum in self.unsorted:
            problems.sort()
            self.unsorted.remove(stratum)
        return problems

    def entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Implement `ProblemIndex.entries`."""
        return {name: self.problems[name] for name in ids if name in self.problems}

    def move(self, entries: Mapping[str, tuple[Entry, Entry]]) -> None:
        """Implement `ProblemIndex.move`."""
        for problem_id, (old, new) in entries.items():
            stratum = self._sorted(old.stratum)
            del stratum[bisect_left(stratum, (old.place, problem_id))]
            insort(self._sorted(new.stratum), (new.place, problem_id))
            self.problems[problem_id] = new

    def counts(self) -> dict[Stratum, int]:
        """Implement `ProblemIndex.counts`."""
        return {stratum: len(problems) for stratum, problems in self.strata.items() if problems}

    def window(self, stratum: Stratum, first: int, last: int) -> list[str]:
        """Implement `ProblemIndex.window`."""
        problems = self._sorted(stratum)
        return [name for _, name in problems[bisect_left(problems, (first, "")) : bisect_left(problems, (last, ""))]]

    def whole(self, first: Stratum, last: Stratum) -> dict[Stratum, list[str]]:
        """Implement `ProblemIndex.whole`."""
        return {stratum: self.window(stratum, 0, PLACES) for stratum in range(first, last + 1)}

    def after(self, problem_id: str, limit: int) -> dict[str, Entry]:
        """Implement `ProblemIndex.after`."""
        if len(self.names) != len(self.problems):  # problems are added, and never taken away
            self.names = sorted(self.problems)
        start = bisect_right(self.names, problem_id)
        names = self.names[start : start + limit]
        return {name: self.problems[name] for name in names}

    def all(self) -> Iterator[tuple[str, Entry]]:
        """Implement `ProblemIndex.all`."""
        return iter(sorted(self.problems.items()))

    def sample(self, step: int) -> str | None:
        """Implement `ProblemIndex.sample`."""
        return self.samples.get(step)

    def put_sample(self, step: int, text: str) -> None:
        """Implement `ProblemIndex.put_sample`."""
        self.samples[step] = text

    def sampled_steps(self) -> list[int]:
        """Implement `ProblemIndex.sampled_steps`."""
        return sorted(self.samples)

    def drop_samples(self, steps: Iterable[int]) -> None:
        """Implement `ProblemIndex.drop_samples`."""
        for step in steps:
            del self.samples[step]
