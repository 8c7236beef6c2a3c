"""Equality of two scalar expressions, by tiers from the cheapest on.

A negative result is always rigorous: exact values differ, or intervals do not intersect. Equality is proved by
structure, by exact rationals or by exact rational functions. Beyond those, it is agreement of intervals to at least
50 digits, at points derived from both texts, at a precision that covers every magnitude that occurred.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from flint import acb, fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import opaque_functions, substitute, symbols
from deepcompress_verify.compare.interval_arithmetic import Env, Evaluator, ValueTooLargeError, precision
from deepcompress_verify.compare.polynomials import equal_fractions
from deepcompress_verify.tree import Add, Apply, BigOp, Call, Neg, Node, Num, Pow, Sym, walk

BITS = 256
MAX_BITS = 24_576
_SETS = frozenset(("oo", "N", "Z", "Q", "R", "C", "emptyset"))
_CONSTANTS_OF_INTEGRATION = frozenset(("c", "K", "k", "C_1", "c_1", "C_0"))
_DISCRETE = frozenset("floor ceil factorial factorial2 binom perm mod gcd lcm".split())


def equal(a: Node, b: Node, context: ComparisonContext) -> bool | None:
    """Return True or False, or None if the result is open (the oracle has then been asked)."""
    try:
        result = _equal(a, b, context)
    except RecursionError:  # excluded by the limits on depth; a verdict must not depend on it
        result = None
    if result is None and context.oracle is not None:
        result = context.oracle(a, b)
        if result is not None:
            context.record(
                "cas", "the computer algebra system " + ("finds them equal" if result else "finds them different")
            )
    if result is None:
        context.open_reason = context.open_reason or "no exact tier can compare these expressions"
    return result


def _equal(a: Node, b: Node, context: ComparisonContext) -> bool | None:
    if a == b or context.canon(a) == context.canon(b):
        context.record("structure", "the same expression")
        return True
    left = _rational(a, context)
    right = _rational(b, context)
    if left == "undefined" or right == "undefined":
        context.record("rational", "one side has no value")
        return False
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        same = bool(left == right)
        context.record("rational", f"{_short(left)} {'=' if same else '≠'} {_short(right)}")
        return same
    first, second = context.facts(a), context.facts(b)
    constants = first.constants | second.constants
    if not constants.isdisjoint(_SETS) and BigOp not in first.kinds | second.kinds:
        context.record("structure", "infinity and sets of numbers equal only themselves")
        return False
    if Apply in first.kinds or Apply in second.kinds:
        a, b = opaque_functions(a), opaque_functions(b)
        first, second = context.facts(a), context.facts(b)
    names = sorted(first.names | second.names)
    bases = ("e", "10") if first.bare_log or second.bare_log else ("e",)
    if not names:
        return _any_base([_constants(a, b, base, context) for base in bases])
    try:
        same = equal_fractions(a, b, context)
        context.record("polynomial", "the same rational function" if same else "different rational functions")
        return same
    except InconclusiveError:
        pass
    except UndefinedValueError:
        context.record("polynomial", "a denominator is zero")
        return False
    real_only = "i" not in constants
    return _any_base([_at_points(a, b, names, base, context, real_only) for base in bases])


def _any_base(outcomes: list[bool | None]) -> bool | None:
    """Combine the results over the meanings of a log without base: one suffices for equal, different needs all."""
    if True in outcomes:
        return True
    return None if None in outcomes else False


def same_family(a: Node, b: Node, context: ComparisonContext) -> bool:
    """Return True for two antiderivatives with a constant C that differ by a constant."""
    first, second = symbols(a), symbols(b)
    small: dict[str, Node] = {name: Sym(name.upper()) for name in first ^ second if name[0] == "c"}
    if small and {name.upper() for name in small} <= first | second:
        return equal(substitute(a, small), substitute(b, small), context) is True
    for name in first - second | second - first:
        if name in _CONSTANTS_OF_INTEGRATION and "C" in first | second:
            a, b = substitute(a, {name: Sym("C")}), substitute(b, {name: Sym("C")})
    if "C" not in symbols(a) or "C" not in symbols(b):
        return False
    zero: dict[str, Node] = {"C": Num(0)}
    a0, b0 = substitute(a, zero), substitute(b, zero)
    names = sorted(symbols(a0) | symbols(b0))
    if not names or not (equal(a, Add((a0, Sym("C"))), context) and equal(b, Add((b0, Sym("C"))), context)):
        return False
    point: dict[str, Node] = {name: Num(17 + 4 * k, 11) for k, name in enumerate(names)}
    gap = Add((substitute(a0, point), Neg(substitute(b0, point))))
    return equal(a0, Add((b0, gap)), context) is True


def _rational(node: Node, context: ComparisonContext) -> fmpq | str | None:
    try:
        return rational(node, context)
    except InconclusiveError:
        return None
    except UndefinedValueError:
        return "undefined"


def _short(value: fmpq) -> str:
    return str(value) if value.height_bits() < 100 else "a number of many digits"


def _constants(a: Node, b: Node, log_base: str, context: ComparisonContext) -> bool | None:
    """Compare two numbers: disjoint intervals prove a difference; agreement to 50 digits counts as equal."""
    outcome = _compare_at(a, b, {}, log_base, context, real_only=False)
    if outcome is False:
        context.record("interval", "the values differ")
    elif outcome:
        context.record("interval", "the values agree to more than 50 digits")
    return outcome


def _at_points(
    a: Node, b: Node, names: list[str], log_base: str, context: ComparisonContext, real_only: bool
) -> bool | None:
    """Compare two functions: one point with disjoint intervals proves a difference, three that agree count as equal.

    If there are even roots of variables, the variables may be assumed positive: then only the positive points count.
    """
    discrete = _is_discrete(a) or _is_discrete(b)
    assume_positive = not discrete and real_only and _is_radical(a, b)
    agreed, refuted = 0, False
    for index, (point, positive) in enumerate(_points(names, context.seed, discrete)):
        if agreed >= 3 and index >= _ALWAYS:
            break
        try:
            outcome = _compare_at(a, b, point, log_base, context, real_only)
        except UndefinedValueError:
            continue
        if outcome is False:
            refuted = True
            if positive or not assume_positive:
                context.record("points", "the values differ at a point")
                return False
        else:
            agreed += outcome is True and (positive or not assume_positive)
    if agreed >= 2:
        context.record("points", f"the values agree to more than 50 digits at {agreed} points")
        return True
    if refuted:
        context.record("points", "the values differ at a point")
        return False
    if real_only and not discrete:
        for point, _ in _points(names, context.seed, True):
            try:
                outcome = _compare_at(a, b, point, log_base, context, False)
            except UndefinedValueError:
                continue
            if outcome is False:
                context.record("points", "the values differ at a point")
                return False
            agreed += outcome is True
        if agreed >= 2:
            context.record("points", f"the values agree to more than 50 digits at {agreed} points")
            return True
    return None


def _is_radical(a: Node, b: Node) -> bool:
    """Return True if there is an even root of variables, and no absolute value that determines their sign."""
    result = False
    for node in (a, b):
        for part in walk(node):
            if isinstance(part, Call):
                if part.name == "abs":
                    return False
                if part.name == "root" and symbols(part.args[0]):
                    index = part.args[1]
                    result = result or not (isinstance(index, Num) and index.p % 2)
    return result


def _is_discrete(node: Node) -> bool:
    """Return True if the expression is meaningful at integers only."""
    for part in walk(node):
        if isinstance(part, Call) and part.name in _DISCRETE and any(symbols(arg) for arg in part.args):
            return True
        if isinstance(part, BigOp) and part.kind in ("sum", "prod"):
            return True
        if isinstance(part, Pow) and symbols(part.exponent):
            base = part.base
            if isinstance(base, Neg) or (isinstance(base, Num) and base.p < 0):
                return True
    return False


# The ranges of the points, in order: (low, width, signs). A point does not count if one side is undefined there or,
# for real expressions, not real: so sqrt(x^2) and x differ (at negatives), ln(x^2) and 2 ln x do not.
_RANGES = ((1, 3, "-"), (1, 2, "+"), (0, 4, "±"), (0, 1, "+"), (1, 5, "±"), (4, 40, "+"), (0, 1, "-"), (2, 9, "+"))
_ALWAYS = 4
"""Number of ranges that are always used."""


def _points(names: list[str], seed: bytes, discrete: bool) -> Iterator[tuple[Env, bool]]:
    """Yield (point, True if all coordinates are positive)."""
    for index, (low, width, signs) in enumerate(_RANGES):
        point: Env = {}
        for offset, name in enumerate(names):
            key = name.encode("utf-8", "replace")
            digest = int.from_bytes(blake2b(key, key=seed[:32], salt=bytes((index,)), digest_size=8).digest(), "big")
            if discrete:
                value: fmpq = fmpq(2 + (digest >> 8) % 9 + 3 * index + offset)
            else:
                value = low + fmpq(width * ((digest >> 8) % 9973 + 7), 9991)
                if signs == "-" or (signs == "±" and digest & 1):
                    value = -value
            point[name] = value
        yield point, discrete or signs == "+"


def _compare_at(
    a: Node, b: Node, env: Env, log_base: str, context: ComparisonContext, real_only: bool
) -> bool | None:
    """Compare at one point.

    Raises:
        UndefinedValueError: One side has no value at this point, so it does not count.
    """
    bits = BITS
    while bits <= MAX_BITS:
        with precision(bits):
            sides = [Evaluator(context, env, bits, log_base, real_only) for _ in range(2)]
            left, right = _value_or_none(a, sides[0]), _value_or_none(b, sides[1])
            if left is None or right is None:
                if env:
                    raise UndefinedValueError
                # numbers: if one has no value they differ; if neither has one, the result is open
                return None if left is right else False
            if isinstance(left, ValueTooLargeError) or isinstance(right, ValueTooLargeError):
                return (
                    None if isinstance(left, ValueTooLargeError) and isinstance(right, ValueTooLargeError) else False
                )
            if isinstance(left, InconclusiveError) or isinstance(right, InconclusiveError):
                return None
            difference = left - right
            if not difference.contains(0):
                return False
            needed = 2 * max(*(side.high for side in sides), *(-side.low for side in sides)) + 64
            if needed <= bits and _is_precise(difference, left, bits):
                return True
        bits = max(bits * 4, needed)
    return None


def _value_or_none(node: Node, side: Evaluator) -> acb | ValueTooLargeError | InconclusiveError | None:
    try:
        return side.value(node)
    except UndefinedValueError:
        return None
    except ValueTooLargeError as huge:
        return huge
    except InconclusiveError as reason:
        return reason


def _is_precise(difference: acb, value: acb, bits: int) -> bool:
    """Return True if two thirds of the bits agree, so that the agreement is not due to wide intervals."""
    size = abs(value).upper()
    radius = max(difference.real.rad(), difference.imag.rad())
    scaled = radius * fmpq(2) ** (bits * 2 // 3)
    return bool(scaled < size) or bool(scaled < 1)


def within_rounding(gold: Num, answer: Node, context: ComparisonContext) -> bool:
    """Return True if the answer rounds to the decimal gold."""
    decimals = gold.decimals
    if decimals is None or (isinstance(answer, Num) and answer.decimals is not None and answer.decimals <= decimals):
        return False
    half = fmpq(1, 2 * 10**decimals)
    value = fmpq(gold.p, gold.q)
    exact = _rational(answer, context)
    if isinstance(exact, fmpq):
        return bool(abs(exact - value) <= half)
    if exact == "undefined" or symbols(answer):
        return False
    with precision(BITS):
        try:
            result = Evaluator(context, {}, BITS).value(answer)
        except (InconclusiveError, UndefinedValueError, ValueTooLargeError):
            return False
        return bool(result.imag.contains(0) and abs(result.real - acb(value).real) < acb(half).real)
