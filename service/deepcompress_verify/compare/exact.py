"""Exact rational values, with limits on bits: the tier that settles most comparisons for good."""

from __future__ import annotations

from math import comb, factorial

from flint import fmpq, fmpz

from deepcompress_verify.compare.work import CannotTell, Undefined, Work
from deepcompress_verify.tree import Add, Based, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym

MAX_BITS = 1 << 16
"""Bits of any exact value."""
MAX_FACTORIAL = 4_000
MAX_TERMS = 1_000
"""Terms of a sum or product that are added up one by one."""

Env = dict[str, fmpq]


def rational(node: Node, work: Work, env: Env | None = None) -> fmpq:
    """The exact rational value. CannotTell where there is none or it is past the limits; Undefined for 1/0."""
    work.left -= 1
    if isinstance(node, Num):
        return fmpq(node.p, node.q)
    if isinstance(node, Neg):
        return -rational(node.arg, work, env)
    if isinstance(node, Add):
        total = fmpq(0)
        for term in node.terms:
            total += rational(term, work, env)
        return _bounded(total, work)
    if isinstance(node, Mul):
        product = fmpq(1)
        for factor in node.factors:
            product = _bounded(product * rational(factor, work, env), work)
        return product
    if isinstance(node, Div):
        bottom = rational(node.bottom, work, env)
        top = rational(node.top, work, env)
        if bottom == 0:
            raise Undefined
        return _bounded(top / bottom, work)
    if isinstance(node, Pow):
        return power(rational(node.base, work, env), rational(node.exponent, work, env), work)
    if isinstance(node, Call):
        return _call(node, work, env)
    if isinstance(node, Sym):
        if env is not None and node.name in env:
            return env[node.name]
        raise CannotTell
    if isinstance(node, Based):
        return _bounded(fmpq(fmpz(node.digits) if node.base == 10 else int(node.digits, node.base)), work)
    if isinstance(node, BigOp):
        return _series(node, work, env)
    if isinstance(node, Const) and node.name == "zoo":
        raise Undefined
    raise CannotTell


def _bounded(value: fmpq, work: Work) -> fmpq:
    bits = value.height_bits()
    if bits > 256:
        work.spend(bits >> 8)
        if bits > MAX_BITS:
            raise CannotTell
    return value


def power(base: fmpq, exponent: fmpq, work: Work) -> fmpq:
    """base**exponent where that is rational and small enough."""
    if exponent.q != 1:
        if exponent.q > 64:
            raise CannotTell
        return power(root(base, int(exponent.q)), fmpq(exponent.p), work)
    if base in (0, 1, -1):
        if base == 0:
            if exponent < 0:
                raise Undefined
            return fmpq(1 if exponent == 0 else 0)
        return fmpq(1) if base == 1 or exponent.p % 2 == 0 else fmpq(-1)
    if abs(exponent.p) * base.height_bits() > MAX_BITS:
        raise CannotTell
    return _bounded(base ** int(exponent.p), work)


def root(value: fmpq, index: int) -> fmpq:
    """The real root where it is rational."""
    if value < 0:
        if index % 2 == 0:
            raise CannotTell
        return -root(-value, index)
    top, bottom = _integer_root(value.p, index), _integer_root(value.q, index)
    return fmpq(top, bottom)


def _integer_root(value: fmpz, index: int) -> fmpz:
    found = value.root(index)
    if found**index != value:
        raise CannotTell
    return found


def _integer(value: fmpq) -> int:
    if value.q != 1:
        raise CannotTell
    return int(value.p)


def _call(node: Call, work: Work, env: Env | None) -> fmpq:
    name = node.name
    args = [rational(arg, work, env) for arg in node.args]
    first = args[0]
    if name == "root":
        index = _integer(args[1])
        if not 1 <= index <= 4096:
            raise CannotTell
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
        found = fmpz(_integer(first))
        for arg in args[1:]:
            found = found.gcd(fmpz(_integer(arg))) if name == "gcd" else found.lcm(fmpz(_integer(arg)))
        return _bounded(fmpq(abs(found)), work)
    if name == "mod":
        if args[1] == 0:
            raise Undefined
        quotient = first / args[1]
        return first - args[1] * (quotient.p // quotient.q)
    if name in ("factorial", "factorial2", "gamma"):
        n = _integer(first) - (name == "gamma")
        if not 0 <= n <= MAX_FACTORIAL:
            raise CannotTell
        work.spend(n >> 3)
        if name == "factorial2":
            product = 1
            for k in range(n, 1, -2):
                product *= k
            return fmpq(product)
        return fmpq(factorial(n))
    if name in ("binom", "perm"):
        n, k = _integer(first), _integer(args[1])
        if n < 0 or k < 0 or (k > 0 and n > 10**9) or min(k, n - k) > MAX_FACTORIAL:
            raise CannotTell
        work.spend(min(k, max(n - k, 0)) >> 3)
        if n.bit_length() * min(k, max(n - k, 0)) > MAX_BITS:
            raise CannotTell
        return fmpq(comb(n, k)) if name == "binom" else fmpq(comb(n, k)) * factorial(k)
    if name == "log" and len(args) == 2:
        return _logarithm(first, args[1], work)
    if (name == "log" and first == 1) or (name == "ln" and first == 1):
        return fmpq(0)
    if name in ("sin", "tan", "asin", "atan", "sinh", "tanh") and first == 0:
        return fmpq(0)
    if name in ("cos", "exp", "cosh", "sec") and first == 0:
        return fmpq(1)
    if name == "fibonacci":
        n = _integer(first)
        if not 0 <= n <= 4 * MAX_FACTORIAL:
            raise CannotTell
        return fmpq(fmpz.fib_ui(fmpz(n)))
    if name in ("re", "conj"):
        return first
    if name == "im":
        return fmpq(0)
    raise CannotTell


def _logarithm(value: fmpq, base: fmpq, work: Work) -> fmpq:
    """log_base(value) where both are powers of one rational."""
    if value <= 0 or base <= 0 or base == 1:
        raise Undefined
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
        work.spend(1 + (x.height_bits() >> 6))
        if x.height_bits() > 4 * max(a.height_bits(), b.height_bits()):
            raise CannotTell
        count = 0
        while x >= y:
            x /= y
            count += 1
            if count > 4096:
                raise CannotTell
        quotients.append(count)
        if x == 1:
            found = fmpq(quotients.pop())
            while quotients:
                found = quotients.pop() + 1 / found
            return sign * found
        x, y = y, x
    raise CannotTell


def _series(node: BigOp, work: Work, env: Env | None) -> fmpq:
    """A sum or product with integer bounds, term by term."""
    if node.kind not in ("sum", "prod") or node.low is None or node.high is None or not node.var:
        raise CannotTell
    low, high = _integer(rational(node.low, work, env)), _integer(rational(node.high, work, env))
    if high - low >= MAX_TERMS:
        raise CannotTell
    inner = dict(env or {})
    total = fmpq(0 if node.kind == "sum" else 1)
    for k in range(low, high + 1):
        work.spend(2)
        inner[node.var] = fmpq(k)
        value = rational(node.body, work, inner)
        total = _bounded(total + value if node.kind == "sum" else total * value, work)
    return total
