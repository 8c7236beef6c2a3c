"""The profile of a policy on a data set: pass ratio and mean length of each problem, from logged rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .jsonl import Row

MAX_NAME = 512
"""Longest problem_id and data_source, in characters."""


@dataclass(slots=True)
class ProblemProfile:
    """The counts of one problem."""

    data_source: str | None
    rollouts: int = 0
    passes: int = 0
    tokens_sum: int = 0
    tokens_count: int = 0
    gold_unreadable: bool = False

    def line(self, problem_id: str) -> dict[str, Any]:
        """Return the problem as a line of a data set."""
        return {
            "problem_id": problem_id,
            "data_source": self.data_source,
            "pass_ratio": self.passes / self.rollouts if self.rollouts else None,
            "rollouts": self.rollouts,
            "tokens": self.tokens_sum / self.tokens_count if self.tokens_count else None,
        }


@dataclass(slots=True)
class Profile:
    """The counts of all problems, in the order of their first rollout."""

    problems: dict[str, ProblemProfile] = field(default_factory=dict)
    unchecked: int = 0
    undecided: int = 0

    def add(self, row: Row, id_field: str) -> ProblemProfile:
        """Return the problem of a row, made at its first one.

        Raises:
            JsonlError: The row has no valid name of a problem, or another data source than the rows before.
        """
        name = problem_id_of(row, id_field)
        source = row.fields.get("data_source")
        if source is not None and (not isinstance(source, str) or not 0 < len(source) <= MAX_NAME):
            raise row.error(f"data_source must be a text of 1 to {MAX_NAME} characters")
        found = self.problems.get(name)
        if found is None:
            found = self.problems[name] = ProblemProfile(source)
        elif source != found.data_source:
            raise row.error(f"problem {name!r} has the data_source {source!r} here and {found.data_source!r} before")
        return found

    def count(self, problem: ProblemProfile, correct: bool, status: str | None, tokens: int | None) -> None:
        """Count one rollout. Unchecked ones are left out, undecided ones are wrong."""
        if status == "unchecked":
            self.unchecked += 1
            return
        self.undecided += status == "undecided"
        problem.gold_unreadable |= status == "gold_unreadable"
        problem.rollouts += 1
        problem.passes += correct
        if tokens is not None:
            problem.tokens_sum += tokens
            problem.tokens_count += 1

    def kept(self) -> dict[str, ProblemProfile]:
        """Return the problems without those whose gold cannot be read."""
        return {name: one for name, one in self.problems.items() if not one.gold_unreadable}

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the data set."""
        for name, one in self.kept().items():
            yield one.line(name)

    def summary(self) -> dict[str, Any]:
        """Return counts and means over all problems, and by data source."""
        kept = list(self.kept().values())
        by_source: dict[str, list[ProblemProfile]] = {}
        for one in kept:
            if one.data_source is not None:
                by_source.setdefault(one.data_source, []).append(one)
        return {
            **figures(kept),
            "gold_unreadable": len(self.problems) - len(kept),
            "undecided": self.undecided,
            "unchecked": self.unchecked,
            "data_sources": {name: figures(some) for name, some in by_source.items()},
        }


def figures(problems: list[ProblemProfile]) -> dict[str, Any]:
    """Return counts and means of problems: `pass_ratio` over problems, `mean_tokens` over rollouts."""
    measured = [one for one in problems if one.rollouts]
    tokens = sum(one.tokens_count for one in problems)
    return {
        "problems": len(problems),
        "rollouts": sum(one.rollouts for one in problems),
        "pass_ratio": sum(one.passes / one.rollouts for one in measured) / len(measured) if measured else None,
        "mean_tokens": sum(one.tokens_sum for one in problems) / tokens if tokens else None,
        "none_correct": sum(one.passes == 0 for one in measured),
        "all_correct": sum(one.passes == one.rollouts for one in measured),
    }


def problem_id_of(row: Row, id_field: str) -> str:
    """Return the name of a row's problem; a whole number is its digits.

    Raises:
        JsonlError: The row has no name, or it is not valid.
    """
    name = row.fields.get(id_field)
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name) if abs(name) < 10**18 else None
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise row.error(f"needs {id_field}, a text of 1 to {MAX_NAME} characters (--id-field names another field)")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise row.error(f"{id_field} has a lone surrogate, which is no text in UTF-8") from None
    return name


def tokens_of(row: Row) -> int | None:
    """Return the length of a row's rollout, if it has one.

    Raises:
        JsonlError: It is no length.
    """
    tokens = row.fields.get("tokens")
    if tokens is None:
        return None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < 2**31:
        raise row.error("tokens must be a whole number from 0 to 2^31 - 1")
    return tokens
