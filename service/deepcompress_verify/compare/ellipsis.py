"""Lists with an ellipsis: 1, 2, ..., 10 equals 1, 2, 3, ..., 10 and the list of all ten numbers."""

from __future__ import annotations

from itertools import pairwise

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import canon
from deepcompress_verify.reader.progressions import ELLIPSIS
from deepcompress_verify.tree import Node

_FULL = 3
"""Minimum items of a list without dots that determine a progression."""

Progression = tuple[fmpq, fmpq, bool, str]
"""(first item, step or ratio, True if it is a ratio, last item or "" if infinite)."""


def same_progression(left: tuple[Node, ...], right: tuple[Node, ...], context: ComparisonContext) -> bool | None:
    """Return True if both are the same arithmetic or geometric progression; None if one of them is neither."""
    one, two = _progressions(left, context), _progressions(right, context)
    if not one or not two:
        return None
    return not one.isdisjoint(two)


def _progressions(items: tuple[Node, ...], context: ComparisonContext) -> set[Progression]:
    """Return the possible progressions: two items before the dots can be arithmetic, three also geometric."""
    if ELLIPSIS in items:
        index = items.index(ELLIPSIS)
        shown, tail = items[:index], items[index + 1 :]
        if ELLIPSIS in tail or len(shown) < 2:
            return set()
    else:
        if len(items) < _FULL:
            return set()
        shown, tail = items, ()
    try:
        values = [rational(item, context) for item in shown]
    except (InconclusiveError, UndefinedValueError):
        return set()
    result: set[Progression] = set()
    steps = {b - a for a, b in pairwise(values)}
    ratios = {b / a for a, b in pairwise(values)} if 0 not in values else set()
    for gaps, geometric in ((steps, False), (ratios, True)):
        if len(gaps) == 1 and (not geometric or len(shown) >= _FULL):
            (gap,) = gaps
            if gap != geometric and _continues(values, gap, geometric, tail, context):
                last = tail[-1:] if ELLIPSIS in items else items[-1:]
                result.add((values[0], gap, geometric, canon(last[0]) if last else ""))
    return result


def _continues(
    values: list[fmpq], gap: fmpq, geometric: bool, tail: tuple[Node, ...], context: ComparisonContext
) -> bool:
    """Return True if the items after the dots continue the progression; letters are accepted as the last item."""
    try:
        ends = [rational(item, context) for item in tail]
    except (InconclusiveError, UndefinedValueError):
        return len(tail) == 1
    for before, after in pairwise(ends):
        if after != (before * gap if geometric else before + gap):
            return False
    if not ends:
        return True
    if not geometric:
        count = (ends[0] - values[-1]) / gap
        return bool(count.q == 1 and count > 1)  # dots stand for at least one item
    value = values[-1]
    for _ in range(64):
        value *= gap
        if value == ends[0]:
            return True
    return False
