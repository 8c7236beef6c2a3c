"""The list of runs: search, order and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..difficulty.model import RunState

PAGE_RUNS = 24
"""Runs on one page of the list."""

Order = Literal["-changed", "changed", "run", "-run", "-step", "step", "-level", "level", "-pass_ratio", "pass_ratio"]


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The part of the list that a viewer requests."""

    search: str = ""
    """Words that the name contains, in any order and case."""
    order: Order = "-changed"
    page: int = 1

    def matches(self, run: str) -> bool:
        """Return True if the name contains every word of the search."""
        name = run.casefold()
        return all(word in name for word in self.search.casefold().split())


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of the runs that match a query."""

    states: Sequence[RunState]
    page: int
    """The page that is returned: the last one, if the query's is beyond it."""
    pages: int
    matching: int
    total: int
    """Runs that the viewer may see."""


def select(
    states: Iterable[RunState], changed: dict[str, float | None], query: RunQuery, allows: Callable[[str], bool]
) -> RunPage:
    """Return the query's page of the runs that `allows` accepts.

    Runs of equal value are in the order of their names. Runs without a value come last.
    """
    allowed = [state for state in states if allows(state.run)]
    found = sorted((state for state in allowed if query.matches(state.run)), key=lambda state: state.run)
    key, descending = query.order.removeprefix("-"), query.order.startswith("-")
    if key == "run":
        found.sort(key=lambda state: state.run, reverse=descending)
    else:
        values = {state.run: _value(state, changed, key) for state in found}
        known = [state for state in found if values[state.run] is not None]
        known.sort(key=lambda state: values[state.run] or 0.0, reverse=descending)
        found = known + [state for state in found if values[state.run] is None]
    pages = max(1, -(-len(found) // PAGE_RUNS))
    page = min(max(1, query.page), pages)
    shown = found[(page - 1) * PAGE_RUNS : page * PAGE_RUNS]
    return RunPage(shown, page, pages, len(found), len(allowed))


def _value(state: RunState, changed: dict[str, float | None], key: str) -> float | None:
    if key == "changed":
        return changed.get(state.run)
    if key == "level":
        return state.level if state.kind else None
    return state.step if key == "step" else state.batch_pass_ratio
