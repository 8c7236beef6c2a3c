"""Exact rational values with limits on bits: this tier decides most comparisons."""

from __future__ import annotations

from math import comb, factorial

from flint import fmpq, fmpz

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.forms import indexed_by
from deepcompress_verify.tree import Add, Based, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym

MAX_BITS = 1 << 16
"""Maximum bits of any exact value."""
MAX_FACTORIAL = 4_000
MAX_TERMS = 1_000
"""Maximum terms of a sum or product that is evaluated term by term."""

Env = dict[str, fmpq]


def rational(node: Node, context: ComparisonContext, env: Env | None = None) -> fmpq:
    """Return the exact rational value.

    Raises:
        InconclusiveError: The value is not rational, or past the limits.
        UndefinedValueError: The expression has no value (1/0).
    """
    context.budget -= 1
    if isinstance(node, Num):
        return fmpq(node.p, node.q)
    if isinstance(node, Neg):
        return -rational(node.arg, context, env)
    if isinstance(node, Add):
        total = fmpq(0)
        for term in node.terms:
            total += rational(term, context, env)
        return _bounded(total, context)
    if isinstance(node, Mul):
        product = fmpq(1)
        for factor in node.factors:
            product = _bounded(product * rational(factor, context, env), context)
        return product
    if isinstance(node, Div):
        bottom = rational(node.bottom, context, env)
        top = rational(node.top, context, env)
        if bottom == 0:
            raise UndefinedValueError
        return _bounded(top / bottom, context)
    if isinstance(node, Pow):
        return power(rational(node.base, context, env), rational(node.exponent, context, env), context)
    if isinstance(node, Call):
        return _call(node, context, env)
    if isinstance(node, Sym):
        if env is not None and node.name in env:
            return env[node.name]
        raise InconclusiveError
    if isinstance(node, Based):
        return _bounded(fmpq(fmpz(node.digits) if node.base == 10 else int(node.digits, node.base)), context)
    if isinstance(node, BigOp):
        return _series(node, context, env)
    if isinstance(node, Const) and node.name == "zoo":
        raise UndefinedValueError
    raise InconclusiveError


def _bounded(value: fmpq, context: ComparisonContext) -> fmpq:
    bits = value.height_bits()
    if bits > 256:
        context.charge(bits >> 8)
        if bits > MAX_BITS:
            raise InconclusiveError
    return value


def power(base: fmpq, exponent: fmpq, context: ComparisonContext) -> fmpq:
    """Return base**exponent if it is rational and small enough.

    Raises:
        InconclusiveError: The power is irrational, or too large.
        UndefinedValueError: Zero to a negative power.
    """
    if exponent.q != 1:
        if exponent.q > 64:
            raise InconclusiveError
        return power(root(base, int(exponent.q)), fmpq(exponent.p), context)
    if base in (0, 1, -1):
        if base == 0:
            if exponent < 0:
                raise UndefinedValueError
            return fmpq(1 if exponent == 0 else 0)
        return fmpq(1) if base == 1 or exponent.p % 2 == 0 else fmpq(-1)
    if abs(exponent.p) * base.height_bits() > MAX_BITS:
        raise InconclusiveError
    return _bounded(base ** int(exponent.p), context)


def root(value: fmpq, index: int) -> fmpq:
    """Return the real root if it is rational.

    Raises:
        InconclusiveError: There is no rational root.
    """
    if value < 0:
        if index % 2 == 0:
            raise InconclusiveError
        return -root(-value, index)
    top, bottom = _integer_root(value.p, index), _integer_root(value.q, index)
    return fmpq(top, bottom)


def _integer_root(value: fmpz, index: int) -> fmpz:
    result = value.root(index)
    if result**index != value:
        raise InconclusiveError
    return result


def _integer(value: fmpq) -> int:
    if value.q != 1:
        raise InconclusiveError
    return int(value.p)


def _call(node: Call, context: ComparisonContext, env: Env | None) -> fmpq:
    name = node.name
    args = [rational(arg, context, env) for arg in node.args]
    first = args[0]
    if name == "root":
        index = _integer(args[1])
        if not 1 <= index <= 4096:
            raise InconclusiveError
        return root(first, index)
    if name == "abs":
        return abs(first)
    if name in ("floor", "ceil"):
        return fmpq(first.p // first.q) if name == "floor" else fmpq(-(-first.p // first.q))
    if name == "sign":
        return fmpq((first > 0) - (first < 0))
    if name in ("max", "min"):
        return max(args) if name == "max" else min(args)
    if name in ("gcd", "lcm"):
        result = fmpz(_integer(first))
        for arg in args[1:]:
            result = result.gcd(fmpz(_integer(arg))) if name == "gcd" else result.lcm(fmpz(_integer(arg)))
        return _bounded(fmpq(abs(result)), context)
    if name == "mod":
        if args[1] == 0:
            raise UndefinedValueError
        quotient = first / args[1]
        return first - args[1] * (quotient.p // quotient.q)
    if name in ("factorial", "factorial2", "gamma"):
        n = _integer(first) - (name == "gamma")
        if not 0 <= n <= MAX_FACTORIAL:
            raise InconclusiveError
        context.charge(n >> 3)
        if name == "factorial2":
            product = 1
            for k in range(n, 1, -2):
                product *= k
            return fmpq(product)
        return fmpq(factorial(n))
    if name in ("binom", "perm"):
        n, k = _integer(first), _integer(args[1])
        if n < 0 or k < 0 or (k > 0 and n > 10**9) or min(k, n - k) > MAX_FACTORIAL:
            raise InconclusiveError
        context.charge(min(k, max(n - k, 0)) >> 3)
        if n.bit_length() * min(k, max(n - k, 0)) > MAX_BITS:
            raise InconclusiveError
        return fmpq(comb(n, k)) if name == "binom" else fmpq(comb(n, k)) * factorial(k)
    if name == "log" and len(args) == 2:
        return _logarithm(first, args[1], context)
    if (name == "log" and first == 1) or (name == "ln" and first == 1):
        return fmpq(0)
    if name in ("sin", "tan", "asin", "atan", "sinh", "tanh") and first == 0:
        return fmpq(0)
    if name in ("cos", "exp", "cosh", "sec") and first == 0:
        return fmpq(1)
    if name == "fibonacci":
        n = _integer(first)
        if not 0 <= n <= 4 * MAX_FACTORIAL:
            raise InconclusiveError
        return fmpq(fmpz.fib_ui(fmpz(n)))
    if name in ("re", "conj"):
        return first
    if name == "im":
        return fmpq(0)
    raise InconclusiveError


def _logarithm(value: fmpq, base: fmpq, context: ComparisonContext) -> fmpq:
    """Return log_base(value) if both are powers of one rational."""
    if value <= 0 or base <= 0 or base == 1:
        raise UndefinedValueError
    if value == 1:
        return fmpq(0)
    a, b = value, base
    sign = 1
    if a < 1:
        a, sign = 1 / a, -sign
    if b < 1:
        b, sign = 1 / b, -sign
    # the Euclidean algorithm on exponents
    x, y = a, b
    quotients: list[int] = []
    for _ in range(64):
        context.charge(1 + (x.height_bits() >> 6))
        if x.height_bits() > 4 * max(a.height_bits(), b.height_bits()):
            raise InconclusiveError
        count = 0
        while x >= y:
            x /= y
            count += 1
            if count > 4096:
                raise InconclusiveError
        quotients.append(count)
        if x == 1:
            result = fmpq(quotients.pop())
            while quotients:
                result = quotients.pop() + 1 / result
            return sign * result
        x, y = y, x
    raise InconclusiveError


def _series(node: BigOp, context: ComparisonContext, env: Env | None) -> fmpq:
    """Return a sum or product with integer bounds, term by term."""
    if node.kind not in ("sum", "prod") or node.low is None or node.high is None or not node.var:
        raise InconclusiveError
    if indexed_by(node.body, node.var):
        raise InconclusiveError
    low, high = _integer(rational(node.low, context, env)), _integer(rational(node.high, context, env))
    if high - low >= MAX_TERMS:
        raise InconclusiveError
    inner = dict(env or {})
    total = fmpq(0 if node.kind == "sum" else 1)
    for k in range(low, high + 1):
        context.charge(2)
        inner[node.var] = fmpq(k)
        value = rational(node.body, context, inner)
        total = _bounded(total + value if node.kind == "sum" else total * value, context)
    return total
