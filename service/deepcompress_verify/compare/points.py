"""Equality of two scalar expressions at points: intervals at a precision that covers every magnitude that occurred.

Disjoint intervals at one point prove a difference. Agreement to more than 50 digits at several points, derived from
both texts, counts as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

from flint import acb, fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.forms import has_constant, symbols
from deepcompress_verify.compare.interval_arithmetic import Env, Evaluator, ValueTooLargeError, precision
from deepcompress_verify.tree import Call, Node, Sym, walk

BITS = 256
MAX_BITS = 24_576


def agreeing_points(
    points: Iterable[Env],
    compare: Callable[[Env], bool | None],
    context: ComparisonContext,
    *,
    domain_counts: bool,
    enough: int | None = None,
    difference: str = "the values differ at a point",
) -> int | None:
    """Return the number of points at which two functions agree; None if one point refutes, which is recorded.

    Points at which the gold has no value do not count. Where the gold has one and the answer has none, they differ if
    `domain_counts`, otherwise the point does not count. After `enough` points the first `_ALWAYS` are still tried.
    """
    agreed = 0
    for index, point in enumerate(points):
        if enough is not None and agreed >= enough and index >= _ALWAYS:
            break
        try:
            outcome = compare(point)
        except OnlyAnswerUndefinedError:
            if domain_counts:
                context.record("points", "the answer has no value at a point at which the gold has one")
                return None
            continue
        except UndefinedValueError:
            continue
        if outcome is False:
            context.record("points", difference)
            return None
        agreed += outcome is True
    return agreed


def at_real_points(
    a: Node,
    b: Node,
    names: list[str],
    log_base: str,
    context: ComparisonContext,
    real_only: bool,
    positive: bool = False,
    enough: int = 3,
    scale: int = 1,
) -> bool | None:
    """Compare two functions of real letters: `enough` points that agree count as equal.

    With `positive`, all letters are positive. `scale` multiplies the points.
    """
    points = _real_points(names, context.seed, 24 if positive else len(_RANGES))
    if positive:
        points = ({name: abs(value) for name, value in point.items()} for point in points)
    if scale != 1:
        points = ({name: value * scale for name, value in point.items()} for point in points)
    agreed = agreeing_points(
        points,
        lambda point: compare_at(a, b, point, log_base, context, real_only),
        context,
        domain_counts=real_only,
        enough=enough,
    )
    return _conclude(agreed, min(enough, 4) - 1, context)


COMPLEX_PARTS = frozenset(("re", "im", "conj", "arg"))
"""Functions of complex numbers; of a real number they have no use."""


def complex_letters(a: Node, b: Node) -> frozenset[str]:
    """Return the letters that are complex: z, w, and the f of Re(f). In Re(a + bi) the letters are real."""
    found: set[str] = set()
    for part in (*walk(a), *walk(b)):
        if isinstance(part, Call) and part.name in COMPLEX_PARTS and not has_constant(part, "i"):
            found |= symbols(part)
        elif isinstance(part, Sym) and part.name.partition("_")[0] in ("z", "w"):
            found.add(part.name)
    return frozenset(found)


def at_complex_points(
    a: Node, b: Node, names: list[str], letters: frozenset[str], log_base: str, context: ComparisonContext
) -> bool | None:
    """Compare two functions of complex letters and their conjugates, polynomials in both parts."""
    agreed = agreeing_points(
        _complex_points(names, letters, context.seed),
        lambda point: compare_at(a, b, point, log_base, context, False),
        context,
        domain_counts=False,
    )
    return _conclude(agreed, 2, context)


def _conclude(agreed: int | None, least: int, context: ComparisonContext) -> bool | None:
    if agreed is None:
        return False
    if agreed < least:
        return None
    context.record("points", f"the values agree to more than 50 digits at {agreed} points")
    return True


# The ranges of the points, in order: (low, width, signs). A point does not count if one side is undefined there or,
# for real expressions, not real: so sqrt(x^2) and x differ (at negatives), ln(x^2) and 2 ln x do not.
_RANGES = ((1, 3, "-"), (1, 2, "+"), (0, 4, "±"), (0, 1, "+"), (1, 5, "±"), (4, 40, "+"), (0, 1, "-"), (2, 9, "+"))
_ALWAYS = 4
"""Number of ranges that are always used."""


def _real_points(names: list[str], seed: bytes, count: int) -> Iterator[Env]:
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


def _complex_points(names: list[str], letters: frozenset[str], seed: bytes) -> Iterator[Env]:
    """Yield four points at which some letters are complex, and the others real."""
    for index in range(4):
        point: Env = {}
        for name in names:
            key = f"{name} {index}".encode("utf-8", "replace")
            digest = int.from_bytes(blake2b(key, key=seed[:32], digest_size=8).digest(), "big")
            real, imaginary = fmpq((digest >> 32) + 1, 1 << 30), fmpq(digest % (1 << 32) + 1, 1 << 30)
            sign = -1 if index % 2 else 1
            point[name] = acb(real * sign, imaginary) if name in letters else real * sign  # type: ignore[assignment]
        yield point


class OnlyAnswerUndefinedError(UndefinedValueError):
    """The gold has a value at this point, and the answer has none."""


def compare_at(a: Node, b: Node, env: Env, log_base: str, context: ComparisonContext, real_only: bool) -> bool | None:
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
