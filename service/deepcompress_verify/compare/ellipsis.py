"""Lists that leave items out: 1, 2, ..., 10 beside 1, 2, 3, ..., 10 and beside all ten numbers."""

from __future__ import annotations

from itertools import pairwise

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import canon
from deepcompress_verify.reader.progressions import ELLIPSIS
from deepcompress_verify.tree import Node

_FULL = 3
"""Items that a list without dots must have to say how it goes on."""

Progression = tuple[fmpq, fmpq, bool, str]
"""First, step or ratio, whether it is a ratio, and the last item ("" where it goes on for ever)."""


def same_progression(left: tuple[Node, ...], right: tuple[Node, ...], context: ComparisonContext) -> bool | None:
    """Are both the same arithmetic or geometric progression? None where one of them is neither."""
    one, two = _progressions(left, context), _progressions(right, context)
    if not one or not two:
        return None
    return not one.isdisjoint(two)


def _progressions(items: tuple[Node, ...], context: ComparisonContext) -> set[Progression]:
    """What the items may be. Two items before the dots make an arithmetic progression, three also a geometric one."""
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
            if gap != geometric and _goes_on(values, gap, geometric, tail, context):
                last = tail[-1:] if ELLIPSIS in items else items[-1:]
                result.add((values[0], gap, geometric, canon(last[0]) if last else ""))
    return result


def _goes_on(
    values: list[fmpq], gap: fmpq, geometric: bool, tail: tuple[Node, ...], context: ComparisonContext
) -> bool:
    """Do the items after the dots lie on the progression? Letters are taken at their word."""
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
        return bool(count.q == 1 and count > 1)  # dots leave something out
    value = values[-1]
    for _ in range(64):
        value *= gap
        if value == ends[0]:
            return True
    return False
