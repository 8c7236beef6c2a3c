r"""`parse` and `verify` with the signatures of math-verify 0.9, decided by this package's checker.

    from deepcompress_verify.math_verify import parse, verify

    verify(parse(r"$\frac{3}{4}$"), parse(r"So it is \boxed{0.75}"))  # True

docs/coming-from-math-verify.md lists the differences. Both functions may be called from any thread: work is counted
(not timed), and no signal is used. New code calls `deepcompress_verify.verify`, whose verdict has a reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from deepcompress_verify.beside import restated
from deepcompress_verify.choices import read_choice
from deepcompress_verify.compare.fast_path import strip_typesetting
from deepcompress_verify.extract import encodable, extract
from deepcompress_verify.phrases import has_marker
from deepcompress_verify.reader import read
from deepcompress_verify.tree import Text, Unreadable
from deepcompress_verify.verify import verify as _check

__all__ = [
    "Answer",
    "ExprExtractionConfig",
    "LatexExtractionConfig",
    "LatexNormalizationConfig",
    "StringExtractionConfig",
    "parse",
    "verify",
]

_TAIL = 4096
"""Characters at the end of a text that are searched for an answer without a box or a phrase."""
_MAX_WHOLE = 1_024
"""Maximum characters of a text that is an answer as a whole."""
_MAX_WORDS = 256
"""Maximum characters of an answer in words without a box or a phrase."""
_FORMULA_MARKS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
"""The beginning and the end of a formula in a text."""
_NUMBER = re.compile(r"(?<![\w.,])(?:(?<!\d )[-+])?\d[\d,]*+(?:\.\d++)?+(?:/\d++)?+%?", re.ASCII)


@dataclass(frozen=True, slots=True)
class LatexNormalizationConfig:
    """Accepted for compatibility, without effect: the checker's rules for units and notation always apply."""

    basic_latex: bool = True
    units: bool = False
    malformed_operators: bool = False
    nits: bool = False
    boxed: Literal["all", "last", "none"] = "all"
    equations: bool = False


@dataclass(frozen=True, slots=True)
class LatexExtractionConfig:
    r"""Look for an answer in a \boxed{}, a phrase such as "the answer is", and the formulas of the text."""

    try_extract_without_anchor: bool = True
    """Without a box or a phrase, the entire text or its last formula is the answer."""
    boxed_match_priority: int = 50
    """Negative: boxes are not looked at. 0: the box is the answer. Else a "Final answer: X" after it is."""
    normalization_config: object = field(default_factory=LatexNormalizationConfig)
    """Without effect."""


@dataclass(frozen=True, slots=True)
class ExprExtractionConfig:
    """Look for an answer in a phrase such as "the answer is", and the numbers of the text."""

    try_extract_without_anchor: bool = True
    """Without a phrase, the entire text or its last number is the answer."""


@dataclass(frozen=True, slots=True)
class StringExtractionConfig:
    """Look for one of some strings, such as the letters of choices."""

    strings: tuple[str, ...] = ("A", "B", "C", "D")
    try_extract_without_anchor: bool = True
    r"""Without a box or a phrase, the last of the strings that is a word of the text is the answer."""
    lowercase: bool = True
    """Strings are compared and returned in lower case."""


ExtractionConfig = LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig
_DEFAULT = (LatexExtractionConfig(), ExprExtractionConfig())


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that `parse` found. `str(answer)` is its text."""

    text: str
    restated: str | None = None
    """A second statement of the answer after the box; it must be correct as well."""

    def __str__(self) -> str:
        return self.text


Comparable = Answer | str | int | float | Fraction | Decimal


def parse(
    pred: str,
    extraction_config: Sequence[ExtractionConfig] = _DEFAULT,
    fallback_mode: Literal["no_fallback", "first_match"] = "first_match",
    extraction_mode: Literal["first_match", "any_match"] = "any_match",
    parsing_timeout: int | None = 5,  # noqa: ARG001  (accepted: nothing is timed)
    raise_on_error: bool = False,
) -> list[Answer | str]:
    """Return the answer of a text as [Answer, its text], [text] if it cannot be read, or [] if there is none.

    `extraction_mode="any_match"` takes the first candidate that can be read, "first_match" the first candidate.
    With `fallback_mode="no_fallback"` an answer that cannot be read is left out. A string of a
    `StringExtractionConfig` is returned as [string]. `parsing_timeout` has no effect.

    Raises:
        TypeError: `pred` is not a string and `raise_on_error` is true, or a configuration is of another class.
    """
    for config in extraction_config:
        if not isinstance(config, ExtractionConfig):
            raise TypeError(f"{type(config).__name__} is no extraction configuration of {__name__}")
    if not isinstance(pred, str):
        if raise_on_error:
            raise TypeError(f"a string is needed, not {type(pred).__name__}")
        return []
    first: str | None = None
    for answer in _candidates(pred, extraction_config):
        if isinstance(answer, str):
            return [answer]
        if _is_readable(answer.text):
            return [answer, answer.text]
        first = answer.text if first is None else first
        if extraction_mode == "first_match":
            break
    return [] if first is None or fallback_mode == "no_fallback" else [first]


def verify(
    gold: Sequence[Comparable] | Comparable,
    target: Sequence[Comparable] | Comparable,
    float_rounding: int = 6,  # noqa: ARG001  (accepted: docs/judgement.md has the rule for decimals)
    numeric_precision: int = 15,  # noqa: ARG001  (accepted: exact)
    strict: bool = True,  # noqa: ARG001  (accepted: always strict)
    allow_set_relation_comp: bool = False,  # noqa: ARG001  (accepted: intervals and inequalities always compare)
    timeout_seconds: int | None = 5,  # noqa: ARG001  (accepted: nothing is timed)
    raise_on_error: bool = False,  # noqa: ARG001  (accepted: no text raises an error)
) -> bool:
    """Return True if one of the targets equals one of the golds.

    Golds and targets are what `parse` returned, or texts and numbers. Only `gold` and `target` have an effect.

    Raises:
        TypeError: A gold or a target is neither an answer, a text nor a number.
    """
    golds = tuple(answer.text for answer in _answers(gold))
    return bool(golds) and any(_is_correct(golds, answer) for answer in _answers(target))


def _is_correct(golds: tuple[str, ...], answer: Answer) -> bool:
    if not _check(golds, answer.text, answer_format="bare").correct:
        return False
    if answer.restated is None:
        return True
    return _check(golds, answer.restated, answer_format="bare").status != "wrong"


def _answers(value: Sequence[Comparable] | Comparable) -> list[Answer]:
    """Return the answers of an argument of `verify`; the text that `parse` adds to an answer is left out."""
    items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    answers: dict[str, Answer] = {}
    for item in items:
        if isinstance(item, Answer):
            answers[item.text] = item
        elif isinstance(item, str | int | float | Fraction | Decimal) and not isinstance(item, bool):
            answers.setdefault(str(item), Answer(str(item)))
        else:
            raise TypeError(f"an answer of parse, a text or a number is needed, not {type(item).__name__}")
    return list(answers.values())


def _candidates(text: str, configs: Sequence[ExtractionConfig]) -> Iterator[Answer | str]:
    """Yield the answers of a text in order of precedence; a string of a `StringExtractionConfig` as a string."""
    text = encodable(text)
    strings = [config for config in configs if isinstance(config, StringExtractionConfig)]
    others = [config for config in configs if not isinstance(config, StringExtractionConfig)]
    priorities = [c.boxed_match_priority for c in others if isinstance(c, LatexExtractionConfig)] or [50]
    if max(priorities) < 0:
        text = text.replace("\\boxed", " ")
    stated = "\\boxed" in text or has_marker(text)
    if stated:
        answer = _stated(text, box_first=0 in priorities)
        if answer is not None:
            yield from (found for config in strings if (found := _as_string(answer.text, config)) is not None)
            if others:
                yield answer
        return  # an answer that is withdrawn, or is empty, is not replaced by another number of the text
    rest = extract(text, "bare").answer
    if rest is None:
        return
    for config in strings:
        if config.try_extract_without_anchor and (last := _last_string(rest, config)) is not None:
            yield last
    loose = [config for config in others if config.try_extract_without_anchor]
    if loose:
        yield from _without_anchor(rest, formulas=any(isinstance(c, LatexExtractionConfig) for c in loose))


def _stated(text: str, box_first: bool) -> Answer | None:
    """Return the answer of a box or a phrase."""
    result = extract(text, "boxed" if box_first else "final_answer")
    if result.answer is None and box_first:
        result = extract(text, "final_answer")
    if result.answer is None:
        return None
    second = result.restated_answer
    if second is None and result.box is not None:
        second = restated(result.answer, (), text, *result.box)
    return Answer(result.answer, second)


def _without_anchor(text: str, formulas: bool) -> Iterator[Answer]:
    """Yield the entire text if it is mathematics, else the last formula, line or number that states a value."""
    formula = _last_formula(text[-_TAIL:]) if formulas else None
    if formula is not None and _without_marks(text) == formula:
        yield Answer(formula)
        return
    if _is_mathematics(text):
        yield Answer(text)
        return
    if formula is not None:
        yield Answer(formula)
        return
    closing = None if "$" in text else extract(text, "final_answer").answer  # dollars that mark no formula are money
    if closing is not None and _is_mathematics(closing):
        yield Answer(closing)
        return
    numbers = _NUMBER.findall(text[-_TAIL:])
    if numbers:
        yield Answer(numbers[-1].rstrip(","))
    elif len(text) <= _MAX_WORDS and "\n" not in text:
        yield Answer(text)


def _is_mathematics(text: str) -> bool:
    return len(text) <= _MAX_WHOLE and _kind(text) == "mathematics"


@lru_cache(maxsize=2_048)
def _kind(text: str) -> Literal["mathematics", "words", "unreadable"]:
    """Return what a text of at most `_MAX_WHOLE` characters is to the reader. Golds recur: hence the cache."""
    tree = read(text)
    return "unreadable" if isinstance(tree, Unreadable) else "words" if isinstance(tree, Text) else "mathematics"


def _is_readable(text: str) -> bool:
    return _kind(text) != "unreadable" if len(text) <= _MAX_WHOLE else not isinstance(read(text), Unreadable)


def _last_formula(text: str) -> str | None:
    """Return the content of the last formula between dollars, \\( and \\), or \\[ and \\]; money is none."""
    end, opener, closer = -1, "", ""
    for begin, close in _FORMULA_MARKS:
        position = text.rfind(close)
        if position >= 0 and position + len(close) > end:
            end, opener, closer = position + len(close), begin, close
    stop = end - len(closer)
    start = text.rfind(opener, 0, stop) if stop > 0 else -1
    if start < 0:
        return None
    content = text[start + len(opener) : stop]
    if closer == "$" and (content[:1].isspace() or content[-1:].isspace() or text[end : end + 1].isdigit()):
        return None  # from $20 to $29
    return content.strip() or None


def _without_marks(text: str) -> str:
    """Return the text without the marks of one formula around all of it."""
    for begin, close in _FORMULA_MARKS:
        if text.startswith(begin) and text.endswith(close) and len(text) > len(begin + close):
            return text[len(begin) : -len(close)].strip()
    return text


def _as_string(text: str, config: StringExtractionConfig) -> str | None:
    """Return the string of the configuration that an answer is, or None."""
    names = _names(config)
    plain = strip_typesetting(text).strip("{}() ")
    choice = read_choice(text)
    for spelling in (plain, choice.letter if choice is not None else plain):
        key = spelling.lower() if config.lowercase else spelling
        if key in names:
            return names[key]
    return None


def _last_string(text: str, config: StringExtractionConfig) -> str | None:
    """Return the string of the configuration that is the last word of the text, or None."""
    found: tuple[int, str] | None = None
    for name in config.strings:
        words = r"(?<!\w)" + re.escape(name) + r"(?!\w)"
        for match in re.finditer(words, text[-_TAIL:]):
            if found is None or match.end() > found[0]:
                found = (match.end(), name)
    if found is None:
        return None
    return found[1].lower() if config.lowercase else found[1]


def _names(config: StringExtractionConfig) -> dict[str, str]:
    return {(s.lower() if config.lowercase else s): (s.lower() if config.lowercase else s) for s in config.strings}
