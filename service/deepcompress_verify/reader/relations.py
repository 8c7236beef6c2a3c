"""Set operations, ratios and relations."""

from __future__ import annotations

from deepcompress_verify.reader.expressions import expression
from deepcompress_verify.reader.functions import argument
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.tree import (
    Add,
    Call,
    Const,
    Div,
    Neg,
    Node,
    Num,
    Ratio,
    Rel,
    Set,
    SetOp,
    Sym,
    Text,
    Time,
    Tuple,
)

_TURNED = {"supset": "subset", "ni": "in", "<==": "=>"}
"""Relations that are read from right to left."""
_SETS = frozenset("RZNQC")
_SET_OPS = {"cup": "union", "cap": "intersection", "setminus": "minus", "backslash": "minus"}


def set_operation(s: Stream) -> Node:
    """Parse a union, intersection or difference of sums, and TeX \\choose and \\over."""
    node = expression(s)
    if (
        isinstance(node, Add)
        and len(node.terms) == 2
        and isinstance(node.terms[0], Const)
        and node.terms[0].name in _SETS
    ):
        rest = node.terms[1]
        if isinstance(rest, Neg) and isinstance(rest.arg, Set):
            node = SetOp("minus", (node.terms[0], rest.arg))  # R - {3}
    args = [node]
    op = ""
    while True:
        token = s.peek()
        if token.kind == "c" and token.value in _SET_OPS:
            this = _SET_OPS[token.value]
        elif token.kind == "c" and token.value in ("choose", "over") and not op:
            # TeX: the operands extend to the ends of the group
            s.position += 1
            below = expression(s)
            args = [Call("binom", (args[0], below)) if token.value == "choose" else Div(args[0], below)]
            continue
        elif token.kind == "w" and token.value == "U" and isinstance(args[-1], (Tuple, Set)):
            this = "union"
        else:
            break
        s.position += 1
        if op and (op != this or this == "minus"):
            args = [_set_op(op, args)]
        op = this
        args.append(expression(s))
    return _set_op(op, args) if op else args[0]


def ratio(s: Stream) -> Node:
    """Parse a ratio or a time of day."""
    if s.peek().kind == "t" and s.peek().value.startswith("date "):
        return Text(s.next().value)
    start = s.position
    parts = [set_operation(s)]
    while s.open_bars == 0 and s.peek(1).kind != "e" and (s.is_op(":") or _reads_as_ratio(s, parts[-1])):
        s.position += 1
        parts.append(set_operation(s))
    if len(parts) == 1:
        return parts[0]
    return _clock(s, start, parts) or Ratio(tuple(parts))


def _reads_as_ratio(s: Stream, left: Node) -> bool:
    """Return True for a ratio in words: 3 to 4."""
    token = s.peek()
    return token.kind in "tw" and token.value == "to" and isinstance(left, Num) and s.peek(1).kind == "n"


def _clock(s: Stream, start: int, parts: list[Node]) -> Node | None:
    """Return a time (12:00, 1:03 PM), or None for a ratio. A time has a leading zero, or am or pm."""
    raw = s.tokens[start : start + 2 * len(parts) - 1]
    last = parts[-1]
    half = last.half if isinstance(last, Time) else ""
    if s.position != start + len(raw) + bool(half):
        return None
    if len(parts) > 3 or any(t.kind != "n" or not t.value.isdigit() or len(t.value) > 9 for t in raw[::2]):
        return None
    numbers = [int(t.value) for t in raw[::2]]
    if any(len(t.value) != 2 or int(t.value) > 59 for t in raw[2::2]) or numbers[0] > 99:
        return None
    following = s.peek()
    if not half and following.kind in "tw" and following.value.lower() in ("am", "pm"):
        s.position += 1
        half = following.value.lower()
    if not half and not any(t.value[0] == "0" for t in raw[2::2]):
        return None
    seconds = numbers[0] * 3600 + numbers[1] * 60 + (numbers[2] if len(numbers) == 3 else 0)
    return Time(seconds, half)


def relation(s: Stream) -> Node:
    """Parse a chain of relations, with its modulus."""
    terms: list[Node] = []
    ops: list[str] = []
    modulus: Node | None = None
    if s.peek().kind == "r":
        op = s.next().value
        first = ratio(s)
        if op == "=":
            terms = [first]
        else:
            terms, ops = [Sym(""), first], [op]
    else:
        terms = [ratio(s)]
    while s.peek().kind == "r":
        ops.append(s.next().value)
        s.enter()
        terms.append(ratio(s))
        s.leave()
    if s.is_op("|") and s.open_bars == 0 and not ops and len(terms) == 1:
        s.position += 1
        return _divides(terms[0], ratio(s), "divides")
    if len(ops) == 1 and ops[0] == "nmid":
        return _divides(terms[0], terms[1], "notdivides")
    if len(ops) == 1 and ops[0] in _TURNED:
        terms.reverse()
        ops = [_TURNED[ops[0]]]
    if s.is_cmd("pmod", "pod") or (s.is_op("(") and s.peek(1).value in ("mod", "bmod")):
        modulus = _modulus(s)
    last = terms[-1]
    if modulus is None and ops and ops[-1] == "==" and isinstance(last, Call) and last.name == "mod":
        terms[-1], modulus = last.args
    if not ops:
        return terms[0] if modulus is None else Rel((terms[0],), (), modulus)
    if ops == ["in"] and isinstance(terms[0], Sym) and isinstance(last, Set) and len(last.items) == 1:
        return Rel((terms[0], last.items[0]), ("=",))  # x in {5}
    return Rel(tuple(terms), tuple(ops), modulus)


def _divides(divisor: Node, number: Node, op: str) -> Rel:
    """Return a | b as a relation; 3 | n as the congruence n = 0 (mod 3), and its denial as the denied one."""
    if isinstance(divisor, Num):
        return Rel((number, Num(0)), ("==" if op == "divides" else "not==",), divisor)
    return Rel((divisor, number), (op,))


def _modulus(s: Stream) -> Node:
    if s.next().value == "(":
        s.position += 1
        node = expression(s)
        s.expect_op(")")
        return node
    return argument(s)


def _set_op(op: str, args: list[Node]) -> Node:
    if any(isinstance(arg, Set) for arg in args):
        # {1, 2} ∪ {3} in plain text: braces around one number are read as a TeX group
        args = [Set((arg,)) if isinstance(arg, (Num, Neg, Div, Call)) else arg for arg in args]
    if op == "union":
        return SetOp("union", tuple(args))
    return SetOp("intersection" if op == "intersection" else "minus", tuple(args))
