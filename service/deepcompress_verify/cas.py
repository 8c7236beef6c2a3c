"""The computer algebra tier: asks sympy whether two trees are equal. Runs in a `cas` worker only.

sympy objects are built from the expression tree, node by node, from Python integers and the classes named below. No
string is passed to sympify, parse_expr, parse_latex or lambdify, and no name in a text can reach an attribute: the
only text that sympy receives is the name of a Symbol. `cas_limits` has checked both trees before; the CPU and memory
limits of the worker cover the rest.

The result is True only with a proof (the difference reduces to zero), False only if the difference has a numeric
value known to many digits, and None otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any

import sympy

from deepcompress_verify.cas_limits import cas_rejection_reason
from deepcompress_verify.compare.forms import has_index, symbols
from deepcompress_verify.compare.integer_functions import is_discrete, real_letters
from deepcompress_verify.compare.points import COMPLEX_PARTS
from deepcompress_verify.decide import OpenComparison, decide
from deepcompress_verify.task import decode_task
from deepcompress_verify.tree import Add, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym, walk

_precision_bits = attrgetter("_prec")  # sympy has no public accessor

Expr = Any
"""A sympy expression (sympy has no types of its own)."""

_CONSTANTS: dict[str, Expr] = {
    "pi": sympy.pi,
    "e": sympy.E,
    "i": sympy.I,
    "phi": sympy.GoldenRatio,
    "oo": sympy.oo,
}
_SAME_NAME = (
    "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "asec", "acsc", "sinh", "cosh", "tanh",
    "coth", "sech", "csch", "asinh", "acosh", "atanh", "acoth", "asech", "acsch", "exp", "floor", "sign", "factorial",
    "factorial2", "gamma", "zeta", "re", "im", "fibonacci",
)  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    **{name: getattr(sympy, name) for name in _SAME_NAME},
    "ln": sympy.log,
    "log": sympy.log,
    "abs": sympy.Abs,
    "ceil": sympy.ceiling,
    "binom": sympy.binomial,
    "conj": sympy.conjugate,
    "min": sympy.Min,
    "max": sympy.Max,
    "mod": sympy.Mod,
    "root": lambda x, n: sympy.Pow(x, 1 / n),
}
"""The functions that sympy may evaluate, and why its values are those of the gold for real and integer letters.

- Trigonometric, hyperbolic and inverse functions, exp, ln, gamma, zeta: the principal functions, of real letters.
- root: the principal power. The exact tiers have refuted pairs that differ at negative numbers before.
- abs, sign, min, max, floor, ceil, mod: sympy's are those of real numbers; a remainder has the sign of the divisor.
- factorial, factorial2, binom, fibonacci: by their recurrences at integers, which the exact tiers have tried.
- re, im, conj: of numbers. Their letters are complex, so a letter under them is refused, and z and w under abs.
"""
_DIVISORS: dict[str, tuple[Callable[..., Expr], Expr]] = {
    "gcd": (sympy.igcd, sympy.Function("gcd", real=True)),
    "lcm": (sympy.ilcm, sympy.Function("lcm", real=True)),
}
"""gcd and lcm of integers, and as unknown functions of letters: that of sympy is 1, as of polynomials."""
_MAX_DIVISIONS = 32
"""Steps of a division of polynomials."""
_POINTS = (
    (sympy.Rational(7, 5), sympy.Rational(3, 11), sympy.Rational(19, 7)),
    (sympy.Rational(23, 9), sympy.Rational(17, 6), sympy.Rational(5, 13)),
)
_DIGITS = 40
_SEQUENCE = sympy.Function("sequence", real=True)
"""The term of a sequence: an unknown function of its letter and its index."""
_INDEX = sympy.Dummy("k", integer=True)
"""The index of every sum and product: sums with equal terms are then equal. `cas_limits` refuses nested ones."""


class UnsupportedTreeError(Exception):
    """The tree has no sympy counterpart, or sympy cannot treat its value as a number."""


def compare(gold: tuple[str, ...], answer: str, restated_answer: str | None) -> tuple[str, str, str]:
    """Return (status, decided_by, reason), with the computer algebra system as the last tier."""
    verdict = decide(decode_task(gold).golds, answer, restated_answer=restated_answer, oracle=equal)
    if isinstance(verdict, OpenComparison):
        return "undecided", "cas", verdict.reason
    return verdict.status, verdict.decided_by, verdict.reason


def equal(left: Node, right: Node) -> bool | None:
    """Return True if two scalar trees are equal wherever both are defined, False if not, None if unknown."""
    if cas_rejection_reason(left, right) is not None:
        return None
    bare = any(
        isinstance(part, Call) and part.name == "log" and len(part.args) == 1 for part in (*walk(left), *walk(right))
    )
    # a log without a base may mean either: one match suffices for equal, different requires both
    outcomes = [_equal(left, right, base) for base in ((None, sympy.Integer(10)) if bare else (None,))]
    if True in outcomes:
        return True
    return None if None in outcomes else False


def _equal(left: Node, right: Node, log_base: Expr) -> bool | None:
    discrete = is_discrete(left) or is_discrete(right)
    try:
        first, second = build_tree(left, log_base), build_tree(right, log_base)
        if discrete:
            # the exact tiers have tried integers; here only a proof counts
            letters = (symbols(left) | symbols(right)) - set(real_letters(left, right))
            integers = {sympy.Symbol(n, real=True): sympy.Symbol(n, integer=True) for n in letters}
            first, second = first.subs(integers), second.subs(integers)
        if first.has(sympy.nan, sympy.zoo) or second.has(sympy.nan, sympy.zoo):
            return None  # no value; sympy would report two of these as equal
        if first == second:
            return True
        for step in _steps(first - second):
            if step.is_zero:
                return True
            if step.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
                return None
            if not discrete and _is_provably_nonzero(step):
                return False
    except (MemoryError, RecursionError):
        raise
    except Exception:  # sympy raises arbitrary errors if an algorithm does not apply: the result is unknown
        return None
    return None


def _steps(difference: Expr) -> Iterator[Expr]:
    """Yield the difference in more and more reduced forms; the caller tests each form before the next is computed."""
    if difference.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
        difference = difference.doit()
    yield difference
    yield sympy.expand(difference)
    if not difference.free_symbols and difference.is_algebraic:
        generator = sympy.Dummy("t")
        yield sympy.Integer(0) if sympy.minimal_polynomial(difference, generator) == generator else difference
    yield sympy.radsimp(sympy.powsimp(difference, force=False))
    yield sympy.simplify(difference)
    yield sympy.simplify(sympy.expand_func(sympy.expand_trig(difference)).rewrite(sympy.exp))


def _is_provably_nonzero(difference: Expr) -> bool:
    """Return True if the difference is certainly nonzero at some point, by its value to many digits."""
    if difference.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit):
        return False
    names = sorted(difference.free_symbols, key=str)
    for values in _POINTS if names else ((),):
        point = {name: values[k % len(values)] + k // len(values) for k, name in enumerate(names)}
        value = difference.subs(point).evalf(_DIGITS, maxn=400)
        # evalf gives a lower precision to parts that it cannot compute to the requested digits
        known = (
            value.is_number
            and value.is_finite
            and all(_precision_bits(part) > 40 for part in value.atoms(sympy.Float))
        )
        if known and value != 0:
            return True
    return False


def build_tree(node: Node, log_base: Expr = None) -> Expr:
    """Return the sympy expression of a scalar tree.

    `log_base` is the base of a log that is written without one; None for e.

    Raises:
        UnsupportedTreeError: The tree has no sympy counterpart.
    """
    build = partial(build_tree, log_base=log_base)
    match node:
        case Num(p, q):
            return sympy.Rational(p, q)
        case Const(name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case Sym(name):
            return sympy.Symbol(name, real=True)
        case Add(terms):
            return sympy.Add(*map(build, terms))
        case Neg(arg):
            return -build(arg)
        case Mul(factors):
            return sympy.Mul(*map(build, factors))
        case Div(top, bottom):
            return build(top) / build(bottom)
        case Pow(base, exponent):
            return sympy.Pow(build(base), build(exponent))
        case Call("log", (arg, base)):
            return sympy.log(build(arg)) / sympy.log(build(base))
        case Call("log", (arg,)) if log_base is not None:
            return sympy.log(build(arg)) / sympy.log(log_base)
        case Call(name, args) if name in _DIVISORS:
            return _divisor(name, list(map(build, args)))
        case Call(name) if name in COMPLEX_PARTS and symbols(node):
            raise UnsupportedTreeError(name)  # of complex letters; those of sympy are real
        case Call("abs") if any(letter.startswith(("z", "w")) for letter in symbols(node)):
            raise UnsupportedTreeError("abs")
        case Call(name, args) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(build, args))
        case BigOp(kind, body, var, low, high):
            bounds = [None if bound is None else build(bound) for bound in (low, high)]
            return _build_big(kind, build(body), var, *bounds)
    raise UnsupportedTreeError(type(node).__name__)


def _divisor(name: str, values: list[Expr]) -> Expr:
    """Return a gcd or lcm as a number if it is one for all integers, otherwise as an unknown function."""
    if name == "gcd" and len(values) == 2:
        values = _euclid(*values)
    values = sorted(values, key=sympy.default_sort_key)
    of_integers, unknown = _DIVISORS[name]
    return sympy.Integer(of_integers(*values)) if all(value.is_Integer for value in values) else unknown(*values)


def _euclid(one: Expr, two: Expr) -> list[Expr]:
    """Return two expressions with the gcd of two polynomials of one integer letter: 1 and 0 for 2n + 1 and n."""
    letters = one.free_symbols | two.free_symbols
    if len(letters) != 1:
        return [one, two]
    (letter,) = letters
    try:
        first, second = (sympy.Poly(value, letter, domain="ZZ") for value in (one, two))
    except sympy.polys.polyerrors.BasePolynomialError:
        return [one, two]
    for _ in range(_MAX_DIVISIONS):
        if first.degree() < second.degree():
            first, second = second, first
        if second.is_zero or first.LC() % second.LC():
            break
        quotient = first.LC() // second.LC() * letter ** (first.degree() - second.degree())
        first -= second * sympy.Poly(quotient, letter)
    return [first.as_expr(), second.as_expr()]


def _build_big(kind: str, body: Expr, var: str, low: Expr, high: Expr) -> Expr:
    name = sympy.Symbol(var, real=True)
    # a_k in a sum over k is no constant
    body = body.xreplace({one: _SEQUENCE(one, name) for one in body.free_symbols if has_index(one.name, var)})
    if low is None or (high is None and kind != "lim"):
        raise UnsupportedTreeError(kind)
    if kind == "lim":
        return sympy.Limit(body, name, low, dir="+-")
    if kind == "int":
        return sympy.Integral(body, (name, low, high))
    return (sympy.Sum if kind == "sum" else sympy.Product)(body.subs(name, _INDEX), (_INDEX, low, high))


def warm_up() -> None:
    """Load the lazily imported parts of sympy before the first fork; otherwise every check would load them again."""
    x = sympy.Symbol("x", real=True)
    k = sympy.Dummy("k", integer=True)
    expressions = (
        sympy.sin(x) ** 2 + sympy.cos(x) ** 2 - 1,
        sympy.sqrt(x**2 + 1) / (x + 1) - sympy.exp(x),
        sympy.sqrt(5 + 2 * sympy.sqrt(6)) - sympy.sqrt(2) - sympy.sqrt(3),
        sympy.Sum(1 / k**2, (k, 1, sympy.oo)) - sympy.pi**2 / 6,
        sympy.Integral(x * sympy.exp(x), (x, 0, 1)) - 1,
        sympy.Limit(sympy.sin(x) / x, x, 0) - 1,
    )
    for expression in expressions:
        for step in _steps(expression):
            _is_provably_nonzero(step)
    sympy.core.cache.clear_cache()
