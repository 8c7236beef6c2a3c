"""Definitions in two cases against one expression: |x|, floors of halves.

The cases are written as one expression, with a sign of x - a or with (-1)^n, which the tiers of functions in pieces
and of integers compare exactly. At the break itself both sides are compared as numbers.
"""

from __future__ import annotations

from deepcompress_verify.compare.forms import substitute, symbols
from deepcompress_verify.tree import Add, Call, Mul, Neg, Node, Num, Piecewise, Pow, Rel, Sym, Text

_UPWARDS = {">": True, ">=": True, "<": False, "<=": False}
_OPPOSITE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_COMPLEMENTS = {**_OPPOSITE, "=": "!=", "!=": "="}


def as_expression(node: Piecewise) -> tuple[Node, tuple[str, Num, Node] | None] | None:
    """Return (expression, break) of two cases that complement each other, or None.

    The break is (letter, place, value there) for cases of a real letter, None for even and odd integers.
    """
    if len(node.cases) != 2:
        return None
    (one, first), (two, second) = node.cases
    if first is None:
        (one, first), (two, second) = (two, second), (one, first)
    if isinstance(first, Text):
        letter, _, parity = first.words.partition(" ")
        other = {"even": "odd", "odd": "even"}.get(parity)
        if other is None or (second is not None and second != Text(f"{letter} {other}")):
            return None
        even, odd = (one, two) if parity == "even" else (two, one)
        alternating = Pow(Num(-1), Sym(letter))
        return _between(even, odd, alternating), None
    place = _half_line(first)
    if place is None:
        return None
    letter, op, end = place
    if second is not None and _half_line(second) != (letter, _OPPOSITE[op], end):
        return None
    above, below = (one, two) if _UPWARDS[op] else (two, one)
    if letter not in symbols(above) | symbols(below):
        return None
    at_end = one if "=" in op else two
    step = Call("sign", (Add((Sym(letter), Neg(end))),))
    return _between(above, below, step), (letter, end, substitute(at_end, {letter: end}))


def completed(node: Piecewise) -> Piecewise:
    """Return two cases of which one is "otherwise" with its condition, where it can be stated."""
    if len(node.cases) != 2 or None not in (node.cases[0][1], node.cases[1][1]):
        return node
    (one, first), (two, second) = node.cases if node.cases[1][1] is None else reversed(node.cases)
    assert second is None
    if isinstance(first, Text):
        letter, _, parity = first.words.partition(" ")
        other = {"even": "odd", "odd": "even"}.get(parity)
        return node if other is None else Piecewise(((one, first), (two, Text(f"{letter} {other}"))))
    if isinstance(first, Rel) and len(first.ops) == 1 and first.modulus is None and first.ops[0] in _COMPLEMENTS:
        return Piecewise(((one, first), (two, Rel(first.terms, (_COMPLEMENTS[first.ops[0]],)))))
    return node


def _between(plus: Node, minus: Node, sign: Node) -> Node:
    """Return the expression that is `plus` where the sign is 1, and `minus` where it is -1."""
    half = Num(1, 2)
    return Add((Mul((half, Add((plus, minus)))), Mul((half, sign, Add((plus, Neg(minus)))))))


def _half_line(condition: Node | None) -> tuple[str, str, Num] | None:
    """Return (letter, relation, end) of x >= a, for a number a."""
    if not isinstance(condition, Rel) or len(condition.terms) != 2 or condition.ops[0] not in _UPWARDS:
        return None
    left, right = condition.terms
    op = condition.ops[0]
    if isinstance(right, Sym):
        left, right, op = right, left, {">": "<", "<": ">", ">=": "<=", "<=": ">="}[op]
    if isinstance(right, Neg) and isinstance(right.arg, Num):
        right = Num(-right.arg.p, right.arg.q)
    if not isinstance(left, Sym) or not isinstance(right, Num):
        return None
    return left.name, op, right
