"""The subjects that a reading without remarks leaves out: "the mean is 5", "boys:girls = 2:3", "Plan A saves 5".

Two subjects must name the same thing.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re

from deepcompress_verify.hedges import words_of
from deepcompress_verify.reader.words import DIRECTIONS, FUNCTION_WORDS, GREEK, SAME_DIRECTIONS

GENERAL = frozenset(
    "the a an of is are it we get have answer answers value result solution final number total therefore so "
    "thus hence correct right in to for that this our my".split()
)
"""Words of a subject that do not name what the value is of."""
_LABELS = re.compile(r"(?:(?<=[A-Za-z0-9)] )|^\s*(?=[A-Z]\s*$))(?:[A-Z]|[0-9]+|[IVX]{2,})(?![A-Za-z0-9])")
"""The letter or number of a thing: Quantity A, Case 2, Team X."""
_ORDERED = re.compile(
    r"[A-Za-z] ?[:/] ?[A-Za-z]|\b(?:to|from|over|per|than|by|into|versus|vs|against)\b", re.IGNORECASE
)
_COMPARISONS = frozenset("less more best worst true false correct cheapest".split())

_EXTREMES = {"max": "maximum", "min": "minimum"}

Subject = tuple[str, ...]


def named_by(head: str) -> Subject:
    """Return the words of a subject in their order, and its labels, a capital letter or a number, as "=A".

    A subject whose order is a part of the meaning, "boys to girls", has the word ":" as well.
    """
    labels = tuple(f"={label}" for label in _LABELS.findall(head))
    order = (":",) if _ORDERED.search(head) is not None else ()
    return (*(_EXTREMES.get(word, word) for word in words_of(head) if word not in GENERAL), *labels, *order)


def is_long(word: str) -> bool:
    """Return True for a word of three letters or more that is no function and no Greek letter."""
    return len(word) > 2 and (word not in FUNCTION_WORDS or word in _EXTREMES) and word not in GREEK


def other_subject(one: Subject, two: Subject, value: str) -> bool:
    """Return True if the removed subjects of a value name different things: the mean is 5, the median is 5.

    One may have more words. In a ratio the words of both must have the same order: boys:girls is not girls:boys. The
    label of what is compared, "Plan A is cheaper", cannot be left out.
    """
    if _compares(value) and _labels(one) != _labels(two):
        return True
    if not one or not two:
        return False
    left, right = set(one) - {":"}, set(two) - {":"}
    if not (left <= right or right <= left):
        return True
    return ":" in (*one, *two) and _common(one, right) != _common(two, left)


def other_direction(subject: Subject, gold: str) -> bool:
    """Return True if a removed subject is another direction than that of the gold: the loss is 20%, 20% profit."""
    stated = {SAME_DIRECTIONS.get(word, word) for word in subject if word in DIRECTIONS}
    if not stated:
        return False
    meant = {SAME_DIRECTIONS.get(word, word) for word in words_of(gold) if word in DIRECTIONS}
    return bool(meant) and stated != meant


def _compares(value: str) -> bool:
    first = words_of(value)[:1]
    return bool(first) and (first[0] in DIRECTIONS or first[0] in _COMPARISONS)


def _labels(subject: Subject) -> frozenset[str]:
    return frozenset(word for word in subject if word[0] == "=")


def _common(words: Subject, others: set[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word in others]
