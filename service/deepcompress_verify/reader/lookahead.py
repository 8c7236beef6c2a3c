"""Look-ahead that several levels of the grammar need, and separators."""

from __future__ import annotations

from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import END, Token
from deepcompress_verify.reader.words import (
    CONST_WORDS,
    FUNCTION_WORDS,
    JOINERS,
    NAMED_FUNCTIONS,
)

_CLOSERS = frozenset((")", "]", "\\}", "}"))
_PRODUCT_ENDS = frozenset(("and", "or", "mod", "to", "U", "for", "if", "when", "where", "with", "such"))
"""Runs of letters that may end a product."""


def starts_atom(s: Stream) -> bool:
    """Return True if an atom begins at the cursor."""
    token = s.peek()
    kind, value = token.kind, token.value
    if kind == "n":
        return True
    if kind == "w":
        if value in ("AM", "PM", "am", "pm") and s.position and s.tokens[s.position - 1].kind == "n":
            return False
        if value in _PRODUCT_ENDS and _ends_product(s, token):
            return False
        return not (s.open_integrals and is_differential(s))
    if kind == "t":
        if s.open_integrals and is_differential(s):
            return False
        known = value in FUNCTION_WORDS or value in CONST_WORDS or (value in NAMED_FUNCTIONS and s.is_op("(", 1))
        return known or (len(value) == 1 and value.isascii())
    if kind == "o":
        if value == "|":
            return s.open_bars == 0 and not is_lone_bar(s)
        if value == "[" and s.open_french_intervals:
            return False
        if value == "(" and (s.peek(1).value in ("mod", "bmod") or is_condition(s)):
            return False
        return value in ("(", "[", "\\{", "{", "$$") or (value == "||" and s.open_bars == 0)
    if kind == "c":
        return value not in (
            "\\", "end", "pm", "mp", "cup", "cap", "setminus", "backslash", "rfloor", "rceil", "choose", "over",
            "degree", "pmod", "bmod", "mod", "prime", "hline", "tag", "circ", "right", "degrees", "pod",
        )  # fmt: skip
    return False


def is_differential(s: Stream, ahead: int = 0) -> bool:
    """Return True for the d of a differential: dx, d\\theta, \\mathrm{d}x, d\\mathbf{r}."""
    token = s.peek(ahead)
    return token.value[:1] == "d" and len(token.value) <= 2 and (token.kind == "w" or token.value == "d")


def _ends_product(s: Stream, token: Token) -> bool:
    """Return True if these letters end a product: "or", "3 to 4", "2n for n > 1", (1,2) U (3,4)."""
    value = token.value
    if value == "to":
        return s.peek(1).kind == "n"
    if value == "U":
        before = s.tokens[s.position - 1] if s.position else END
        return before.value in _CLOSERS and s.peek(1).value in ("(", "[", "\\{", "{")
    return value in ("and", "or", "mod") or token.space


def is_condition(s: Stream) -> bool:
    """Return True for a relation in brackets after a value: 1/x (x ≠ 0), k pi (k in Z)."""
    if s.position == 0 or (not s.peek().space and not _declares_parameter(s)):
        return False
    level = 0
    for token in s.tokens[s.position : s.position + 32]:
        if token.kind == "o" and token.value in ("(", "[", "{"):
            level += 1
        elif token.kind == "o" and token.value in (")", "]", "}"):
            level -= 1
            if level == 0:
                return False
        elif token.kind == "r" and level == 1:
            return True
    return False


def _declares_parameter(s: Stream) -> bool:
    """Return True for (k in Z) directly after a value, which is no product. P(X in A) is a probability."""
    before = s.tokens[s.position - 1]
    name = before.kind in "wt" and before.value[-1].isupper()
    return not name and s.is_op("(") and s.peek(1).kind == "w" and s.peek(2)[:2] == ("r", "in")


def is_lone_bar(s: Stream) -> bool:
    """Return True for a bar without a second one in its brackets: a | b, and the bar of a value at x = 2."""
    level = 0
    for ahead in range(1, len(s.tokens) - s.position):
        token = s.peek(ahead)
        if token.kind == "e":
            break
        if token.kind == "o":
            if token.value == "|" and level == 0:
                s.count(ahead)
                return False
            level += (token.value in ("(", "[", "{", "\\{")) - (token.value in (")", "]", "}", "\\}"))
            if level < 0:
                break
    s.count(len(s.tokens) - s.position)
    return True


def is_given(s: Stream) -> bool:
    """Return True if brackets with one bar follow a name directly: P(A|B), E[X|Y]."""
    opener = s.peek()
    if opener.kind != "o" or opener.value not in ("(", "[") or opener.space:
        return False
    end = s.closing(opener.value)
    inside = s.tokens[s.position + 1 : end] if end > 0 else []
    return sum(token[:2] == ("o", "|") for token in inside) == 1 and inside[0].value != "|" != inside[-1].value


def separator(s: Stream) -> str | None:
    """Advance over separators; return "," for punctuation and line ends, "and", "or", or None."""
    result: str | None = None
    while True:
        token = s.peek()
        if (token.kind == "o" and token.value in (",", ";")) or (token.kind == "c" and token.value == "\\"):
            result = result or ","
        elif token.kind in "tw" and token.value.lower() in JOINERS:
            result = JOINERS[token.value.lower()]
        else:
            return result
        s.position += 1
