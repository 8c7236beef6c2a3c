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
    split = words.replace("-", " ").split()
    last = len(split) - 1
    significant = [w for i, w in enumerate(split) if w not in _DROPPED or (w == "a" and i == last)]  # hepatitis A
    if len(significant) > 1 and significant[0] in _OPENING:
        del significant[0]
    joined = ""
    for word in significant or split:
        # "1 23" is not "12 3"
        joined += f" {word}" if joined and joined[-1].isdigit() and word[0].isdigit() else word
    return joined
