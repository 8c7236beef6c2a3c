"""Arithmetic of small matrices: sums, multiples, products, small powers, determinants, over any entries."""

from __future__ import annotations

from collections.abc import Callable

from flint import fmpq_mat

from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import has, rewrite
from deepcompress_verify.compare.work import CannotTell, Undefined, Work
from deepcompress_verify.tree import Add, Call, Const, Div, Matrix, Mul, Neg, Node, Num, Pow, Sym, Tuple

MAX_SIZE = 6
MAX_POWER = 16

ARITHMETIC = (Add, Neg, Mul, Div)

Rows = tuple[tuple[Node, ...], ...]


def simplify(node: Node, work: Work) -> Node:
    """The value of an expression with matrices as one matrix or scalar; the node itself where there is nothing to do.

    CannotTell where the expression is past the limits or makes no sense.
    """
    if isinstance(node, ARITHMETIC) and Tuple in work.facts(node).kinds:
        # 2(1, 3) and (1, 2) + (3, 4) are arithmetic of vectors
        node = rewrite(node, lambda here: Matrix((here.items,)) if isinstance(here, Tuple) else None)
    if Matrix not in work.facts(node).kinds or (isinstance(node, Matrix) and node.kind == "matrix"):
        return node
    return _value(node, work)


def _value(node: Node, work: Work) -> Node:
    work.spend(1)
    if isinstance(node, Matrix):
        return node if node.kind == "matrix" else _determinant(node.rows, work)
    if not has(node, Matrix):
        return node
    if isinstance(node, Neg):
        inner = _value(node.arg, work)
        return _map(inner, Neg) if isinstance(inner, Matrix) else Neg(inner)
    if isinstance(node, Add):
        total = _value(node.terms[0], work)
        for term in node.terms[1:]:
            total = _add(total, _value(term, work))
        return total
    if isinstance(node, Mul):
        product = _value(node.factors[0], work)
        for factor in node.factors[1:]:
            product = _multiply(product, _value(factor, work), work)
        return product
    if isinstance(node, Div):
        top, bottom = _value(node.top, work), _value(node.bottom, work)
        if isinstance(bottom, Matrix):
            raise CannotTell
        return _map(top, lambda cell: Div(cell, bottom)) if isinstance(top, Matrix) else Div(top, bottom)
    if isinstance(node, Pow):
        return _power(node, work)
    if isinstance(node, Call) and node.name == "det" and isinstance(node.args[0], Matrix):
        return _determinant(node.args[0].rows, work)
    raise CannotTell


def _map(matrix: Matrix, change: Callable[[Node], Node]) -> Matrix:
    return Matrix(tuple(tuple(change(cell) for cell in row) for row in matrix.rows))


def _add(a: Node, b: Node) -> Node:
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        if [len(r) for r in a.rows] != [len(r) for r in b.rows]:
            raise CannotTell
        return Matrix(
            tuple(tuple(Add((x, y)) for x, y in zip(p, q, strict=True)) for p, q in zip(a.rows, b.rows, strict=True))
        )
    if isinstance(a, Matrix) or isinstance(b, Matrix):
        raise CannotTell
    return Add((a, b))


def _multiply(a: Node, b: Node, work: Work) -> Node:
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        inner = len(b.rows)
        if any(len(row) != inner for row in a.rows) or max(len(a.rows), inner, len(b.rows[0])) > MAX_SIZE:
            raise CannotTell
        work.spend(len(a.rows) * inner * len(b.rows[0]))
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


def _power(node: Pow, work: Work) -> Node:
    base = _value(node.base, work)
    if not isinstance(base, Matrix):
        if has(node.exponent, Matrix):
            raise CannotTell
        return Pow(base, node.exponent)
    if (isinstance(node.exponent, Sym) and node.exponent.name in ("T", "t")) or node.exponent == Const("top"):
        return Matrix(tuple(zip(*base.rows, strict=True)))
    exponent = int(rational(node.exponent, work))
    if not -MAX_POWER <= exponent <= MAX_POWER or len(base.rows) > MAX_SIZE:
        raise CannotTell
    exact = fmpq_mat(len(base.rows), len(base.rows[0]), [rational(c, work) for row in base.rows for c in row])
    if len(base.rows) != len(base.rows[0]):
        raise CannotTell
    if exponent < 0:
        if exact.det() == 0:
            raise Undefined
        exact, exponent = exact.inv(), -exponent
    found = exact**exponent
    size = len(base.rows)
    return Matrix(tuple(tuple(Num(int(found[i, j].p), int(found[i, j].q)) for j in range(size)) for i in range(size)))


def _determinant(rows: Rows, work: Work) -> Node:
    size = len(rows)
    if any(len(row) != size for row in rows) or size > 4:
        raise CannotTell
    work.spend(size * size)
    if size == 1:
        return rows[0][0]
    terms: list[Node] = []
    for j in range(size):
        minor = tuple(tuple(cell for k, cell in enumerate(row) if k != j) for row in rows[1:])
        term = Mul((rows[0][j], _determinant(minor, work)))
        terms.append(Neg(term) if j % 2 else term)
    return Add(tuple(terms))
