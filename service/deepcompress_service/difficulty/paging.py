"""One page of a run's problems, filtered and sorted. Pure: stores read records in portions and add them to the page.

For a page by problem_id, a store reads its records in that order, from the cursor on, until the page is full. For a
page by pass ratio it reads every record, and only those of the page are kept.
"""

from __future__ import annotations

import base64
import heapq
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

from .arithmetic import present_problem
from .codec import unpack_problem
from .errors import DifficultyError
from .model import ProblemState

Side = Literal["simple", "hard"]
Sort = Literal["problem_id", "pass_ratio", "-pass_ratio"]
Page = tuple[list[ProblemState], str | None]
MANY = 1000
_SORT_FIELDS = struct.Struct("<8xd8xd4xB24xdII")
"""Pass ratio, last beta and flags of a problem's record; step, attempts and passes of its tally."""
_SortedRecord = tuple[float, str, bytes]
"""The sort key (0 if the page is ordered by problem_id), the problem_id, and its record."""


class BadCursor(DifficultyError):
    """A cursor that is not valid, or that belongs to another order."""

    slug = "bad-cursor"


class PageBuilder:
    """A page that is being filled. `side` is the side of the last beta; equal pass ratios are sorted by problem_id.

    `level_at` returns the level at the end of a step. It is called for the problems that the filter by `side`
    needs it for, and for those of the page.

    Raises:
        BadCursor: The cursor is not one of this order.
    """

    def __init__(
        self,
        weight: float,
        level_at: Callable[[int], float],
        *,
        cursor: str | None,
        limit: int,
        side: Side | None,
        sort: Sort,
        search: str | None,
    ) -> None:
        self._weight = weight
        self._level_at = level_at
        self._limit = limit
        self._side = side
        self._sort: Sort = sort
        self._search = search
        self._after = _read_cursor(cursor, sort)
        self._found: list[_SortedRecord] = []

    @property
    def ordered(self) -> bool:
        """True if the records must be added by problem_id, from `start` on."""
        return self._sort == "problem_id"

    @property
    def start(self) -> str | None:
        """The problem_id after which an ordered page begins; None: it begins with the first problem."""
        return self._after[1] if self._after and self.ordered else None

    @property
    def portion(self) -> int:
        """Number of records to read next: the rest of the page, and one more that shows if another page follows.

        MANY if a filter may skip most of them.
        """
        return self._limit + 1 - len(self._found) if self._side is self._search is None else MANY

    def fits(self, problem_id: str) -> bool:
        """Return whether the page may contain a problem of this name."""
        return self._search is None or self._search in problem_id

    def steps(self, records: Iterable[tuple[str, bytes]]) -> set[int]:
        """Return the steps whose levels `add` needs for these records."""
        return {_sort_fields(data, self._weight)[1] for _, data in records} if self._side is not None else set()

    def steps_of_page(self) -> set[int]:
        """Return the steps whose levels `page` needs."""
        return {_sort_fields(data, self._weight)[1] for _, _, data in self._found}

    def add(self, records: Iterable[tuple[str, bytes]]) -> bool:
        """Add a batch of records; return False if the page needs no more."""
        if self.ordered:
            for one in self._fitting(records):
                self._found.append(one)
                if len(self._found) > self._limit:
                    return False
            return True
        self._found = heapq.nsmallest(self._limit + 1, chain(self._found, self._fitting(records)))
        return True

    def _fitting(self, records: Iterable[tuple[str, bytes]]) -> Iterator[_SortedRecord]:
        sign = -1.0 if self._sort == "-pass_ratio" else 1.0
        for problem_id, data in records:
            if not self.fits(problem_id):
                continue
            ratio, step, beta, newest = _sort_fields(data, self._weight)
            if self._side is not None:
                if newest is not None:
                    beta = newest - self._level_at(step)
                if not (beta > 0 if self._side == "simple" else beta < 0):
                    continue
            key = (0.0 if self.ordered else sign * ratio, problem_id)
            if self._after is None or key > self._after:
                yield (*key, data)

    def page(self) -> Page:
        """Return the problems, and the cursor of the next page (None on the last)."""
        states = [self._state(problem_id, data) for _, problem_id, data in self._found[: self._limit]]
        if len(self._found) <= self._limit:
            return states, None
        return states, _write_cursor(self._sort, self._found[self._limit - 1][:2])

    def _state(self, problem_id: str, data: bytes) -> ProblemState:
        record = unpack_problem(problem_id, data)
        return present_problem(record, self._weight, self._level_at(record.delta.step))


def _sort_fields(data: bytes, weight: float) -> tuple[float, int, float, float | None]:
    """Return the fields of a problem's record that listings sort and filter by, without unpacking the rest.

    Returns its smoothed pass ratio (0 if it has none), the step of its delta, its last beta before that step (0 if
    none), and the pass ratio of that step, from which the newest beta follows (None if nothing was added).
    """
    ratio, beta, flags, step, attempts, passes = _SORT_FIELDS.unpack_from(data)
    if not attempts:
        return ratio, int(step), beta, None
    newest = passes / attempts
    return ((1.0 - weight) * ratio + weight * newest if flags & 1 else newest), int(step), beta, newest


def _write_cursor(sort: Sort, key: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, *key]).encode()).decode()


def _read_cursor(cursor: str | None, sort: Sort) -> tuple[float, str] | None:
    if cursor is None:
        return None
    try:
        order, ratio, problem_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if order != sort:
            raise ValueError(order)
        problem_id.encode()  # no name has lone surrogates
        return float(ratio), problem_id
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadCursor("this cursor is not one of this listing: start without one") from error
