"""Sets of consecutive integers in words and in symbols: integers greater than 2, n >= 3, {3, 4, 5, ...}."""

from __future__ import annotations

import re
from typing import NamedTuple

from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, NotApplicable
from deepcompress_verify.tree import (
    Const,
    List,
    Neg,
    Node,
    Num,
    Qualified,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Tuple,
    walk,
)

_WORDS = re.compile(
    r"(?:the )?(?:set of )?(?:all )?(?:the )?integers?(?: (?P<letter>[a-z]))?"
    r"(?: (?:that are|that is|which are|with|such that|where)(?: [a-z])?)?"
    r" ?(?:is |are |being )?(?:strictly )?"
    r"(?P<bound>(?:greater|larger|bigger|more|less|smaller|fewer) than(?: or equal to)?|at least|at most"
    r"|not less than|not greater than|>=?|<=?|from) (?P<first>(?:minus )?\d{1,6})"
    r"(?: (?:to|through) (?P<last>(?:minus )?\d{1,6}))?(?: inclusive)?"
)
_DOTS = Sym("...")


class Integers(NamedTuple):
    """The integers from `low` to `high`; None without an end."""

    low: int | None
    high: int | None


_NAMED = {
    "positive integers": Integers(1, None),
    "nonnegative integers": Integers(0, None),
    "non negative integers": Integers(0, None),
    "negative integers": Integers(None, -1),
    "nonpositive integers": Integers(None, 0),
}


def compare_integers(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable:
    """Compare integers greater than 2 with n >= 3, n in Z, and with {3, 4, 5, ...}; never with an interval."""
    meant, stated = consecutive(gold), consecutive(answer)
    if meant is None and stated is not None and isinstance(gold, (List, Set)):
        meant = as_integers(gold, answer, stated)
    if meant is not None and stated is None:
        if isinstance(gold, Qualified) and _is_of_reals(answer):
            context.record("region", "integers, and an interval of reals")
            return False
        stated = as_integers(answer, gold, meant)
    if meant is None or stated is None:
        return NOT_APPLICABLE
    context.record("text", "the same integers" if meant == stated else "other integers")
    return meant == stated


def _is_of_reals(node: Node) -> bool:
    """Return True for an interval, a union of intervals, and x > 2 with x in R."""
    if isinstance(node, Qualified):
        return node.condition.split()[-1] in ("R", "reals", "real")
    if isinstance(node, SetOp):
        return any(map(_is_of_reals, node.args))
    return (isinstance(node, Tuple) and len(node.items) == 2) or node == Const("R")


def consecutive(node: Node) -> Integers | None:
    """Return the consecutive integers that a tree is; None for anything else."""
    if isinstance(node, Text):
        return _of_words(node.words)
    if isinstance(node, Set):
        return _listed(node)
    if isinstance(node, SetBuilder):
        element, condition = node.element, node.condition
        if isinstance(element, Rel):
            return _bounded(condition, element)
        if isinstance(condition, List) and len(condition.items) == 2 and condition.word != "or":
            one, two = condition.items
            return _bounded(one, two) or _bounded(two, one)
        return None
    if isinstance(node, Qualified):
        words = node.condition.split()
        if len(words) == 3 and words[1] == "in" and words[2] in ("Z", "N"):
            return _bounded(node.value, Rel((Sym(words[0]), Const(words[2])), ("in",)))
        return None
    if isinstance(node, List) and len(node.items) == 2 and node.word != "or":
        return _bounded(*node.items) or _bounded(*reversed(node.items))
    return None


def as_integers(node: Node, gold: Node, other: Integers) -> Integers | None:
    """Return what a tree is beside consecutive integers: a list is its members.

    An inequality is one of integers if the gold is an inequality of the same letter: x >= 3 beside x > 2, x in Z.
    """
    if isinstance(node, Rel):
        letters = [term for term in node.terms if isinstance(term, Sym)]
        named = len(letters) == 1 and isinstance(gold, (Qualified, SetBuilder)) and letters[0] in set(walk(gold))
        return _bounded(node, Rel((letters[0], Const("Z")), ("in",))) if named else None
    if not isinstance(node, (List, Set)) or None in other:
        return None
    members = [_number(item) for item in node.items]
    if None in members or len(set(members)) != len(members):
        return None
    known = sorted(member for member in members if member is not None)
    return Integers(known[0], known[-1]) if known[-1] - known[0] == len(known) - 1 else None


def _of_words(words: str) -> Integers | None:
    if (named := _NAMED.get(words.removeprefix("the ").removeprefix("set of ").removeprefix("all "))) is not None:
        return named
    match = _WORDS.fullmatch(words)
    if match is None:
        return None
    bound, first = match["bound"], _integer(match["first"])
    if (bound == "from") != (match["last"] is not None):
        return None
    if bound == "from":
        return Integers(first, _integer(match["last"]))
    closed = "equal" in bound or "=" in bound or bound.startswith(("at", "not"))
    if bound.startswith((">", "gr", "la", "bi", "mo", "at least", "not less")):
        return Integers(first + (not closed), None)
    return Integers(None, first - (not closed))


def _integer(text: str) -> int:
    return int(text.replace("minus ", "-"))


def _listed(node: Set) -> Integers | None:
    """Return {3, 4, 5, ...} and {1, 2, ..., 9}; three consecutive members or more, or the last one, must be there."""
    items = [_number(item) for item in node.items]
    if _DOTS not in node.items or len(items) < 4:
        return None
    dots = node.items.index(_DOTS)
    begin = items[:dots]
    if None in begin or len(begin) < 2 or begin != list(range(begin[0] or 0, (begin[0] or 0) + len(begin))):
        return None
    if dots == len(items) - 1:
        return Integers(begin[0], None) if len(begin) > 2 else None
    return Integers(begin[0], items[-1]) if dots == len(items) - 2 and items[-1] is not None else None


def _number(node: Node) -> int | None:
    if isinstance(node, Neg):
        inner = _number(node.arg)
        return None if inner is None else -inner
    return node.p if isinstance(node, Num) and node.q == 1 and node.decimals is None else None


def _bounded(relation: Node, member: Node) -> Integers | None:
    """Return the integers of an inequality, "x > 2", with "x in Z"; those of N must have a lower bound."""
    if not isinstance(relation, Rel) or not isinstance(member, Rel) or member.ops != ("in",):
        return None
    letter, kind = member.terms
    if not isinstance(letter, Sym) or not isinstance(kind, Const) or kind.name not in ("Z", "N"):
        return None
    terms, ops = list(relation.terms), list(relation.ops)
    if not ops or not {"<", "<=", ">", ">="}.issuperset(ops) or len({op[0] for op in ops}) > 1:
        return None
    if ops[0][0] == ">":
        terms, ops = terms[::-1], ops[::-1]
    if letter not in terms or terms.count(letter) > 1 or len(terms) > 3:
        return None
    place = terms.index(letter)
    low = high = None
    for index, term in enumerate(terms):
        if index == place:
            continue
        value = _number(term)
        if value is None or abs(index - place) != 1:
            return None
        strict = len(ops[min(index, place)]) == 1
        if index < place:
            low = value + strict
        else:
            high = value - strict
    return None if kind.name == "N" and (low is None or low < 1) else Integers(low, high)
