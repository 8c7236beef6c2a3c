"""Golds in words: compared as text, so that another wording of a right answer is wrong by the rules."""

from __future__ import annotations

from functools import lru_cache

from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.reader import read
from deepcompress_verify.tree import Text

LEAST_WORDS = 4
MAX_CHARS = 8192


def is_free_text(gold: str) -> bool:
    """Return True if a gold is read as words, and more of them than a name or a single word such as "even" has."""
    return len(gold) <= MAX_CHARS and _is_words(gold)


@lru_cache(maxsize=1024)
def _is_words(gold: str) -> bool:
    tree = read(boxes_of_gold(gold))
    return isinstance(tree, Text) and len(tree.words.split()) >= LEAST_WORDS
