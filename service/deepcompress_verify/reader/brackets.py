"""Brackets: groups, tuples, intervals, sets, absolute values."""

from __future__ import annotations

from typing import Literal

from deepcompress_verify.reader.environments import environment
from deepcompress_verify.reader.gather import gathered
from deepcompress_verify.reader.lookahead import separator
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.tree import (
    Bracket,
    Call,
    Const,
    List,
    Matrix,
    Node,
    Rel,
    Set,
    SetBuilder,
    Tuple,
)


def _items(s: Stream, closers: tuple[str, ...]) -> tuple[list[Node], str]:
    """Parse statements up to a closing operator, and return them with that operator.

    Sets `joiner` to the word that joined them.

    Raises:
        ReadError: The statements are not separated or not closed.
    """
    result: list[Node] = []
    word = ""
    outer_bars, s.open_bars = s.open_bars, 0
    while True:
        result.append(s.grammar.statement(s))
        token = s.peek()
        if token.kind == "o" and token.value in closers:
            s.position += 1
            s.open_bars = outer_bars
            s.joiner = word
            return result, token.value
        joined = separator(s)
        if joined is None:
            raise s.fail()
        word = joined if joined != "," else word


def bracketed(s: Stream, opener: str) -> Node:
    """Parse a bracketed expression after its opening bracket: one item is a group, several are a tuple.

    Raises:
        ReadError: The brackets are empty, or do not match.
    """
    close_at = ")" if opener == "(" else "]"
    if s.is_op(close_at):
        raise s.fail("empty brackets")
    result, closer = _items(s, (")", "]"))
    if len(result) == 1:
        if closer != close_at:
            raise s.fail("unmatched bracket")
        return result[0]
        # (a) groups; [a, b] of one item is a group too, but keep a bracketed list of one apart from a value
    if s.joiner == "or":
        return List(tuple(result), "or")  # (p or q) is not (p and q)
    left: Bracket = "(" if opener == "(" else "["
    right: Bracket = ")" if closer == ")" else "]"
    return Tuple(tuple(result), left, right)


def french_interval(s: Stream, left: Bracket = "(") -> Node:
    """Parse ]0, 1[, ]0, 1] and [0, 1[, after the opening bracket: an open end has its bracket turned outwards."""
    s.open_french_intervals += 1
    result: list[Node] = [s.grammar.statement(s)]
    if separator(s) is None:
        raise s.fail()
    result.append(s.grammar.statement(s))
    s.open_french_intervals -= 1
    token = s.next()
    if token.value not in ("[", "]"):
        raise s.fail()
    return Tuple(tuple(result), left, ")" if token.value == "[" else "]")


def braced_set(s: Stream) -> Node:
    """Parse a set, a set with a condition, or a system of cases, after the opening \\{."""
    closer = "\\}"
    if s.is_op(closer):
        s.position += 1
        return Const("emptyset")
    if s.is_cmd("begin"):
        # \\left\\{ \\begin{array} ... \\end{array} \\right. is a manual notation of cases
        s.position += 1
        system = environment(s, as_cases=True)
        if not s.take_op(closer):
            s.take_op(".")
        return system
    outer_bars, s.open_bars = s.open_bars, 1  # a bar inside separates the condition
    result: list[Node] = []
    while True:
        result.append(s.grammar.statement(s))
        token = s.next()
        if token.kind == "o" and token.value == closer:
            s.open_bars = outer_bars
            return Set(tuple(result))
        if (token.kind == "o" and token.value in ("|", ":")) or (token.value == "such"):
            if token.value == "such" and s.peek().value == "that":
                s.position += 1
            s.open_bars = 0
            conditions, _ = _items(s, (closer,))
            s.open_bars = outer_bars
            element = result[0] if len(result) == 1 else Tuple(tuple(result))
            word: Literal["and", "or"] = "or" if s.joiner == "or" else "and"
            return SetBuilder(element, conditions[0] if len(conditions) == 1 else List(tuple(conditions), word))
        s.position -= token.kind != "e"
        if separator(s) is None:
            raise s.fail()


def group(s: Stream) -> Node:
    """Parse plain braces: a TeX group, or a set if there are several items."""
    outer_bars, s.open_bars = s.open_bars, 0
    first = s.grammar.statement(s)
    if s.take_op("}"):
        s.open_bars = outer_bars
        return first
    if separator(s) is None:
        raise s.fail()
    rest, _ = _items(s, ("}",))
    s.open_bars = outer_bars
    combined = gathered([first, *rest], "")
    return Set(combined.items) if isinstance(combined, List) else combined


def bars(s: Stream, value: str) -> Node:
    """Parse an absolute value, a norm or a determinant, after the opening bar."""
    s.open_bars += 1
    inner = s.grammar.relation(s)
    if value == "|" and isinstance(inner, Rel):
        raise s.fail("a relation between bars")
    if not s.take_op(value):
        raise s.fail("unclosed bar")
    s.open_bars -= 1
    return Call("det" if isinstance(inner, Matrix) else "abs", (inner,))
