"""State of one comparison: its budget of counted work, equal on every machine, and the errors that end a tier."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias

from deepcompress_verify.compare.forms import Facts, canon, facts
from deepcompress_verify.tree import Node

Oracle: TypeAlias = Callable[[Node, Node], bool | None]
"""Decides whether two scalar trees are equal if the exact tiers cannot; None if unknown."""

MAX_WORK_UNITS = 20_000
"""Work units of one item: of all its readings and golds together, so that their number does not multiply the work.
One unit is about one operation on intervals at 128 bits. Of 1,374 answers of models none took more than 1,700; all
units take about a tenth of a second."""

_work_left: ContextVar[int | None] = ContextVar("work_left", default=None)
"""Remaining units of the item in progress; None outside of `item_budget`."""


class item_budget:
    """Let all comparisons in the block share one budget of work. Within another such block it has no effect."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        """Begin the block."""
        self._token = _work_left.set(MAX_WORK_UNITS) if _work_left.get() is None else None

    def __exit__(self, *_error: object) -> None:
        """End the block."""
        if self._token is not None:
            _work_left.reset(self._token)


def work_left() -> int:
    """Return the units that a comparison that begins now may use."""
    left = _work_left.get()
    return MAX_WORK_UNITS if left is None else left


MAX_NESTING = 60
"""Maximum nested comparisons: lists in lists, and trees that are rewritten and compared again."""


class InconclusiveError(Exception):
    """No decision: the trees are not of the kind that this tier handles, or they are past a limit."""


class UndefinedValueError(Exception):
    """The expression has no value at this point (division by zero, log of zero)."""


class WorkBudgetExceededError(Exception):
    """The work budget of the comparison is spent."""


class NotApplicable:
    """Returned by a rule that does not apply to this pair."""


NOT_APPLICABLE = NotApplicable()


@dataclass(slots=True)
class ComparisonContext:
    """The budget of one comparison, the oracle, and the recorded results."""

    compare: Callable[[Node, Node, ComparisonContext], bool | None]
    """Compares two complete answers (`judgement.judge`). Rules call it for parts, through `judge`."""
    oracle: Oracle | None = None
    budget: int = field(default_factory=work_left)
    """Remaining work units."""
    seed: bytes = b""
    """Seed of the evaluation points, derived from both texts."""
    tier: str = ""
    """The last tier that gave a result."""
    reason: str = ""
    """The reason of that result."""
    open_reason: str = ""
    """The reason why the comparison is open."""
    _facts: dict[int, tuple[Node, Facts]] = field(default_factory=dict)
    """By id of the node; the node is kept as well, so that its id is not reused."""
    _canons: dict[int, tuple[Node, str]] = field(default_factory=dict)
    depth: int = 0

    def facts(self, node: Node) -> Facts:
        """Return the facts of a tree, computed once."""
        known = self._facts.get(id(node))
        if known is None:
            known = (node, facts(node))
            self._facts[id(node)] = known
        return known[1]

    def canon(self, node: Node) -> str:
        """Return the canonical text of a tree, computed once."""
        known = self._canons.get(id(node))
        if known is None:
            known = (node, canon(node))
            self._canons[id(node)] = known
        return known[1]

    def remember(self, node: Node, text: str, properties: Facts) -> None:
        """Take the canonical text and the facts of a tree that are known already."""
        self._canons[id(node)] = (node, text)
        self._facts[id(node)] = (node, properties)

    def judge(self, gold: Node, answer: Node) -> bool | None:
        """Compare a gold (or a part of it) with an answer: True, False, or None if the result is open.

        Raises:
            InconclusiveError: Comparisons are nested too deeply.
        """
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise InconclusiveError
        try:
            return self.compare(gold, answer, self)
        finally:
            self.depth -= 1

    def charge(self, units: int) -> None:
        """Subtract `units` of work from the budget.

        Raises:
            WorkBudgetExceededError: The budget is spent.
        """
        self.budget -= units
        if self.budget < 0:
            raise WorkBudgetExceededError

    def close(self) -> None:
        """Subtract the work from the budget of the item, at the end of the comparison."""
        if _work_left.get() is not None:
            _work_left.set(max(0, self.budget))

    def record(self, tier: str, reason: str) -> None:
        """Record the tier that decided, and its reason."""
        self.tier, self.reason = tier, reason
