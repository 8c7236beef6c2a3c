"""Expressions at whose zeros and poles a function may break: inside absolute values, roots and inverse functions."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from math import lcm

from flint import fmpq

from deepcompress_verify.compare.context import InconclusiveError
from deepcompress_verify.compare.forms import symbols
from deepcompress_verify.tree import Add, Call, Const, Div, Mul, Neg, Node, Num, Pow, children, walk

MAX_BRANCHES = 16
"""Maximum forms of one argument, by the signs of the absolute values in it."""
MAX_POWER = 24
"""Maximum exponent of a power of an argument with roots."""
STEPS = frozenset("abs sign max min re im conj arg".split())
"""Functions that are not analytic at a zero of an argument, or of a difference of two."""
_UNIT_INTERVAL = frozenset("asin acos acosh atanh acoth asec acsc asech".split())
"""Functions that break at an argument of 1, -1 or 0."""
_AT_POLES = frozenset("atan acot".split())
_AT_ZEROS = frozenset("ln log root gamma acsch".split())


def breaks(node: Node) -> bool:
    """Return True if the expression has a function of letters that may break."""
    return any(_breaking(part) and symbols(part) for part in walk(node))


def must_be_cut(node: Node) -> bool:
    """Return True if agreement at random points proves nothing unless the space is cut: absolute values and roots."""
    return any(
        (isinstance(part, Call) and (part.name in STEPS or part.name == "root") and bool(symbols(part)))
        or (isinstance(part, Pow) and is_fractional(part) and bool(symbols(part.base)))
        or may_turn_back(part)
        for part in walk(node)
    )


def may_turn_back(node: Node) -> bool:
    """Return True for an inverse function of a function, which may break anywhere: arcsin(sin x), arctan(tan x)."""
    if not isinstance(node, Call) or node.name not in _UNIT_INTERVAL | _AT_POLES:
        return False
    smooth = _WITHIN_ONE if node.name in _UNIT_INTERVAL else _WITHOUT_POLES
    if node.name in _AT_POLES and any(_is_transcendental(bottom) for arg in node.args for bottom in _bottoms(arg)):
        return True
    return any(
        (isinstance(part, Call) and part.name not in smooth and bool(symbols(part)))
        or (isinstance(part, Pow) and bool(symbols(part.exponent)) and node.name in _UNIT_INTERVAL)
        for argument in node.args
        for part in walk(argument)
    )


def _is_transcendental(node: Node) -> bool:
    """Return True for an expression with other functions of letters than roots and absolute values."""
    return any(
        (isinstance(part, Call) and part.name not in ("root", *STEPS) and bool(symbols(part)))
        or (isinstance(part, Pow) and bool(symbols(part.exponent)))
        for part in walk(node)
    )


_WITHIN_ONE = frozenset(("tanh", "abs", "root"))
"""Functions that an argument may have if it can be cut where it is 1 or -1 (see `_at_one`)."""
_WITHOUT_POLES = frozenset("exp sin cos sinh cosh tanh atan asinh abs root ln log".split())


def _breaking(part: Node) -> bool:
    if isinstance(part, Call):
        return part.name in STEPS or part.name in _UNIT_INTERVAL or part.name in _AT_POLES or part.name in _AT_ZEROS
    return isinstance(part, Pow) and (is_fractional(part) or bool(symbols(part.exponent) and symbols(part.base)))


def is_fractional(part: Pow) -> bool:
    """Return True for an exponent without letters that is no integer."""
    exponent = part.exponent
    while isinstance(exponent, Neg):
        exponent = exponent.arg
    if isinstance(exponent, Div) and isinstance(exponent.top, Num) and isinstance(exponent.bottom, Num):
        top, bottom = exponent.top, exponent.bottom
        return not (top.q == bottom.q == 1 and bottom.p and top.p % bottom.p == 0)
    return not symbols(exponent) and not (isinstance(exponent, Num) and exponent.q == 1)


def _forms(node: Node) -> list[Node]:
    """Return the forms of a tree without absolute values, maxima and signs: one for each choice of signs."""
    if not any(isinstance(part, Call) and part.name in STEPS and symbols(part) for part in walk(node)):
        return [node]
    if isinstance(node, Call) and node.name in STEPS:
        inner = [form for arg in node.args for form in _forms(arg)]
        if node.name in ("re", "conj"):
            return inner
        if node.name in ("im", "arg"):
            raise InconclusiveError
        if node.name == "sign":
            return [Num(1), Num(-1)]
        return inner if node.name in ("max", "min") else inner + [Neg(form) for form in inner]
    parts: tuple[Node, ...]
    if isinstance(node, Add):
        parts = node.terms
    elif isinstance(node, Mul):
        parts = node.factors
    elif isinstance(node, Div):
        parts = (node.top, node.bottom)
    elif isinstance(node, Pow):
        parts = (node.base, node.exponent)
    elif isinstance(node, Neg):
        parts = (node.arg,)
    else:
        raise InconclusiveError
    options = [_forms(part) for part in parts]
    size = 1
    for option in options:
        size *= len(option)
    if size > MAX_BRANCHES:
        raise InconclusiveError
    return [_built(node, chosen) for chosen in product(*options)]


def _built(node: Node, parts: tuple[Node, ...]) -> Node:
    """Return a node of the same kind with other parts."""
    if isinstance(node, Add):
        return Add(parts)
    if isinstance(node, Mul):
        return Mul(parts)
    if isinstance(node, Div):
        return Div(*parts)
    return Pow(*parts) if isinstance(node, Pow) else Neg(*parts)


def _factors(node: Node) -> Iterator[Node]:
    """Yield expressions that have all zeros and poles of a product, a quotient, a power or a root."""
    if isinstance(node, Mul):
        for factor in node.factors:
            yield from _factors(factor)
    elif isinstance(node, Div):
        yield from _factors(node.top)
        yield from _factors(node.bottom)
    elif isinstance(node, Neg):
        yield from _factors(node.arg)
    elif isinstance(node, Call) and node.name == "root" and not symbols(node.args[1]):
        yield from _factors(node.args[0])
    elif isinstance(node, Pow) and not symbols(node.exponent):
        yield from _factors(node.base)
    elif symbols(node):
        yield node


def cut_arguments(node: Node, strict: bool) -> Iterator[Node]:
    """Yield the expressions at whose zeros or poles the tree may break."""
    for part in walk(node):
        if not _breaking(part) or not symbols(part):
            continue
        if isinstance(part, Pow):
            for factor in _factors(part.base):
                yield from _forms(factor)
            continue
        assert isinstance(part, Call)
        if strict and part.name not in STEPS and part.name != "root":
            for arg in part.args:
                yield from _poles(arg) if part.name in _AT_POLES else ()
                yield from _at_one(arg) if part.name in _UNIT_INTERVAL else ()
            continue
        inner = [form for arg in part.args for form in _forms(arg)]
        if len(inner) > MAX_BRANCHES:
            raise InconclusiveError
        if part.name in ("max", "min"):
            yield from (Add((a, Neg(b))) for a, b in combinations(inner, 2))
        elif part.name in ("root", "ln", "log"):
            for factor in _factors(part.args[0]):
                yield from _forms(factor)
        elif part.name in _UNIT_INTERVAL:
            for form in inner:
                yield form
                yield Add((form, Num(1)))
                yield Add((form, Num(-1)))
        else:
            yield from inner


def _poles(node: Node) -> Iterator[Node]:
    """Yield expressions that have all poles of an argument with roots, sines or logarithms in it."""
    for bottom in _bottoms(node):
        for factor in _factors(bottom):
            yield from _forms(factor)


def _bottoms(node: Node) -> Iterator[Node]:
    """Yield the denominators with letters that may be zero."""
    for part in walk(node):
        if isinstance(part, Div):
            bottom = part.bottom
        elif isinstance(part, Pow) and not symbols(part.exponent) and (_number(part.exponent) or -1) < 0:
            bottom = part.base
        else:
            continue
        if symbols(bottom) and not _is_positive(bottom):
            yield bottom


def _is_positive(node: Node) -> bool:
    """Return True for sums, products, quotients and powers of positive numbers, exp and cosh."""
    if isinstance(node, (Add, Mul, Div)):
        return all(map(_is_positive, children(node)))
    if isinstance(node, Pow):
        return _is_positive(node.base)
    if isinstance(node, Call):
        return node.name in ("exp", "cosh")
    return node in (Const("e"), Const("pi")) or (isinstance(node, Num) and node.p > 0)


def _at_one(node: Node) -> Iterator[Node]:
    """Yield expressions that are zero, or have a pole, where an argument is 0, 1, -1 or has a pole.

    The argument is a product of powers of rational functions, R^(p/q), so that one of its powers is rational; or a
    hyperbolic tangent, which is between -1 and 1.

    Raises:
        InconclusiveError: It is anything else.
    """
    if isinstance(node, Call) and node.name == "tanh":
        return
    for form in _forms(node):
        factors = list(_powers(form, fmpq(1)))
        multiple = 2 * lcm(*(int(exponent.q) for _, exponent in factors))
        if any(abs(multiple * exponent) > MAX_POWER for _, exponent in factors):
            raise InconclusiveError
        power = Mul(tuple(Pow(base, Num(int((multiple * exponent).p))) for base, exponent in factors))
        yield power
        yield Add((power, Num(-1)))


def _powers(node: Node, exponent: fmpq) -> Iterator[tuple[Node, fmpq]]:
    """Yield the factors of a power of an expression, with their exponents; the sign is lost."""
    if isinstance(node, Mul):
        for factor in node.factors:
            yield from _powers(factor, exponent)
    elif isinstance(node, Div):
        yield from _powers(node.top, exponent)
        yield from _powers(node.bottom, -exponent)
    elif isinstance(node, Neg):
        yield from _powers(node.arg, exponent)
    elif isinstance(node, Pow) and (power := _number(node.exponent)) is not None:
        yield from _powers(node.base, exponent * power)
    elif isinstance(node, Call) and node.name == "root" and (power := _number(node.args[1])):
        yield from _powers(node.args[0], exponent / power)
    else:
        yield node, exponent


def _number(node: Node) -> fmpq | None:
    """Return the value of a small number or quotient of two."""
    if isinstance(node, Neg):
        value = _number(node.arg)
        return None if value is None else -value
    if isinstance(node, Div):
        top, bottom = _number(node.top), _number(node.bottom)
        return top / bottom if top is not None and bottom else None
    return (
        fmpq(node.p, node.q) if isinstance(node, Num) and node.q and max(abs(node.p), node.q) <= MAX_POWER else None
    )
