"""`choice`: a multiple-choice answer, by its letter or by the text of its option.

The gold is a letter, a letter with its text, or the text of one option; several letters ("A, C") are a set that
must be equal. The answer states the letter in any dress, or the text of the option. A text after the letter must be
that of the option, or a remark that names no other letter and is no other option. If an option's text is itself a
letter, the letter is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameters, any_gold
from deepcompress_verify.checkers.text import normalise
from deepcompress_verify.choices import has_parts, names_another, read_choice
from deepcompress_verify.decide import OpenComparison, decide
from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.masking import mask
from deepcompress_verify.remarks import reductions

MAX_OPTIONS = 26
MAX_READINGS = 8
_SEVERAL = re.compile(r"\(?([A-Z])\)?(?:\s*(?:,|;|&|and|\s)\s*(?:and\s+)?\(?([A-Z])\)?){1,25}")
_LETTER = re.compile(r"(?<![A-Za-z])[A-Z](?![A-Za-z])")


def option_texts(options: Sequence[str]) -> list[str]:
    """Return the texts of the options without letters of their own: "(A) Paris" is Paris."""
    texts = []
    for index, option in enumerate(options[:MAX_OPTIONS]):
        choice = read_choice(option)
        own = choice is not None and choice.content and ord(choice.letter) - 65 == index
        texts.append(choice.content if choice is not None and own else option)
    return texts


def gold_letters(gold: str, options: tuple[str, ...]) -> frozenset[str] | None:
    """Return the letters that a gold states, or None."""
    gold = boxes_of_gold(gold).strip()
    count = len(options) or MAX_OPTIONS
    choice = read_choice(gold)
    if choice is not None and ord(choice.letter) - 65 < count and not has_parts(choice.content):
        return frozenset(choice.letter)
    several = _several(gold)
    if several is not None and all(ord(letter) - 65 < count for letter in several):
        return several
    index = _option(gold, option_texts(options))
    return None if index is None else frozenset(chr(65 + index))


def gold_error(gold: str, parameters: Parameters, options: tuple[str, ...]) -> str | None:
    """Return the reason why the gold is no choice, or None."""
    del parameters
    if len(options) > MAX_OPTIONS:
        return f"{len(options)} options, {MAX_OPTIONS} are read"
    return None if gold_letters(gold, options) else "the gold is neither a letter nor the text of one option"


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Compare the letters, or the answer with the texts of the options."""
    texts = option_texts(options)
    stated = _stated(answer, texts)

    def one(gold: str) -> CheckResult:
        error = gold_error(gold, parameters, options)
        if error is not None:
            return CheckResult("gold_unreadable", error)
        meant = gold_letters(gold, options)
        assert meant is not None
        if stated is None:
            return CheckResult("wrong", "not one choice")
        same = stated == meant
        names = [" ".join(sorted(letters)) for letters in (stated, meant)]
        return CheckResult(
            "correct" if same else "wrong", f"choice {names[0]}" + ("" if same else f", not {names[1]}")
        )

    return any_gold(golds, one)


def _stated(answer: str, texts: list[str]) -> frozenset[str] | None:
    """Return the letters that an answer states; None if it states none, or if it hedges."""
    for reading in [answer, *(r.answer for r in reductions(answer) if not r.claims)][:MAX_READINGS]:
        choice = _dressed(reading, texts)
        if choice is not None:
            return frozenset(choice)
        several = _several(reading)
        if several is not None:
            return several
        index = _option(reading, texts)
        if index is not None:
            return frozenset(chr(65 + index))
    return None


def _dressed(answer: str, texts: list[str]) -> str | None:
    """Return the letter of "(B) Paris" if Paris is option B, or a remark about it."""
    plain = normalise(mask(answer), case_sensitive=True)
    match = re.match(r"[({\[\s]*([A-Za-z])[)}\]\s]*(?:[.:)]|\s-\s|[—–])?\s+(?=\S)", plain)
    if match is not None and texts:
        index = ord(match[1].upper()) - 65
        if index < len(texts) and (match[1].isupper() or plain.startswith("(")):
            rest = normalise(plain[match.end() :])
            if rest and rest == normalise(mask(texts[index])):
                return match[1].upper()
    choice = read_choice(answer)
    if choice is None or (texts and ord(choice.letter) - 65 >= len(texts)):
        return None
    if choice.content and texts:
        other = _option(choice.content, texts)
        if other is not None and other != ord(choice.letter) - 65:
            return None
    return choice.letter


def _several(text: str) -> frozenset[str] | None:
    """Return the letters of "A, C and D" or "ACD"; None for anything else, and for "or"."""
    plain = mask(text).strip().strip("{}[]().").strip()
    if re.fullmatch(r"[A-Z]{2,26}", plain) and "".join(sorted(set(plain))) == plain:
        return frozenset(plain)
    return frozenset(_LETTER.findall(plain)) if _SEVERAL.fullmatch(plain) else None


def _option(text: str, texts: list[str]) -> int | None:
    """Return the index of the one option that has this text, or that is equal to it as mathematics."""
    key = normalise(mask(text))
    if not key or not texts:
        return None
    same = [index for index, option in enumerate(texts) if normalise(mask(option)) == key]
    if same:
        return same[0] if len(same) == 1 else None
    if names_another(text, ""):
        return None
    equal = []
    for index, option in enumerate(texts):
        verdict = decide((option,), text)
        if not isinstance(verdict, OpenComparison) and verdict.correct:
            equal.append(index)
    return equal[0] if len(equal) == 1 else None


CHECKER = Checker("choice", "a letter or the text of its option", check, (), gold_error)
