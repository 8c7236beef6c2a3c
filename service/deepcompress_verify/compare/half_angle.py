"""Sines and cosines of multiples of one letter as rational functions of the tangent of half the angle."""

from __future__ import annotations

from flint import fmpq

from deepcompress_verify.compare.forms import rewrite, symbols
from deepcompress_verify.tree import Add, Call, Div, Mul, Neg, Node, Num, Pow, Sym, walk

HALF_ANGLE = "@t"
"""The name of the tangent's letter."""
_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


def half_angle(a: Node, b: Node, names: list[str]) -> tuple[Node, Node] | None:
    """Return both sides as functions of t = tan(x/2), for sines and cosines of multiples of one letter x.

    t runs through all reals as the angle runs through one period. None if the letter occurs outside of them.
    """
    angles: dict[str, set[fmpq]] = {}
    for part in (*walk(a), *walk(b)):
        if isinstance(part, Call) and part.name in _TRIGONOMETRIC and symbols(part):
            multiple = _multiple_of_letter(part.args[0])
            if multiple is None:
                return None
            angles.setdefault(multiple[1], set()).add(abs(multiple[0]))
    if len(angles) != 1:
        return None
    ((name, multiples),) = angles.items()
    unit = fmpq(1)
    for count, factor in enumerate(sorted(multiples)):
        unit = factor if not count else _common_measure(unit, factor)
    if name not in names or any(m / unit > 4 for m in multiples):
        return None

    def change(part: Node) -> Node | None:
        if not isinstance(part, Call) or part.name not in _TRIGONOMETRIC or not symbols(part):
            return None
        multiple = _multiple_of_letter(part.args[0])
        assert multiple is not None
        count = int((multiple[0] / unit).p)
        sine, cosine, bottom = _of_half_angle(abs(count))
        if count < 0:
            sine = Neg(sine)
        table = {
            "sin": (sine, bottom), "cos": (cosine, bottom), "tan": (sine, cosine), "cot": (cosine, sine),
            "sec": (bottom, cosine), "csc": (bottom, sine),
        }  # fmt: skip
        return Div(*table[part.name])

    changed = rewrite(a, change), rewrite(b, change)
    return None if any(name in symbols(node) for node in changed) else changed


def _common_measure(a: fmpq, b: fmpq) -> fmpq:
    while b != 0:
        quotient = a / b
        a, b = b, a - b * (quotient.p // quotient.q)
    return abs(a)


def _multiple_of_letter(node: Node) -> tuple[fmpq, str] | None:
    """Return (3/2, x) of 3x/2; None for anything else."""
    if isinstance(node, Sym):
        return fmpq(1), node.name
    if isinstance(node, Neg):
        inner = _multiple_of_letter(node.arg)
        return None if inner is None else (-inner[0], inner[1])
    if isinstance(node, Div) and isinstance(node.bottom, Num) and node.bottom.p:
        inner = _multiple_of_letter(node.top)
        return None if inner is None else (inner[0] * fmpq(node.bottom.q, node.bottom.p), inner[1])
    if isinstance(node, Mul) and len(node.factors) == 2:
        for number, other in (node.factors, node.factors[::-1]):
            if isinstance(number, Div) and isinstance(number.top, Num) and isinstance(number.bottom, Num):
                number = Num(number.top.p * number.bottom.q, number.top.q * number.bottom.p)
            if isinstance(number, Num) and number.p and number.q:
                inner = _multiple_of_letter(other)
                return None if inner is None else (inner[0] * fmpq(number.p, number.q), inner[1])
    return None


def _of_half_angle(count: int) -> tuple[Node, Node, Node]:
    """Return (sine, cosine, common denominator) of count * x, in t = tan(x/2): parts of (1 + it)^(2 count)."""
    real, imaginary = {0: 1}, {0: 0}
    for _ in range(2 * count):
        next_real, next_imaginary = dict(real), dict(imaginary)
        for power, value in imaginary.items():
            next_real[power + 1] = next_real.get(power + 1, 0) - value
        for power, value in real.items():
            next_imaginary[power + 1] = next_imaginary.get(power + 1, 0) + value
        real, imaginary = next_real, next_imaginary
    t = Sym(HALF_ANGLE)
    parts = [
        Add((Num(0), *(Mul((Num(c), Pow(t, Num(k)))) for k, c in sorted(p.items()) if c))) for p in (imaginary, real)
    ]
    return parts[0], parts[1], Pow(Add((Num(1), Pow(t, Num(2)))), Num(count))
