"""Texts that state the same in other words: 44 BC and 44 BCE, 3-5 kg and 3 to 5 kg, F < Cl < Br, who is a knight.

Used if two parsed answers differ. Each rule reads both texts to the end, or does not apply. Anchored passes over
short texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from deepcompress_verify.compare.chemistry import ELEMENTS
from deepcompress_verify.reader.words import known_unit

MAX_CHARS = 120
_DRESS = re.compile(r"\\(?:text|textrm|mathrm|textbf|textit)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|\\q?quad(?![a-zA-Z])|~|\s+")
_YEAR = re.compile(r"([0-9]{1,4}) ?(BCE?|CE|AD)|AD ?([0-9]{1,4})")
_ERAS = {"BC": "BC", "BCE": "BC", "CE": "AD", "AD": "AD"}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"(?:from )?({_NUMBER}) ?([A-Za-zµ]{{1,12}})? ?(?:-|–|--|to) ?({_NUMBER}) ?([A-Za-zµ]{{1,12}})")
_CHAIN = re.compile(r"[A-Z][a-z]?(?: ?[<>] ?[A-Z][a-z]?)+")
_CLAUSE = re.compile(r"([A-Za-z]+) is (?:an? |the )?([a-z]+)", re.ASCII)
_CLAUSES = re.compile(r",? and |[,;] ?")


def same_in_words(gold: str, answer: str) -> str | None:
    """Return the reason why both texts state the same, or None."""
    if len(gold) > MAX_CHARS or len(answer) > MAX_CHARS or not any(mark in gold for mark in _IN_GOLD):
        return None
    one, two = _plain(gold), _plain(answer)
    for rule, reason in _RULES:
        meant = rule(one)
        if meant is not None and meant == rule(two):
            return reason
    return None


def _plain(text: str) -> str:
    text = _SPACES.sub(" ", _DRESS.sub(r"\1", text).replace("$", ""))
    return text.strip(" .")


def _year(text: str) -> tuple[str, ...] | None:
    """Return (year, era) of 44 BCE and AD 79."""
    match = _YEAR.fullmatch(
        text.replace("B.C.E", "BCE").replace("B.C", "BC").replace("A.D", "AD").replace("C.E", "CE")
    )
    if match is None:
        return None
    return (match[3], "AD") if match[3] else (match[1], _ERAS[match[2]])


def _range(text: str) -> tuple[str, ...] | None:
    """Return (begin, end, unit) of 3-5 kg, 3 to 5 kg and 3 kg to 5 kg."""
    match = _RANGE.fullmatch(text)
    unit = None if match is None else known_unit(match[4])
    if match is None or unit is None or (match[2] and known_unit(match[2]) != unit):
        return None
    return match[1], match[3], unit


def _chain(text: str) -> tuple[str, ...] | None:
    """Return the elements of F < Cl < Br, the least first."""
    if _CHAIN.fullmatch(text) is None or ("<" in text and ">" in text):
        return None
    elements = tuple(re.split(" ?[<>] ?", text))
    if not ELEMENTS.issuperset(elements):
        return None
    return elements if "<" in text else elements[::-1]


def _clauses(text: str) -> tuple[str, ...] | None:
    """Return "A is a knight, B is a knave" as sorted clauses, each of another subject."""
    matches = [_CLAUSE.fullmatch(clause) for clause in _CLAUSES.split(text)]
    if len(matches) < 2 or any(match is None for match in matches):
        return None
    pairs = {match[1]: match[2] for match in matches if match is not None}
    return tuple(sorted(f"{name} {kind}" for name, kind in pairs.items())) if len(pairs) == len(matches) else None


_Rule = Callable[[str], "tuple[str, ...] | None"]
_RULES: tuple[tuple[_Rule, str], ...] = (
    (_year, "the same year"),
    (_range, "the same range"),
    (_chain, "the same order of elements"),
    (_clauses, "the same statements"),
)
_IN_GOLD = ("BC", "AD", "CE", "B.C", "A.D", "C.E", "-", "–", " to ", "<", ">", " is ", "{is")
"""Parts of the golds to which a rule applies."""
