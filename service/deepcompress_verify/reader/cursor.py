"""The cursor over tokens that the parser's parts share, and the depth it may reach."""

from __future__ import annotations

from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.tree import MAX_DEPTH, Node

_PADDING = 16
"""End tokens after the last: how far the parser may look ahead without asking where the end is."""


class Cursor:
    """Tokens, a position, and the nesting depth. Subclasses parse."""

    def __init__(self, tokens: list[Token], latex: bool, plain_units: bool = False) -> None:
        self.tokens = tokens + [tokens[-1]] * _PADDING
        self.padding = _PADDING + 1
        self.latex = latex
        self.plain_units = plain_units
        """A plain letter after a number and a space may be a unit: 12 m."""
        self.at = 0
        self.depth = 0
        self.bars = 0
        """Absolute values that are open: a bar closes them before it opens another."""
        self.joiner = ""
        """What joined the statements of the last brackets: "and", "or", or nothing but commas."""
        self.french = 0
        """Intervals like ]0,1[ that are open: "[" closes them."""
        self.in_cases = False
        """Inside a piecewise definition, where "if" opens a condition."""
        self.integrals = 0
        """Integrals that are open: "dx" ends their integrand."""
        self.bound: list[str] = []
        """Names bound by the sums that are open: i is no imaginary unit in a sum over i."""

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[self.at + ahead]

    def next(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "e":
            self.at += 1
        return token

    def is_op(self, value: str, ahead: int = 0) -> bool:
        token = self.tokens[self.at + ahead]
        return token.kind == "o" and token.value == value

    def is_cmd(self, *names: str) -> bool:
        token = self.tokens[self.at]
        return token.kind == "c" and token.value in names

    def take_op(self, value: str) -> bool:
        if self.is_op(value):
            self.at += 1
            return True
        return False

    def expect_op(self, value: str) -> None:
        if not self.take_op(value):
            raise ReadError("syntax", f"{value!r} expected, {self.peek().value!r} found")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ReadError("too_deep", f"nested more than {MAX_DEPTH} deep")

    def leave(self) -> None:
        self.depth -= 1

    def fail(self, what: str = "") -> ReadError:
        token = self.peek()
        return ReadError("syntax", what or (f"unexpected {token.value!r}" if token.kind != "e" else "unexpected end"))

    def closing(self, opener: str) -> int:
        """Where the bracket opened at the cursor closes, or -1. `opener` is the op at the cursor."""
        closer = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}[opener]
        level = 0
        for position in range(self.at, len(self.tokens)):
            token = self.tokens[position]
            if token.kind == "o":
                if token.value == opener:
                    level += 1
                elif token.value == closer:
                    level -= 1
                    if level == 0:
                        return position
        return -1


class Grammar(Cursor):
    """The levels that call each other across files: answer > statement > relation > sum > term > power > atom."""

    def statement(self) -> Node:
        raise NotImplementedError

    def relation(self) -> Node:
        raise NotImplementedError

    def sum(self) -> Node:
        raise NotImplementedError

    def term(self) -> Node:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def postfix(self, node: Node) -> Node:
        raise NotImplementedError

    def separator(self) -> str | None:
        raise NotImplementedError

    def atom(self) -> Node:
        raise NotImplementedError

    def argument(self) -> Node:
        raise NotImplementedError

    def function(self, spelling: str) -> Node:
        raise NotImplementedError

    def starts_atom(self) -> bool:
        raise NotImplementedError

    def environment(self, as_cases: bool = False) -> Node:
        raise NotImplementedError

    def gathered(self, items: list[Node], word: str) -> Node:
        raise NotImplementedError

    def bracketed(self, opener: str) -> Node:
        raise NotImplementedError
