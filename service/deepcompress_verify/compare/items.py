"""Comparison of several answers with several, in order or in any order."""

from __future__ import annotations

from deepcompress_verify.compare.context import ComparisonContext
from deepcompress_verify.compare.forms import canon
from deepcompress_verify.tree import Div, List, Matrix, Node, Num, Rel, Set, Tuple

MAX_PAIRS = 4_096

COLLECTIONS = (Tuple, List, Set, Matrix)


def has_no_value(node: Node) -> bool:
    """Return True for a quotient with denominator 0."""
    return isinstance(node, Div) and node.bottom == Num(0)


def distinct(items: list[Node]) -> list[Node]:
    """Return the items without repeats (by canonical text), in order."""
    return list({canon(item): item for item in items}.values())


def in_order(left: tuple[Node, ...], right: tuple[Node, ...], context: ComparisonContext) -> bool | None:
    """Compare item by item. A certain difference outweighs an open comparison."""
    if len(left) != len(right):
        return False
    open_ = False
    for a, b in zip(left, right, strict=True):
        result = context.judge(a, b)
        if result is False:
            return False
        open_ = open_ or result is None
    return None if open_ else True


def same_items(left: list[Node], right: list[Node], context: ComparisonContext) -> bool | None:
    """Compare the items in any order.

    Repeated points and relations count once; repeated numbers count each time.
    """
    if len(left) != len(right):
        left, right = _without_repeats(left), _without_repeats(right)
        if len(left) != len(right):
            context.record("structure", f"{len(left)} items against {len(right)}")
            return False
    left, right = _strip_common(left, right)
    if len(left) * len(right) > MAX_PAIRS:
        return None
    open_ = False
    unmatched = list(right)
    for item in left:
        open_match = False
        for index, other in enumerate(unmatched):
            result = context.judge(item, other)
            if result:
                del unmatched[index]
                break
            open_match = open_match or result is None
        else:
            if not open_match:
                context.record("structure", "an item has no counterpart")
                return False
            open_ = True
    if open_:
        return None
    context.record(context.tier if len(left) == 1 else "structure", "the same items")
    return True


def _without_repeats(items: list[Node]) -> list[Node]:
    if all(isinstance(i, (Tuple, Rel)) for i in items):
        return distinct(items)
    return items


def _strip_common(left: list[Node], right: list[Node]) -> tuple[list[Node], list[Node]]:
    """Remove items with the same canonical text from both sides, in linear time."""
    counts: dict[str, int] = {}
    for item in right:
        key = canon(item)
        counts[key] = counts.get(key, 0) + 1
    rest: list[Node] = []
    for item in left:
        key = canon(item)
        if counts.get(key, 0) and not has_no_value(item):
            counts[key] -= 1
        else:
            rest.append(item)
    others: list[Node] = []
    for item in reversed(right):
        key = canon(item)
        if counts.get(key, 0):
            counts[key] -= 1
            others.append(item)
    others.reverse()
    return rest, others


def tuples_equal(gold: Tuple, answer: Tuple, context: ComparisonContext) -> bool | None:
    """Compare two tuples in order; the brackets of pairs must be equal as well."""
    if len(gold.items) != len(answer.items):
        context.record("structure", f"{len(gold.items)} items against {len(answer.items)}")
        return False
    if len(gold.items) == 2 and (gold.left, gold.right) != (answer.left, answer.right):
        context.record("structure", "different brackets")
        return False
    return in_order(gold.items, answer.items, context)
