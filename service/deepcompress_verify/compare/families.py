"""Families of functions by their constants: antiderivatives with C, solutions with C_1 to C_4."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from itertools import permutations

from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, NotApplicable
from deepcompress_verify.compare.forms import has, rename, rewrite, substitute, symbols
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.tree import (
    Add,
    Call,
    Const,
    Div,
    List,
    Mul,
    Neg,
    Node,
    Num,
    PlusMinus,
    Pow,
    Qualified,
    Rel,
    SetBuilder,
    Sym,
)

_VARIABLES = frozenset("x y z t u v w s r theta phi".split())
"""Letters of which an antiderivative is a function."""
_CONSTANTS_OF_INTEGRATION = frozenset(("c", "K", "k", "C_1", "c_1", "C_0"))
_POINTS = ((17, 11), (5, 37), (95, 11))
"""Points at which the difference of two antiderivatives is taken: 17/11 is outside of the domain of arcsin."""
_INDEXED = ("k_", "A_", "K_")
"""Beginnings of constants with an index."""
NUMBERED_CONSTANTS = frozenset(f"{letter}_{mark}" for letter in "cC" for n in "1234" for mark in (n, f"{{{n}}}"))

_CAPITALS = frozenset("ABCD")
CONSTANTS = NUMBERED_CONSTANTS | _CAPITALS
"""Names of a gold that may be constants of a solution."""


def same_family(a: Node, b: Node, context: ComparisonContext) -> bool:
    """Return True for two antiderivatives with a constant C that differ by a constant."""
    first, second = context.facts(a).names, context.facts(b).names
    if not any(name[:1] in ("c", "C") for name in first | second):
        return False
    small: dict[str, Node] = {name: Sym(name.upper()) for name in first ^ second if name.startswith("c")}
    if small and {name.upper() for name in small} <= first | second:
        return equal(substitute(a, small), substitute(b, small), context) is True
    for name in first - second | second - first:
        if name in _CONSTANTS_OF_INTEGRATION and "C" in first | second:
            a, b = substitute(a, {name: Sym("C")}), substitute(b, {name: Sym("C")})
    if "C" not in symbols(a) or "C" not in symbols(b):
        return False
    others = symbols(a) | symbols(b)
    if not any(name.partition("_")[0] in _VARIABLES for name in others) or any(
        len(name) == 1 and name.isupper() for name in others - {"C"}
    ):
        return False  # C is a letter of the problem: A + B + C
    a, b = _without_bars_in_logs(a), _without_bars_in_logs(b)
    zero: dict[str, Node] = {"C": Num(0)}
    a0, b0 = substitute(a, zero), substitute(b, zero)
    names = sorted(symbols(a0) | symbols(b0))
    if not names or not (equal(a, Add((a0, Sym("C"))), context) and equal(b, Add((b0, Sym("C"))), context)):
        return False
    for top, bottom in _POINTS:
        point: dict[str, Node] = {name: Num(top + 4 * k, bottom) for k, name in enumerate(names)}
        gap = Add((substitute(a0, point), Neg(substitute(b0, point))))
        if equal(a0, Add((b0, gap)), context) is True:
            return True
    return False


def same_constants(gold: Node, answer: Node, context: ComparisonContext, *, named: bool = False) -> bool:
    """Return True for two solutions whose constants have other names or another order: C_1 e^x + C_2, A e^x + B.

    The gold is a function of a variable. Its constants are C_1 to C_4, at least two of them; or C as its one capital
    letter, beside x, t or theta; or two letters or more from A to D, without other capital letters, if the answer has
    C_1 to C_4 for them, or other letters from A to D and both are `named` functions, f(x) = ... Those of the answer
    are its letters that the gold has not, and its C_1 to C_4.
    """
    first, second = symbols(gold), symbols(answer)
    if first.isdisjoint(_VARIABLES) or not all(map(_is_scalar, (gold, answer))):
        return False
    constants = _constants(first)
    stated = sorted(name for name in second if name in constants or name not in first)
    if not constants or len(stated) != len(constants) or (first - set(constants)) != (second - set(stated)):
        return False
    if constants == ["C"]:
        if first.isdisjoint(("x", "t", "theta")):
            return False
        allowed = _CONSTANTS_OF_INTEGRATION | {"A"}
    elif NUMBERED_CONSTANTS.issuperset(constants):
        allowed = frozenset(name for name in stated if _may_be_constant(name))
    else:
        # letters of the gold in another order may be those of the problem
        allowed = NUMBERED_CONSTANTS | (_CAPITALS - set(constants) if named else frozenset())
    if not allowed.issuperset(stated):
        return False
    for order in permutations(constants):
        table: dict[str, Node] = {name: Sym(other) for name, other in zip(stated, order, strict=True)}
        if equal(gold, substitute(answer, table), context) is True:
            return True
    return False


def _constants(names: frozenset[str]) -> list[str]:
    """Return the constants among the names of a gold: C_1 to C_4, C, or A to D."""
    numbered = sorted(NUMBERED_CONSTANTS & names)
    if numbered:
        return numbered if 2 <= len(numbered) <= 4 else []
    capitals = sorted(name for name in names if len(name) == 1 and name.isupper())
    return capitals if capitals == ["C"] or (len(capitals) >= 2 and _CAPITALS.issuperset(capitals)) else []


def _may_be_constant(name: str) -> bool:
    return name in NUMBERED_CONSTANTS or (len(name) == 1 and name in "ABCDKMNPabcdk") or name[:2] in _INDEXED


def _is_scalar(node: Node) -> bool:
    return isinstance(node, (Add, Mul, Div, Neg, Pow, Call))


def _without_bars_in_logs(node: Node) -> Node:
    """Return ln|x| + C as ln x + C: antiderivatives are written either way."""

    def change(part: Node) -> Node | None:
        if isinstance(part, Call) and part.name in ("ln", "log"):
            inner = part.args[0]
            if isinstance(inner, Call) and inner.name == "abs":
                return Call(part.name, (inner.args[0], *part.args[1:]))
        return None

    return rewrite(node, change)


def as_family(node: Node) -> Node:
    """Return a set over a parameter as its element with the parameter's set: {2k : k in Z} is 2k, k in Z."""
    if not isinstance(node, SetBuilder):
        return node
    if isinstance(node.condition, List) and node.condition.word != "or" and len(node.condition.items) == 2:
        given, declared = node.condition.items
        if isinstance(given, Rel) and given.ops == ("=",) and given.terms[0] == node.element:
            node = SetBuilder(given.terms[1], declared)  # {x | x = k pi, k in Z}
    if not isinstance(node.condition, Rel) or node.condition.ops != ("in",):
        return node
    name, values = node.condition.terms
    if isinstance(name, Sym) and isinstance(values, (Const, Sym)) and name.name in symbols(node.element):
        return Qualified(node.element, f"{name.name} in {values.name}")
    return node


def compare_bound_letters(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare two sets over a parameter with another letter: {3k : k in Z} and {3n : n in Z}."""
    meant, stated = _bound_letter(gold), _bound_letter(answer)
    if meant is None or stated is None or meant == stated:
        return NOT_APPLICABLE
    if meant in symbols(answer) or stated in symbols(gold):
        context.record("region", "a letter of one set is the parameter of the other")
        return False
    return context.judge(gold, rename(answer, {stated: meant}))


def _bound_letter(node: Node) -> str | None:
    """Return the k of {3k : k in Z}; None for anything else."""
    if not isinstance(node, SetBuilder) or not isinstance(node.condition, Rel) or node.condition.ops != ("in",):
        return None
    name, values = node.condition.terms
    return name.name if isinstance(name, Sym) and isinstance(values, Const) else None


def root_of_square(gold: Node, answer: Node) -> Node | None:
    """Return y^2 = g^2 for an answer y = ±g to a gold y^2 = f; None for other pairs."""
    if not isinstance(gold, Rel) or not isinstance(answer, Rel) or gold.ops != ("=",) or answer.ops != ("=",):
        return None
    square, root = gold.terms[0], answer.terms[1]
    if not symbols(gold.terms[1]):
        return None  # x^2 = 4 may be the problem
    if square != Pow(answer.terms[0], Num(2)) or not isinstance(answer.terms[0], Sym):
        return None
    if not isinstance(root, PlusMinus) or root.left is not None or has(root.right, PlusMinus):
        return None
    return Rel((square, _squared(root.right)), ("=",))


def _squared(node: Node) -> Node:
    """Return the square, without the square roots that are factors."""
    if isinstance(node, Call) and node.name == "root" and node.args[1:] == (Num(2),):
        return node.args[0]
    if isinstance(node, Mul):
        return Mul(tuple(map(_squared, node.factors)))
    if isinstance(node, Div):
        return Div(_squared(node.top), _squared(node.bottom))
    return Pow(node, Num(2))
