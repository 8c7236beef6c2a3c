"""Equations, chains, assignments, congruences: their meaning, and their equality."""

from __future__ import annotations

from dataclasses import dataclass

from flint import fmpq

from deepcompress_verify.compare import units
from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import canon, has, rename, substitute, symbols
from deepcompress_verify.compare.polynomials import Fractions, constant_ratio
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.reader.commands import DERIVATIVE
from deepcompress_verify.reader.names import WORDS
from deepcompress_verify.reader.progressions import ELLIPSIS
from deepcompress_verify.tree import (
    Add,
    Apply,
    BigOp,
    Call,
    Const,
    Div,
    List,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    PlusMinus,
    Pow,
    Quantity,
    Ratio,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Tuple,
    children,
    walk,
)


@dataclass(frozen=True, slots=True)
class EqualityChain:
    """The meaning of a chain of equalities: names, and their value."""

    names: tuple[Node, ...]
    value: Node | None
    """None if every member is a name (x = y)."""
    approximation: Node | None
    """The value after a final ≈."""
    contradicts: bool = False
    """The chain contains two members that cannot be equal."""
    identity: bool = False
    """No names at all: 2 + 3 = 5."""
    open: bool = False
    """The chain contains members that no tier can compare."""


def is_name(node: Node) -> bool:
    """Return True for the left side of an assignment: x, f(x), (x, y), |AB|, A:B, S_1/S_2, "minimum"."""
    if isinstance(node, (Sym, Apply, Text)):
        return True
    if isinstance(node, Const):
        return node.name in ("e", "i")  # electric charge, current: only possible as names
    if isinstance(node, Tuple):
        return all(isinstance(i, (Sym, Apply, Const)) or _is_applied(i) for i in node.items)
    if isinstance(node, Ratio):
        return all(is_name(p) for p in node.parts)
    if isinstance(node, Div):
        return is_name(node.top) and is_name(node.bottom)
    if isinstance(node, Call):
        if node.name == "abs" and isinstance(node.args[0], (Set, SetBuilder, SetOp)):
            return True  # the size of a set
        return node.name in ("abs", "det", "max", "min", "re", "im", "arg", "gcd", "lcm") and all(
            is_name(a) for a in node.args
        )
    if isinstance(node, Matrix):
        return all(isinstance(cell, Sym) for row in node.rows for cell in row)
    if isinstance(node, Mul) and all(isinstance(f, Sym) for f in node.factors) and node.factors[0] in _DIFFERENTIALS:
        return True
    if isinstance(node, Pow):
        # the variance and chi-squared are named by a square
        return node.base in _NAMED_BY_SQUARES and node.exponent == Num(2)
    if isinstance(node, Mul) and is_derivative(node.factors[0]):
        return True
    if isinstance(node, BigOp):
        # an antiderivative, an integral over a named domain, a sum or limit of a sequence or function not given
        return (node.kind == "int" and node.high is None) or _is_unknown(node.body, node.var)
    if isinstance(node, Mul) and len(node.factors) == 2:
        head, body = node.factors
        if isinstance(head, Apply) and head.name == "compose":
            return isinstance(body, (Sym, Num))
        return (
            isinstance(head, Sym)
            and isinstance(body, (Sym, Num, Tuple))
            and head.name.isupper()
            and (not isinstance(body, Sym) or body.name.isupper())
        )
    return False


def _is_applied(node: Node) -> bool:
    """Return True for P(x), which is read as a product."""
    return isinstance(node, Mul) and len(node.factors) == 2 and all(isinstance(f, Sym) for f in node.factors)


def _is_unknown(body: Node, var: str) -> bool:
    """Return True for a_n and f(x), alone or with others, under a sum, an integral or a limit over n or x."""
    return any(
        (isinstance(part, Apply) and Sym(var) in part.args)
        or (isinstance(part, Sym) and "_" in part.name and var in part.name.partition("_")[2])
        for part in walk(body)
    )


_DIFFERENTIALS = (Sym("d"), Sym("\\partial"), Sym("Delta"))
_NAMED_BY_SQUARES = (Sym("sigma"), Sym("chi"))


def is_derivative(node: Node) -> bool:
    """Return True for a derivative that is not evaluated, such as d/dx."""
    return isinstance(node, Sym) and node.name.startswith(DERIVATIVE)


def has_omission(node: Node) -> bool:
    """Return True for a formula with an ellipsis or a derivative sign, which must not be treated as unknowns.

    An ellipsis among the items of a list does not count, nor a derivative that is the name in an equation.
    """
    if isinstance(node, Rel):
        return any(has_omission(term) for term in node.terms if not is_name(term) and not is_sum_with_dots(term))
    return any(
        isinstance(part, (Add, Mul, Div, Neg, Pow)) and any(c == ELLIPSIS or is_derivative(c) for c in children(part))
        for part in walk(node)
    )


def is_sum_with_dots(node: Node) -> bool:
    """Return True for 1 + 2 + ... + n, which names the value that follows it."""
    return isinstance(node, Add) and ELLIPSIS in node.terms


def is_symbolic_term(node: Node) -> bool:
    """Return True for variables combined without numbers, whose value may be stated: a + b, sin(theta), xy."""
    if isinstance(node, Neg) and is_name(node.arg):
        return False  # -x = 5 means that x is -5
    if isinstance(node, (Add, Mul, Neg, Div, Call)):
        return all(is_symbolic_term(child) for child in children(node))
    if isinstance(node, Pow) and isinstance(node.exponent, Num) and node.exponent.q == 1 < node.exponent.p:
        return is_symbolic_term(node.base)
    return isinstance(node, Sym) or is_name(node)


def read_chain(node: Rel, context: ComparisonContext) -> EqualityChain | None:
    """Parse a chain of = (with ≈ at its end); None for other relations."""
    terms = list(node.terms)
    ops = ["=" if op == "==" and node.modulus is None else op for op in node.ops]
    approximation: Node | None = None
    if "~" in ops:
        cut = ops.index("~")
        approximation = terms[cut + 1]
        if any(op != "~" for op in ops[cut:]):
            return None
        terms, ops = terms[: cut + 1], ops[:cut]
        if terms != [Sym("")] and not close(terms[-1], approximation, context):
            return EqualityChain((), terms[-1], approximation, contradicts=True)
        if terms == [Sym("")] or (len(terms) == 1 and is_name(terms[0])):
            name = () if terms == [Sym("")] else (terms[0],)
            return EqualityChain(name, approximation, approximation)
    if not all(op == "=" for op in ops) or node.modulus is not None:
        return None
    if len(terms) == 1:
        return EqualityChain((), terms[0], approximation)
    if len(terms) == 2 and isinstance(terms[1], Sym) and not is_name(terms[0]) and not has_unknowns(terms[0]):
        terms.reverse()  # 5 = x
    names = [t for t in terms[:-1] if is_name(t) and not _operates_in(t, terms[-1])]
    names = [t for t in terms[:-1] if t in names or is_sum_with_dots(t)]
    if not names and _first_names_value(terms):
        names = terms[:1]
    if len(terms) > 2 and terms[0] in names and not has_unknowns(terms[-1]):
        # the formula of a value that the chain works out: x = -b/(2a) = 5, |A u B| = |A| + |B| - |A n B| = 15
        terms = [t for t in terms if t in names or not has_unknowns(t) or has(t, Quantity)]
    values = [t for t in terms if t not in names]
    if len(terms) > 2 and is_name(terms[-1]) and not names:
        return None
    if not values:
        return EqualityChain(tuple(terms), None, approximation)
    value = values[-1]
    if names and len(values) == 1:
        return EqualityChain(tuple(names), value, approximation)
    if not names and len(values) == 2 and (has_unknowns(values[0]) or has_unknowns(values[1])):
        return None  # a proper equation
    outcomes = [context.judge(v, value) for v in values[:-1]]
    contradicts = False in outcomes
    constant = not names and not any(has_unknowns(v) for v in values)
    if not names and not constant:
        return None
    open_members = [v for v, outcome in zip(values, outcomes, strict=False) if outcome is None]
    if open_members == terms[:1] and isinstance(terms[0], BigOp) and context.oracle is not None:
        open_members = []  # the value of an integral, a limit or a sum, which nothing refutes
    return EqualityChain(tuple(names), value, approximation, contradicts, constant, bool(open_members))


def _operates_in(head: Node, value: Node) -> bool:
    """Return True if the head has letters or functions of the value: f o g = g o f and |x| = x are equations."""
    if isinstance(head, Sym):
        return head.name in symbols(value)
    if isinstance(head, Apply):
        names = (head.name, f"{head.name}'", f"{head.name}''")  # f(x) = f'(x)
        if any(isinstance(part, Apply) and part.name in names for part in walk(value)):
            return True
        if head.name not in _OPERATIONS or not _letters(head):
            return head.name in _OPERATIONS  # 17 remainder 3 is a value
    if isinstance(head, Mul) and isinstance(head.factors[0], Apply):
        head = head.factors[0]  # f o g of x
    if isinstance(head, (Tuple, Text, Const, BigOp)) or _is_differential(head):
        return False
    if isinstance(head, Matrix) and head.kind == "matrix":
        return False
    return not _letters(head).isdisjoint(_letters(value))


def _letters(node: Node) -> frozenset[str]:
    """Return the names of the letters and functions of a tree."""
    return symbols(node) | {part.name for part in walk(node) if isinstance(part, Apply)} - _OPERATIONS


def _is_differential(node: Node) -> bool:
    """Return True for dy, and for dy/dx and d/dx as the names of derivatives."""
    return any(
        is_derivative(part) or (isinstance(part, Mul) and part.factors[0] in _DIFFERENTIALS) for part in walk(node)
    )


def _first_names_value(terms: list[Node]) -> bool:
    """Return True if the first member is the name of the value.

    m + n = 101 + 103 = 204, and A^{-1} = or grad f = before a matrix or a vector.
    """
    if not has_unknowns(terms[0]) or has(terms[0], Matrix, Tuple):
        return False
    if len(terms) == 2:
        value = terms[1]
        return isinstance(value, Tuple) or (isinstance(value, Matrix) and value.kind == "matrix")
    return is_symbolic_term(terms[0]) and not has_unknowns(terms[-1])


def has_unknowns(node: Node) -> bool:
    """Return True for a formula with letters, or with functions or sets that are not given."""
    return bool(symbols(node)) or any(
        (isinstance(part, Apply) and part.name not in _OPERATIONS) or isinstance(part, SetOp) for part in walk(node)
    )


_OPERATIONS = frozenset(
    ["beside", "remainder", "cross", "compose", "star", "divergence", "product", "sequence", "exterior"]
)
"""Names of Apply that are operations, no functions."""


def close(value: Node, approximation: Node, context: ComparisonContext) -> bool:
    """Return True if the second may be a rounding of the first: three quarters of its last digit, or one percent.

    With one significant digit it is half a unit, and zero rounds zero alone.
    """
    if has(approximation, Quantity) or has(value, Quantity):
        return _close_quantities(value, approximation, context)
    negative = isinstance(approximation, Neg)
    number = approximation.arg if isinstance(approximation, Neg) else approximation
    if isinstance(value, (Tuple, List, Set)):
        return (
            type(value) is type(approximation)
            and len(value.items) == len(approximation.items)
            and all(close(v, a, context) for v, a in zip(value.items, approximation.items, strict=True))
        )
    if is_name(value) or is_symbolic_term(value):
        return True  # the value of a name
    if not _scalar(value) or not _scalar(approximation) or symbols(value) or symbols(approximation):
        return context.judge(value, approximation) is True
    if not isinstance(number, Num):
        gap = Add((value, Neg(approximation)))
        ratio = Call("floor", (Div(Mul((Num(100), Call("abs", (gap,)))), Call("abs", (approximation,))),))
        return equal(ratio, Num(0), context) is True
    if number.decimals is not None:
        unit = fmpq(1, 10**number.decimals)
    else:
        digits = str(number.p)[:64]
        unit = fmpq(10 ** min(len(digits) - len(digits.rstrip("0")), len(digits) - 1), number.q)
    size = fmpq(number.p, number.q)
    if size == 0:
        return equal(value, Num(0), context) is True
    # one significant digit: half a unit
    unit *= fmpq(1, 2) if size < 10 * unit else fmpq(3, 4)
    unit = max(min(unit, size / 2), size / 100)
    gap = Add((value, Neg(Neg(number) if negative else number)))
    far = Call("floor", (Div(Call("abs", (gap,)), Num(int(unit.p), int(unit.q))),))
    return equal(far, Num(0), context) is True


def _close_quantities(value: Node, approximation: Node, context: ComparisonContext) -> bool:
    """Return True if a quantity may be a rounding of a value: in the same unit, or of a value without one."""
    number, unit = units.split(approximation)
    exact, own = units.split(value)
    if has(number, Quantity) or has(exact, Quantity):
        return context.judge(value, approximation) is True
    if own in ("", unit) or not unit:
        return close(exact, number, context) or (
            unit == "percent" and not own and close(exact, Div(number, Num(100)), context)
        )
    pairs = units.pairs(value, approximation)
    return pairs is not None and any(close(*pair, context) for pair in pairs)


def _scalar(node: Node) -> bool:
    return not isinstance(node, (Tuple, List, Set, SetOp, Matrix, Rel, Text, PlusMinus, Ratio))


def same_names(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    """Return True if two assignments have the same name: f(x) and f(z), y and f(x); not x and y, or P(A) and P(B)."""
    if {canon(n) for n in a} == {canon(n) for n in b}:
        return True
    if len(a) == len(b) == 1:
        x, y = _normalised_name(a[0]), _normalised_name(b[0])
        if canon(x) == canon(y):
            return True
        if isinstance(x, Apply) and isinstance(y, Apply):
            letters = all(isinstance(a, Sym) and _is_variable(a.name) for a in (*x.args, *y.args))
            return letters and x.name == y.name and x.name[-1] != "|" and len(x.args) == len(y.args)
        if {type(x), type(y)} == {Sym, Apply}:
            head, applied = (x, y) if isinstance(x, Sym) else (y, x)
            return isinstance(head, Sym) and isinstance(applied, Apply) and head.name in ("y", "z", applied.name)
        if isinstance(x, Tuple) and isinstance(y, Tuple):
            return False
        if isinstance(x, Sym) and isinstance(y, Sym):
            one, two = (name.name.replace("{", "").replace("}", "") for name in (x, y))
            marked = " " in one and " " in two
            return one == two or (not marked and _unmarked(one) == _unmarked(two))
    return False


def _is_variable(name: str) -> bool:
    """Return False for words, and for capitals, which name events and points."""
    return not name.startswith(WORDS) and not name[:1].isupper()


def _unmarked(name: str) -> str:
    """Return the letter under a mark: the name of a value may have its hat or not."""
    mark, _, letter = name.rpartition(" ")
    return letter if mark in ("hat", "bar", "tilde") else name


def _normalised_name(name: Node) -> Node:
    """Return dy/dx as y', the partial derivative of f as f_x, and |A| of a matrix as its determinant."""
    if (
        isinstance(name, Call)
        and name.name == "abs"
        and isinstance(name.args[0], Sym)
        and name.args[0].name.isupper()
    ):
        return Call("det", name.args)
    if isinstance(name, Div) and isinstance(name.top, Mul) and isinstance(name.bottom, Mul):
        top, bottom = name.top.factors, name.bottom.factors
        if len(top) == len(bottom) == 2 and top[0] == bottom[0] and top[0] in _DIFFERENTIALS:
            function, variable = top[1], bottom[1]
            if isinstance(function, Sym) and isinstance(variable, Sym):
                return Sym(f"{function.name}'" if top[0] == Sym("d") else f"{function.name}_{variable.name}")
    return name


def rename_arguments(names: tuple[Node, ...], value: Node, pattern: tuple[Node, ...]) -> Node:
    """Return the value of f(z) = ..z.. in the variables of f(x)."""
    if len(names) == len(pattern) == 1:
        own_name, pattern_name = names[0], pattern[0]
        if (
            isinstance(own_name, Apply)
            and isinstance(pattern_name, Apply)
            and len(own_name.args) == len(pattern_name.args)
        ):
            table: dict[str, str] = {}
            for x, y in zip(own_name.args, pattern_name.args, strict=True):
                if isinstance(x, Sym) and isinstance(y, Sym):
                    table[x.name] = y.name
            if table:
                return rename(value, table)
    return value


def argument_is_taken(names: tuple[Node, ...], value: Node, pattern: tuple[Node, ...]) -> bool:
    """Return True if f(z) = ..x.. has the argument of f(x) as another letter: f(k) = n is a constant."""
    if len(names) != 1 or len(pattern) != 1:
        return False
    own, other = _arguments(names[0]), _arguments(pattern[0])
    return bool(own) and not (other - own).isdisjoint(symbols(value))


def _arguments(name: Node) -> frozenset[str]:
    """Return the letters that a function is applied to."""
    return frozenset(a.name for a in name.args if isinstance(a, Sym)) if isinstance(name, Apply) else frozenset()


def difference_of_sides(node: Rel) -> Node:
    """Return L - R of a relation of two terms."""
    return Add((node.terms[0], Neg(node.terms[1])))


def same_equation(a: Node, b: Node, context: ComparisonContext, positive: bool = False) -> bool | None:
    """Return True if L1 - R1 and L2 - R2 are equal up to a nonzero (or positive) constant factor."""
    try:
        ratio = constant_ratio(a, b, context)
    except UndefinedValueError:
        return False
    except InconclusiveError:
        return _proportional(a, b, context, positive)
    context.record(
        "polynomial", "the equations are " + ("the same" if ratio is not None else "not the same") + " up to a factor"
    )
    return ratio is not None and (not positive or ratio > 0)


def _proportional(a: Node, b: Node, context: ComparisonContext, positive: bool) -> bool | None:
    """Like `same_equation` for other functions: compare a*b(p) with b*a(p) at one rational point p."""
    names = sorted(symbols(a) | symbols(b))
    if not names or has(a, Apply) or has(b, Apply):
        return canon(a) == canon(b)
    point: dict[str, Node] = {name: Num(13 + 6 * k, 11 + k) for k, name in enumerate(names)}

    a_there, b_there = substitute(a, point), substitute(b, point)
    if equal(a_there, Num(0), context) is not False or equal(b_there, Num(0), context) is not False:
        return None
    if positive:
        same_sign = equal(Call("sign", (a_there,)), Call("sign", (b_there,)), context)
        if same_sign is not True:
            return same_sign
    return equal(Mul((a, b_there)), Mul((b, a_there)), context)


def solved_by(equation: Rel, expression: Node, context: ComparisonContext) -> bool | None:
    """Return True if the expression solves the equation for its one other variable, which must be linear."""
    free = symbols(equation) - symbols(expression)
    if len(free) != 1 or equation.ops != ("=",):
        return False
    (name,) = free
    difference = difference_of_sides(equation)
    try:
        reader = Fractions((difference,), context)
        top, bottom = reader.read(difference)
        index = reader.names.get(name)
        if index is None or top.degrees()[index] != 1 or bottom.degrees()[index] != 0:
            return False
    except (InconclusiveError, UndefinedValueError):
        return None
    solution = {name: expression}
    return equal(substitute(equation.terms[0], solution), substitute(equation.terms[1], solution), context)


_CONGRUENT = frozenset(("=", "==", "~"))
"""Relations that a modulus makes a congruence."""
_INCONGRUENT = frozenset(("!=", "not==", "not~"))


def is_congruence(relation: Rel) -> bool:
    """Return True for x = 3 (mod 7) and for 3 (mod 7), False for x != 3 (mod 7) and for x < 3 (mod 7)."""
    return relation.modulus is not None and _CONGRUENT.issuperset(relation.ops)


def same_congruence(a: Rel, b: Rel, context: ComparisonContext) -> bool | None:
    """Compare congruences x = 3 (mod 7): equal moduli, the same name, residues that differ by a multiple.

    Both state a congruence, or both deny one. A chain of three members or more is compared as it is.
    """
    if a.modulus is None or b.modulus is None:
        return False
    denied = [bool(r.ops) and _INCONGRUENT.issuperset(r.ops) for r in (a, b)]
    if max(len(a.ops), len(b.ops)) > 1 or not all(is_congruence(r) or d for r, d in zip((a, b), denied, strict=True)):
        return canon(a) == canon(b)
    if denied[0] != denied[1]:
        context.record("relation", "one denies what the other states")
        return False
    try:
        m, n = rational(a.modulus, context), rational(b.modulus, context)
        if abs(m) != abs(n) or m == 0:
            return False
        gap: fmpq = (rational(a.terms[-1], context) - rational(b.terms[-1], context)) / m
    except UndefinedValueError:
        return False
    except InconclusiveError:
        return canon(a) == canon(b)
    heads = {canon(r.terms[0]) for r in (a, b) if len(r.terms) > 1}
    return len(heads) <= 1 and gap.q == 1
