"""Comparing several answers with several: in order, or in any order."""

from __future__ import annotations

from deepcompress_verify.compare.forms import canon
from deepcompress_verify.compare.work import Work
from deepcompress_verify.tree import Div, List, Matrix, Node, Num, Rel, Set, Tuple

MAX_PAIRS = 4_096

COLLECTIONS = (Tuple, List, Set, Matrix)


def has_no_value(node: Node) -> bool:
    return isinstance(node, Div) and node.bottom == Num(0)


def distinct(items: list[Node]) -> list[Node]:
    return list({canon(item): item for item in items}.values())


def in_order(ours: tuple[Node, ...], theirs: tuple[Node, ...], work: Work) -> bool | None:
    """Item by item. A certain difference outweighs an open one."""
    if len(ours) != len(theirs):
        return False
    open_ = False
    for a, b in zip(ours, theirs, strict=True):
        found = work.judge(a, b)
        if found is False:
            return False
        open_ = open_ or found is None
    return None if open_ else True


def same_items(ours: list[Node], theirs: list[Node], work: Work) -> bool | None:
    """The same items in any order. Repeated points count once; repeated numbers count as often as they stand."""
    if len(ours) != len(theirs):
        ours, theirs = _without_repeats(ours), _without_repeats(theirs)
        if len(ours) != len(theirs):
            work.say("structure", f"{len(ours)} items against {len(theirs)}")
            return False
    ours, theirs = _strip_common(ours, theirs)
    if len(ours) * len(theirs) > MAX_PAIRS:
        return None
    open_ = False
    left = list(theirs)
    for item in ours:
        maybe = False
        for place, other in enumerate(left):
            found = work.judge(item, other)
            if found:
                del left[place]
                break
            maybe = maybe or found is None
        else:
            if not maybe:
                work.say("structure", "an item has no counterpart")
                return False
            open_ = True
    if open_:
        return None
    work.say(work.tier if len(ours) == 1 else "structure", "the same items")
    return True


def _without_repeats(items: list[Node]) -> list[Node]:
    if all(isinstance(i, (Tuple, Rel)) for i in items):
        return distinct(items)
    return items


def _strip_common(ours: list[Node], theirs: list[Node]) -> tuple[list[Node], list[Node]]:
    """Take out items that are equal as they stand, in linear time."""
    counts: dict[str, int] = {}
    for item in theirs:
        key = canon(item)
        counts[key] = counts.get(key, 0) + 1
    rest: list[Node] = []
    for item in ours:
        key = canon(item)
        if counts.get(key, 0) and not has_no_value(item):
            counts[key] -= 1
        else:
            rest.append(item)
    others: list[Node] = []
    for item in reversed(theirs):
        key = canon(item)
        if counts.get(key, 0):
            counts[key] -= 1
            others.append(item)
    others.reverse()
    return rest, others


def tuples_equal(gold: Tuple, answer: Tuple, work: Work) -> bool | None:
    if len(gold.items) != len(answer.items):
        work.say("structure", f"{len(gold.items)} items against {len(answer.items)}")
        return False
    if len(gold.items) == 2 and (gold.left, gold.right) != (answer.left, answer.right):
        work.say("structure", "different brackets")
        return False
    return in_order(gold.items, answer.items, work)
