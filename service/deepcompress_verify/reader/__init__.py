"""Parsing of answers: text -> tree. LaTeX, plain text and unicode; nothing is evaluated."""

from __future__ import annotations

from deepcompress_verify.reader.cases import may_hold_cases, split_cases
from deepcompress_verify.reader.dates import join_dates, may_hold_date, numeric_date
from deepcompress_verify.reader.grammar import parse
from deepcompress_verify.reader.literals import literal
from deepcompress_verify.reader.numerals import Commas, join_numerals
from deepcompress_verify.reader.parts import split_parts
from deepcompress_verify.reader.spellings import join_spellings, may_hold_spelling, name_extremes
from deepcompress_verify.reader.statements import phrase
from deepcompress_verify.reader.stream import Options
from deepcompress_verify.reader.tokens import ReadError, Token, clean, tokenize
from deepcompress_verify.reader.word_runs import words_and_formulas
from deepcompress_verify.tree import (
    LEAVES,
    MAX_CHARS,
    MAX_DEPTH,
    MAX_NODES,
    Add,
    Apply,
    BigOp,
    Call,
    Const,
    Div,
    List,
    Mul,
    Neg,
    Node,
    PlusMinus,
    Pow,
    Quantity,
    Text,
    Tuple,
    Unreadable,
    children,
)

__all__ = ["read"]

MAX_BRACES = 16
_ORDERS = [words.split() for words in ("respectively", "in that order", "in this order", "in order")]
_LAST_OF_ORDERS = frozenset(("respectively", "order"))
"""The words after a list that make it ordered."""
"""Maximum braces around a whole answer that are taken off to find its parts; each takes a pass over the tokens."""
_ARITHMETIC = frozenset((Add, Neg, Mul, Div, Pow, Call, Apply, PlusMinus, BigOp, Quantity))


def read(text: str, commas: Commas = "group", plain_units: bool = False, products: bool = False) -> Node | Unreadable:
    """Parse an answer. With `plain_units`, a letter after a number may be a unit: 12 m.

    With `products`, a capital letter before brackets is a factor and no function: T(n+1).

    Pure and total: a text that cannot be parsed gives an `Unreadable`. Linear in the text, except for a bounded
    number of look-aheads.
    """
    if len(text) > MAX_CHARS:
        return Unreadable("too_long", f"{len(text)} characters, {MAX_CHARS} are read")
    tokens: list[Token] = []
    try:
        cleaned = clean(text)
        if (date := numeric_date(cleaned)) is not None:
            return Text(date)
        if (data := literal(cleaned)) is not None:
            return data
        latex = "\\" in cleaned
        tokens = tokenize(cleaned)
        if may_hold_date(cleaned):
            tokens = join_dates(tokens)
        if may_hold_spelling(cleaned):
            tokens = join_spellings(tokens)
        tokens = join_numerals(tokens, commas, latex)
        if "m" in cleaned or "gcd" in cleaned:
            tokens = name_extremes(tokens, cleaned)
        if len(tokens) == 1:
            return Unreadable("empty")
        options = Options(latex, plain_units, products)
        cases = split_cases(tokens, lambda part: parse(part, options)) if may_hold_cases(cleaned) else None
        node = cases or _answer(tokens, options, "hen" in cleaned or "HEN" in cleaned)
        _check_size(node)
        return node
    except ReadError as reason:
        if reason.slug in ("syntax", "words"):
            words = _words(tokens)
            if words is not None:
                return words
        return Unreadable(reason.slug, reason.detail)


def _answer(tokens: list[Token], options: Options, may_hold_then: bool) -> Node:
    """Return the tree of the tokens: parts, "respectively" and "then" make an answer ordered."""
    parts = split_parts(tokens)
    for _ in range(MAX_BRACES):
        if parts is not None or len(tokens) <= 3 or tokens[0][:2] != ("o", "{"):
            break
        closes = _closes_at_end(tokens)
        if not closes:
            break
        inside = [*tokens[1:-2], tokens[-1]]
        parts = split_parts(inside)
        if closes == "set":
            break
        tokens = inside
    if parts is not None:
        return Tuple(tuple(parse(part, options) for part in parts))
    ordered = False
    if len(tokens) > 3 and tokens[-2].kind in "tw" and tokens[-2].value.lower() in _LAST_OF_ORDERS:
        ends = [end for end in _ORDERS if [token.value.lower() for token in tokens[-1 - len(end) : -1]] == end]
        if ends and len(tokens) > 2 + len(ends[0]):
            ordered = True
            tokens = [*tokens[: -1 - len(ends[0])], tokens[-1]]
            if tokens[-2].value == ",":
                del tokens[-2]
    if may_hold_then:
        ordered = ordered or any(token.kind in "tw" and token.value.lower() == "then" for token in tokens[1:])
    node = parse(tokens, options)
    return Tuple(node.items) if ordered and isinstance(node, List) else node


def _closes_at_end(tokens: list[Token]) -> str:
    """Return "" unless the brace at the beginning closes at the end; then "set" for a list in it, or "group"."""
    if tokens[-2][:2] != ("o", "}"):
        return ""
    level, kind = 0, "group"
    for token in tokens[:-2]:
        if token.kind == "o":
            level += (token.value in ("{", "(", "[", "\\{")) - (token.value in ("}", ")", "]", "\\}"))
            if level == 0:
                return ""
            if level == 1 and token.value in (",", ";"):
                kind = "set"
    return kind


def _check_size(node: Node) -> None:
    """Check the size of the tree: chains of operators make a tree deep without nested brackets.

    Raises:
        ReadError: The tree is too deep or too large, or it contains words inside a formula.
    """
    stack = [(node, 1)]
    count = 0
    while stack:
        part, depth = stack.pop()
        count += 1
        below = () if type(part) in LEAVES else children(part)
        if type(part) in _ARITHMETIC and any(type(child) is Text for child in below):
            raise ReadError("words", "words inside a formula")
        if depth > 2 * MAX_DEPTH:
            raise ReadError("too_deep", f"nested more than {2 * MAX_DEPTH} deep")
        if count > MAX_NODES:
            raise ReadError("too_long", f"over {MAX_NODES} parts")
        stack.extend((child, depth + 1) for child in below)


def _words(tokens: list[Token]) -> Node | None:
    """Return a text that is not mathematics but contains words, as Text, or as the number that it spells."""
    if not any(len(t.value) >= 2 and t.kind in "tw" and t.value.isalpha() for t in tokens):
        return None
    result = phrase(words_and_formulas(tokens))
    return Text("all real numbers") if isinstance(result, Const) else result
