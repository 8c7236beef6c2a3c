"""One page of a run's problems, filtered and sorted. Pure: stores give every record, this picks."""

from __future__ import annotations

import base64
import heapq
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from .arithmetic import fold
from .codec import unpack_problem
from .errors import DifficultyError
from .model import ProblemState

Side = Literal["simple", "hard"]
Sort = Literal["problem_id", "pass_ratio", "-pass_ratio"]
Page = tuple[list[ProblemState], str | None]


class BadCursor(DifficultyError):
    """A cursor that this service never gave, or that belongs to another order."""

    slug = "bad-cursor"


def page_of(
    records: Iterable[tuple[str, bytes]],
    levels: Mapping[int, float],
    weight: float,
    *,
    cursor: str | None,
    limit: int,
    side: Side | None,
    sort: Sort,
    search: str | None,
) -> Page:
    """`side` is the side of the last beta; ties of a pass ratio go by problem_id."""
    after = _read_cursor(cursor, sort)

    def key(state: ProblemState) -> tuple[float, str]:
        if sort == "problem_id":
            return (0.0, state.problem_id)
        ratio = state.pass_ratio or 0.0
        return (ratio if sort == "pass_ratio" else -ratio, state.problem_id)

    def wanted() -> Iterable[ProblemState]:
        for problem_id, data in records:
            if search is not None and search not in problem_id:
                continue
            record = unpack_problem(problem_id, data)
            state = fold(record, weight, levels.get(record.tally.step, 0.0))
            if side is not None and side_of(state) != side:
                continue
            if after is None or key(state) > after:
                yield state

    found = heapq.nsmallest(limit + 1, wanted(), key=key)
    if len(found) <= limit:
        return found, None
    return found[:limit], _write_cursor(sort, key(found[limit - 1]))


def side_of(state: ProblemState) -> Side | None:
    if not state.last_beta:
        return None
    return "simple" if state.last_beta > 0 else "hard"


def _write_cursor(sort: Sort, key: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, *key]).encode()).decode()


def _read_cursor(cursor: str | None, sort: Sort) -> tuple[float, str] | None:
    if cursor is None:
        return None
    try:
        said, ratio, problem_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if said != sort:
            raise ValueError(said)
        return float(ratio), str(problem_id)
    except (ValueError, TypeError) as error:
        raise BadCursor("this cursor is not one of this listing: start without one") from error
