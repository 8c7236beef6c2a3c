"""The token stream that the grammar functions read, and the grammar functions that recur."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.tree import MAX_DEPTH, Node, Sym, Text, walk

MAX_WORK = 200_000
"""Maximum steps of the searches that may pass over one token or node several times."""
_PADDING = 16
"""End tokens appended after the last token, so that a look-ahead needs no bounds check."""


class Options(NamedTuple):
    """The choices of a reading that hold for the whole answer."""

    latex: bool
    """The text contains a backslash."""
    plain_units: bool = False
    """A plain letter after a number and a space may be a unit: 12 m."""
    products: bool = False
    """A capital letter before brackets is a factor: T(n+1) is Tn + T."""


class Grammar(NamedTuple):
    """The levels of the grammar that recur: brackets, arguments and exponents contain them again.

    Files of the reader import each other in one direction. A function that needs a level of a later file calls it
    through the stream: `s.grammar.statement(s)`.
    """

    statement: Callable[[Stream], Node]
    relation: Callable[[Stream], Node]
    expression: Callable[[Stream], Node]
    term: Callable[[Stream], Node]
    power: Callable[[Stream], Node]
    atom: Callable[[Stream], Node]


class Stream:
    """The tokens of one answer, the position, and the state of the reading; `s` in every grammar function."""

    def __init__(self, tokens: list[Token], options: Options, grammar: Grammar) -> None:
        self.tokens = tokens + [tokens[-1]] * _PADDING
        self.padding = _PADDING + 1
        self.options = options
        self.grammar = grammar
        self.position = 0
        self.depth = 0
        """Number of open levels of nesting."""
        self.work = 0
        """Number of steps counted against `MAX_WORK`."""
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
        self.applied: dict[str, bool] = {}
        """True by letter if brackets follow each of its occurrences directly."""
        self.bound_names: list[str] = []
        """Variables of the open sums: i is not the imaginary unit in a sum over i."""

    def peek(self, ahead: int = 0) -> Token:
        """Return the token `ahead` of the position."""
        return self.tokens[self.position + ahead]

    def next(self) -> Token:
        """Return the token at the position and advance; the end token is never passed."""
        token = self.tokens[self.position]
        if token.kind != "e":
            self.position += 1
        return token

    def is_op(self, value: str, ahead: int = 0) -> bool:
        """Return True if the token `ahead` is the operator `value`."""
        token = self.tokens[self.position + ahead]
        return token.kind == "o" and token.value == value

    def is_cmd(self, *names: str) -> bool:
        """Return True if the token at the position is one of these commands."""
        token = self.tokens[self.position]
        return token.kind == "c" and token.value in names

    def take_op(self, value: str) -> bool:
        """Advance over the operator `value` if it is at the position, and return True."""
        if self.is_op(value):
            self.position += 1
            return True
        return False

    def expect_op(self, value: str) -> None:
        """Advance over the operator `value`.

        Raises:
            ReadError: Another token is at the position.
        """
        if not self.take_op(value):
            raise ReadError("syntax", f"{value!r} expected, {self.peek().value!r} found")

    def push_back(self, token: Token, rest: str) -> None:
        """Put the rest of a run of letters, of which the beginning was read, back at the position."""
        self.position -= 1
        self.tokens[self.position] = Token(token.kind, rest, False)

    def raw_group(self) -> list[str]:
        """Advance over a group in braces and return the texts of its tokens.

        Raises:
            ReadError: The group is not closed.
        """
        end = self.closing("{")
        if end < 0:
            raise self.fail("unclosed group")
        parts = [t.value for t in self.tokens[self.position + 1 : end]]
        self.position = end + 1
        return parts

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
        """Return a syntax error at the position, for the caller to raise."""
        token = self.peek()
        return ReadError("syntax", what or (f"unexpected {token.value!r}" if token.kind != "e" else "unexpected end"))

    def count(self, steps: int) -> None:
        """Count steps of a search that may be repeated over the same tokens or nodes.

        Raises:
            ReadError: There are more than `MAX_WORK` steps.
        """
        self.work += steps
        if self.work > MAX_WORK:
            raise ReadError("too_long", f"over {MAX_WORK} steps")

    def closing(self, opener: str) -> int:
        """Return the index of the bracket that closes `opener`, which is at the position, or -1.

        Raises:
            ReadError: The steps are used up.
        """
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
                        self.count(position - self.position)
                        return position
        self.count(len(self.tokens) - self.position)
        return -1

    def numeric(self, node: Node) -> bool:
        """Return True if the tree contains no names and no words.

        Raises:
            ReadError: The steps are used up.
        """
        steps = 0
        result = True
        for part in walk(node):
            steps += 1
            if isinstance(part, (Sym, Text)):
                result = False
                break
        self.count(steps)
        return result
