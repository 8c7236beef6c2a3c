"""Size limits on the trees that are sent to the computer algebra system.

The check is static and linear in the size of the trees: nothing is computed, so nothing can grow. A rejected pair is
`undecided` at once, by rules that are the same on every machine; the CPU limit covers the costs that such rules
cannot predict. It runs in the `decide` workers, which do not load sympy.

Sums, integrals and limits are admitted only in small standard forms: the cost of other forms in a computer algebra
system has no bound, and answers are expected to be evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepcompress_verify.tree import Add, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym, children, walk

MAX_NODES = 240
MAX_BITS = 4096.0
"""Maximum bits of any number that appears while the trees are built."""
MAX_TERMS = 2_000
"""Maximum terms after expanding every product and power."""
MAX_DEGREE = 120
MAX_RADICALS = 6
MAX_SYMBOLS = 6
MAX_BIGOP_NODES = 24
MAX_BIGOP_TERMS = 100
MAX_CAS_PAIRS = 8
"""Maximum pairs of one comparison (for example the elements of two sets) sent to the computer algebra system."""

KNOWN_CALLS = frozenset(
    {
        "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "acot", "asec", "acsc", "sinh", "cosh",
        "tanh", "coth", "sech", "csch", "asinh", "acosh", "atanh", "acoth", "asech", "acsch", "exp", "ln", "log",
        "root", "abs", "floor", "ceil", "sign", "factorial", "factorial2", "binom", "gcd", "lcm", "min", "max",
        "gamma", "zeta", "re", "im", "conj", "mod", "fibonacci",
    }
)  # fmt: skip
_GROWING = frozenset({"factorial", "factorial2", "gamma", "fibonacci", "binom", "exp"})
_INTEGRABLE = frozenset({"sin", "cos", "exp", "ln", "log", "root", "abs"})


class CasRejectionError(Exception):
    """A tree exceeds a limit; the message is the reason."""


@dataclass(slots=True)
class _Size:
    """Predicted size of a tree: bits of its numeric value, and terms and degree after expansion."""

    bits: float
    terms: float = 1.0
    degree: float = 0.0


def cas_rejection_reason(left: Node, right: Node) -> str | None:
    """Return the reason why this pair may not be sent to the computer algebra system, or None if it may."""
    try:
        nodes = radicals = 0
        symbols: set[str] = set()
        for side in (left, right):
            for node in walk(side):
                nodes += 1
                if isinstance(node, Sym):
                    symbols.add(node.name)
                radicals += _is_radical(node)
        if nodes > MAX_NODES:
            raise CasRejectionError(f"{nodes} nodes")
        if len(symbols) > MAX_SYMBOLS:
            raise CasRejectionError(f"{len(symbols)} variables")
        if radicals > MAX_RADICALS:
            raise CasRejectionError(f"{radicals} roots")
        for side in (left, right):
            _measure(side)
    except CasRejectionError as reason:
        return str(reason)
    return None


def _is_radical(node: Node) -> bool:
    if isinstance(node, Call):
        return node.name == "root"
    return isinstance(node, Pow) and any(isinstance(part, Div) for part in walk(node.exponent))


def _measure(node: Node) -> _Size:
    """Predict the size of `node`.

    Raises:
        CasRejectionError: The tree exceeds a limit.
    """
    size = _foresee(node)
    if size.bits > MAX_BITS:
        raise CasRejectionError("a number of more than 4096 bits")
    if size.terms > MAX_TERMS:
        raise CasRejectionError(f"more than {MAX_TERMS} terms when expanded")
    if size.degree > MAX_DEGREE:
        raise CasRejectionError(f"a degree over {MAX_DEGREE}")
    return size


def _foresee(node: Node) -> _Size:
    match node:
        case Num(p, q):
            return _Size(float(max(p.bit_length(), q.bit_length())))
        case Const(name):
            if name not in ("pi", "e", "i", "phi", "oo"):
                raise CasRejectionError(f"the constant {name}")
            return _Size(2.0)
        case Sym():
            return _Size(0.0, degree=1.0)
        case Add(terms):
            sizes = [_measure(term) for term in terms]
            return _Size(
                sum(size.bits for size in sizes),
                sum(size.terms for size in sizes),
                max(size.degree for size in sizes),
            )
        case Neg(arg):
            return _measure(arg)
        case Mul(factors):
            return _product([_measure(factor) for factor in factors])
        case Div(top, bottom):
            return _product([_measure(top), _measure(bottom)])
        case Pow(base, exponent):
            return _power(_measure(base), exponent)
        case Call(name, args):
            if name not in KNOWN_CALLS:
                raise CasRejectionError(f"the function {name}")
            bits = max((_measure(arg).bits for arg in args), default=0.0)
            if name in _GROWING and all(not isinstance(part, Sym) for arg in args for part in walk(arg)):
                # n! has about n*log2(n) bits, and the argument may be as large as 2^bits
                bits = 2.0**bits * max(bits, 1.0) if bits < 16 else math.inf
            return _Size(bits)
        case BigOp():
            return _measure_big_operator(node)
    raise CasRejectionError(f"a {type(node).__name__}")


def _product(sizes: list[_Size]) -> _Size:
    return _Size(
        sum(size.bits for size in sizes),
        math.prod(size.terms for size in sizes),
        sum(size.degree for size in sizes),
    )


def _power(base: _Size, exponent: Node) -> _Size:
    inner = _measure(exponent)
    count = _integer_value(exponent)
    if count is None:
        if inner.bits > 64:
            raise CasRejectionError("an exponent of more than 64 bits")
        if inner.degree or inner.bits == 0:
            return _Size(base.bits + inner.bits, 1.0, 0.0)
        times = 2.0**inner.bits
        return _Size(base.bits * min(times, 1e6), 1.0, 0.0)
    times = float(abs(count)) if abs(count) < 1 << 40 else math.inf
    terms = 1.0
    if base.terms > 1:
        if times > MAX_DEGREE:
            raise CasRejectionError(f"a sum to the power {count}")
        terms = float(math.comb(int(base.terms + times - 1), int(times))) if times < 1e3 else math.inf
    return _Size(max(base.bits, 1.0) * times if base.bits > 1 else base.bits, terms, base.degree * times)


def _integer_value(node: Node) -> int | None:
    match node:
        case Num(p, 1):
            return p
        case Neg(Num(p, 1)):
            return -p
    return None


def _measure_big_operator(node: BigOp) -> _Size:
    """Predict the size of a sum, product, integral or limit in a small standard form."""
    nodes = sum(1 for _ in walk(node))
    if nodes > MAX_BIGOP_NODES:
        raise CasRejectionError(f"a {_OPERATOR_NAMES[node.kind]} of {nodes} nodes")
    if any(isinstance(part, BigOp) for part in walk(node.body)):
        raise CasRejectionError(f"a nested {_OPERATOR_NAMES[node.kind]}")
    body = _measure(node.body)
    for bound in (node.low, node.high):
        if bound is not None:
            _measure(bound)
    low, high = (None if bound is None else _integer_value(bound) for bound in (node.low, node.high))
    if node.kind in ("sum", "prod"):
        if low is not None and high is not None:
            if high - low > MAX_BIGOP_TERMS:
                raise CasRejectionError(f"a {_OPERATOR_NAMES[node.kind]} of {high - low + 1} terms")
            return _Size(body.bits * max(1, high - low + 1), body.terms, body.degree)
        if node.kind == "prod" or not _is_standard_form(node.body, node.var, frozenset({"factorial"})):
            raise CasRejectionError(f"a {_OPERATOR_NAMES[node.kind]} that is not of a standard form")
    elif not _is_standard_form(node.body, node.var, _INTEGRABLE):
        raise CasRejectionError(f"a {_OPERATOR_NAMES[node.kind]} that is not of a standard form")
    if node.kind == "int" and (node.low is None or node.high is None):
        raise CasRejectionError("an integral without bounds")
    return _Size(body.bits, 1.0, 0.0)


def _is_standard_form(node: Node, var: str, calls: frozenset[str]) -> bool:
    """Return True if `node` is rational in `var` of small degree, with `constant^linear` and `calls` of linear
    arguments.
    """
    if not _contains(node, var):
        return True
    match node:
        case Sym():
            return True
        case Pow(base, exponent):
            if _contains(exponent, var):
                return not _contains(base, var) and _linear(exponent, var)
            count = _integer_value(exponent)
            return count is not None and abs(count) <= 6 and _is_standard_form(base, var, calls)
        case Call(name, args):
            return name in calls and all(_linear(arg, var) for arg in args)
        case Add() | Neg() | Mul() | Div():
            return all(_is_standard_form(part, var, calls) for part in children(node))
    return False


def _linear(node: Node, var: str) -> bool:
    if not _contains(node, var):
        return True
    match node:
        case Sym():
            return True
        case Add() | Neg():
            return all(_linear(part, var) for part in children(node))
        case Mul(factors):
            return sum(_contains(factor, var) for factor in factors) == 1 and all(
                _linear(factor, var) for factor in factors
            )
        case Div(top, bottom):
            return not _contains(bottom, var) and _linear(top, var)
    return False


def _contains(node: Node, var: str) -> bool:
    return any(isinstance(part, Sym) and part.name == var for part in walk(node))


_OPERATOR_NAMES = {"sum": "sum", "prod": "product", "int": "integral", "lim": "limit"}
