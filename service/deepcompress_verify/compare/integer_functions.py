"""Functions of integers: floors, ceilings, remainders, gcd, factorials, binomials, alternating signs, sums to n.

They are proved equal on every residue class of the letters (see `residues`), and proved different at one integer.
Factorials are first reduced to one argument: (n+2)! = (n+2)(n+1)n!. A sum to n is proved by induction.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from math import gcd, lcm

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import indexed_by, rewrite, substitute, symbols
from deepcompress_verify.compare.polynomials import Fractions, equal_fractions, standard_form
from deepcompress_verify.compare.residues import MAX_RESIDUES
from deepcompress_verify.tree import Add, BigOp, Call, Const, Div, Mul, Neg, Node, Num, Pow, Sym, walk

DISCRETE = frozenset(["floor", "ceil", "factorial", "factorial2", "binom", "perm", "mod", "gcd", "lcm", "fibonacci"])
_STEPS = frozenset(("floor", "ceil", "mod"))
_INTEGER_LETTERS = frozenset(["i", "j", "k", "l", "m", "n", "p", "q", "N", "M", "K"]) | {"@cell"}
"""Letters that stand for integers in a floor, a ceiling or a remainder; others do so only where the gold takes their
factorial, binomial, greatest common divisor or a sum to them."""
_MAX_SHIFT = 24
"""Largest integer in the argument of a factorial or in a binomial that is expanded."""
_CELL, OFFSET = "@cell", "@offset"


def is_discrete(node: Node) -> bool:
    """Return True if the expression has a function of letters that is meaningful at integers, or jumps."""
    for part in walk(node):
        if isinstance(part, Call) and part.name in DISCRETE and any(symbols(arg) for arg in part.args):
            return True
        if isinstance(part, BigOp) and part.kind in ("sum", "prod") and symbols(part):
            return True
        if isinstance(part, Pow) and symbols(part.exponent):
            base = part.base
            if isinstance(base, Neg) or (isinstance(base, Num) and base.p < 0):
                return True
    return False


def real_letters(gold: Node, answer: Node) -> list[str]:
    """Return the letters that stand for real numbers, by the gold and by convention; the others are integers."""
    integers: set[str] = set()
    for part in walk(gold):
        if (isinstance(part, Call) and part.name in DISCRETE - _STEPS) or isinstance(part, BigOp):
            integers |= symbols(part)
        elif isinstance(part, Pow) and symbols(part.exponent) and is_discrete(part):
            integers |= symbols(part.exponent)
    names = symbols(gold) | symbols(answer)
    return sorted(name for name in names - integers if name.partition("_")[0] not in _INTEGER_LETTERS)


def can_be_split(gold: Node, answer: Node, name: str) -> bool:
    """Return True if a real letter occurs in no function of integers but floors, ceilings and remainders."""
    return not any(
        (isinstance(part, BigOp) or (isinstance(part, Call) and part.name in DISCRETE - _STEPS))
        and name in symbols(part)
        for part in (*walk(gold), *walk(answer))
    )


def split_at_integers(gold: Node, answer: Node, name: str, context: ComparisonContext) -> list[tuple[Node, Node]]:
    """Return the pairs to compare for a real letter: between the points at which a floor jumps, and at them.

    Raises:
        InconclusiveError: A floor has an argument that is not linear in the letter alone.
    """
    pair = [_without_steps(node) for node in (gold, answer)]
    grid = 1
    for part in (*walk(pair[0]), *walk(pair[1])):
        if isinstance(part, Call) and part.name == "floor" and symbols(part):
            slope, constant = _line(part.args[0], name, context)
            grid = lcm(grid, abs(int(slope.p)) * int(constant.q))
    if grid > MAX_RESIDUES:
        raise InconclusiveError
    cell, inside = Sym(_CELL), Add((Sym(_CELL), Sym(OFFSET)))

    def between(part: Node) -> Node | None:
        if isinstance(part, Sym) and part.name == name:
            return Div(inside, Num(grid))
        if isinstance(part, Call) and part.name == "floor" and symbols(part):
            argument = substitute(part.args[0], {OFFSET: Num(1, 2)})
            return Call("floor", (argument,))
        return None

    at: dict[str, Node] = {name: Div(cell, Num(grid))}
    return [
        (rewrite(pair[0], between), rewrite(pair[1], between)),
        (substitute(pair[0], at), substitute(pair[1], at)),
    ]


def _line(node: Node, name: str, context: ComparisonContext) -> tuple[fmpq, fmpq]:
    reader = Fractions((Sym(name), node), context)
    top, bottom = reader.read(node)
    if not reader.pure or len(reader.names) != 1 or not bottom.is_constant() or top.total_degree() != 1:
        raise InconclusiveError
    scale = bottom.leading_coefficient()
    values = [fmpq(0), fmpq(0)]
    for exponents, coefficient in top.terms():
        values[int(exponents[0])] = coefficient / scale
    return values[1], values[0]


def _without_steps(node: Node) -> Node:
    """Return the tree with ceilings and remainders as floors."""

    def change(part: Node) -> Node | None:
        if not isinstance(part, Call):
            return None
        if part.name == "ceil":
            return Neg(Call("floor", (Neg(part.args[0]),)))
        if part.name == "mod" and len(part.args) == 2:
            return Add((part.args[0], Neg(Mul((part.args[1], Call("floor", (Div(*part.args),)))))))
        return None

    return rewrite(node, change)


def reduced(node: Node, context: ComparisonContext, real: list[str]) -> Node:
    """Return the tree with fewer kinds of functions: floors for ceilings, one factorial for neighbouring ones.

    `real` are the letters that are no integers.
    """

    def change(part: Node) -> Node | None:
        context.charge(1)
        if isinstance(part, Pow) and symbols(part.exponent):
            return _split_power(part, context)
        if not isinstance(part, Call) or not symbols(part):
            return None
        if part.name == "lcm" and len(part.args) == 2:
            return Div(Mul(part.args), Call("gcd", part.args))  # of positive integers
        if part.name == "factorial":
            return _factorial(part.args[0], context)
        if part.name == "floor" and symbols(part).isdisjoint(real):
            return _standard_floor(part.args[0], context)
        if part.name == "gamma":
            return _factorial(Add((part.args[0], Num(-1))), context)
        if part.name == "factorial2":
            return _double_factorial(part.args[0], context)
        if part.name in ("binom", "perm"):
            n, k = part.args
            count = _integer_of(k, context)
            if count is None and part.name == "binom":
                count = _integer_of(Add((n, Neg(k))), context)
            if count is not None:
                if not 0 <= count <= _MAX_SHIFT:
                    return None
                top: Node = Mul((Num(1), *(Add((n, Num(-i))) for i in range(count))))
                if part.name == "perm":
                    return top
                bottom = 1
                for i in range(2, count + 1):
                    bottom *= i
                return Div(top, Num(bottom))
            below = _factorial(Add((n, Neg(k))), context)
            if part.name == "binom":
                below = Mul((below, _factorial(k, context)))
            return Div(_factorial(n, context), below)
        return None

    return rewrite(_without_steps(rewrite(node, lambda part: _standard_sum(part, context))), change)


def _standard_floor(node: Node, context: ComparisonContext) -> Node | None:
    """Return the floor of a polynomial of integers with its coefficients below its denominator."""
    try:
        reader = Fractions((node,), context)
        top, bottom = reader.read(node)
    except (InconclusiveError, UndefinedValueError):
        return None
    if not reader.pure or not bottom.is_constant() or len(top) > 32:
        return None
    scale = bottom.leading_coefficient()
    terms = sorted(((tuple(map(int, e)), c / scale) for e, c in top.terms()), key=lambda term: term[0], reverse=True)
    denominator = lcm(1, *(int(c.q) for _, c in terms))
    whole = [(e, int((c * denominator).p)) for e, c in terms]
    moving = [c for e, c in whole if any(e)]
    if not moving:
        return None
    constant = sum(c for e, c in whole if not any(e))
    common = gcd(denominator, *moving)
    denominator //= common
    constant //= common
    moving = [c // common for c in moving]
    sign = 1
    if moving[0] < 0:
        # the floor of -m/c is the negative floor of (m + c - 1)/c
        sign, moving, constant = -1, [-c for c in moving], -constant + denominator - 1
    monomials = [
        Mul((Num(1), *(Pow(reader.nodes[i], Num(p)) for i, p in enumerate(e) if p))) for e, _ in whole if any(e)
    ]
    outside: list[Node] = [Num(constant // denominator)]
    inside: list[Node] = [Num(constant % denominator)]
    for monomial, c in zip(monomials, moving, strict=True):
        outside.append(Mul((Num(c // denominator), monomial)))
        if c % denominator:
            inside.append(Mul((Num(c % denominator), monomial)))
    if len(inside) > 1:
        argument = standard_form(Div(Add(tuple(inside)), Num(denominator)), context)
        outside.append(Call("floor", (argument,)))
    return Mul((Num(sign), Add(tuple(outside))))


def _standard_sum(part: Node, context: ComparisonContext) -> Node | None:
    """Return 2^n for the sum of all binomials of n, and other sums with a standard letter of their own."""
    if not isinstance(part, BigOp) or part.kind not in ("sum", "prod"):
        return None
    body = part.body
    if (
        part.kind == "sum"
        and part.low == Num(0)
        and part.high is not None
        and body == Call("binom", (part.high, Sym(part.var)))
    ):
        return _split_power(Pow(Num(2), part.high), context) or Pow(Num(2), part.high)
    if any(isinstance(inner, BigOp) for inner in walk(body)) or part.var == _BOUND:
        return None
    return BigOp(part.kind, substitute(body, {part.var: Sym(_BOUND)}), _BOUND, part.low, part.high)


_BOUND = "@k"


def _integer_of(node: Node, context: ComparisonContext) -> int | None:
    """Return the integer that a tree is for all values of its letters, or None."""
    try:
        reader = Fractions((node,), context)
        top, bottom = reader.read(node)
    except (InconclusiveError, UndefinedValueError):
        return None
    if top.is_zero():
        return 0
    if not top.is_constant() or not bottom.is_constant():
        return None
    value = top.leading_coefficient() / bottom.leading_coefficient()
    return int(value.p) if value.q == 1 else None


def _constant_part(node: Node, context: ComparisonContext) -> tuple[fmpq, bool] | None:
    """Return (constant term, True if all other coefficients are integers) of a polynomial."""
    try:
        reader = Fractions((node,), context)
        top, bottom = reader.read(node)
    except (InconclusiveError, UndefinedValueError):
        return None
    if not reader.pure or not bottom.is_constant():
        return None
    scale = bottom.leading_coefficient()
    constant, integers = fmpq(0), True
    for exponents, coefficient in top.terms():
        if any(exponents):
            integers = integers and (coefficient / scale).q == 1
        else:
            constant = coefficient / scale
    return constant, integers


def _factorial(node: Node, context: ComparisonContext) -> Node:
    known = _constant_part(node, context)
    if known is None or known[0].q != 1 or abs(int(known[0].p)) > _MAX_SHIFT:
        return Call("factorial", (node,))
    shift = int(known[0].p)
    base = standard_form(Add((node, Num(-shift))), context)
    result: Node = Call("factorial", (base,))
    if base == Num(0):
        return Call("factorial", (node,))
    if shift > 0:
        return Mul((result, *(Add((base, Num(i))) for i in range(1, shift + 1))))
    if shift < 0:
        return Div(result, Mul((Num(1), *(Add((base, Num(-i))) for i in range(-shift)))))
    return result


def _double_factorial(node: Node, context: ComparisonContext) -> Node | None:
    known = _constant_part(node, context)
    half = _constant_part(Div(node, Num(2)), context)
    if known is None or half is None or not half[1] or known[0].q != 1:
        return None
    if int(known[0].p) % 2 == 0:
        p: Node = Div(node, Num(2))
        return Mul((_split_power(Pow(Num(2), p), context) or Pow(Num(2), p), _factorial(p, context)))
    p = Div(Add((node, Num(1))), Num(2))
    below = Mul((_split_power(Pow(Num(2), p), context) or Pow(Num(2), p), _factorial(p, context)))
    return Div(_factorial(Add((node, Num(1))), context), below)


def _split_power(part: Pow, context: ComparisonContext) -> Node | None:
    """Return 2^(2n+1) as 2 * (2^n)^2: one generator for all multiples of a letter in an exponent."""
    if symbols(part.base) or part.base == Const("i"):
        return None
    try:
        reader = Fractions((part.exponent,), context)
        top, bottom = reader.read(part.exponent)
    except (InconclusiveError, UndefinedValueError):
        return None
    names = {index: name for name, index in reader.names.items()}
    if not reader.pure or not bottom.is_constant() or any(not name.isidentifier() for name in names.values()):
        return None
    scale = bottom.leading_coefficient()
    base = part.base
    factors: list[Node] = []
    for exponents, coefficient in top.terms():
        value = coefficient / scale
        if value.q != 1 or abs(value.p) > 64:
            return None
        inner: Node = Num(1)
        powers = [Pow(Sym(names[i]), Num(int(e))) if e > 1 else Sym(names[i]) for i, e in enumerate(exponents) if e]
        if powers:
            inner = Mul(tuple(powers)) if len(powers) > 1 else powers[0]
            for prime, count in _prime_powers(base):
                factors.append(Pow(Pow(prime, inner), Num(count * int(value.p))))
        else:
            factors.append(Pow(base, Num(int(value.p))))
    return Mul(tuple(factors)) if len(factors) > 1 else factors[0] if factors else None


def _prime_powers(base: Node) -> list[tuple[Node, int]]:
    """Return the prime factors of a small rational base, or the base itself."""
    negative = False
    while isinstance(base, Neg):
        base, negative = base.arg, not negative
    if isinstance(base, Div) and isinstance(base.top, Num) and isinstance(base.bottom, Num) and base.bottom.p:
        base = Num(base.top.p * base.bottom.q, base.top.q * base.bottom.p)
    if not isinstance(base, Num) or base.p == 0 or max(abs(base.p), base.q) > 10_000:
        return [(Neg(base) if negative else base, 1)]
    result: list[tuple[Node, int]] = []
    if (base.p < 0) != negative:
        result.append((Num(-1), 1))
    for value, sign in ((abs(base.p), 1), (base.q, -1)):
        prime = 2
        while value > 1:
            count = 0
            while value % prime == 0:
                value //= prime
                count += 1
            if count:
                result.append((Num(prime), sign * count))
            prime += 1
    return result


def integer_points(
    gold: Node, answer: Node, names: list[str], real: list[str], context: ComparisonContext
) -> Iterator[dict[str, fmpq]]:
    """Yield points with integer coordinates: small ones, those on both sides of a jump of a floor, random ones."""
    integers = [name for name in names if name not in real]

    def point(values: dict[str, int], index: int) -> dict[str, fmpq]:
        env = {name: fmpq(values[name]) for name in integers}
        for name in real:
            env[name] = fmpq(1 + _random(context.seed, f"{name} {index}") % 99_999, 100_003)
            if name != OFFSET:
                env[name] = env[name] * (7 if index % 2 else -5)
        return env

    index = 0
    for base in (1, 2, 3, 4, 5, 6, 12):
        index += 1
        yield point({name: base * (1 + k % 2) + k // 2 for k, name in enumerate(integers)}, index)
    for base in (6, 4, 9):
        index += 1
        yield point(dict.fromkeys(integers, base), index)
        yield point({name: base * (len(integers) - k) for k, name in enumerate(integers)}, index)
    for part in (*walk(gold), *walk(answer)):
        if not isinstance(part, Call) or part.name not in _STEPS or index > 60:
            continue
        argument = Div(*part.args) if part.name == "mod" and len(part.args) == 2 else part.args[0]
        for name in sorted(symbols(argument) & set(integers))[:2]:
            others = {other: 7 + 3 * k for k, other in enumerate(integers)}
            fixed: dict[str, Node] = {o: Num(v) for o, v in others.items() if o != name}
            try:
                slope, constant = _line(substitute(argument, fixed), name, context)
            except (InconclusiveError, UndefinedValueError, KeyError):
                continue
            for jump in _jumps(slope, constant):
                for value in (jump - 1, jump, jump + 1):
                    index += 1
                    yield point({**others, name: value}, index)
    for k in range(4):
        index += 1
        yield point({n: 20 + _random(context.seed, f"{n} {k}") % (40 if k < 2 else 4000) for n in integers}, index)


def _jumps(slope: fmpq, constant: fmpq) -> list[int]:
    """Return integers at which the floor of a line jumps."""
    a, b, c = (
        int((slope * slope.q * constant.q).p),
        int((constant * slope.q * constant.q).p),
        int(slope.q * constant.q),
    )
    g = gcd(a, c)
    if g == 0 or b % g:
        start = -b // a if a else 0
        return [start, start + abs(c // a) if a else c]
    c //= g
    if c == 1:
        return [5]
    first = (-(b // g) * pow(a // g, -1, c)) % c
    return [first or c, first + c, first + 2 * c]


def _random(seed: bytes, key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "replace"), key=seed[:32], digest_size=6).digest(), "big")


def proves_sum(one: Node, other: Node, context: ComparisonContext) -> bool:
    """Return True if `one` is a sum or a product to n, and `other` is proved equal to it by induction."""
    if not isinstance(one, BigOp) or one.kind not in ("sum", "prod") or one.low is None or one.high is None:
        return False
    if symbols(one.low) or len(symbols(one.high)) != 1 or one.var in symbols(other) or not one.var:
        return False
    if indexed_by(one.body, one.var):
        return False
    (name,) = symbols(one.high)
    shift = _integer_of(Add((one.high, Neg(Sym(name)))), context)
    low = _integer_of(one.low, context)
    if shift is None or low is None or abs(shift) > 1000 or abs(low) > 1000:
        return False
    before = substitute(other, {name: Add((Sym(name), Num(-1)))})
    step = substitute(one.body, {one.var: one.high})
    after: Node = Add((before, step)) if one.kind == "sum" else Mul((before, step))
    first: dict[str, Node] = {name: Num(low - shift)}
    base = substitute(one.body, {one.var: Num(low)})
    left, right = reduced(other, context, []), reduced(after, context, [])
    try:
        return equal_fractions(left, right, context) and _same_value(substitute(other, first), base, context)
    except (InconclusiveError, UndefinedValueError):
        return False


def _same_value(one: Node, two: Node, context: ComparisonContext) -> bool:
    """Return True for equal numbers, such as 1! and 1, or equal rational functions.

    Raises:
        InconclusiveError: They are neither.
        UndefinedValueError: One has no value.
    """
    if symbols(one) or symbols(two):
        return equal_fractions(one, two, context)
    return bool(rational(one, context) == rational(two, context))
