"""Arithmetic of small matrices: sums, multiples, products, small powers and determinants, over any entries."""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq_mat

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import has, rewrite
from deepcompress_verify.tree import Add, Call, Const, Div, Matrix, Mul, Neg, Node, Num, Pow, Sym, Tuple

MAX_SIZE = 6
MAX_POWER = 16

ARITHMETIC = (Add, Neg, Mul, Div)

Rows = tuple[tuple[Node, ...], ...]


def simplify(node: Node, context: ComparisonContext) -> Node:
    """Return the value of an expression with matrices as one matrix or scalar, or the node itself if it has none.

    Raises:
        InconclusiveError: The expression is past the limits, or not defined.
        UndefinedValueError: An entry has no value.
    """
    if isinstance(node, ARITHMETIC) and Tuple in context.facts(node).kinds:
        # 2(1, 3) and (1, 2) + (3, 4) are arithmetic of vectors
        node = rewrite(node, lambda part: Matrix((part.items,)) if isinstance(part, Tuple) else None)
    if Matrix not in context.facts(node).kinds or (isinstance(node, Matrix) and node.kind == "matrix"):
        return node
    return _value(node, context)


def _value(node: Node, context: ComparisonContext) -> Node:
    context.charge(1)
    if isinstance(node, Matrix):
        return node if node.kind == "matrix" else _determinant(node.rows, context)
    if not has(node, Matrix):
        return node
    if isinstance(node, Neg):
        inner = _value(node.arg, context)
        return _map(inner, Neg) if isinstance(inner, Matrix) else Neg(inner)
    if isinstance(node, Add):
        total = _value(node.terms[0], context)
        for term in node.terms[1:]:
            total = _add(total, _value(term, context))
        return total
    if isinstance(node, Mul):
        product = _value(node.factors[0], context)
        for factor in node.factors[1:]:
            product = _multiply(product, _value(factor, context), context)
        return product
    if isinstance(node, Div):
        top, bottom = _value(node.top, context), _value(node.bottom, context)
        if isinstance(bottom, Matrix):
            raise InconclusiveError
        return _map(top, lambda cell: Div(cell, bottom)) if isinstance(top, Matrix) else Div(top, bottom)
    if isinstance(node, Pow):
        return _power(node, context)
    if isinstance(node, Call) and node.name == "det" and isinstance(node.args[0], Matrix):
        return _determinant(node.args[0].rows, context)
    raise InconclusiveError


def _map(matrix: Matrix, change: Callable[[Node], Node]) -> Matrix:
    return Matrix(tuple(tuple(change(cell) for cell in row) for row in matrix.rows))


def _add(a: Node, b: Node) -> Node:
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        if [len(r) for r in a.rows] != [len(r) for r in b.rows]:
            raise InconclusiveError
        return Matrix(
            tuple(tuple(Add((x, y)) for x, y in zip(p, q, strict=True)) for p, q in zip(a.rows, b.rows, strict=True))
        )
    if isinstance(a, Matrix) or isinstance(b, Matrix):
        raise InconclusiveError
    return Add((a, b))


def _multiply(a: Node, b: Node, context: ComparisonContext) -> Node:
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        inner = len(b.rows)
        if any(len(row) != inner for row in a.rows) or max(len(a.rows), inner, len(b.rows[0])) > MAX_SIZE:
            raise InconclusiveError
        context.charge(len(a.rows) * inner * len(b.rows[0]))
        return Matrix(
            tuple(
                tuple(Add(tuple(Mul((row[k], b.rows[k][j])) for k in range(inner))) for j in range(len(b.rows[0])))
                for row in a.rows
            )
        )
    if isinstance(a, Matrix):
        return _map(a, lambda cell: Mul((cell, b)))
    if isinstance(b, Matrix):
        return _map(b, lambda cell: Mul((a, cell)))
    return Mul((a, b))


def _power(node: Pow, context: ComparisonContext) -> Node:
    base = _value(node.base, context)
    if not isinstance(base, Matrix):
        if has(node.exponent, Matrix):
            raise InconclusiveError
        return Pow(base, node.exponent)
    if (isinstance(node.exponent, Sym) and node.exponent.name in ("T", "t")) or node.exponent == Const("top"):
        return Matrix(tuple(zip(*base.rows, strict=True)))
    exponent = int(rational(node.exponent, context))
    if not -MAX_POWER <= exponent <= MAX_POWER or len(base.rows) > MAX_SIZE:
        raise InconclusiveError
    exact = fmpq_mat(len(base.rows), len(base.rows[0]), [rational(c, context) for row in base.rows for c in row])
    if len(base.rows) != len(base.rows[0]):
        raise InconclusiveError
    if exponent < 0:
        if exact.det() == 0:
            raise UndefinedValueError
        exact, exponent = exact.inv(), -exponent
    result = exact**exponent
    size = len(base.rows)
    return Matrix(
        tuple(tuple(Num(int(result[i, j].p), int(result[i, j].q)) for j in range(size)) for i in range(size))
    )


def _determinant(rows: Rows, context: ComparisonContext) -> Node:
    size = len(rows)
    if any(len(row) != size for row in rows) or size > 4:
        raise InconclusiveError
    context.charge(size * size)
    if size == 1:
        return rows[0][0]
    terms: list[Node] = []
    for j in range(size):
        minor = tuple(tuple(cell for k, cell in enumerate(row) if k != j) for row in rows[1:])
        term = Mul((rows[0][j], _determinant(minor, context)))
        terms.append(Neg(term) if j % 2 else term)
    return Add(tuple(terms))
