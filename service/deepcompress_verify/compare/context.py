"""Counted work: the budget of one comparison, the same on every machine, and what ends a tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from deepcompress_verify.compare.forms import Facts, canon, facts
from deepcompress_verify.tree import Node

Oracle: TypeAlias = Callable[[Node, Node], bool | None]
"""Asked whether two scalar trees are equal where the exact tiers cannot tell; None where it cannot either."""

MAX_WORK_UNITS = 60_000
"""Units of work of one comparison. A unit is about one ball operation at 128 bits."""


MAX_NESTING = 60
"""Comparisons inside comparisons: lists in lists, and trees rewritten and compared again."""


class InconclusiveError(Exception):
    """This tier has no say on these trees: not of its kind, or past a limit."""


class UndefinedValueError(Exception):
    """The expression has no value there (division by zero, log of zero)."""


class WorkBudgetExceededError(Exception):
    """The budget of the comparison is spent."""


class NotApplicable:
    """What a rule gives for trees that are none of its business."""


NOT_APPLICABLE = NotApplicable()


@dataclass(slots=True)
class ComparisonContext:
    """What one comparison carries: its budget, the oracle, and what it found out."""

    compare: Callable[[Node, Node, ComparisonContext], bool | None]
    """How two whole answers are compared: structure.judge. Rules for parts come back to it through here."""
    oracle: Oracle | None = None
    budget: int = MAX_WORK_UNITS
    seed: bytes = b""
    """Derived from both texts: where the points are taken."""
    tier: str = ""
    """The deepest tier that had a say."""
    reason: str = ""
    open_reason: str = ""
    """Why something could not be told."""
    _facts: dict[int, tuple[Node, Facts]] = field(default_factory=dict)
    """By identity; the node is kept beside, so that its identity stays its own."""
    _canons: dict[int, tuple[Node, str]] = field(default_factory=dict)
    depth: int = 0

    def facts(self, node: Node) -> Facts:
        """The facts of a tree, found once."""
        known = self._facts.get(id(node))
        if known is None:
            known = (node, facts(node))
            self._facts[id(node)] = known
        return known[1]

    def canon(self, node: Node) -> str:
        """The canonical text of a tree, found once."""
        known = self._canons.get(id(node))
        if known is None:
            known = (node, canon(node))
            self._canons[id(node)] = known
        return known[1]

    def judge(self, gold: Node, answer: Node) -> bool | None:
        """Does the answer say what the gold says? None: cannot tell."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise InconclusiveError
        try:
            return self.compare(gold, answer, self)
        finally:
            self.depth -= 1

    def charge(self, units: int) -> None:
        self.budget -= units
        if self.budget < 0:
            raise WorkBudgetExceededError

    def record(self, tier: str, reason: str) -> None:
        self.tier, self.reason = tier, reason
