"""Exact rational functions over Q (python-flint): proofs of equality and of difference.

Any other function (a sine, a root) becomes a generator of its own. A proof of equality then still holds, since it
holds for any value of the generator. A difference is no proof, since generators may depend on each other.
"""

from __future__ import annotations

from flint import fmpq, fmpq_mpoly, fmpq_mpoly_ctx

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import canon
from deepcompress_verify.tree import Add, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Quantity, Sym

MAX_GENERATORS = 12
MAX_DEGREE = 128
MAX_TERMS = 1_500


class Fractions:
    """Parses trees as quotients of polynomials in one fixed set of generators."""

    def __init__(self, nodes: tuple[Node, ...], context: ComparisonContext) -> None:
        self.context = context
        self.names: dict[str, int] = {}
        self.nodes: list[Node] = []
        """The generators as trees, by their index."""
        self.pure = True
        """All generators are variables: a difference is then a proof."""
        for node in nodes:
            self._collect(node)
        if len(self.names) > MAX_GENERATORS:
            raise InconclusiveError
        self.ring_context = fmpq_mpoly_ctx.get(tuple(f"g{i}" for i in range(max(1, len(self.names)))), "lex")
        self.generators = self.ring_context.gens()

    def _collect(self, node: Node) -> None:
        if isinstance(node, Num):
            return
        if isinstance(node, Add):
            for term in node.terms:
                self._collect(term)
        elif isinstance(node, Mul):
            for factor in node.factors:
                self._collect(factor)
        elif isinstance(node, Div):
            self._collect(node.top)
            self._collect(node.bottom)
        elif isinstance(node, Neg):
            self._collect(node.arg)
        elif isinstance(node, Pow) and self._integer_exponent(node) is not None:
            self._collect(node.base)
        else:
            if isinstance(node, (Const, Call, Pow, BigOp, Quantity)):
                self.pure = False
            elif not isinstance(node, Sym):
                raise InconclusiveError
            key = canon(node)
            if key not in self.names:
                self.names[key] = len(self.names)
                self.nodes.append(node)

    def _integer_exponent(self, node: Pow) -> int | None:
        try:
            value = rational(node.exponent, self.context)
        except (InconclusiveError, UndefinedValueError):
            return None
        if value.q != 1 or abs(value.p) > 10**6:
            return None
        return int(value.p)

    def read(self, node: Node) -> tuple[fmpq_mpoly, fmpq_mpoly]:
        """Return (numerator, denominator) as polynomials.

        Raises:
            InconclusiveError: The polynomials are past the limits.
            UndefinedValueError: A denominator is zero.
        """
        one = self.ring_context.constant(1)
        if isinstance(node, Num):
            return self.ring_context.constant(fmpq(node.p, node.q)), one
        if isinstance(node, Neg):
            top, bottom = self.read(node.arg)
            return -top, bottom
        if isinstance(node, Add):
            top, bottom = self.read(node.terms[0])
            for term in node.terms[1:]:
                t, b = self.read(term)
                if b == bottom:
                    top = top + t
                else:
                    top, bottom = self.multiply(top, b) + self.multiply(t, bottom), self.multiply(bottom, b)
            return top, bottom
        if isinstance(node, Mul):
            top, bottom = one, one
            for factor in node.factors:
                t, b = self.read(factor)
                top, bottom = self.multiply(top, t), self.multiply(bottom, b)
            return top, bottom
        if isinstance(node, Div):
            t, b = self.read(node.top)
            t2, b2 = self.read(node.bottom)
            if t2.is_zero():
                raise UndefinedValueError
            return self.multiply(t, b2), self.multiply(b, t2)
        if isinstance(node, Pow):
            exponent = self._integer_exponent(node)
            if exponent is not None:
                return self._power(node.base, exponent)
        return self.generators[self.names[canon(node)]], one

    def multiply(self, a: fmpq_mpoly, b: fmpq_mpoly) -> fmpq_mpoly:
        """Return the product of two polynomials.

        Raises:
            InconclusiveError: The product is past the limits.
        """
        terms = len(a) * len(b)
        if terms > MAX_TERMS * 8:
            raise InconclusiveError
        self.context.charge(1 + (terms >> 2))
        product = a * b
        if len(product) > MAX_TERMS or (len(product) and product.total_degree() > MAX_DEGREE * 4):
            raise InconclusiveError
        return product

    def _power(self, base: Node, exponent: int) -> tuple[fmpq_mpoly, fmpq_mpoly]:
        top, bottom = self.read(base)
        if exponent < 0:
            if top.is_zero():
                raise UndefinedValueError
            top, bottom, exponent = bottom, top, -exponent
        if exponent > 1:
            degree = max(top.total_degree() if len(top) else 0, bottom.total_degree())
            size = max(len(top), len(bottom))
            if (
                degree * exponent > MAX_DEGREE
                or (size > 1 and exponent > 64)
                or size ** min(exponent, 8) > 4 * MAX_TERMS
            ):
                raise InconclusiveError
            if exponent > 1 and max(_height(top), _height(bottom)) * exponent > 1 << 14:
                raise InconclusiveError
        self.context.charge(1 + exponent * len(top))
        return top**exponent, bottom**exponent


def standard_form(node: Node, context: ComparisonContext) -> Node:
    """Return a polynomial in a standard writing, or the node itself if it is no polynomial of moderate size."""
    try:
        reader = Fractions((node,), context)
        top, bottom = reader.read(node)
    except (InconclusiveError, UndefinedValueError):
        return node
    if not bottom.is_constant() or len(top) > 64:
        return node
    scale = bottom.leading_coefficient()
    terms: list[tuple[str, Node]] = []
    for exponents, coefficient in top.terms():
        value = coefficient / scale
        factors: list[Node] = [] if value == 1 and any(exponents) else [Num(int(value.p), int(value.q))]
        for index, exponent in enumerate(exponents):
            if exponent:
                base = reader.nodes[index]
                factors.append(base if exponent == 1 else Pow(base, Num(int(exponent))))
        term = Mul(tuple(factors)) if len(factors) > 1 else factors[0]
        terms.append((canon(term), term))
    terms.sort(key=lambda pair: pair[0])
    if not terms:
        return Num(0)
    return Add(tuple(term for _, term in terms)) if len(terms) > 1 else terms[0][1]


def _height(p: fmpq_mpoly) -> int:
    return max((c.height_bits() for c in p.coeffs()), default=0)


def equal_fractions(a: Node, b: Node, context: ComparisonContext) -> bool:
    """Return True if two rational functions are equal.

    Raises:
        InconclusiveError: They differ in generators that are no variables, which proves nothing.
        UndefinedValueError: A denominator is zero.
    """
    reader = Fractions((a, b), context)
    top_a, bottom_a = reader.read(a)
    top_b, bottom_b = reader.read(b)
    if reader.multiply(top_a, bottom_b) == reader.multiply(top_b, bottom_a):
        return True
    if reader.pure:
        return False
    raise InconclusiveError


def constant_ratio(a: Node, b: Node, context: ComparisonContext) -> fmpq | None:
    """Return the constant c with a = c*b as polynomials after clearing denominators, or None.

    Raises:
        InconclusiveError: The result is no proof, or the polynomials are past the limits.
        UndefinedValueError: A denominator is zero.
    """
    reader = Fractions((a, b), context)
    (top_a, bottom_a), (top_b, bottom_b) = reader.read(a), reader.read(b)
    if top_a.is_zero() or top_b.is_zero():
        if reader.pure:
            return None
        raise InconclusiveError
    if not bottom_a.is_constant():
        top_a = _reduced(top_a, bottom_a)
    else:
        top_a = top_a / bottom_a.leading_coefficient()
    if not bottom_b.is_constant():
        top_b = _reduced(top_b, bottom_b)
    else:
        top_b = top_b / bottom_b.leading_coefficient()
    context.charge(len(top_a) + len(top_b))
    ratio = fmpq(top_a.leading_coefficient()) / top_b.leading_coefficient()
    if top_a == top_b * ratio:
        return ratio
    if reader.pure:
        return None
    raise InconclusiveError


def _reduced(top: fmpq_mpoly, bottom: fmpq_mpoly) -> fmpq_mpoly:
    if len(top) * len(bottom) > 256:
        raise InconclusiveError
    return top / top.gcd(bottom)


def linear_in(node: Node, name: str, context: ComparisonContext) -> tuple[fmpq, fmpq] | None:
    """Return (slope, constant) of a tree slope*name + constant with rational coefficients, else None."""
    result = coefficients_in(node, name, context)
    return (result[1], result[0]) if result is not None and result[1] != 0 and result[2] == 0 else None


def coefficients_in(node: Node, name: str, context: ComparisonContext) -> tuple[fmpq, fmpq, fmpq] | None:
    """Return (c, b, a) of a tree a*name^2 + b*name + c with rational coefficients, else None."""
    try:
        reader = Fractions((node,), context)
        if not reader.pure or list(reader.names) != [name]:
            return None
        top, bottom = reader.read(node)
    except (InconclusiveError, UndefinedValueError):
        return None
    if not bottom.is_constant() or (len(top) and top.total_degree() > 2):
        return None
    scale = bottom.leading_coefficient()
    result = [fmpq(0), fmpq(0), fmpq(0)]
    for exponents, coefficient in top.terms():
        result[int(exponents[0])] = coefficient / scale
    return result[0], result[1], result[2]
