"""Complex interval arithmetic (Arb balls, python-flint): values with a rigorous error bound.

Every result contains the true value, so two disjoint intervals prove that the values differ. Intersecting intervals
prove nothing: scalars.py defines when agreement to many digits counts as equality.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from flint import acb, arb, ctx, fmpq, fmpz

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import indexed_by
from deepcompress_verify.tree import Add, Based, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Quantity, Sym

MAX_TERMS = 1_000
Env = dict[str, fmpq]
"""Exact values of variables, converted to intervals at the precision of the evaluation."""


_PRECISION = RLock()


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Evaluate at `bits` bits. The library's precision is global to the process, so threads take turns."""
    with _PRECISION:
        saved = ctx.prec
        ctx.prec = bits
        try:
            yield
        finally:
            ctx.prec = saved


class ValueTooLargeError(Exception):
    """The value is real, positive and above 2^(2^60), the range of the intervals."""


class Evaluator:
    """Evaluates trees at one precision, with one assignment of variables."""

    def __init__(
        self, context: ComparisonContext, env: Env, bits: int, log_base: str = "e", real_only: bool = False
    ) -> None:
        self.context = context
        self.real_only = real_only
        """Values that are not real count as undefined: sqrt(x)*sqrt(y) for negative x and y."""
        self.env = env
        self.cost = 1 + bits // 256
        self.log_base = log_base
        self.high = 0
        """Largest and smallest binary exponent so far: cancellation can lose that many bits."""
        self.low = 0

    def value(self, node: Node) -> acb:
        """Return an interval that contains the value of the tree.

        Raises:
            UndefinedValueError: The tree has no finite value, or no real value with `real_only`.
            InconclusiveError: The value cannot be computed.
            ValueTooLargeError: The value is too large.
        """
        self.context.charge(self.cost)
        result = self._value(node)
        if not result.is_finite():
            raise UndefinedValueError
        if self.real_only and not result.imag.contains(0):
            raise UndefinedValueError
        self._update_exponent_range(result)
        return result

    def _value(self, node: Node) -> acb:
        if isinstance(node, Num):
            return acb(fmpq(node.p, node.q))
        if isinstance(node, Sym):
            if node.name in self.env:
                return acb(self.env[node.name])
            raise InconclusiveError
        if isinstance(node, Const):
            return _constant(node.name)
        if isinstance(node, Neg):
            return -self.value(node.arg)
        if isinstance(node, Add):
            total = acb(0)
            for term in node.terms:
                total += self.value(term)
            return total
        if isinstance(node, Mul):
            product = acb(1)
            for factor in node.factors:
                product *= self.value(factor)
            return product
        if isinstance(node, Div):
            bottom = self.value(node.bottom)
            if bottom.contains(0):
                raise UndefinedValueError
            return self.value(node.top) / bottom
        if isinstance(node, Pow):
            return self._power(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, Based):
            return acb(fmpz(node.digits) if node.base == 10 else int(node.digits, node.base))
        if isinstance(node, Quantity):
            return self._quantity(node)
        if isinstance(node, BigOp):
            return self._series(node)
        raise InconclusiveError

    def _update_exponent_range(self, value: acb) -> None:
        """Update the range of binary exponents."""
        mantissa = value.real if not value.real.is_zero() else value.imag
        if mantissa.is_zero():
            return
        exponent = _binary_exponent(mantissa)
        if exponent > self.high:
            self.high = exponent
        elif exponent < self.low:
            self.low = exponent

    def _quantity(self, node: Quantity) -> acb:
        if node.unit == "degree":
            return self.value(node.value) * acb.pi() / 180
        if node.unit in ("radian", "ordinal", "dollar"):
            return self.value(node.value)
        if node.unit == "percent":
            return self.value(node.value) / 100
        raise InconclusiveError

    def _power(self, node: Pow) -> acb:
        base = self.value(node.base)
        try:
            exponent = self.value(node.exponent)
        except ValueTooLargeError:
            if _real(base) and base.real > 1:
                raise
            raise InconclusiveError from None
        if exponent.is_exact() and exponent.imag.is_zero():
            integer = _small_integer(exponent)
            if integer is not None:
                if integer < 0 and base.contains(0):
                    raise UndefinedValueError
                return base**integer
            if base.is_zero():
                if exponent.real > 0:
                    return acb(0)
                raise UndefinedValueError
        if base.contains(0):
            if base.is_zero() and exponent.real > 0:
                return acb(0)
            raise InconclusiveError
        if _real(base) and base.real < 0:
            index = self._odd_denominator(node.exponent)
            if index is not None:
                # (-8)^(1/3) is -2, as in school, not the principal value
                return self._root(base, acb(int(index.q))) ** int(index.p)
        result = base.pow(exponent)
        if _real(base) and base.real > 0 and _real(exponent):
            result = acb(result.real)
            if not result.is_finite() and base.real > 1 and exponent.real > 0:
                raise ValueTooLargeError
            if not result.is_finite() and exponent.real < 0 and base.real > 1:
                raise InconclusiveError
        return result

    def _odd_denominator(self, exponent: Node) -> fmpq | None:
        try:
            value = rational(exponent, self.context)
        except (InconclusiveError, UndefinedValueError):
            return None
        return value if value.q % 2 == 1 and value.q < 1000 and abs(value.p) < 1000 else None

    def _call(self, node: Call) -> acb:
        name = node.name
        args = [self.value(arg) for arg in node.args]
        x = args[0]
        if name == "root":
            return self._root(x, args[1])
        if name in ("ln", "log"):
            if x.contains(0):
                raise UndefinedValueError if x.is_zero() else InconclusiveError
            if name == "ln" or (len(args) == 1 and self.log_base == "e"):
                return x.log()
            base = args[1] if len(args) == 2 else acb(10)
            if base.contains(0):
                raise UndefinedValueError
            bottom = base.log()
            if bottom.contains(0):
                raise UndefinedValueError
            return x.log() / bottom
        if name in _DIRECT:
            result: acb = getattr(x, name)()
            return acb(result.real) if _real(x) and name in _REAL_ON_REALS else result
        if name in _INVERSE_RECIPROCAL:
            if name == "acot":
                return acb.pi() / 2 - x.atan()
            if x.contains(0):
                raise UndefinedValueError
            return acb(getattr(1 / x, _INVERSE_RECIPROCAL[name])())
        if name == "abs":
            return acb(abs(x)) if not _real(x) else acb(abs(x.real))
        if name in ("re", "im"):
            return acb(x.real if name == "re" else x.imag)
        if name == "conj":
            return x.conjugate()
        if name == "arg":
            return acb(x.arg())
        if name in ("floor", "ceil", "sign", "max", "min", "mod"):
            return acb(_stepwise(name, args))
        if name in ("factorial", "gamma"):
            return self._gamma(x + 1 if name == "factorial" else x)
        if name in ("binom", "perm"):
            n, k = x, args[1]
            top = self._gamma(n + 1)
            bottom = self._gamma(n - k + 1)
            if name == "binom":
                bottom *= self._gamma(k + 1)
            if bottom.contains(0):
                raise UndefinedValueError
            return top / bottom
        raise InconclusiveError

    def _gamma(self, x: acb) -> acb:
        if _real(x) and x.real > 1 << 62:
            # far above the values of answers; Stirling would need as many digits as x has bits
            raise ValueTooLargeError
        if _real(x) and x.real < 1:
            integer = _small_integer(x) if x.is_exact() else None
            if integer is not None and integer <= 0:
                raise UndefinedValueError
        result = x.gamma()
        return acb(result.real) if _real(x) else result

    def _root(self, x: acb, index: acb) -> acb:
        n = _small_integer(index) if index.is_exact() else None
        if n is None or n == 0:
            if index.contains(0):
                raise UndefinedValueError
            return x.pow(1 / index)
        if _real(x):
            if x.real.contains(0):
                if x.is_zero():
                    return acb(0)
                if not x.real < 0 and not x.real > 0:
                    return _near_zero_root(x, n)
            if x.real < 0:
                if n % 2:
                    return -acb((-x.real).root(abs(n))) if n > 0 else -1 / acb((-x.real).root(-n))
                return x.pow(acb(1) / n)
            result = acb(x.real.root(abs(n)))
            return result if n > 0 else 1 / result
        return x.pow(acb(1) / n)

    def _series(self, node: BigOp) -> acb:
        if node.kind not in ("sum", "prod") or node.low is None or node.high is None:
            raise InconclusiveError
        if indexed_by(node.body, node.var):
            raise InconclusiveError
        low, high = (_small_integer(self.value(bound)) for bound in (node.low, node.high))
        if low is None or high is None or high - low >= MAX_TERMS:
            raise InconclusiveError
        total = acb(0 if node.kind == "sum" else 1)
        saved = self.env
        try:
            for k in range(low, high + 1):
                self.env = saved | {node.var: fmpq(k)}
                value = self.value(node.body)
                total = total + value if node.kind == "sum" else total * value
        finally:
            self.env = saved
        return total


def _constant(name: str) -> acb:
    if name == "pi":
        return acb.pi()
    if name == "e":
        return acb(1).exp()
    if name == "i":
        return acb(0, 1)
    if name == "phi":
        return (1 + acb(5).sqrt()) / 2
    if name == "zoo":
        raise UndefinedValueError
    raise InconclusiveError


def _real(x: acb) -> bool:
    return bool(x.imag.is_zero())


def _small_integer(x: acb) -> int | None:
    """Return the integer equal to an exact interval if it has at most 30 bits, else None."""
    if not x.imag.is_zero() or not x.is_exact():
        return None
    result = x.real.unique_fmpz()
    if result is None or result.bit_length() > 30:
        return None
    return int(result) if arb(result) == x.real else None


def _near_zero_root(x: acb, n: int) -> acb:
    if n < 0:
        raise UndefinedValueError
    radius = abs(x.real).upper().root(n)
    return acb(arb(0, radius))


def _binary_exponent(x: arb) -> int:
    mantissa, exponent = x.mid().man_exp()
    return int(exponent) + int(mantissa.bit_length())


def _stepwise(name: str, args: list[acb]) -> arb:
    if any(not _real(a) for a in args):
        raise InconclusiveError
    reals = [a.real for a in args]
    x = reals[0]
    if name in ("floor", "ceil"):
        result = x.ceil() if name == "ceil" else x.floor()
        if result.unique_fmpz() is None:
            raise InconclusiveError
        return result
    if name == "sign":
        if x.contains(0) and not x.is_zero():
            raise InconclusiveError
        return x.sgn()
    if name == "mod":
        if reals[1].contains(0):
            raise UndefinedValueError
        quotient = (x / reals[1]).floor()
        if quotient.unique_fmpz() is None:
            raise InconclusiveError
        return x - reals[1] * quotient
    best = reals[0]
    for other in reals[1:]:
        best = best.max(other) if name == "max" else best.min(other)
    return best


_DIRECT = frozenset(
    "sin cos tan cot exp asin acos atan sinh cosh tanh coth asinh acosh atanh zeta sec csc sech csch".split()
)
_REAL_ON_REALS = frozenset("sin cos tan cot exp atan sinh cosh tanh coth asinh sec csc sech csch".split())
_INVERSE_RECIPROCAL = {
    "acot": "atan",
    "asec": "acos",
    "acsc": "asin",
    "acoth": "atanh",
    "asech": "acosh",
    "acsch": "asinh",
}
