"""Decimals that denote a value: rounded golds, and decimals of 10 or more significant digits."""

from __future__ import annotations

from flint import acb, fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import symbols
from deepcompress_verify.compare.interval_arithmetic import Evaluator, ValueTooLargeError, precision
from deepcompress_verify.tree import Add, Mul, Neg, Node, Num, Pow

_BITS = 256
LEAST_DECIMALS = 2
"""Decimals from which a gold counts as rounded."""
MAX_POWER = 400
MANY_DIGITS = 10
"""Significant digits, without zeros at the end, from which a decimal denotes the exact value that it is cut or
rounded from."""


def within_rounding(
    gold: Node, answer: Node, context: ComparisonContext, least_decimals: int = LEAST_DECIMALS
) -> bool:
    """Return True if the answer rounds to the decimal gold: it is at most half a unit of its last place away."""
    number, power = _scientific(gold)
    if number is None or number.decimals is None or number.decimals < least_decimals:
        return False
    return _nearer(gold, answer, fmpq(10) ** power / (2 * 10**number.decimals), context, inclusive=True)


def same_digits(gold: Node, answer: Node, context: ComparisonContext) -> bool:
    """Return True if one is a decimal of many digits, and the other an exact value that is cut or rounded to it.

    They are less than one unit of the decimal's last place apart, so a decimal never denotes an integer, nor another
    value that can be written with as many decimals.
    """
    for decimal, exact in ((_number(gold), _number(answer)), (_number(answer), _number(gold))):
        if decimal is None or decimal.decimals is None or (exact is not None and exact.decimals is not None):
            continue
        if has_many_digits(decimal.p, decimal.q, decimal.decimals):
            return _nearer(gold, answer, fmpq(1, 10**decimal.decimals), context, inclusive=False)
    return False


def has_many_digits(p: int, q: int, decimals: int) -> bool:
    """Return True if the decimal p/q has a point, and `MANY_DIGITS` significant digits before its final zeros."""
    if decimals <= 0:
        return False
    digits: int = abs(p) * 10**decimals // q
    least: int = 10 ** (MANY_DIGITS - 1)
    while digits >= least and digits % 10 == 0:
        digits //= 10
    return digits >= least


def _scientific(node: Node) -> tuple[Num | None, int]:
    """Return (mantissa, power of ten) of 1.23 * 10^5, (number, 0) of another number."""
    size = node.arg if isinstance(node, Neg) else node
    if isinstance(size, Mul) and len(size.factors) == 2 and isinstance(size.factors[1], Pow):
        base, exponent = size.factors[1].base, size.factors[1].exponent
        sign, exponent = (-1, exponent.arg) if isinstance(exponent, Neg) else (1, exponent)
        if base == Num(10) and isinstance(exponent, Num) and exponent.q == 1 and abs(exponent.p) <= MAX_POWER:
            return _number(size.factors[0]), sign * exponent.p
    return _number(size), 0


def _number(node: Node) -> Num | None:
    size = node.arg if isinstance(node, Neg) else node
    return size if isinstance(size, Num) else None


def _nearer(one: Node, two: Node, limit: fmpq, context: ComparisonContext, *, inclusive: bool) -> bool:
    """Return True if two numbers are proved to be less than `limit` apart, or exactly as far if `inclusive`."""
    gap = Add((one, Neg(two)))
    try:
        exact = rational(gap, context)
        return bool(abs(exact) < limit) or (inclusive and bool(abs(exact) == limit))
    except UndefinedValueError:
        return False
    except InconclusiveError:
        if symbols(gap):
            return False
    with precision(_BITS):
        try:
            value = Evaluator(context, {}, _BITS).value(gap)
        except (InconclusiveError, UndefinedValueError, ValueTooLargeError):
            return False
        return bool(value.imag.contains(0) and abs(value.real) < acb(limit).real)
