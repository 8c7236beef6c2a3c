"""Other notations of vectors and matrices: 2i - j + 3k for (2, -1, 3), and I for an identity matrix."""

from __future__ import annotations

from deepcompress_verify.compare.context import ComparisonContext
from deepcompress_verify.compare.forms import rewrite, substitute
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.tree import Add, Call, Const, Div, Mul, Neg, Node, Num, Pow, Quantity, Sym

_UNITS = ("@i", "j", "k")
_SCALAR = frozenset((Num, Const, Sym, Add, Neg, Mul, Div, Pow, Call, Quantity))


def components(node: Node, other: tuple[Node, ...], context: ComparisonContext) -> tuple[Node, ...] | None:
    """Return the components of a sum of multiples of the unit vectors i, j, k, or None.

    The other side must be a vector of two or three components. i alone is the imaginary unit, so j or k must occur.
    """
    facts = context.facts(node)
    size = len(other)
    if size not in (2, 3) or facts.names.isdisjoint(("j", "k")) or not _SCALAR.issuperset(facts.kinds):
        return None
    if (size == 2 and "k" in facts.names) or any(not context.facts(o).names.isdisjoint(("j", "k")) for o in other):
        return None
    plain = rewrite(node, lambda part: Sym("@i") if part == Const("i") else None)
    result: list[Node] = []
    for unit in _UNITS[:size]:
        result.append(substitute(plain, {name: Num(int(name == unit)) for name in _UNITS}))
    combination = Add(tuple(Mul((part, Sym(unit))) for part, unit in zip(result, _UNITS, strict=False)))
    return tuple(result) if equal(plain, combination, context) is True else None


def identity(node: Node, rows: list[tuple[Node, ...]], context: ComparisonContext) -> list[tuple[Node, ...]] | None:
    """Return the rows of a multiple of the identity matrix of the other side's size, I, 2I or I_n of that size, else
    None.
    """
    size = len(rows)
    names = {"I", f"I_{size}"} & context.facts(node).names
    if len(names) != 1 or any(len(row) != size for row in rows) or not _SCALAR.issuperset(context.facts(node).kinds):
        return None
    (name,) = names
    scale = substitute(node, {name: Num(1)})
    if not isinstance(node, Sym) and equal(node, Mul((scale, Sym(name))), context) is not True:
        return None
    return [tuple(scale if i == j else Num(0) for j in range(size)) for i in range(size)]
