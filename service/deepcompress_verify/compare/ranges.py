"""The range that an answer states beside a formula: x^2 for x > 0, 2^n - 1 for n >= 1.

The domain of a formula is that of the gold. An answer may state it, and may not make it smaller.
"""

from __future__ import annotations

from flint import acb, fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.forms import has_constant, rename, symbols
from deepcompress_verify.compare.interval_arithmetic import Evaluator, ValueTooLargeError, precision
from deepcompress_verify.reader import read
from deepcompress_verify.reader.words import is_variable
from deepcompress_verify.tree import Apply, Node, Num, Qualified, Rel, Sym, Tuple

_BITS = 128
_COUNTERS = frozenset("ijklmnNMK")
"""Letters of formulas for integers, which begin somewhere: n >= 1, k >= 2."""
_FIRST = 3
"""Largest integer at which such a formula may begin."""
_LARGE = 10**6
_SETS = frozenset("NZQRC")
PARITIES = frozenset(["even", "odd", "prime", "composite"])
_PARTIAL = PARITIES | {"some"}
_VARIABLES = frozenset("nxt")
"""Variables of a formula without a name."""
_CONSTANTS = frozenset(("constant", "constants"))
_EVERY = frozenset(["all", "every", "each", "any"])
_POINTS = tuple(fmpq(p, 4) for p in (-4001, -41, -14, -6, -2, 1, 2, 6, 14, 4001))
"""Values of the variable; their denominators are even, so that no odd root of a negative number hides a domain."""


def stated_range(condition: str) -> Rel | None:
    """Return the inequality in a condition, "for all x > 0", or its interval, "x in [0, 1]"; None for others."""
    interval = " in [" in condition or " in (" in condition
    if "<" not in condition and ">" not in condition and not interval:
        return None
    words = condition.split()
    while words and len(words[0]) > 1 and words[0].isalpha():
        del words[0]
    result = read(" ".join(words).replace(" in ", " \\in "))
    return result if isinstance(result, Rel) and not (interval and not isinstance(result.terms[-1], Tuple)) else None


def with_letter_of(gold: Node, answer: Node) -> Node:
    """Return n = 2^m, m >= 1 with the parameter of a gold n = 2^k, k >= 1; any other answer as it is."""
    letters = _counter(gold), _counter(answer)
    if None in letters or letters[0] == letters[1]:
        return answer
    assert isinstance(answer, Qualified)
    meant, stated = (letter or "" for letter in letters)
    if meant in symbols(answer.value):
        return answer
    condition = " ".join(meant if word == stated else word for word in answer.condition.split())
    return Qualified(rename(answer.value, {stated: meant}), condition)


def _counter(node: Node) -> str | None:
    """Return the k of n = 2^k, k >= 1: the one letter of the formula and of its range, with a name of its own."""
    if not isinstance(node, Qualified) or not isinstance(node.value, Rel):
        return None
    name, formula = _parts(node.value)
    letters = symbols(formula)
    if not isinstance(name, Sym) or len(letters) != 1 or not is_variable(name.name) or name.name in letters:
        return None
    (letter,) = letters
    relation = stated_range(node.condition) if letter in _COUNTERS else None
    return letter if relation is not None and symbols(relation) == letters else None


def narrows(gold: Node, answer: Qualified, context: ComparisonContext) -> bool:
    """Return True if the answer states a formula for fewer values of its variable than the gold: x^2 for x > 0."""
    words = answer.condition.split()
    if _is_inequality(answer.value) and words[1:] in (["in", "Z"], ["in", "N"]) and words[0] not in _COUNTERS:
        return True  # integers x > 2 for x > 2
    if words[0] != "where" and not _PARTIAL.isdisjoint(words) and _CONSTANTS.isdisjoint(words):
        variables = symbols(_parts(gold)[0]) if isinstance(_parts(gold)[0], Apply) else _VARIABLES
        if "some" not in words or not variables.isdisjoint(words):
            return True  # for even n, for some n; but not k x for some k
    return any(_makes_smaller(gold, piece, context) for piece in answer.condition.split(" , "))


def other_declaration(gold: Node, answer: Node) -> bool:
    """Return True if the answer declares several letters, a, b in Z, and their set is not that of the gold.

    Letters that the gold declares no set of are real numbers.
    """
    stated = _declaration(answer)
    return bool(stated) and stated != (_declaration(gold) or "R")


def _declaration(node: Node) -> str:
    """Return the set of "a, b in Z"; an empty text for anything else."""
    words = node.condition.split() if isinstance(node, Qualified) else []
    several = len(words) > 4 and words[-2] == "in" and words[-1] in _SETS and set(words[1:-2:2]) == {","}
    return words[-1] if several and all(len(word) == 1 for word in words[:-2:2]) else ""


def _is_inequality(node: Node) -> bool:
    return isinstance(node, Rel) and bool(node.ops) and all(op[0] in "<>" and len(op) < 3 for op in node.ops)


def _makes_smaller(gold: Node, condition: str, context: ComparisonContext) -> bool:
    """Return True if a condition leaves out values of the variable at which the gold has one."""
    relation = stated_range(condition)
    if relation is None:
        return False
    name, formula = _parts(gold)
    bounds = _bounds(relation)
    if bounds is None or bounds[0] not in symbols(formula):
        return not symbols(relation).isdisjoint(symbols(formula))
    letter, low, high = bounds
    start = low.p if isinstance(low, Num) and low.q == 1 else None
    if letter in _COUNTERS and (high is None or symbols(high)):
        counted = start is not None and 0 <= start <= _FIRST
        family = has_constant(formula, "pi") or (isinstance(name, Sym) and is_variable(name.name))
        return not counted or (family and not _names(name, letter))
    if high is None and start == 0 and (letter == "t" or not _EVERY.isdisjoint(condition.split())):
        return False  # times, and functions of positive numbers
    return _has_values_outside(formula, letter, low, high, context)


def _parts(node: Node) -> tuple[Node, Node]:
    """Return the name and the formula of f(x) = x^2; a formula without a name names itself by a number."""
    if isinstance(node, Rel) and node.ops == ("=",) and isinstance(node.terms[0], (Sym, Apply)):
        return node.terms[0], node.terms[1]
    return Num(0), node


def _names(name: Node, letter: str) -> bool:
    """Return True for f(n), and for a_n."""
    return letter in symbols(name) or (isinstance(name, Sym) and letter in name.name.partition("_")[2])


def _bounds(relation: Rel) -> tuple[str, Node | None, Node | None] | None:
    """Return (letter, lower bound, upper bound) of a < x < b, x > a or x in [a, b]; None for anything else."""
    terms, ops = list(relation.terms), list(relation.ops)
    if ops == ["in"] and isinstance(terms[0], Sym) and isinstance(terms[1], Tuple) and len(terms[1].items) == 2:
        return terms[0].name, *terms[1].items
    if any(op[:1] not in "<>" or op in ("<=>",) for op in ops) or not 2 <= len(terms) <= 3:
        return None
    if ops[0][0] == ">":
        terms.reverse()
    if len({op[0] for op in ops}) > 1:
        return None
    if len(terms) == 3:
        return (terms[1].name, terms[0], terms[2]) if isinstance(terms[1], Sym) else None
    if isinstance(terms[0], Sym):
        return terms[0].name, None, terms[1]
    return (terms[1].name, terms[0], None) if isinstance(terms[1], Sym) else None


def _has_values_outside(
    formula: Node, letter: str, low: Node | None, high: Node | None, context: ComparisonContext
) -> bool:
    """Return True if the formula has a real value at a point below `low` or above `high`."""
    free = symbols(formula).union(*(symbols(end) for end in (low, high) if end is not None)) - {letter}
    others = {name: fmpq(5 + 2 * k, 4) for k, name in enumerate(sorted(free))}
    try:
        begin, end = (None if bound is None else _value(bound, others, context) for bound in (low, high))
    except InconclusiveError:
        return True
    if (low is not None and begin is None) or (high is not None and end is None):
        return True
    points = list(_POINTS)
    for bound in (begin, end):
        if bound is not None and abs(bound.real) < _LARGE:
            near = fmpq((bound.real.mid() * 8).floor().unique_fmpz() or 0, 8)
            points += [near - fmpq(1, 2), near + fmpq(3, 4)]
    for point in points:
        outside = (begin is not None and begin.real > point) or (end is not None and end.real < point)
        if not outside:
            continue
        try:
            if _value(formula, {**others, letter: point}, context) is not None:
                return True
        except InconclusiveError:
            return True  # a point, or an unknown function
    return False


def _value(node: Node, env: dict[str, fmpq], context: ComparisonContext) -> acb | None:
    """Return the real value of a tree at a point, None if there is none.

    Raises:
        InconclusiveError: It cannot be computed.
    """
    with precision(_BITS):
        try:
            return Evaluator(context, env, _BITS, "e", True).value(node)
        except UndefinedValueError:
            return None
        except ValueTooLargeError:
            raise InconclusiveError from None
