"""The interface between the semantics of samples and a store: one run's data set and recorded samples.

As a `RunTransaction`, a `ProblemIndex` reads and writes inside a transaction, and decides nothing. The data set
belongs to the run: checkpoints do not contain it, and `wipe` and `copy` of a state keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from .bins import Stratum
from .dataset import DatasetRecord, Entry


class ProblemIndex(Protocol):
    """The data set of one run, ordered by (source, bin, place, problem_id), and its samples."""

    def load(self) -> DatasetRecord | None:
        """Return the record of the data set; None if none is registered."""

    def save(self, record: DatasetRecord) -> None:
        """Store the record of the data set."""

    def add(self, entries: Mapping[str, Entry]) -> bool:
        """Insert entries; return False if one of the problems was there before (then the transaction is given up)."""

    def entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Return entries by problem_id, without those that do not exist."""

    def move(self, entries: Mapping[str, tuple[Entry, Entry]]) -> None:
        """Replace entries, by the problem_id the old and the new one: they have another bin."""

    def counts(self) -> dict[Stratum, int]:
        """Return the number of problems of each stratum that has any."""

    def window(self, stratum: Stratum, first: int, last: int) -> list[str]:
        """Return the problems of a stratum whose place is at least `first` and below `last`, by (place, id)."""

    def whole(self, first: Stratum, last: Stratum) -> dict[Stratum, list[str]]:
        """Return all problems of the strata of one data source from `first` to `last`, by (place, id)."""

    def after(self, problem_id: str, limit: int) -> dict[str, Entry]:
        """Return the next entries after `problem_id` ("": from the first), ids ascending."""

    def all(self) -> Iterator[tuple[str, Entry]]:
        """Iterate lazily over all entries, for an export."""

    def sample(self, step: int) -> str | None:
        """Return the recorded sample of a step; None if there is none."""

    def put_sample(self, step: int, text: str) -> None:
        """Record the sample of a step."""

    def sampled_steps(self) -> list[int]:
        """Return the steps that have a recorded sample, ascending."""

    def drop_samples(self, steps: Iterable[int]) -> None:
        """Delete recorded samples that exist."""
