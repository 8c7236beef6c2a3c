"""Proof of equality on every residue class of the letters: floors and alternating signs are polynomials there."""

from __future__ import annotations

from itertools import product
from math import lcm

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import rewrite, symbols
from deepcompress_verify.compare.polynomials import Fractions
from deepcompress_verify.tree import Add, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym, children, walk

MAX_RESIDUES = 20_000


class Residues:
    """The comparison of two trees on every residue class of their integer letters."""

    def __init__(self, gold: Node, answer: Node, context: ComparisonContext) -> None:
        self.context = context
        self.periodic: list[Node] = []
        """Floors, alternating signs and greatest common divisors with a number: polynomials on residue classes."""
        self.period = 1
        self.names: set[str] = set()
        for part in (*walk(gold), *walk(answer)):
            if part in self.periodic:
                continue
            period = self._period_of(part)
            if period:
                self.periodic.append(part)
                self.period = lcm(self.period, period)
                self.names |= symbols(part)
        self.gold, self.answer = gold, answer

    def _period_of(self, part: Node) -> int:
        """Return the period in every letter, or 0 for what is not periodic."""
        if isinstance(part, Pow) and part.base == Num(-1) and symbols(part.exponent):
            return 2
        if isinstance(part, Pow) and part.base == Const("i") and symbols(part.exponent):
            return 2 if self._denominator(Div(part.exponent, Num(2))) == 1 else 0
        if isinstance(part, Call) and part.name in ("sin", "cos") and symbols(part):
            turns = _half_turns(part.args[0])
            denominator = self._denominator(turns) if turns is not None else 0
            return 2 * denominator if denominator in (1, 2) else 0
        if not isinstance(part, Call) or not symbols(part):
            return 0
        if part.name == "floor":
            return self._denominator(part.args[0])
        if part.name == "gcd":
            plain = [arg for arg in part.args if not symbols(arg)]
            if len(plain) != 1 or any(self._denominator(arg) != 1 for arg in part.args if symbols(arg)):
                return 0
            try:
                value = rational(plain[0], self.context)
            except (InconclusiveError, UndefinedValueError):
                return 0
            return abs(int(value.p)) if value.q == 1 else 0
        return 0

    def _denominator(self, node: Node) -> int:
        """Return the common denominator of the coefficients of a polynomial, or 0."""
        try:
            reader = Fractions((node,), self.context)
            top, bottom = reader.read(node)
        except (InconclusiveError, UndefinedValueError):
            return 0
        if not reader.pure or not bottom.is_constant():
            return 0
        scale = bottom.leading_coefficient()
        result = 1
        for coefficient in top.coeffs():
            result = lcm(result, int((coefficient / scale).q))
        return result

    def classes(self) -> int:
        """Return the number of residue classes."""
        return int(self.period ** len(self.names))

    def equal(self) -> bool:
        """Return True if both sides are the same polynomials of the letters on every class.

        Raises:
            InconclusiveError: There are too many classes, or they differ as polynomials, which proves nothing.
        """
        if self.classes() > MAX_RESIDUES:
            raise InconclusiveError
        constants: dict[Node, Node] = {part: Sym(f"@{index}") for index, part in enumerate(self.periodic)}

        def change(part: Node) -> Node | None:
            mark = constants.get(part)
            if mark is None:
                return None
            # a floor is its argument less a constant of the class
            return Add((part.args[0], Neg(mark))) if isinstance(part, Call) and part.name == "floor" else mark

        difference = Add((rewrite(self.gold, change), Neg(rewrite(self.answer, change))))
        if any(f"@{i}" in symbols(arg) for i in range(len(constants)) for p in self.periodic for arg in children(p)):
            raise InconclusiveError
        marks = [Sym(f"@{index}") for index in range(len(self.periodic))]
        reader = Fractions((*marks, difference), self.context)
        top, _ = reader.read(difference)
        size = len(marks)
        by_rest: dict[tuple[int, ...], list[tuple[tuple[int, ...], fmpq]]] = {}
        for exponents, coefficient in top.terms():
            key = tuple(int(e) for e in exponents[size:])
            by_rest.setdefault(key, []).append((tuple(int(e) for e in exponents[:size]), coefficient))
        for residue in product(range(self.period), repeat=len(self.names)):
            self.context.charge(1 + len(top) // 4 + size)
            values = self._constants(dict(zip(sorted(self.names), residue, strict=True)))
            for terms in by_rest.values():
                total = fmpq(0)
                for powers, coefficient in terms:
                    term = coefficient
                    for value, power in zip(values, powers, strict=True):
                        if power:
                            term = term * value**power
                    total += term
                if total != 0:
                    raise InconclusiveError
        return True

    def _constants(self, residue: dict[str, int]) -> list[fmpq]:
        env = {name: fmpq(value) for name, value in residue.items()}
        budget, result = self.context.budget, []
        for part in self.periodic:
            if isinstance(part, Pow):
                exponent = rational(part.exponent, self.context, env) / (1 if part.base == Num(-1) else 2)
                if exponent.q != 1:
                    raise InconclusiveError
                result.append(fmpq(-1 if exponent.p % 2 else 1))
            elif isinstance(part, Call) and part.name in ("sin", "cos"):
                turns = _half_turns(part.args[0])
                assert turns is not None
                quarter = 2 * rational(turns, self.context, env) - (part.name == "sin")
                result.append(fmpq((1, 0, -1, 0)[int(quarter.p) % 4]))
            elif isinstance(part, Call) and part.name == "floor":
                value = rational(part.args[0], self.context, env)
                result.append(value - value.p // value.q)
            else:
                result.append(rational(part, self.context, env))
        # the exact arithmetic of one class is charged by `equal`
        self.context.budget = budget
        return result


def _half_turns(angle: Node) -> Node | None:
    """Return n/2 of n*pi/2; None for an angle without pi."""
    if not any(part == Const("pi") for part in walk(angle)):
        return None
    turns = rewrite(angle, lambda part: Num(1) if part == Const("pi") else None)
    other = rewrite(angle, lambda part: Num(0) if part == Const("pi") else None)
    return turns if _vanishes(other) else None


def _vanishes(node: Node) -> bool:
    """Return True if a product, a quotient or a sum of them has a factor of 0."""
    if isinstance(node, Mul):
        return any(_vanishes(factor) for factor in node.factors)
    if isinstance(node, Div):
        return _vanishes(node.top)
    if isinstance(node, Neg):
        return _vanishes(node.arg)
    if isinstance(node, Add):
        return all(_vanishes(term) for term in node.terms)
    return node == Num(0)
