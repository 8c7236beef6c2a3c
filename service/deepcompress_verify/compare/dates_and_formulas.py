"""Dates, chemical formulas, and numerals with letters as digits: answers that are compared as spellings.

Used if two parsed answers differ: their texts may still have the same meaning. May 5 is 5 May, CO_2 is CO2, and AF
matches a gold AF_{16} without its base. One anchored pass over short texts.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from functools import lru_cache

from deepcompress_verify.compare.chemistry import ELEMENTS, chemical, same_species
from deepcompress_verify.reader.dates import numeric_date
from deepcompress_verify.tree import Based, Node

MAX_TEXT_CHARS = 64
MAX_CASE_CHARS = 1_000
_CASED_WORD = re.compile(r"(?<![\\A-Za-z0-9])[A-Za-z0-9]{2,12}(?![A-Za-z0-9])")
_MARKS = (
    "\\text",
    "\\mathrm",
    "\\ce",
    "\\textbf",
    "\\displaystyle",
    "\\textstyle",
    "\\left",
    "\\right",
    "\\,",
    "\\ ",
    "$",
    "**",
)
_SIGNS = frozenset("=+-*/^<>|[]!:;")
_MONTHS = {
    name[:length]: number
    for number, name in enumerate(
        "january february march april may june july august september october november december".split(), 1
    )
    for length in (3, len(name))
} | {"sept": 9}
_DATE = re.compile(r"[A-Za-z0-9 ,.]+")
_DATE_PARTS = re.compile(r"[A-Za-z]+|[0-9]+")
_FILLERS = frozenset("the of on st nd rd th".split())
# The symbol of an element and its count: no part matches in two ways, so matching is linear.
_FORMULA = re.compile(r"(?:[A-Z][a-z]?(?:[0-9]{1,3}|_[0-9]|_\{[0-9]{1,3}\})?)+")
_SUBSCRIPTS = {ord(mark): f"_{n}" for n, mark in enumerate("₀₁₂₃₄₅₆₇₈₉")}
_ATOMS = re.compile(r"([A-Z][a-z]?)(?:_?\{?([0-9]+)\}?)?")


def same_date_or_formula(gold: str, tree: Node, answer: str) -> str | None:
    """Return the reason why both texts have the same meaning, or None: "the same date", for example."""
    meant = chemical(gold)
    if meant is not None and same_species(meant, chemical(answer)):
        return "the same chemical formula"
    if len(gold) > MAX_TEXT_CHARS or len(answer) > MAX_TEXT_CHARS:
        return None
    if "\\" in answer and "\\text" not in answer and "\\mathrm" not in answer and "\\ce" not in answer:
        return None  # most answers: fractions and roots
    stripped = _without_markup(answer)
    if isinstance(tree, Based) and tree.base > 10:
        digits = stripped.replace("{", "").replace("}", "").upper()
        digits = digits.removeprefix("0X") if tree.base == 16 else digits
        own = tree.digits.removeprefix("0x")
        if digits != own or (own != tree.digits and own.isdigit()):
            return None  # 0x42 is not 42
        return f"the same numeral in the base of the gold, {tree.base}"
    if numeric_date(stripped) is not None:
        return "the same date" if _date(stripped) == _date(_without_markup(gold)) is not None else None
    if not stripped or "\\" in stripped or not _SIGNS.isdisjoint(stripped):
        return None
    date = _date(stripped)
    if date is not None:
        return "the same date" if date == _date(_without_markup(gold)) else None
    return None


def other_formula(gold: str, answer: str) -> bool:
    """Return True if both are chemical formulas or reactions, and different ones: Ca(OH)_2, CaOH_2."""
    meant = chemical(gold)
    return meant is not None and (stated := chemical(answer)) is not None and not same_species(meant, stated)


def differs_in_case(gold: str, answer: str) -> bool:
    """Return True if a genotype or a chemical formula of the gold has another case in the answer: Aa, AA; Co, CO.

    The words around it, in a text of up to 1,000 characters, do not matter: "The compound is Co".
    """
    if len(gold) > MAX_TEXT_CHARS or len(answer) > MAX_CASE_CHARS:
        return False
    meant = _cased_words(gold)
    if not meant:
        return False
    stated = frozenset(_CASED_WORD.findall(_without_markup(answer)))
    lower = {word.lower(): word for word in stated}
    return any(
        word not in stated
        and word.lower() in lower
        and _has_case(word, lower[word.lower()])
        and re.search(rf"{word}\^\{{?[-+]?\d*[a-z]", gold) is None  # Ce^{-x} is a power of e
        for word in meant
    )


@lru_cache(maxsize=2_048)
def _cased_words(gold: str) -> tuple[str, ...]:
    words = _CASED_WORD.findall(_without_markup(gold))
    return tuple(word for word in words if not word.isdigit() and (not word.islower() or word[::2] == word[1::2]))


def _has_case(one: str, two: str) -> bool:
    """Return True if the case of letters is the meaning of two words: genotypes such as AaBb, or formulas."""
    letters = one.lower()
    if one.isalpha() and letters[::2] == letters[1::2] and len(letters) == 2 * len(set(letters)):
        return True
    if len(one) == 2 and one.isalpha() and letters not in _COMMON_WORDS and not two.islower():
        return True  # Na, NA; mW, MW
    if one in ELEMENTS and len(one) == 2 and letters not in _COMMON_WORDS:
        return True  # Mg, mg
    if any(_is_formula(word) and _is_mixed(word) for word in (one, two)) and not (one.islower() or two.islower()):
        return True  # NaCl, NACL
    return _is_formula(one) and _is_formula(two)


def _is_mixed(word: str) -> bool:
    """Return True for two capital letters or more and a small one."""
    return sum(map(str.isupper, word)) > 1 and any(map(str.islower, word))


_COMMON_WORDS = frozenset(
    "no on of am pm ok us uk it he we my by up an as at be do go if in is me or so to ad bc".split()
)
"""Words of two letters in any case."""


def _is_formula(text: str) -> bool:
    if _FORMULA.fullmatch(text) is None:
        return False
    return all(symbol in ELEMENTS for symbol, _ in _ATOMS.findall(text))


def _without_markup(text: str) -> str:
    if "\\" in text or "$" in text or "**" in text:
        for mark in _MARKS:
            text = text.replace(mark, " " if mark == "\\ " else "")
    if not text.isascii():
        text = text.translate(_SUBSCRIPTS)
    return text.strip(" .\n\t")


def _date(text: str) -> tuple[int, int, int | None] | None:
    """Return (month, day, year or None) of "May 5", "5th of May", "January 1, 2000"."""
    text = text.replace("{", "").replace("}", "")
    digits = numeric_date(text)
    if digits is not None:
        year, month, day = (int(part) for part in digits.split()[1:])
        return (month, day, year) if year > 31 else None
    if _DATE.fullmatch(text) is None:
        return None
    parts = [p for p in _DATE_PARTS.findall(text.lower()) if p not in _FILLERS]
    months = [_MONTHS[p] for p in parts if p in _MONTHS]
    numbers = [int(p) for p in parts if p.isdigit() and len(p) <= 4]
    if len(months) != 1 or len(numbers) not in (1, 2) or len(numbers) + 1 != len(parts) or not 1 <= numbers[0] <= 31:
        return None
    return months[0], numbers[0], numbers[1] if len(numbers) == 2 else None
