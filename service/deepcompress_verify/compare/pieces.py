"""Real functions that are analytic in pieces only: absolute values, maxima, roots, logarithms of polynomials.

The letters' space is cut at the zeros of the polynomials at which such a function may break. On each open cell both
sides are analytic, and the cell is connected, so agreement at random points of the cell implies equality there.

source: G. E. Collins, "Quantifier elimination for real closed fields by cylindrical algebraic decomposition" (1975);
only the open cells are computed, with the projection of A. Strzebonski (2000): leading coefficients, discriminants
and resultants.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import combinations, pairwise, product

from flint import acb, arb, fmpq, fmpq_mpoly, fmpq_poly, fmpz_poly

from deepcompress_verify.compare.breaks import cut_arguments, is_fractional, may_turn_back
from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.forms import symbols
from deepcompress_verify.compare.interval_arithmetic import precision
from deepcompress_verify.compare.polynomials import Fractions
from deepcompress_verify.tree import Call, Div, Neg, Node, Num, Pow, Sym, walk

MAX_POLYNOMIALS = 14
MAX_CELLS = 160
MAX_FACTORING = 1_200
"""Maximum terms times degree of a polynomial that is factored."""
MAX_VARIABLES = 3
MAX_DEGREE = 12
"""Maximum degree of a polynomial in two or three variables."""

Point = tuple[fmpq, ...]


class Cells:
    """The open cells on which two expressions are analytic, each with a box of rational points."""

    def __init__(self, gold: Node, answer: Node, names: list[str], context: ComparisonContext) -> None:
        if len(names) > MAX_VARIABLES:
            raise InconclusiveError
        self.context = context
        self.names = names
        self.strict = False
        """True if logarithms and powers with letters in the exponent are not cut."""
        arguments = self._arguments(gold, answer, strict=False)
        reader = Fractions((*(Sym(name) for name in names), *arguments), context)
        if not reader.pure or len(reader.names) != len(names):
            # a logarithm of a sine: cut at the roots, the absolute values and the inverse functions only
            self.strict = True
            if any(may_turn_back(part) for part in (*walk(gold), *walk(answer))):
                raise InconclusiveError
            arguments = self._arguments(gold, answer, strict=True)
            reader = Fractions((*(Sym(name) for name in names), *arguments), context)
            if not reader.pure or len(reader.names) != len(names):
                raise InconclusiveError
        self._ring = reader.ring_context
        self._reader = reader
        polynomials: list[fmpq_mpoly] = []
        for argument in arguments:
            try:
                polynomials.extend(reader.read(argument))
            except UndefinedValueError:
                continue
        if _positive_letters(gold, reader):
            self.positive = True
            polynomials.extend(reader.generators[: len(names)])
        else:
            self.positive = False
        self._polynomials = self._basis(polynomials)

    @staticmethod
    def _arguments(gold: Node, answer: Node, strict: bool) -> list[Node]:
        return [*cut_arguments(gold, strict), *cut_arguments(answer, strict)]

    def points(self) -> Iterator[list[dict[str, fmpq]]]:
        """Yield random points of each open cell, two in a cell.

        Raises:
            InconclusiveError: There are more than `MAX_CELLS` cells.
        """
        count = 0
        for sample in self._samples(self._polynomials, len(self.names)):
            if self.positive and any(value < 0 for value in sample):
                continue
            count += 1
            self.context.charge(20)
            if count > MAX_CELLS:
                raise InconclusiveError
            radius = self._radius(sample)
            yield [self._random(sample, radius, count, k) for k in range(2)]

    def _random(self, sample: Point, radius: fmpq, cell: int, number: int) -> dict[str, fmpq]:
        point: dict[str, fmpq] = {}
        for index, name in enumerate(self.names):
            key = f"{cell} {number} {index}".encode()
            digest = int.from_bytes(blake2b(key, key=self.context.seed[:32], digest_size=4).digest(), "big")
            point[name] = sample[index] + radius * fmpq(2 * digest - (1 << 32), 1 << 32)
        return point

    def _radius(self, sample: Point) -> fmpq:
        """Return the half-width of a box around the sample in which no polynomial has a zero."""
        radius = fmpq(1, 2)
        with precision(128):
            for _ in range(40):
                sides = [arb(value) + arb(0, arb(radius)) for value in sample]
                if all(not _evaluate(p, sides).contains(0) for p in self._polynomials):
                    return radius
                radius /= 4
        raise InconclusiveError

    def _basis(self, polynomials: list[fmpq_mpoly]) -> list[fmpq_mpoly]:
        """Return the irreducible factors."""
        result: dict[str, fmpq_mpoly] = {}
        for p in polynomials:
            if p.is_zero() or p.is_constant():
                continue
            if len(p) > 1 and len(p) * p.total_degree() > MAX_FACTORING:
                raise InconclusiveError
            self.context.charge(4 * len(p))
            for factor, _ in p.factor()[1]:
                if len(self.names) > 1 and factor.total_degree() > MAX_DEGREE:
                    raise InconclusiveError
                if not factor.is_constant():
                    result[str(factor)] = factor
            if len(result) > MAX_POLYNOMIALS * 4:
                raise InconclusiveError
        return list(result.values())

    def _samples(self, polynomials: list[fmpq_mpoly], size: int) -> Iterator[Point]:
        """Yield one rational point of each open cell of the first `size` letters."""
        if size == 1:
            for value in _between_roots([_univariate(p, 0) for p in polynomials]):
                yield (value,)
            return
        last = size - 1
        if len(polynomials) > MAX_POLYNOMIALS:
            raise InconclusiveError
        projected: list[fmpq_mpoly] = []
        own: list[fmpq_mpoly] = []
        for p in polynomials:
            degree = int(p.degrees()[last])
            if degree == 0:
                projected.append(p)
                continue
            own.append(p)
            projected.append(self._leading(p, last, degree))
            if degree > 1:
                self.context.charge(100 * degree)
                projected.append(p.discriminant(last))
        for p, q in combinations(own, 2):
            self.context.charge(50 * int(p.degrees()[last]) * int(q.degrees()[last]))
            projected.append(p.resultant(q, last))
        for base in self._samples(self._basis(projected), last):
            self.context.charge(10)
            lines = [_univariate(_substitute(p, base), last) for p in own]
            for value in _between_roots(lines):
                yield (*base, value)

    def _leading(self, p: fmpq_mpoly, index: int, degree: int) -> fmpq_mpoly:
        terms: dict[tuple[int, ...], fmpq] = {}
        for exponents, coefficient in p.terms():
            if int(exponents[index]) == degree:
                key = tuple(0 if k == index else int(e) for k, e in enumerate(exponents))
                terms[key] = terms.get(key, fmpq(0)) + coefficient
        return self._ring.from_dict(terms)


def positive_letters(gold: Node, names: list[str], context: ComparisonContext) -> bool:
    """Return True if the letters of the gold are positive by convention (see `_positive_letters`)."""
    try:
        return _positive_letters(gold, Fractions((*(Sym(name) for name in names), Num(1)), context))
    except InconclusiveError:
        return False


def _positive_letters(gold: Node, reader: Fractions) -> bool:
    """Return True if the letters of the gold are positive: its even roots or logarithms need it, as in sqrt(x) and
    ln(xy), and it has no absolute value.
    """
    restricted = False
    for part in walk(gold):
        if isinstance(part, Call) and part.name == "abs":
            return False
        if (
            isinstance(part, Call)
            and part.name == "root"
            and isinstance(part.args[1], Num)
            and part.args[1].p % 2 == 0
        ) or (isinstance(part, Call) and part.name in ("ln", "log")):
            base = part.args[0]
        elif isinstance(part, Pow) and is_fractional(part) and not _odd_root(part):
            base = part.base
        else:
            continue
        if not symbols(base):
            continue
        try:
            top, bottom = reader.read(base)
        except (KeyError, InconclusiveError, UndefinedValueError):
            return False
        if len(reader.names) == 1 and any(c < 0 for p in (top, bottom) for c in p.coeffs()):
            return False
        restricted = restricted or _takes_negative_values(top * bottom, len(reader.names))
    return restricted


def _odd_root(node: Pow) -> bool:
    """Return True for an exponent such as 1/3, with which negative numbers have a real power."""
    exponent = node.exponent
    while isinstance(exponent, Neg):
        exponent = exponent.arg
    if isinstance(exponent, Num):
        return exponent.q % 2 == 1
    return isinstance(exponent, Div) and isinstance(exponent.bottom, Num) and exponent.bottom.p % 2 == 1


def _takes_negative_values(p: fmpq_mpoly, size: int) -> bool:
    """Return True if a polynomial is found to be negative at one of a few points."""
    for signs in product((1, -1), repeat=min(size, 4)):
        signs += (1,) * (size - len(signs))
        for scale, turn in ((fmpq(1, 97), 0), (fmpq(1), 1), (fmpq(89), 2), (fmpq(3), 3), (fmpq(1, 5), 4)):
            point = [sign * scale * fmpq(13 + 4 * ((k * (turn + 1) + turn) % 7), 11) for k, sign in enumerate(signs)]
            total = fmpq(0)
            for exponents, coefficient in p.terms():
                for value, exponent in zip(point, exponents, strict=False):
                    coefficient = coefficient * value ** int(exponent)
                total += coefficient
            if total < 0:
                return True
    return False


def _evaluate(p: fmpq_mpoly, values: list[arb]) -> arb:
    total = arb(0)
    for exponents, coefficient in p.terms():
        term = arb(coefficient)
        for value, exponent in zip(values, exponents, strict=False):
            # a ball that contains 0 has no power in the library
            for _ in range(int(exponent)):
                term *= value
        total += term
    return total


def _substitute(p: fmpq_mpoly, base: Point) -> dict[int, fmpq]:
    """Return the coefficients of the polynomial in the letter after `base`, by its exponent."""
    result: dict[int, fmpq] = {}
    size = len(base)
    for exponents, coefficient in p.terms():
        value = coefficient
        for index in range(size):
            if exponents[index]:
                value = value * base[index] ** int(exponents[index])
        key = int(exponents[size])
        result[key] = result.get(key, fmpq(0)) + value
    return result


def _univariate(p: fmpq_mpoly | dict[int, fmpq], index: int) -> fmpq_poly:
    terms = p if isinstance(p, dict) else {int(e[index]): c for e, c in p.terms()}
    degree = max(terms, default=0)
    return fmpq_poly([terms.get(k, fmpq(0)) for k in range(degree + 1)])


def _between_roots(polynomials: list[fmpq_poly]) -> list[fmpq]:
    """Return a rational number in each interval between two neighbouring real roots, and beyond the outer ones."""
    total = fmpz_poly([1])
    for p in polynomials:
        if p.degree() > 0:
            total *= p.numer()
    if total.degree() <= 0:
        return [fmpq(1)]
    squarefree = fmpz_poly([1])
    for factor, _ in total.factor_squarefree()[1]:
        squarefree *= factor
    if squarefree.degree() > 64:
        raise InconclusiveError
    with precision(64):
        isolated: list[tuple[acb, int]] = squarefree.complex_roots()  # type: ignore[assignment]
        roots = [root for root, _ in isolated if root.imag.is_zero()]
    ends = sorted((_exact(root.real.lower()), _exact(root.real.upper())) for root in roots)
    if not ends:
        return [fmpq(1)]
    result = [fmpq(ends[0][0].p // ends[0][0].q - 1)]
    for (_, low), (high, _) in pairwise(ends):
        result.append(_simple_between(low, high))
    result.append(fmpq(-(-ends[-1][1].p // ends[-1][1].q) + 1))
    return result


def _exact(value: arb) -> fmpq:
    mantissa, exponent = value.mid().man_exp()
    return fmpq(mantissa) * fmpq(2) ** int(exponent)


def _simple_between(low: fmpq, high: fmpq) -> fmpq:
    if not low < high:
        raise InconclusiveError
    for bits in range(256):
        step = fmpq(1, 1 << bits)
        scaled = low / step
        candidate = (scaled.p // scaled.q + 1) * step
        if low < candidate < high:
            return candidate
    raise InconclusiveError
