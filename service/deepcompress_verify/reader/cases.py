"""Definitions by cases in words: "x if x > 0, otherwise -x", "0 when n is even and 1 when n is odd"."""

from __future__ import annotations

from collections.abc import Callable

from deepcompress_verify.reader.environments import parity
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.tree import Add, Call, Div, Mul, Neg, Node, Num, Piecewise, Pow, Quantity, Rel, Sym

MAX_CASES = 8
_IF = frozenset(("if", "when", "for", "whenever"))
_OTHERWISE = frozenset(("otherwise", "else"))
_BREAKS = frozenset((",", ";", "and", "\\", "."))
_ORDERS = frozenset(("<", "<=", ">", ">=", "=", "!="))
_VALUES = (Add, Call, Div, Mul, Neg, Num, Pow, Quantity, Sym)

Parse = Callable[[list[Token]], Node]


def may_hold_cases(text: str) -> bool:
    """Return True if the text holds two of the words without which nothing is defined by cases."""
    if not ("if" in text or "when" in text or "for" in text):
        return False
    return sum(map(text.count, _WORDS)) > 1


_WORDS = ("if ", "if}", "when", "for ", "for}", "otherwise", "else")


def split_cases(tokens: list[Token], parse: Parse) -> Node | None:
    """Return the definition that the tokens are, perhaps with a name before it; None for anything else.

    Each condition is an inequality or equation, or that a letter is even or odd; the last one may be "otherwise".
    """
    try:
        return _cases(tokens, parse)
    except ReadError:
        return None


def _cases(tokens: list[Token], parse: Parse) -> Node | None:
    end = tokens[-1]
    body = tokens[:-1]
    while body and body[-1].value == ".":
        body = body[:-1]
    marks = [i for i, token in enumerate(body) if token.kind in "tw" and token.value.lower() in _IF]
    others = [i for i, token in enumerate(body) if token.kind in "tw" and token.value.lower() in _OTHERWISE]
    if not marks or marks[0] == 0 or len(others) > 1 or not 2 <= len(marks) + len(others) <= MAX_CASES:
        return None
    pieces: list[tuple[list[Token], list[Token] | None]] = []
    begin = 0
    for mark, following in zip(marks, [*marks[1:], len(body)], strict=True):
        last = following == len(body) and not others
        cut = (
            len(body)
            if last
            else _last_break(body, mark, others[0] if others and following == len(body) else following)
        )
        if cut < 0:
            return None
        pieces.append((body[begin:mark], body[mark + 1 : cut]))
        begin = cut
        while begin < len(body) and body[begin].value.lower() in _BREAKS:
            begin += 1
    if others:
        if others[0] < marks[-1]:
            return None
        rest = [token for i, token in enumerate(body[begin:], begin) if i != others[0]]
        while rest and rest[0].value in _BREAKS:
            del rest[0]
        while rest and rest[-1].value in _BREAKS:
            del rest[-1]
        pieces.append((rest, None))
    elif begin < len(body):
        return None
    return _definition([_case(*piece, end, parse) for piece in pieces])


def _last_break(body: list[Token], begin: int, end: int) -> int:
    """Return the index of the last separator outside brackets between two words, or -1."""
    depth = 0
    for index in range(end - 1, begin, -1):
        value = body[index].value.lower()
        depth += (value in (")", "]", "}", "\\}")) - (value in ("(", "[", "{", "\\{"))
        if depth == 0 and value in _BREAKS:
            while body[index - 1].value.lower() in _BREAKS:
                index -= 1
            return index
    return -1


def _case(value: list[Token], condition: list[Token] | None, end: Token, parse: Parse) -> tuple[Node, Node | None]:
    """Return the value and the condition of one case.

    Raises:
        ReadError: One of them is something else.
    """
    result = parse([*value, end])
    if condition is None:
        return result, None
    if (words := parity(condition)) is not None:
        return result, words
    node = parse([*condition, end])
    if isinstance(node, Rel) and (_ORDERS.issuperset(node.ops) or node.modulus is not None):
        return result, node
    raise ReadError("words", "no condition of a case")


def _definition(cases: list[tuple[Node, Node | None]]) -> Node | None:
    """Return the cases as one tree, with the name that the first value or each value has."""
    head: Node | None = None
    values: list[Node] = []
    for index, (value, _) in enumerate(cases):
        if isinstance(value, Rel):
            if value.ops != ("=",) or (index and head != value.terms[0]):
                return None
            head, value = value.terms
        values.append(value)
    if not all(isinstance(value, _VALUES) for value in values):
        return None
    result = Piecewise(tuple((value, condition) for value, (_, condition) in zip(values, cases, strict=True)))
    return result if head is None else Rel((head, result), ("=",))
