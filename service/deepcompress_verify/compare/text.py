"""Comparison of words."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from deepcompress_verify.reader.words import PHRASES
from deepcompress_verify.tree import Const, List, Node, Sym, Text

_DROPPED = frozenset("the a an of is are by that it its will be only".split())
_OPENING = frozenset(("on", "in", "at"))
"""Dropped at the beginning of a phrase: on Tuesday."""
_NAMED = {
    "emptyset": "no solution",
    "R": "all real numbers",
    "Z": "integers",
    "N": "natural numbers",
    "Q": "rational numbers",
    "C": "complex numbers",
}


def words_of(node: Node) -> str | None:
    """Return the words of a text, of a name, or of a list of texts joined; None for anything else."""
    if isinstance(node, Text):
        return node.words
    if isinstance(node, Sym):
        name = node.name.lower()
        return PHRASES.get(name, name) if name.replace(" ", "").isalpha() else None
    if isinstance(node, Const):
        return _NAMED.get(node.name)
    if isinstance(node, List):
        parts = [words_of(item) for item in node.items]
        return None if None in parts else " ".join(p for p in parts if p)
    return None


def equal_text(gold: Node, answer: Node) -> bool:
    """Return True for the same words except for case, articles, punctuation and spaces."""
    one, two = words_of(gold), words_of(answer)
    if one is None or two is None:
        return False
    return _key(one) == _key(two)


def _key(words: str) -> str:
    significant = [w for w in words.replace("-", " ").split() if w not in _DROPPED]
    if len(significant) > 1 and significant[0] in _OPENING:
        del significant[0]
    return "".join(significant or words.split())
