"""Equality of two scalar expressions, by tiers from the cheapest on.

A negative result is always rigorous: exact values differ, or intervals do not intersect. Equality is proved by
structure, by exact rationals or by exact rational functions. Beyond those, it is agreement of intervals to at least
50 digits, at points derived from both texts, at a precision that covers every magnitude that occurred.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import permutations

from flint import acb, fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import (
    canon,
    constant_sequences,
    opaque_functions,
    rewrite,
    substitute,
    sums_over_letters,
    symbols,
)
from deepcompress_verify.compare.integer_functions import (
    OFFSET,
    Residues,
    can_be_split,
    integer_points,
    is_discrete,
    proves_sum,
    real_letters,
    reduced,
    split_at_integers,
)
from deepcompress_verify.compare.interval_arithmetic import Env, Evaluator, ValueTooLargeError, precision
from deepcompress_verify.compare.pieces import (
    MAX_VARIABLES,
    STEPS,
    Cells,
    breaks,
    half_angle,
    must_be_cut,
    positive_letters,
)
from deepcompress_verify.compare.polynomials import equal_fractions, standard_form
from deepcompress_verify.tree import Add, Apply, BigOp, Call, Div, Mul, Neg, Node, Num, Pow, Sym, walk

BITS = 256
MAX_BITS = 24_576
_SETS = frozenset(("oo", "N", "Z", "Q", "R", "C", "emptyset"))
_VARIABLES = frozenset("x y z t u v w s r theta phi".split())
"""Letters of which an antiderivative is a function."""
_CONSTANTS_OF_INTEGRATION = frozenset(("c", "K", "k", "C_1", "c_1", "C_0"))


def equal(a: Node, b: Node, context: ComparisonContext) -> bool | None:
    """Return True or False, or None if the result is open (the oracle has then been asked)."""
    # The rules walk both trees about twenty times, which is a unit for two nodes.
    context.charge((context.facts(a).nodes + context.facts(b).nodes) // 2)
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
    if (BigOp in first.kinds or BigOp in second.kinds) and (sums_over_letters(a) or sums_over_letters(b)):
        # a_k in a sum over k: equal for every sequence, so equal for a constant one
        specialised = _equal(constant_sequences(a), constant_sequences(b), context)
        return False if specialised is False else None
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
    return _any_base([_functions(a, b, names, base, context, real_only) for base in bases])


def _functions(
    a: Node, b: Node, names: list[str], log_base: str, context: ComparisonContext, real_only: bool
) -> bool | None:
    """Compare two functions of letters that are not both rational, by what they are made of."""
    if is_discrete(a) or is_discrete(b):
        return _of_integers(a, b, log_base, context)
    if real_only and any(_of_complex_numbers(node) for node in (a, b)):
        return _at_complex_points(a, b, names, log_base, context)
    if real_only and (breaks(a) or breaks(b)):
        first, second = _standard_arguments(a, context), _standard_arguments(b, context)
        if (first, second) != (a, b):
            try:
                if equal_fractions(first, second, context):
                    context.record("polynomial", "the same functions of the same arguments")
                    return True
            except (InconclusiveError, UndefinedValueError):
                pass
        turned = half_angle(a, b, names)
        try:
            if turned is not None:
                angles = sorted(symbols(turned[0]) | symbols(turned[1]))
                return _in_cells(*turned, angles, log_base, context)
            return _in_cells(a, b, names, log_base, context)
        except (InconclusiveError, UndefinedValueError):
            pass
        roots_only = not any(isinstance(p, Call) and p.name in STEPS and symbols(p) for p in (*walk(a), *walk(b)))
        many = len(names) > MAX_VARIABLES and roots_only
        positive = many and positive_letters(a, names, context)
        outcome = _at_points(a, b, names, log_base, context, real_only, positive, 6 if many else 3)
        if outcome and not positive and (must_be_cut(a) or must_be_cut(b)):
            context.open_reason = "functions that may differ beyond the points tried"
            return None
        return outcome
    return _at_points(a, b, names, log_base, context, real_only)


def _standard_arguments(node: Node, context: ComparisonContext) -> Node:
    """Return the tree with powers of 1/2 as roots, and the arguments of functions in a standard writing."""

    def change(part: Node) -> Node | None:
        if isinstance(part, Call) and symbols(part):
            if part.name in ("max", "min") and len(part.args) == 2:
                one, two = part.args
                gap = _absolute(Add((one, Neg(two))), context)
                return Div(Add((one, two, gap if part.name == "max" else Neg(gap))), Num(2))
            if part.name == "abs":
                return _absolute(part.args[0], context)
            squared = part.args[0]
            if part.name == "root" and part.args[1:] == (Num(2),) and isinstance(squared, Pow):
                power = squared.exponent
                if isinstance(power, Num) and power.q == 1 and power.p % 2 == 0 and power.p > 0:
                    return Pow(_absolute(squared.base, context), Num(power.p // 2))
            return Call(part.name, tuple(standard_form(arg, context) if symbols(arg) else arg for arg in part.args))
        if isinstance(part, Pow) and symbols(part.base) and isinstance(part.exponent, (Div, Num)):
            index = part.exponent
            if isinstance(index, Div) and index.top == Num(1) and isinstance(index.bottom, Num):
                return Call("root", (standard_form(part.base, context), index.bottom))
            if isinstance(index, Num) and index.p == 1 and index.q > 1:
                return Call("root", (standard_form(part.base, context), Num(index.q)))
        return None

    return rewrite(node, change)


def _absolute(node: Node, context: ComparisonContext) -> Node:
    """Return the absolute value in a standard writing, the same for a and -a."""
    forms = [standard_form(form, context) for form in (node, Neg(node))]
    return Call("abs", (min(forms, key=canon),))


def _in_cells(a: Node, b: Node, names: list[str], log_base: str, context: ComparisonContext) -> bool | None:
    """Compare two functions on each open cell on which both are analytic (see `pieces`).

    Raises:
        InconclusiveError: The space cannot be cut.
    """
    counted = 0
    for points in Cells(a, b, names, context).points():
        for point in points:
            try:
                outcome = _compare_at(a, b, point, log_base, context, True)
            except OnlyAnswerUndefinedError:
                context.record("points", "the answer has no value at points at which the gold has one")
                return False
            except UndefinedValueError:
                break
            if outcome is False:
                context.record("points", "the values differ at a point")
                return False
            if outcome is None:
                raise InconclusiveError
            counted += 1
    if not counted:
        raise InconclusiveError
    context.record("points", "the values agree to more than 50 digits on every piece")
    return True


def _of_complex_numbers(node: Node) -> bool:
    return any(isinstance(p, Call) and p.name in ("re", "im", "conj", "arg") and symbols(p) for p in walk(node))


def _at_complex_points(a: Node, b: Node, names: list[str], log_base: str, context: ComparisonContext) -> bool | None:
    """Compare two functions of complex letters (z, w) and their conjugates, polynomials in both parts."""
    agreed = 0
    for index in range(4):
        point: Env = {}
        for name in names:
            digest = int.from_bytes(
                blake2b(f"{name} {index}".encode("utf-8", "replace"), key=context.seed[:32], digest_size=8).digest(),
                "big",
            )
            real, imaginary = fmpq((digest >> 32) + 1, 1 << 30), fmpq(digest % (1 << 32) + 1, 1 << 30)
            sign = -1 if index % 2 else 1
            point[name] = acb(real * sign, imaginary) if name.partition("_")[0] in ("z", "w") else real * sign  # type: ignore[assignment]
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


def _of_integers(a: Node, b: Node, log_base: str, context: ComparisonContext) -> bool | None:
    """Compare functions of integers, or floors of a real letter (see `integer_functions`)."""
    real = real_letters(a, b)
    if len(real) == 1 and can_be_split(a, b, real[0]):
        try:
            pairs = split_at_integers(a, b, real[0], context)
        except (InconclusiveError, UndefinedValueError):
            pass
        else:
            outcomes = [_same_integer_function(*pair, [OFFSET], log_base, context) for pair in pairs]
            return False if False in outcomes else None if None in outcomes else True
    return _same_integer_function(a, b, real, log_base, context)


def _exactly_at(a: Node, b: Node, point: Env, context: ComparisonContext) -> bool | None:
    """Compare at one point by exact arithmetic; None if a value is not rational.

    Raises:
        UndefinedValueError: A side has no value.
    """
    try:
        return bool(rational(a, context, point) == rational(b, context, point))
    except InconclusiveError:
        return None


def _same_integer_function(
    a: Node, b: Node, real: list[str], log_base: str, context: ComparisonContext
) -> bool | None:
    names = sorted(symbols(a) | symbols(b))
    real = [name for name in real if name in names]
    agreed = 0
    for point in integer_points(a, b, names, real, context):
        try:
            outcome = _exactly_at(a, b, point, context)
            if outcome is None:
                outcome = _compare_at(a, b, point, log_base, context, False)
        except OnlyAnswerUndefinedError:
            if real:
                context.record("points", "the answer has no value at points at which the gold has one")
                return False
            continue
        except UndefinedValueError:
            continue
        if outcome is False:
            context.record("points", "the values differ at integers")
            return False
        agreed += outcome is True
    if not agreed:
        return None
    if proves_sum(a, b, context) or proves_sum(b, a, context):
        context.record("polynomial", "the same by induction")
        return True
    a, b = _standard_arguments(a, context), _standard_arguments(b, context)
    a, b = reduced(a, context, real), reduced(b, context, real)
    try:
        if equal_fractions(a, b, context):
            context.record("polynomial", "the same function of integers")
            return True
    except (InconclusiveError, UndefinedValueError):
        pass
    try:
        classes = Residues(a, b, context)
        if classes.names.isdisjoint(real) and classes.equal():
            context.record("polynomial", f"the same polynomials on {classes.classes()} classes of integers")
            return True
    except (InconclusiveError, UndefinedValueError):
        pass
    analytic = not any(is_discrete(node) or breaks(node) for node in (a, b))
    if analytic and _at_points(a, b, names, log_base, context, True):
        return True  # without functions of integers, agreement at real points implies equality
    context.open_reason = "functions of integers that may differ beyond those tried"
    return None


def _any_base(outcomes: list[bool | None]) -> bool | None:
    """Combine the results over the meanings of a log without base: one suffices for equal, different needs all."""
    if True in outcomes:
        return True
    return None if None in outcomes else False


def same_family(a: Node, b: Node, context: ComparisonContext) -> bool:
    """Return True for two antiderivatives with a constant C that differ by a constant."""
    first, second = symbols(a), symbols(b)
    small: dict[str, Node] = {name: Sym(name.upper()) for name in first ^ second if name.startswith("c")}
    if small and {name.upper() for name in small} <= first | second:
        return equal(substitute(a, small), substitute(b, small), context) is True
    for name in first - second | second - first:
        if name in _CONSTANTS_OF_INTEGRATION and "C" in first | second:
            a, b = substitute(a, {name: Sym("C")}), substitute(b, {name: Sym("C")})
    if "C" not in symbols(a) or "C" not in symbols(b):
        return False
    others = symbols(a) | symbols(b)
    if not any(name.partition("_")[0] in _VARIABLES for name in others) or any(
        len(name) == 1 and name.isupper() for name in others - {"C"}
    ):
        return False  # C is a letter of the problem: A + B + C
    a, b = _without_bars_in_logs(a), _without_bars_in_logs(b)
    zero: dict[str, Node] = {"C": Num(0)}
    a0, b0 = substitute(a, zero), substitute(b, zero)
    names = sorted(symbols(a0) | symbols(b0))
    if not names or not (equal(a, Add((a0, Sym("C"))), context) and equal(b, Add((b0, Sym("C"))), context)):
        return False
    point: dict[str, Node] = {name: Num(17 + 4 * k, 11) for k, name in enumerate(names)}
    gap = Add((substitute(a0, point), Neg(substitute(b0, point))))
    return equal(a0, Add((b0, gap)), context) is True


def same_constants(gold: Node, answer: Node, context: ComparisonContext) -> bool:
    """Return True for two solutions whose constants have other names or another order: C_1 e^x + C_2, A e^x + B.

    The constants of the gold are C_1 to C_4, at least two of them, and it is a function of a variable. Those of the
    answer are its letters that the gold has not, and its C_1 to C_4.
    """
    first, second = symbols(gold), symbols(answer)
    constants = sorted(name for name in first if name in NUMBERED_CONSTANTS)
    if not 2 <= len(constants) <= 4 or first.isdisjoint(_VARIABLES) or not all(map(_is_scalar, (gold, answer))):
        return False
    stated = sorted(name for name in second if name in constants or name not in first)
    if len(stated) != len(constants) or (first - set(constants)) != (second - set(stated)):
        return False
    if any(not _may_be_constant(name) for name in stated):
        return False
    for order in permutations(constants):
        table: dict[str, Node] = {name: Sym(other) for name, other in zip(stated, order, strict=True)}
        if equal(gold, substitute(answer, table), context) is True:
            return True
    return False


def _may_be_constant(name: str) -> bool:
    return (
        name in NUMBERED_CONSTANTS or (len(name) == 1 and name in "ABCDKMNPabcdk") or name[:2] in ("k_", "A_", "K_")
    )


def _is_scalar(node: Node) -> bool:
    return isinstance(node, (Add, Mul, Div, Neg, Pow, Call))


_INDEXED = ("k_", "A_", "K_")
NUMBERED_CONSTANTS = frozenset(f"{letter}_{mark}" for letter in "cC" for n in "1234" for mark in (n, f"{{{n}}}"))


def _without_bars_in_logs(node: Node) -> Node:
    """Return ln|x| + C as ln x + C: antiderivatives are written either way."""

    def change(part: Node) -> Node | None:
        if isinstance(part, Call) and part.name in ("ln", "log"):
            inner = part.args[0]
            if isinstance(inner, Call) and inner.name == "abs":
                return Call(part.name, (inner.args[0], *part.args[1:]))
        return None

    return rewrite(node, change)


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
    a: Node,
    b: Node,
    names: list[str],
    log_base: str,
    context: ComparisonContext,
    real_only: bool,
    positive: bool = False,
    enough: int = 3,
) -> bool | None:
    """Compare two functions: one point with disjoint intervals proves a difference, `enough` that agree count as
    equal.

    Points at which the gold has no value do not count; where the gold has one and the answer has none, they differ.
    """
    agreed = 0
    for index, point in enumerate(_points(names, context.seed, 24 if positive else len(_RANGES))):
        if agreed >= enough and index >= _ALWAYS:
            break
        if positive:
            point = {name: abs(value) for name, value in point.items()}
        try:
            outcome = _compare_at(a, b, point, log_base, context, real_only)
        except OnlyAnswerUndefinedError:
            if real_only:
                context.record("points", "the answer has no value at a point at which the gold has one")
                return False
            continue
        except UndefinedValueError:
            continue
        if outcome is False:
            context.record("points", "the values differ at a point")
            return False
        agreed += outcome is True
    if agreed >= min(enough, 4) - 1:
        context.record("points", f"the values agree to more than 50 digits at {agreed} points")
        return True
    return None


# The ranges of the points, in order: (low, width, signs). A point does not count if one side is undefined there or,
# for real expressions, not real: so sqrt(x^2) and x differ (at negatives), ln(x^2) and 2 ln x do not.
_RANGES = ((1, 3, "-"), (1, 2, "+"), (0, 4, "±"), (0, 1, "+"), (1, 5, "±"), (4, 40, "+"), (0, 1, "-"), (2, 9, "+"))
_ALWAYS = 4
"""Number of ranges that are always used."""


def _points(names: list[str], seed: bytes, count: int) -> Iterator[Env]:
    """Yield points with rational coordinates."""
    for index in range(count):
        low, width, signs = _RANGES[index % len(_RANGES)]
        point: Env = {}
        for name in names:
            key = name.encode("utf-8", "replace")
            digest = int.from_bytes(blake2b(key, key=seed[:32], salt=bytes((index,)), digest_size=8).digest(), "big")
            value = low + fmpq(width * ((digest >> 8) % 1000003 + 7), 1000033)
            if signs == "-" or (signs == "±" and digest & 1):
                value = -value
            point[name] = value
        yield point


class OnlyAnswerUndefinedError(UndefinedValueError):
    """The gold has a value at this point, and the answer has none."""


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
                    raise OnlyAnswerUndefinedError if left is not None else UndefinedValueError
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
