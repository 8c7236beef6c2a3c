"""Subsets of the real line in one normal form: intervals, unions, points, inequalities in one variable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key

from flint import fmpq

from deepcompress_verify.compare.context import ComparisonContext, InconclusiveError, UndefinedValueError
from deepcompress_verify.compare.exact import rational
from deepcompress_verify.compare.forms import canon, symbols
from deepcompress_verify.compare.interval_arithmetic import Evaluator, ValueTooLargeError, precision
from deepcompress_verify.compare.polynomials import coefficients_in, linear_in
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.tree import (
    Add,
    Apply,
    Call,
    Const,
    Div,
    List,
    Neg,
    Node,
    Num,
    Qualified,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Tuple,
)

_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}
_HALF_LINES = {
    f"bb R{mark}": op
    for op, marks in (
        (">", ("^+", "_+", "_>0", "^+*", "_++")),
        (">=", ("_>=0", "_\\ge0")),
        ("<", ("^-", "_-", "_<0")),
        ("<=", ("_<=0",)),
    )
    for mark in marks
}
"""R^+ and other half-lines, with their inequality to 0."""
MAX_PIECES = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval with its ends; None is minus or plus infinity. A single point is closed with equal ends."""

    low: Node | None
    low_closed: bool
    high: Node | None
    high_closed: bool


Region = list[Piece]


class Regions:
    """Parses trees as regions and compares them. `variable` is the variable of the inequalities, if they name one."""

    def __init__(self, context: ComparisonContext) -> None:
        self.context = context
        self.variable: str | None = None
        self.unsolved = False
        """A quadratic inequality was solved."""

    # Order of ends

    def order(self, a: Node, b: Node) -> int:
        """Return -1, 0 or 1: the order of two numbers.

        Raises:
            InconclusiveError: The order cannot be decided.
        """
        self.context.charge(1)
        try:
            x, y = rational(a, self.context), rational(b, self.context)
            return (x > y) - (x < y)
        except (InconclusiveError, UndefinedValueError):
            pass
        with precision(192):
            try:
                gap = Evaluator(self.context, {}, 192).value(a) - Evaluator(self.context, {}, 192).value(b)
            except (UndefinedValueError, ValueTooLargeError):
                raise InconclusiveError from None
            if not gap.imag.contains(0):
                raise InconclusiveError
            if gap.real > 0:
                return 1
            if gap.real < 0:
                return -1
        if equal(a, b, self.context):
            return 0
        raise InconclusiveError

    # Parsing

    def read(self, node: Node) -> Region:
        """Return the region that a tree describes.

        Raises:
            InconclusiveError: The tree is not a region, or not a supported one.
        """
        self.context.charge(1)
        if isinstance(node, Tuple):
            return self._interval(node)
        if isinstance(node, Set):
            for item in node.items:
                self._check_number(item)
            return self.normal([Piece(item, True, item, True) for item in node.items])
        if isinstance(node, Const):
            if node.name == "R":
                return [Piece(None, False, None, False)]
            if node.name == "emptyset":
                return []
        if isinstance(node, Text) and node.words == "no solution":
            return []
        if isinstance(node, Sym) and node.name in _HALF_LINES:
            op = _HALF_LINES[node.name]
            return self._half_line(op, Num(0))
        if isinstance(node, SetOp):
            return self._operation(node)
        if isinstance(node, Rel):
            return self._relation(node)
        if isinstance(node, SetBuilder):
            if isinstance(node.element, (Sym, Apply)):
                return self.read(node.condition)
            if isinstance(node.element, Rel) and node.element.ops == ("in",):
                return self.intersection(self.read(node.element), self.read(node.condition))
        if isinstance(node, List) and all(isinstance(i, (Rel, SetOp, Tuple, Set)) for i in node.items):
            regions = [self.read(item) for item in node.items]
            excluded = all(isinstance(i, Rel) and i.ops == ("!=",) for i in node.items)
            intervals = all(isinstance(i, (Tuple, SetOp)) for i in node.items)
            union = not excluded and (node.word == "or" or intervals)
            if not union:
                total = regions[0]
                for region in regions[1:]:
                    total = self.intersection(total, region)
                if total or node.word == "and":
                    return total
                # "x < -1, x > 1" can only mean a union
            return self.normal([piece for region in regions for piece in region])
        if isinstance(node, Qualified):
            return self.read(node.value)
        raise InconclusiveError

    def _check_number(self, node: Node) -> None:
        if symbols(node) or isinstance(node, (Tuple, Set, Rel, Text)):
            raise InconclusiveError

    def _interval(self, node: Tuple) -> Region:
        if len(node.items) != 2:
            raise InconclusiveError
        low, high = (_end(item) for item in node.items)
        if low == "+" or high == "-":
            raise InconclusiveError
        for end in (low, high):
            if not isinstance(end, str):
                self._check_number(end)
        piece = Piece(
            None if isinstance(low, str) else low, node.left == "[" and low != "-",
            None if isinstance(high, str) else high, node.right == "]" and high != "+",
        )  # fmt: skip
        if piece.low is not None and piece.high is not None:
            side = self.order(piece.low, piece.high)
            if side > 0 or (side == 0 and not (piece.low_closed and piece.high_closed)):
                raise InconclusiveError
        return [piece]

    def _operation(self, node: SetOp) -> Region:
        if len(node.args) > MAX_PIECES:
            raise InconclusiveError
        regions = [self.read(arg) for arg in node.args]
        if node.op == "union":
            return self.normal([piece for region in regions for piece in region])
        total = regions[0]
        for region in regions[1:]:
            if node.op == "intersection":
                total = self.intersection(total, region)
            else:
                total = self.intersection(total, self.complement(region))
        return total

    def _relation(self, node: Rel) -> Region:
        if node.modulus is not None:
            raise InconclusiveError
        if node.ops == ("in",) and not isinstance(node.terms[0], (Tuple, List)):
            self._name(node.terms[0])
            return self.read(node.terms[1])
        if any(op not in _FLIP for op in node.ops) or not node.ops:
            raise InconclusiveError
        if len(node.ops) > 1 and node.terms[0] == Sym(""):
            raise InconclusiveError  # a relation without a left side begins the chain
        total: Region = [Piece(None, False, None, False)]
        for left, op, right in zip(node.terms, node.ops, node.terms[1:], strict=False):
            total = self.intersection(total, self._inequality(left, op, right))
        return total

    def _name(self, node: Node) -> None:
        name = canon(node)
        if isinstance(node, Sym) and not node.name:
            return
        if self.variable not in (None, name):
            raise InconclusiveError
        self.variable = name

    def _inequality(self, left: Node, op: str, right: Node) -> Region:
        """Return the region of `left op right`, for a variable, a linear or quadratic expression, or |linear|."""
        if not _constant(right):
            if _constant(left):
                left, op, right = right, _FLIP[op], left
            else:
                left, right = Add((left, Neg(right))), Num(0)
        names = symbols(left)
        if isinstance(left, (Sym, Apply)):
            self._name(left)
            return self._half_line(op, right)
        if len(names) != 1:
            raise InconclusiveError
        (name,) = names
        slope = linear_in(left, name, self.context)
        if slope is not None:
            self._name(Sym(name))
            return self._solve(slope, op, right)
        if isinstance(left, Call) and left.name == "abs":
            slope = linear_in(left.args[0], name, self.context)
            if slope is not None:
                self._name(Sym(name))
                upper = self._solve(slope, op, right)
                lower = self._solve((-slope[0], -slope[1]), op, right)
                both = op in ("<", "<=", "!=")
                return self.intersection(upper, lower) if both else self.normal(upper + lower)
        square = coefficients_in(Add((left, Neg(right))), name, self.context)
        if square is not None and square[2] != 0:
            self._name(Sym(name))
            self.unsolved = True
            return self._parabola(square, op)
        raise InconclusiveError

    def _parabola(self, square: tuple[fmpq, fmpq, fmpq], op: str) -> Region:
        """Return the region of a*x^2 + b*x + c op 0, a != 0: between the roots or outside them."""
        c, b, a = square
        if a < 0:
            c, b, a, op = -c, -b, -a, _FLIP[op]
        closed = "=" in op and op != "!="
        turn, under = _num(-b / (2 * a)), (b * b - 4 * a * c) / (4 * a * a)
        if under < 0:
            return [] if op in ("<", "<=", "=") else [Piece(None, False, None, False)]
        width = Call("root", (_num(under), Num(2)))
        low, high = (turn, turn) if under == 0 else (Add((turn, Neg(width))), Add((turn, width)))
        if op == "=" or (op == "<=" and under == 0):
            return self.normal([Piece(low, True, low, True), Piece(high, True, high, True)])
        if op in ("<", "<="):
            return [Piece(low, closed, high, closed)] if under != 0 else []
        outside = [Piece(None, False, low, closed), Piece(high, closed, None, False)]
        if op == "!=":
            outside.append(Piece(low, False, high, False))
        return self.normal(outside) if under != 0 or closed or op == ">" else outside

    def _solve(self, slope: tuple[fmpq, fmpq], op: str, right: Node) -> Region:
        """Return the region of slope*x + constant op right."""
        end: Node = right
        if slope != (fmpq(1), fmpq(0)):
            try:
                value = (rational(right, self.context) - slope[1]) / slope[0]
                end = Num(int(value.p), int(value.q))
            except InconclusiveError:
                end = _quotient(Add((right, _num(-slope[1]))), _num(slope[0]))
            if slope[0] < 0:
                op = _FLIP[op]
        return self._half_line(op, end)

    def _half_line(self, op: str, end: Node) -> Region:
        bound = _end(end)
        if isinstance(bound, str):
            if (op in ("<", "<=") and bound == "+") or (op in (">", ">=") and bound == "-"):
                return [Piece(None, False, None, False)]
            raise InconclusiveError
        if op in ("<", "<="):
            return [Piece(None, False, end, op == "<=")]
        if op in (">", ">="):
            return [Piece(end, op == ">=", None, False)]
        if op == "!=":
            return [Piece(None, False, end, False), Piece(end, False, None, False)]
        return [Piece(end, True, end, True)]

    # Normal form

    def normal(self, pieces: Region) -> Region:
        """Return the pieces sorted, with overlapping and touching pieces joined.

        Raises:
            InconclusiveError: There are too many pieces, or an order cannot be decided.
        """
        if len(pieces) > MAX_PIECES:
            raise InconclusiveError

        def compare(a: Piece, b: Piece) -> int:
            if a.low is None or b.low is None:
                return (a.low is not None) - (b.low is not None)
            return self.order(a.low, b.low) or b.low_closed - a.low_closed

        result: Region = []
        for piece in sorted(pieces, key=cmp_to_key(compare)):
            if not result:
                result.append(piece)
                continue
            last = result[-1]
            if last.high is None:
                break
            if piece.low is not None:
                side = self.order(last.high, piece.low)
                if side < 0 or (side == 0 and not (last.high_closed or piece.low_closed)):
                    result.append(piece)
                    continue
            if piece.high is None:
                result[-1] = Piece(last.low, last.low_closed, None, False)
                continue
            side = self.order(last.high, piece.high)
            if side < 0 or (side == 0 and piece.high_closed):
                result[-1] = Piece(last.low, last.low_closed, piece.high, piece.high_closed)
        return result

    def complement(self, pieces: Region) -> Region:
        """Return the complement of a region in normal form."""
        result: Region = []
        low: Node | None = None
        closed = False
        for piece in pieces:
            if piece.low is not None:
                result.append(Piece(low, closed, piece.low, not piece.low_closed))
            if piece.high is None:
                return result
            low, closed = piece.high, not piece.high_closed
        result.append(Piece(low, closed, None, False))
        return result

    def intersection(self, a: Region, b: Region) -> Region:
        """Return the intersection in normal form."""
        return self.complement(self.normal(self.complement(self.normal(a)) + self.complement(self.normal(b))))

    def same(self, a: Region, b: Region) -> bool:
        """Return True if two regions in normal form are equal."""
        if len(a) != len(b):
            return False
        for p, q in zip(a, b, strict=True):
            if (p.low_closed, p.high_closed) != (q.low_closed, q.high_closed):
                return False
            for x, y in ((p.low, q.low), (p.high, q.high)):
                if (x is None) != (y is None):
                    return False
                if x is not None and y is not None and self.order(x, y) != 0:
                    return False
        return True


def _num(value: fmpq) -> Num:
    return Num(int(value.p), int(value.q))


def _quotient(top: Node, bottom: Num) -> Node:
    return Div(top, bottom)


def _constant(node: Node) -> bool:
    return not symbols(node) and not isinstance(node, Apply)


def _end(node: Node) -> Node | str:
    """Return the end of an interval: a number, or "-" or "+" for minus or plus infinity."""
    if isinstance(node, Const) and node.name == "oo":
        return "+"
    if isinstance(node, Neg) and isinstance(node.arg, Const) and node.arg.name == "oo":
        return "-"
    return node


def is_region(node: Node) -> bool:
    """Return True for a certain set of reals: an inequality, a union, an interval with an infinite or mixed end."""
    if isinstance(node, (SetOp, SetBuilder)):
        return True
    if isinstance(node, Const):
        return node.name in ("R", "emptyset")
    if isinstance(node, Sym):
        return node.name in _HALF_LINES
    if isinstance(node, Tuple):
        if len(node.items) != 2:
            return False
        mixed = (node.left == "(") != (node.right == ")")
        return mixed or any(isinstance(_end(item), str) for item in node.items)
    if isinstance(node, Rel):
        return bool(node.ops) and (node.ops == ("in",) or all(op in ("<", "<=", ">", ">=", "!=") for op in node.ops))
    if isinstance(node, List):
        return all(isinstance(i, (Rel, Tuple, SetOp)) and is_region(i) for i in node.items)
    return isinstance(node, Text) and node.words == "no solution"
