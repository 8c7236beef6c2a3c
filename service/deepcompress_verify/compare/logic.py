"""Formulas of propositional logic: p -> q, not (p and q), compared by structure.

Two formulas are the same if they differ in the spelling of signs, in brackets, in double negations, or in the order
of what "and", "or" and "if and only if" join. Equivalent formulas of another structure, such as a contrapositive, are
not the same: the problem may state one and ask for the other.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, NotApplicable
from deepcompress_verify.reader.tokens import ReadError, Token, clean, tokenize
from deepcompress_verify.tree import Node

Formula: TypeAlias = "str | tuple[Formula, ...]"
"""A letter, or a connective with its formulas: ("if", "p", ("not", "q"))."""

MAX_CHARS = 200
MAX_BRACKETS = 20
_SIGNS = re.compile(
    r"\\(?:to|rightarrow|longrightarrow|implies|Rightarrow|Longrightarrow|impliedby|Leftarrow|Longleftarrow|leftarrow"
    r"|iff|leftrightarrow|Leftrightarrow|Longleftrightarrow|neg|lnot|land|lor|wedge|vee)(?![a-zA-Z])|[→⇒⟹⇔⟺↔¬∧∨]"
)
_LEVELS: tuple[dict[str, str], ...] = (
    {"<=>": "iff", "leftrightarrow": "iff"},
    {"to": "if", "=>": "if", "<==": "turned", "leftarrow": "turned"},
    {"or": "or"},
    {"and": "and"},
)
"""Connectives by their signs, from those that bind least."""
_NOT = frozenset(("neg", "lnot"))
_SIGNS_OF_DENIAL = frozenset(f"\\{name}" for name in _NOT)


def compare_denials(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable:
    """Refuse a denied statement, \\neg x = 3, that is not the same tree; formulas of logic are compared as texts."""
    if _SIGNS_OF_DENIAL.isdisjoint(context.facts(gold).names | context.facts(answer).names):
        return NOT_APPLICABLE
    context.record("relation", "a sign of denial on one side, or in other places")
    return False


def propositional(text: str) -> Formula | None:
    """Return the formula of propositional logic that a text is, in canonical form; None for anything else."""
    if len(text) > MAX_CHARS or _SIGNS.search(text) is None or text.count("(") + text.count("[") > MAX_BRACKETS:
        return None
    try:
        tokens = [token for token in tokenize(clean(text))[:-1] if token.value not in ("{", "}")]
        if tokens and tokens[-1].value == ".":
            tokens.pop()
        formula, end = _formula(tokens, 0, 0)
    except ReadError:
        return None
    return formula if end == len(tokens) else None


def _formula(tokens: list[Token], start: int, level: int) -> tuple[Formula, int]:
    """Return the formula at `start` and the index after it.

    Raises:
        ReadError: There is none.
    """
    if level == len(_LEVELS):
        return _prefixed(tokens, start)
    left, position = _formula(tokens, start, level + 1)
    while position < len(tokens) and (name := _LEVELS[level].get(tokens[position].value)):
        # an implication on the right side belongs to it: p -> q -> r is p -> (q -> r)
        right, position = _formula(tokens, position + 1, level if name in ("if", "turned") else level + 1)
        left = ("if", right, left) if name == "turned" else _joined(name, left, right)
    return left, position


def _joined(name: str, left: Formula, right: Formula) -> Formula:
    """Return two formulas with a connective; the parts of "and", "or" and "iff" are sorted."""
    if name == "if":
        return (name, left, right)
    parts: list[Formula] = []
    for part in (left, right):
        parts += part[1:] if isinstance(part, tuple) and part[0] == name != "iff" else (part,)
    return (name, *sorted(parts, key=repr))


def _prefixed(tokens: list[Token], start: int) -> tuple[Formula, int]:
    """Return a letter, a negation, or a formula in brackets, and the index after it.

    Raises:
        ReadError: There is none.
    """
    token = tokens[start] if start < len(tokens) else None
    if token is None:
        raise ReadError("syntax")
    if token.kind == "c" and token.value in _NOT:
        inner, end = _prefixed(tokens, start + 1)
        return (inner[1] if inner[0] == "not" else ("not", inner)), end
    if token.kind == "o" and token.value in ("(", "["):
        inner, end = _formula(tokens, start + 1, 0)
        if end < len(tokens) and tokens[end].value in (")", "]"):
            return inner, end + 1
    elif token.kind in "wt" and len(token.value) == 1 and token.value.isalpha() and token.value.isascii():
        return token.value, start + 1
    raise ReadError("syntax")
