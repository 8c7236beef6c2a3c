"""Are two scalar expressions equal? The tiers, cheapest first; True and False are certain up to the one rule below.

Refutation is always rigorous: exact values differ, or balls do not meet. Equality is proved by structure, by exact
rationals or by exact rational functions; beyond those it is agreement of balls to at least 50 digits at points that
are derived from both texts, at a precision that covers every magnitude that was met on the way.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from flint import acb, fmpq

from deepcompress_verify.compare.balls import Env, Evaluator, Huge, precision
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import opaque_functions, substitute, symbols
from deepcompress_verify.compare.polynomials import equal_fractions
from deepcompress_verify.compare.work import CannotTell, Undefined, Work
from deepcompress_verify.tree import Add, Apply, BigOp, Call, Neg, Node, Num, Pow, Sym, walk

BITS = 256
MAX_BITS = 24_576
_SETS = frozenset(("oo", "N", "Z", "Q", "R", "C", "emptyset"))
_CONSTANTS_OF_INTEGRATION = frozenset(("c", "K", "k", "C_1", "c_1", "C_0"))
_DISCRETE = frozenset("floor ceil factorial factorial2 binom perm mod gcd lcm".split())


def equal(a: Node, b: Node, work: Work) -> bool | None:
    """Equal, different, or None: cannot tell (the oracle has then been asked)."""
    try:
        found = _equal(a, b, work)
    except RecursionError:  # the limits on depth make this impossible; a verdict must not depend on it
        found = None
    if found is None and work.oracle is not None:
        found = work.oracle(a, b)
        if found is not None:
            work.say(
                "cas", "the computer algebra system " + ("finds them equal" if found else "finds them different")
            )
    if found is None:
        work.open_reason = work.open_reason or "no exact tier can compare these expressions"
    return found


def _equal(a: Node, b: Node, work: Work) -> bool | None:
    if a == b or work.canon(a) == work.canon(b):
        work.say("structure", "the same expression")
        return True
    left = _rational(a, work)
    right = _rational(b, work)
    if left == "undefined" or right == "undefined":
        work.say("rational", "one side has no value")
        return False
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        same = bool(left == right)
        work.say("rational", f"{_short(left)} {'=' if same else '≠'} {_short(right)}")
        return same
    ours, theirs = work.facts(a), work.facts(b)
    constants = ours.constants | theirs.constants
    if not constants.isdisjoint(_SETS) and BigOp not in ours.kinds | theirs.kinds:
        work.say("structure", "infinity and sets of numbers equal only themselves")
        return False
    if Apply in ours.kinds or Apply in theirs.kinds:
        a, b = opaque_functions(a), opaque_functions(b)
        ours, theirs = work.facts(a), work.facts(b)
    names = sorted(ours.names | theirs.names)
    bases = ("e", "10") if ours.bare_log or theirs.bare_log else ("e",)
    if not names:
        return _any_base([_constants(a, b, base, work) for base in bases])
    try:
        same = equal_fractions(a, b, work)
        work.say("polynomial", "the same rational function" if same else "different rational functions")
        return same
    except CannotTell:
        pass
    except Undefined:
        work.say("polynomial", "a denominator is zero")
        return False
    real_only = "i" not in constants
    return _any_base([_at_points(a, b, names, base, work, real_only) for base in bases])


def _any_base(outcomes: list[bool | None]) -> bool | None:
    """Equal with either meaning of a log without base; different only with both."""
    if True in outcomes:
        return True
    return None if None in outcomes else False


def same_family(a: Node, b: Node, work: Work) -> bool:
    """Two antiderivatives with a constant C: equal where they differ by a constant."""
    ours, theirs = symbols(a), symbols(b)
    small: dict[str, Node] = {name: Sym(name.upper()) for name in ours ^ theirs if name[0] == "c"}
    if small and {name.upper() for name in small} <= ours | theirs:
        return equal(substitute(a, small), substitute(b, small), work) is True
    for name in ours - theirs | theirs - ours:
        if name in _CONSTANTS_OF_INTEGRATION and "C" in ours | theirs:
            a, b = substitute(a, {name: Sym("C")}), substitute(b, {name: Sym("C")})
    if "C" not in symbols(a) or "C" not in symbols(b):
        return False
    zero: dict[str, Node] = {"C": Num(0)}
    a0, b0 = substitute(a, zero), substitute(b, zero)
    names = sorted(symbols(a0) | symbols(b0))
    if not names or not (equal(a, Add((a0, Sym("C"))), work) and equal(b, Add((b0, Sym("C"))), work)):
        return False
    there: dict[str, Node] = {name: Num(17 + 4 * k, 11) for k, name in enumerate(names)}
    gap = Add((substitute(a0, there), Neg(substitute(b0, there))))
    return equal(a0, Add((b0, gap)), work) is True


def _rational(node: Node, work: Work) -> fmpq | str | None:
    try:
        return rational(node, work)
    except CannotTell:
        return None
    except Undefined:
        return "undefined"


def _short(value: fmpq) -> str:
    return str(value) if value.height_bits() < 100 else "a number of many digits"


def _constants(a: Node, b: Node, log_base: str, work: Work) -> bool | None:
    """Two numbers: disjoint balls refute, 50 digits of agreement accept."""
    outcome = _compare_at(a, b, {}, log_base, work, real_only=False)
    if outcome is False:
        work.say("interval", "the values differ")
    elif outcome:
        work.say("interval", "the values agree to more than 50 digits")
    return outcome


def _at_points(a: Node, b: Node, names: list[str], log_base: str, work: Work, real_only: bool) -> bool | None:
    """Two functions: one point where balls are disjoint refutes, three that agree accept.

    Where even roots of letters are involved the letters may be meant positive: then the positive points decide.
    """
    discrete = _is_discrete(a) or _is_discrete(b)
    assume_positive = not discrete and real_only and _is_radical(a, b)
    agreed, refuted = 0, False
    for index, (point, positive) in enumerate(_points(names, work.seed, discrete)):
        if agreed >= 3 and index >= _ALWAYS:
            break
        try:
            outcome = _compare_at(a, b, point, log_base, work, real_only)
        except Undefined:
            continue
        if outcome is False:
            refuted = True
            if positive or not assume_positive:
                work.say("points", "the values differ at a point")
                return False
        else:
            agreed += outcome is True and (positive or not assume_positive)
    if agreed >= 2:
        work.say("points", f"the values agree to more than 50 digits at {agreed} points")
        return True
    if refuted:
        work.say("points", "the values differ at a point")
        return False
    if real_only and not discrete:
        for point, _ in _points(names, work.seed, True):
            try:
                outcome = _compare_at(a, b, point, log_base, work, False)
            except Undefined:
                continue
            if outcome is False:
                work.say("points", "the values differ at a point")
                return False
            agreed += outcome is True
        if agreed >= 2:
            work.say("points", f"the values agree to more than 50 digits at {agreed} points")
            return True
    return None


def _is_radical(a: Node, b: Node) -> bool:
    """Is there an even root of letters, and no absolute value that would say what sign they have?"""
    found = False
    for node in (a, b):
        for here in walk(node):
            if isinstance(here, Call):
                if here.name == "abs":
                    return False
                if here.name == "root" and symbols(here.args[0]):
                    index = here.args[1]
                    found = found or not (isinstance(index, Num) and index.p % 2)
    return found


def _is_discrete(node: Node) -> bool:
    """Does the expression make sense at integers only?"""
    for here in walk(node):
        if isinstance(here, Call) and here.name in _DISCRETE and any(symbols(arg) for arg in here.args):
            return True
        if isinstance(here, BigOp) and here.kind in ("sum", "prod"):
            return True
        if isinstance(here, Pow) and symbols(here.exponent):
            base = here.base
            if isinstance(base, Neg) or (isinstance(base, Num) and base.p < 0):
                return True
    return False


# The ranges points are taken from, in order: (low, width, signs). A point where either side is undefined or, for real
# expressions, not real does not count: so sqrt(x^2) and x differ (at negatives), ln(x^2) and 2 ln x do not.
_RANGES = ((1, 3, "-"), (1, 2, "+"), (0, 4, "±"), (0, 1, "+"), (1, 5, "±"), (4, 40, "+"), (0, 1, "-"), (2, 9, "+"))
_ALWAYS = 4
"""So many ranges are always tried."""


def _points(names: list[str], seed: bytes, discrete: bool) -> Iterator[tuple[Env, bool]]:
    """Points, and whether all their coordinates are positive."""
    for index, (low, width, signs) in enumerate(_RANGES):
        point: Env = {}
        for place, name in enumerate(names):
            key = name.encode("utf-8", "replace")
            digest = int.from_bytes(blake2b(key, key=seed[:32], salt=bytes((index,)), digest_size=8).digest(), "big")
            if discrete:
                value: fmpq = fmpq(2 + (digest >> 8) % 9 + 3 * index + place)
            else:
                value = low + fmpq(width * ((digest >> 8) % 9973 + 7), 9991)
                if signs == "-" or (signs == "±" and digest & 1):
                    value = -value
            point[name] = value
        yield point, discrete or signs == "+"


def _compare_at(a: Node, b: Node, env: Env, log_base: str, work: Work, real_only: bool) -> bool | None:
    """Compare at one point. Raises Undefined where the point does not count."""
    bits = BITS
    while bits <= MAX_BITS:
        with precision(bits):
            sides = [Evaluator(work, env, bits, log_base, real_only) for _ in range(2)]
            left, right = _value_or_none(a, sides[0]), _value_or_none(b, sides[1])
            if left is None or right is None:
                if env:
                    raise Undefined
                # of two numbers one has no value: they differ; neither has one: nothing can be said
                return None if left is right else False
            if isinstance(left, Huge) or isinstance(right, Huge):
                return None if isinstance(left, Huge) and isinstance(right, Huge) else False
            if isinstance(left, CannotTell) or isinstance(right, CannotTell):
                return None
            difference = left - right
            if not difference.contains(0):
                return False
            needed = 2 * max(*(side.high for side in sides), *(-side.low for side in sides)) + 64
            if needed <= bits and _tight(difference, left, bits):
                return True
        bits = max(bits * 4, needed)
    return None


def _value_or_none(node: Node, side: Evaluator) -> acb | Huge | CannotTell | None:
    try:
        return side.value(node)
    except Undefined:
        return None
    except Huge as huge:
        return huge
    except CannotTell as reason:
        return reason


def _tight(difference: acb, value: acb, bits: int) -> bool:
    """Is the agreement owed to the precision, not to the width of the balls? Two thirds of the bits must agree."""
    size = abs(value).upper()
    radius = max(difference.real.rad(), difference.imag.rad())
    scaled = radius * fmpq(2) ** (bits * 2 // 3)
    return bool(scaled < size) or bool(scaled < 1)


def within_rounding(gold: Num, answer: Node, work: Work) -> bool:
    """Does the answer round to the decimal that the gold is?"""
    decimals = gold.decimals
    if decimals is None or (isinstance(answer, Num) and answer.decimals is not None and answer.decimals <= decimals):
        return False
    half = fmpq(1, 2 * 10**decimals)
    value = fmpq(gold.p, gold.q)
    exact = _rational(answer, work)
    if isinstance(exact, fmpq):
        return bool(abs(exact - value) <= half)
    if exact == "undefined" or symbols(answer):
        return False
    with precision(BITS):
        try:
            found = Evaluator(work, {}, BITS).value(answer)
        except (CannotTell, Undefined, Huge):
            return False
        return bool(found.imag.contains(0) and abs(found.real - acb(value).real) < acb(half).real)
