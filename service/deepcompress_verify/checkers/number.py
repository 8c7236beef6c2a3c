"""`number`: a number within an absolute tolerance, a relative tolerance, or equal to some significant digits.

Without parameters the numbers must be equal. Values are exact rationals, or rigorous balls if they are irrational; no
float takes part. A unit must be the same on both sides, or be absent from one.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from flint import fmpq

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameter, Parameters, any_gold
from deepcompress_verify.compare import units
from deepcompress_verify.compare.context import (
    ComparisonContext,
    InconclusiveError,
    UndefinedValueError,
    WorkBudgetExceededError,
)
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.fast_path import number, strip_typesetting
from deepcompress_verify.compare.interval_arithmetic import Evaluator, ValueTooLargeError, precision
from deepcompress_verify.compare.judgement import judge
from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.reader import read
from deepcompress_verify.tree import Rel, Sym, Unreadable

MAX_CHARS = 1_000
MAX_WORK_UNITS = 20_000
_BITS = 256

Value = tuple[Fraction, Fraction, str]
"""(middle, radius, unit)"""


@lru_cache(maxsize=512)
def read_number(text: str) -> Value | str:
    """Return the value of a number, or a text that says why it is none."""
    if len(text) > MAX_CHARS:
        return f"{len(text)} characters, {MAX_CHARS} are read"
    plain = number(strip_typesetting(text))
    if plain is not None:
        return Fraction(plain.p, plain.q), Fraction(0), ""
    tree = read(text, plain_units=True)
    if isinstance(tree, Unreadable):
        return f"{tree.slug} {tree.detail}".strip()
    if isinstance(tree, Rel) and tree.ops == ("=",) and isinstance(tree.terms[0], Sym):
        tree = tree.terms[1]
    value, unit = units.split(tree)
    context = ComparisonContext(judge, budget=MAX_WORK_UNITS)
    try:
        try:
            exact = rational(value, context)
            return Fraction(int(exact.p), int(exact.q)), Fraction(0), unit
        except InconclusiveError:
            with precision(_BITS):
                ball = Evaluator(context, {}, _BITS).value(value)
                if not ball.imag.is_zero():
                    return "not a real number"
                middle, exponent = ball.real.mid().man_exp()
                radius, radius_exponent = ball.real.rad().man_exp()
                return _binary(int(middle), int(exponent)), _binary(int(radius), int(radius_exponent)), unit
    except (InconclusiveError, UndefinedValueError, WorkBudgetExceededError, ValueTooLargeError, RecursionError):
        return "not a number"


def _binary(mantissa: int, exponent: int) -> Fraction:
    if abs(exponent) > 1 << 16:
        raise InconclusiveError
    return Fraction(mantissa) * Fraction(2) ** exponent


def gold_error(gold: str, parameters: Parameters, options: tuple[str, ...]) -> str | None:
    """Return the reason why the gold is no number, or None."""
    del parameters, options
    value = read_number(boxes_of_gold(gold))
    return f"no number: {value}" if isinstance(value, str) else None


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Compare the values within the tolerance."""
    stated = read_number(answer)

    def one(gold: str) -> CheckResult:
        meant = read_number(boxes_of_gold(gold))
        if isinstance(meant, str):
            return CheckResult("gold_unreadable", f"no number: {meant}")
        if isinstance(stated, str):
            return CheckResult("unreadable", f"the answer is no number: {stated}")
        return _compare(meant, stated, parameters)

    del options
    return any_gold(golds, one)


def _compare(gold: Value, answer: Value, parameters: Parameters) -> CheckResult:
    scale = _unit_scale(gold[2], answer[2])
    if scale is None:
        return CheckResult("wrong", "the units exclude each other", "unit")
    middle, radius = answer[0] * scale, answer[1] * scale
    allowed = tolerance(gold[0], parameters)
    distance, slack = abs(middle - gold[0]), radius + gold[1]
    if distance + slack <= allowed:
        return CheckResult("correct", "equal" if not distance else "within the tolerance")
    if distance - slack > allowed:
        return CheckResult("wrong", "the difference is larger than the tolerance" if allowed else "different numbers")
    return CheckResult("undecided", "too close to the tolerance to tell")


def tolerance(gold: Fraction, parameters: Parameters) -> Fraction:
    """Return the largest difference that is allowed: the largest of those that the parameters name."""
    result = Fraction(0)
    absolute, relative, digits = parameters["absolute"], parameters["relative"], parameters["digits"]
    if isinstance(absolute, (int, float)):
        result = max(result, Fraction(str(absolute)))
    if isinstance(relative, (int, float)):
        result = max(result, Fraction(str(relative)) * abs(gold))
    if isinstance(digits, int) and gold:
        result = max(result, Fraction(10) ** (_magnitude(abs(gold)) - digits + 1) / 2)
    return result


def _magnitude(value: Fraction) -> int:
    """Return the exponent of the first significant digit: 2 for 123.4."""
    estimate = (value.numerator.bit_length() - value.denominator.bit_length()) * 30103 // 100000
    while Fraction(10) ** estimate > value:
        estimate -= 1
    while Fraction(10) ** (estimate + 1) <= value:
        estimate += 1
    return estimate


def _unit_scale(gold: str, answer: str) -> Fraction | None:
    """Return the factor from the answer's unit to the gold's, or None if they differ in kind."""
    if gold == answer or not gold or not answer:
        return Fraction(1)
    first, second = units.measure(gold), units.measure(answer)
    if first is None or second is None or first[1] != second[1]:
        return None
    ratio: fmpq = second[0] / first[0]
    return Fraction(int(ratio.p), int(ratio.q))


CHECKER = Checker(
    "number",
    "a number within a tolerance",
    check,
    (
        Parameter("absolute", None, "largest difference", float, 0, 1e300),
        Parameter("relative", None, "largest difference as a part of the gold", float, 0, 1),
        Parameter("digits", None, "significant digits of the gold that must agree", int, 1, 50),
    ),
    gold_error,
)
