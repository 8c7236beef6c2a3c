"""Equality of two scalar expressions, by tiers from the cheapest on.

A negative result is always rigorous: exact values differ, or intervals do not intersect. Equality is proved by
structure, by exact rationals or by exact rational functions. Beyond those, intervals agree (see `points`).
"""

from __future__ import annotations

from flint import fmpq

from deepcompress_verify.compare.breaks import STEPS, breaks, must_be_cut
from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import (
    canon,
    constant_sequences,
    opaque_functions,
    opaque_sums,
    rewrite,
    sums_over_sequences,
    symbols,
)
from deepcompress_verify.compare.half_angle import half_angle
from deepcompress_verify.compare.integer_functions import (
    OFFSET,
    can_be_split,
    integer_points,
    is_discrete,
    proves_sum,
    real_letters,
    reduced,
    split_at_integers,
)
from deepcompress_verify.compare.interval_arithmetic import Env
from deepcompress_verify.compare.pieces import MAX_VARIABLES, Cells, positive_letters
from deepcompress_verify.compare.points import (
    COMPLEX_PARTS,
    OnlyAnswerUndefinedError,
    agreeing_points,
    at_complex_points,
    at_real_points,
    compare_at,
    complex_letters,
)
from deepcompress_verify.compare.polynomials import equal_fractions, standard_form
from deepcompress_verify.compare.residues import Residues
from deepcompress_verify.tree import Add, Apply, BigOp, Call, Div, Neg, Node, Num, Pow, walk

_SETS = frozenset(("oo", "N", "Z", "Q", "R", "C", "emptyset"))


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
    if (BigOp in first.kinds or BigOp in second.kinds) and (sums_over_sequences(a) or sums_over_sequences(b)):
        return _of_sequences(a, b, context)
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


def _of_sequences(a: Node, b: Node, context: ComparisonContext) -> bool | None:
    """Compare two trees with sums of a_k or f(k) over k.

    They are equal if they are the same rational function of the same sums, and different if they differ for constant
    sequences. With two unknown functions nothing is known: one may be the derivative of the other.
    """
    try:
        if equal_fractions(opaque_functions(opaque_sums(a)), opaque_functions(opaque_sums(b)), context):
            context.record("polynomial", "the same rational function of the same sums")
            return True
    except (InconclusiveError, UndefinedValueError):
        pass
    functions = {part.name for node in (a, b) for part in walk(node) if isinstance(part, Apply)}
    if len(functions) > 1 or any(len(name) > 1 for name in functions):
        return None
    specialised = _equal(constant_sequences(a), constant_sequences(b), context)
    return False if specialised is False else None


def _functions(
    a: Node, b: Node, names: list[str], log_base: str, context: ComparisonContext, real_only: bool
) -> bool | None:
    """Compare two functions of letters that are not both rational, by what they are made of."""
    if is_discrete(a) or is_discrete(b):
        return _of_integers(a, b, log_base, context)
    if real_only and (any(map(_of_complex_numbers, (a, b))) or _of_moduli(a, b, names)):
        return at_complex_points(a, b, names, complex_letters(a, b), log_base, context)
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
        outcome = at_real_points(a, b, names, log_base, context, real_only, positive, 6 if many else 3)
        if outcome and not positive and (must_be_cut(a) or must_be_cut(b)):
            if at_real_points(a, b, names, log_base, context, real_only, scale=1009) is False:
                return False  # arcsin(sin x) is x near zero
            context.open_reason = "functions that may differ beyond the points tried"
            return None
        return outcome
    return at_real_points(a, b, names, log_base, context, real_only)


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
    cells = Cells(a, b, names, context)
    for points in cells.points():
        for point in points:
            try:
                outcome = compare_at(a, b, point, log_base, context, True)
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
    if cells.strict and any(
        at_real_points(a, b, names, log_base, context, True, cells.positive, scale=scale) is False
        for scale in (1, 1009)
    ):
        return False
    context.record("points", "the values agree to more than 50 digits on every piece")
    return True


def _of_complex_numbers(node: Node) -> bool:
    return any(isinstance(p, Call) and p.name in COMPLEX_PARTS and symbols(p) for p in walk(node))


def _of_moduli(a: Node, b: Node, names: list[str]) -> bool:
    """Return True for functions of z and w alone with a modulus: |z|^2 is not z^2, since z is a complex number."""
    if not all(name[0] in "zw" for name in names):
        return False
    return any(isinstance(p, Call) and p.name == "abs" and symbols(p) for node in (a, b) for p in walk(node))


def _of_integers(a: Node, b: Node, log_base: str, context: ComparisonContext) -> bool | None:
    """Compare functions of integers, or floors of a real letter (see `integer_functions`)."""
    real = real_letters(a, b)
    if len(real) == 1 and can_be_split(a, b, real[0]):
        try:
            pairs = split_at_integers(a, b, real[0], context)
        except (InconclusiveError, UndefinedValueError):
            pass
        else:
            outcomes: list[bool | None] = []
            for pair in pairs:
                outcomes.append(_same_integer_function(*pair, [OFFSET], log_base, context))
                if outcomes[-1] is False:
                    return False
            return None if None in outcomes else True
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

    def compare(point: Env) -> bool | None:
        outcome = _exactly_at(a, b, point, context)
        return compare_at(a, b, point, log_base, context, False) if outcome is None else outcome

    agreed = agreeing_points(
        integer_points(a, b, names, real, context),
        compare,
        context,
        domain_counts=bool(real),
        difference="the values differ at integers",
    )
    if agreed is None:
        return False
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
    if analytic and at_real_points(a, b, names, log_base, context, True):
        return True  # without functions of integers, agreement at real points implies equality
    context.open_reason = "functions of integers that may differ beyond those tried"
    return None


def _any_base(outcomes: list[bool | None]) -> bool | None:
    """Combine the results over the meanings of a log without base: one suffices for equal, different needs all."""
    if True in outcomes:
        return True
    return None if None in outcomes else False


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
    outcome = compare_at(a, b, {}, log_base, context, real_only=False)
    if outcome is False:
        context.record("interval", "the values differ")
    elif outcome:
        context.record("interval", "the values agree to more than 50 digits")
    return outcome
