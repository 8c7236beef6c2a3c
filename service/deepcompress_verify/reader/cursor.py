"""The token cursor shared by the levels of the parser, and the limit on nesting."""

from __future__ import annotations

from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.tree import MAX_DEPTH, Node

_PADDING = 16
"""End tokens appended after the last token, so that a look-ahead needs no bounds check."""


class Cursor:
    """Tokens, a position, and the nesting depth. Subclasses parse."""

    def __init__(self, tokens: list[Token], latex: bool, plain_units: bool = False) -> None:
        self.tokens = tokens + [tokens[-1]] * _PADDING
        self.padding = _PADDING + 1
        self.latex = latex
        self.plain_units = plain_units
        """A plain letter after a number and a space may be a unit: 12 m."""
        self.position = 0
        self.depth = 0
        self.open_bars = 0
        """Number of open absolute values: a bar closes the innermost one before it opens another."""
        self.joiner = ""
        """The joiner of the statements of the last brackets: "and", "or", or "" for commas."""
        self.open_french_intervals = 0
        """Number of open intervals like ]0,1[: "[" closes them."""
        self.in_cases = False
        """True inside a piecewise definition, in which "if" begins a condition."""
        self.open_integrals = 0
        """Number of open integrals: "dx" ends their integrand."""
        self.vectors: set[str] = set()
        """Names written as vectors so far."""
        self.ordered = False
        """The answer ends in "respectively"."""
        self.bound_names: list[str] = []
        """Variables of the open sums: i is not the imaginary unit in a sum over i."""

    def peek(self, ahead: int = 0) -> Token:
        """Return the token `ahead` of the cursor."""
        return self.tokens[self.position + ahead]

    def next(self) -> Token:
        """Return the token at the cursor and advance; the end token is never passed."""
        token = self.tokens[self.position]
        if token.kind != "e":
            self.position += 1
        return token

    def is_op(self, value: str, ahead: int = 0) -> bool:
        """Return True if the token `ahead` is the operator `value`."""
        token = self.tokens[self.position + ahead]
        return token.kind == "o" and token.value == value

    def is_cmd(self, *names: str) -> bool:
        """Return True if the token at the cursor is one of these commands."""
        token = self.tokens[self.position]
        return token.kind == "c" and token.value in names

    def take_op(self, value: str) -> bool:
        """Advance over the operator `value` if it is at the cursor, and return True."""
        if self.is_op(value):
            self.position += 1
            return True
        return False

    def expect_op(self, value: str) -> None:
        """Advance over the operator `value`.

        Raises:
            ReadError: Another token is at the cursor.
        """
        if not self.take_op(value):
            raise ReadError("syntax", f"{value!r} expected, {self.peek().value!r} found")

    def enter(self) -> None:
        """Enter one level of nesting.

        Raises:
            ReadError: The nesting is too deep.
        """
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ReadError("too_deep", f"nested more than {MAX_DEPTH} deep")

    def leave(self) -> None:
        """Leave one level of nesting."""
        self.depth -= 1

    def fail(self, what: str = "") -> ReadError:
        """Return a syntax error at the cursor, for the caller to raise."""
        token = self.peek()
        return ReadError("syntax", what or (f"unexpected {token.value!r}" if token.kind != "e" else "unexpected end"))

    def closing(self, opener: str) -> int:
        """Return the index of the bracket that closes `opener`, which is at the cursor, or -1."""
        closer = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}[opener]
        level = 0
        for position in range(self.position, len(self.tokens)):
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
    """Declarations of the levels that call each other across files: answer > statement > relation > sum > term >
    power > atom.
    """

    def statement(self) -> Node:
        """Parse a statement."""
        raise NotImplementedError

    def relation(self) -> Node:
        """Parse a relation."""
        raise NotImplementedError

    def sum(self) -> Node:
        """Parse a sum."""
        raise NotImplementedError

    def term(self) -> Node:
        """Parse a product."""
        raise NotImplementedError

    def power(self) -> Node:
        """Parse a power."""
        raise NotImplementedError

    def postfix(self, node: Node) -> Node:
        """Parse the postfix signs after `node`."""
        raise NotImplementedError

    def separator(self) -> str | None:
        """Advance over a separator and return its kind, or None."""
        raise NotImplementedError

    def mixed(self, factors: list[Node]) -> bool:
        """Parse a fraction after an integer."""
        raise NotImplementedError

    def atom(self) -> Node:
        """Parse an atom."""
        raise NotImplementedError

    def argument(self) -> Node:
        """Parse the argument of a TeX command."""
        raise NotImplementedError

    def function(self, spelling: str) -> Node:
        """Parse the rest of a function call."""
        raise NotImplementedError

    def starts_atom(self) -> bool:
        """Return True if an atom begins at the cursor."""
        raise NotImplementedError

    def environment(self, as_cases: bool = False) -> Node:
        """Parse a LaTeX environment after \\begin."""
        raise NotImplementedError

    def gathered(self, items: list[Node], word: str) -> Node:
        """Combine the statements of an answer into one tree."""
        raise NotImplementedError

    def bracketed(self, opener: str) -> Node:
        """Parse a bracketed expression after its opening bracket."""
        raise NotImplementedError
