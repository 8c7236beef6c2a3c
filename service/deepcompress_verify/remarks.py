"""Remarks around an answer: "The largest n is 34", "5 (five)", "B because C is not valid", "3 \\checkmark".

`reductions` returns further readings of an answer without its remarks. A remark is removed only by a rule that
gives it a meaning: marks without a value are on a list; a second statement of the value becomes a claim that must be
correct as well; reasons and subjects may hold no word that denies, hedges or withdraws the answer. Any other text
stays, and is compared as it is.

Linear in the text. A reading has no verdict of its own: `decide` compares it with the gold like any answer.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deepcompress_verify.hedges import DENIALS, HEDGES, hedged, restricts, words_of
from deepcompress_verify.marks import without_marks
from deepcompress_verify.masking import mask, part
from deepcompress_verify.named_values import (
    begin_of_thing,
    chinese_subject,
    end_of_count,
    is_method,
    spelled_count,
    where_attained,
)
from deepcompress_verify.reader.words import DENIALS as NO_UNITS
from deepcompress_verify.reader.words import (
    NOT_UNITS,
    is_counted_noun,
    known_unit,
    spelled_number,
)
from deepcompress_verify.subjects import GENERAL, Subject, is_long, named_by

MAX_CHARS = 1_000
"""Longer answers are not searched for remarks."""
MAX_READINGS = 6

_SUBJECT_DENIALS = (
    HEDGES
    | DENIALS
    | frozenset(
        "other than less more half twice double triple opposite inverse reciprocal complement bound bounds estimate "
        "if one another some any candidate option fake bad discarded rejected previous earlier naive answers minus "
        "negative every only or upper lower because since thought hundred thousand million percent "
        "suppose supposing assume assuming".split()
    )
)
"""Words that make the subject of a statement something else than the answer."""
_ABOUT = r"(?:approximately|approx\.?|about|roughly|around|nearly|\\approx|≈|\\simeq|~)"
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
_APPROXIMATION = re.compile(
    rf"(?:which\s+is\s+|or\s+|i\.e\.,?\s+)?{_ABOUT}\s*({_NUMBER}\d?(?:\s*\\?%)?)\s*([a-zA-Z]+(?:\s+[a-zA-Z]+)?)?"
)
_TRAILING_APPROXIMATION = re.compile(
    rf"(?:\s|,)\s*(?:(?:or|i\.e\.|that\s+is|which\s+is),?\s+)?{_ABOUT}\s*({_NUMBER}\d?(?:\s*\\?%)?)\s*$"
)
_EQUAL_CLAIM = re.compile(
    r"^(?:or\s+equivalently|or|i\.e\.|equivalently|that\s+is|namely|same\s+as|equal\s+to|=),?\s*(.+)$"
)
_TRAILING_CLAIM = re.compile(
    r"[\s,]+(?:or\s+equivalently|equivalently|or|i\.e\.|that\s+is\s+to\s+say|that\s+is|in\s+other\s+words|namely),?\s+"
)
_REASON = re.compile(
    r"(?:\s|,)\s*(?:because|since|due\s+to|as\s+shown|as\s+required|as\s+desired|as\s+expected)(?=\W|$)|,\s*as\s"
)
_COPULA = re.compile(
    r"\s(?:is\s+equal\s+to|is\s+exactly|is|are|equals|equal|was|will\s+be|must\s+be|comes\s+to|needs?|has|gets|costs?|makes|takes|earns|pays|weighs|receives|receive|spends|saves|contains)\s*:?\s|\s?=\s?|:\s"
)
_VERBS = frozenset(
    "need needs has gets cost costs makes takes earns pays weighs receives receive spends saves contains".split()
)
_PREDICATE = re.compile(
    r"\s+is\s+(?:the|my|our)\s+(?:final\s+|correct\s+|right\s+|only\s+|unique\s+)?(?:possible\s+)?"
    r"(?:answer|result|solution|root|value|option|choice)\s*$|\s+only\s*$|,?\s+exactly\s*$"
    r"|(?<=[a-z])\s+(?:(?:is|are)\s+(?:left|needed|required|remaining)|remain)\s*$"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_OPERATORS = frozenset("+*/^|[]")
_YES_NO = re.compile(r"^\s*(yes|no|true|false)\s*[,.:;—–-]\s*(?=\S)", re.IGNORECASE)
_EMPHASIS = frozenset("always indeed certainly definitely absolutely exactly".split())
_STATEMENTS = frozenset("yes no true false".split())


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reading of an answer without a remark."""

    answer: str
    claims: tuple[str, ...] = ()
    """Further statements of the value, each of which must be correct as well."""
    approximations: tuple[str, ...] = ()
    """Decimals to which the value must round."""
    subject: Subject = ()
    """The words of a removed subject that name what the value is of, in their order."""


def reductions(answer: str) -> list[Reduction]:
    """Return the readings of an answer without its remarks, shortest removal first; none if it has no remarks."""
    if len(answer) > MAX_CHARS or not answer or _is_plain(answer) or _is_formula(answer):
        return []
    result: dict[str, Reduction] = {}
    pending = [Reduction(answer)]
    while pending and len(result) < MAX_READINGS:
        current = pending.pop(0)
        for reduced in _steps(current.answer):
            text = reduced.answer.strip(" \n,;:.")
            if text and text != answer and text not in result:
                claims = current.claims + reduced.claims
                approximations = current.approximations + reduced.approximations
                result[text] = Reduction(text, claims, approximations, current.subject + reduced.subject)
                pending.append(result[text])
    return list(result.values())


def whole(answer: str, readings: Sequence[Reduction]) -> Reduction:
    """Return an answer as it is, with the subject that its readings leave out, or the words before its value."""
    subject = max((reading.subject for reading in readings), key=len, default=())
    if not subject and len(answer) <= MAX_CHARS:
        masked = mask(answer)
        *_, head = [masked[: match.start()] for match in _COPULA.finditer(masked)] or [""]
        subject = tuple(word for word in named_by(_COMMAND.sub(" ", head)) if is_long(word))
    return Reduction(answer, subject=subject)


def _is_plain(answer: str) -> bool:
    """Return True for a number or a name: the usual answers have no remarks."""
    return (
        len(answer) < 24 and answer.replace(".", "").replace("-", "").replace("/", "").isalnum() and answer.isascii()
    )


_FORMULA = re.compile(
    r"(?:[-+*/^_{}()\[\]|.,0-9 ]++|[a-zA-Z](?![a-zA-Z])"
    r"|\\(?:[dt]?frac|sqrt|left|right|pi|infty|cdot|times|pm|theta|alpha|beta)(?![a-zA-Z]))++"
)
"""A formula without words, relations and marks."""


def _is_formula(answer: str) -> bool:
    """Return True for a formula to which no rule for remarks applies."""
    if answer[0] in " {*" or answer[-1] in " .*" or _FORMULA.fullmatch(answer) is None:
        return False
    # a number in brackets at the end may be a second statement: 5 (5)
    return answer[-1] != ")" or (answer.startswith(("(", "\\left(")) and answer.count("(") == 1)


def _steps(answer: str) -> Iterator[Reduction]:
    """Yield the answer with one remark removed, by each rule that applies."""
    unmarked = without_marks(answer)
    if unmarked != answer:
        yield Reduction(unmarked)
        answer = unmarked
    masked = mask(answer)
    if masked == answer and answer.isascii() and not any(mark in answer for mark in " (="):
        return
    for rule in _RULES:
        yield from rule(answer, masked)


def _in_brackets(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove a remark in brackets at the end: (about 18.9 cards), (five), (i.e. 1/2), (or 0.5)."""
    end = len(masked.rstrip())
    if not masked[:end].endswith(")"):
        return
    level, begin = 0, end - 1
    while begin >= 0:
        level += {")": 1, "(": -1}.get(masked[begin], 0)
        if level == 0:
            break
        begin -= 1
    if begin <= 0 or not masked[:begin].strip():
        return
    value, content = part(answer, masked, 0, begin), masked[begin + 1 : end - 1].strip()
    approximation = _APPROXIMATION.fullmatch(content)
    if approximation is not None and _has_digit(approximation[1]) and _counted(approximation[2], masked[:begin]):
        yield Reduction(value, approximations=(_plain_number(approximation[1]),))
        return
    if (
        len(content) > 1
        and known_unit(content) is not None
        and _has_digit(value)
        and _LAST_WORD.search(masked[:begin]) is None
    ):
        yield Reduction(f"{value} \\text{{ {content}}}")
        return
    if content.lower() in _WITHOUT_VALUE:
        yield Reduction(value)
        return
    if is_method(content) and not hedged(content) and DENIALS.isdisjoint(words_of(content)):
        yield Reduction(value)
        return
    reason = re.match(r"(?:because|since)\s", content)
    if (
        reason is not None
        and not hedged(content)
        and not _states_another(content[reason.end() :], masked[:begin].strip())
    ):
        yield Reduction(value)
        return
    claim = _EQUAL_CLAIM.match(content)
    if claim is not None and not hedged(content.removeprefix("or ")):
        yield Reduction(value, (part(answer, masked, begin + 1 + masked[begin + 1 :].find(claim[1]), end - 1),))
    elif spelled_number(words_of(content)) is not None and content.replace("-", " ").replace(" ", "").isalpha():
        yield Reduction(value, (f"\\text{{{content}}}",))
    elif _DECIMAL.fullmatch(content):
        yield Reduction(value, approximations=(_plain_number(content),))
    elif _INTEGER.fullmatch(content) and answer[begin - 1].isspace():
        yield Reduction(value, (content,))


_WITHOUT_VALUE = frozenset(
    ("exactly", "exact", "exact value", "in simplest form", "simplest form", "in lowest terms", "lowest terms",
     "simplified", "in simplified form", "standard form", "in standard form", "answer", "ans", "final answer",
     "total", "in total", "see above",
     "unitless", "no units", "dimensionless")
)  # fmt: skip
"""Remarks in brackets that say nothing about the value."""
_DECIMAL = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.\d+(?:\s*\\?%)?")
_INTEGER = re.compile(r"[-+]?\d+(?:/\d+)?")


def _plain_number(text: str) -> str:
    """Return a number without separators, with its percent sign."""
    return text.replace(",", "").replace("\\", "").replace(" ", "")


def _has_digit(text: str | None) -> bool:
    return text is not None and any(map(str.isdigit, text))


def _counted(words: str | None, value: str) -> bool:
    """Return True for no words, or one or two that name what is counted; a known unit must be that of the value."""
    if words is None:
        return True
    known = any(known_unit(word) for word in words.split() if word not in ("unit", "units"))
    if not known and not is_counted_noun(words.lower().split(), False, False):
        return False
    named = _LAST_WORD.search(value) is not None or known
    if (named and not re.search(rf"(?<![A-Za-z]){re.escape(words)}\s*$", value)) or not NO_UNITS.isdisjoint(
        words.lower().split()
    ):
        return False
    return NOT_UNITS.isdisjoint(words.lower().split()) and not hedged(words)


_LAST_WORD = re.compile(r"[A-Za-z]{2,}\s*$")


def _approximation(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove a trailing approximation: "2/3 or approximately 0.667"."""
    match = _TRAILING_APPROXIMATION.search(masked)
    if match is not None and _has_digit(match[1]):
        yield Reduction(part(answer, masked, 0, match.start()), approximations=(_plain_number(match[1]),))


def _claim(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove a second statement of the value: "2/3, or 0.\\overline6". Both must be correct."""
    matches = list(_TRAILING_CLAIM.finditer(masked))
    if 1 <= len(matches) <= 3 and matches[0].start() > 0:
        pieces = []
        begin = 0
        for match in matches:
            pieces.append(part(answer, masked, begin, match.start()))
            begin = match.end()
        pieces.append(part(answer, masked, begin, len(answer)))
        if all(pieces):
            decimals = [piece for piece in pieces[1:] if _DECIMAL.fullmatch(piece)]
            others = tuple(piece for piece in pieces[1:] if piece not in decimals)
            if decimals and not (_DECIMAL.fullmatch(pieces[0]) or _INTEGER.fullmatch(pieces[0].strip())):
                yield Reduction(pieces[0], others, tuple(map(_plain_number, decimals)))  # 1/3 or 0.333
            yield Reduction(pieces[0], tuple(pieces[1:]))


def _reason(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove a reason after the answer: "B because C is not valid"."""
    match = _REASON.search(masked)
    if match is None or match.start() == 0 or not masked[match.end() :].strip(" .,"):
        return
    reason = masked[match.end() :]
    if not hedged(reason) and not _states_another(reason, masked[: match.start()].strip()):
        yield Reduction(part(answer, masked, 0, match.start()))


def _states_another(reason: str, answer: str) -> bool:
    """Return True if a reason calls something else the answer: "because 6 is right"."""
    for match in _JUDGEMENT.finditer(reason):
        subject = reason[: match.start()].strip()
        last = words_of(subject)[-1:]
        if not (last and last[0] in _PRONOUNS) and subject != answer:
            return True
    return False


_JUDGEMENT = re.compile(
    r"(?:\s|^)(?:is|are|was|were|be|gives|has)\s+(?:\w+\s+){0,3}"
    r"(?:right|correct|answer|answers|true|solution|result|best|option|choice)\b(?!\s+(?:of|to|side|angle|angled|triangle|hand))"
)
_PRONOUNS = frozenset("it this that which they these".split())


def _subject(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove a subject before the value, "The largest n is 34", or a predicate after it, "34 is the answer"."""
    predicate = _PREDICATE.search(masked)
    if predicate is not None and _REASON.search(masked) is None:
        yield Reduction(part(answer, masked, 0, predicate.start()))
    matches = list(_COPULA.finditer(masked))
    for last in matches[-1:]:
        yield from _without_subject(answer, masked, last)
    if len(matches) > 1 and matches[0].group().strip() == "is":
        yield from _without_subject(answer, masked, matches[0])  # The line is y = 2x


def _without_subject(answer: str, masked: str, last: re.Match[str]) -> Iterator[Reduction]:
    """Remove the subject before one copula."""
    head = masked[: last.start()]
    if not _neutral_subject(head, masked[last.start() : last.end()].strip()):
        return
    rest = words_of(masked[last.end() :][:40])[:1]
    stated = words_of(masked[last.end() :])
    if rest and (rest[0] in DENIALS or rest[0] in HEDGES) and stated not in (["false"], ["impossible"]):
        return  # "is not 5"
    if rest and any(word != rest[0] and word.endswith(rest[0]) for word in words_of(head)[-1:]):
        return  # "unbounded = bounded"
    named = named_by(_COMMAND.sub(" ", head))
    yield Reduction(part(answer, masked, last.end(), len(answer)), subject=named)


def _neutral_subject(head: str, copula: str) -> bool:
    words = words_of(_COMMAND.sub(" ", head))
    if not _SUBJECT_DENIALS.isdisjoint(words) or len(words) > 24 or any(mark in head for mark in ",;?!<>≤≥≠"):
        return False
    if len(_LABEL.findall(head)) > 1 or spelled_number([word for word in words if word not in GENERAL]) is not None:
        return False
    if "\\ne" in head or "\\not" in head or ". " in head or head.lstrip(" -+")[:1].isdigit() or "\\begin" in head:
        return False
    if any(first in ("at", "up") and second in ("least", "most", "to") for first, second in pairwise(words)):
        return False
    long_words = list(filter(is_long, words))
    if copula in ("=", ":") and (len(long_words) < 2 or not _OPERATORS.isdisjoint(head)):
        return False
    if not long_words and not (copula in ("is", "equals", "must be") or (words and copula in _VERBS)):
        return False
    other = _COPULA.search(f"{head} ")
    if other is None:
        return True
    return not any(map(str.isdigit, head)) and "=" not in head and ": " not in head and _embedded(head)


_LABEL = re.compile(r"\([A-Za-z]\)")


def _embedded(head: str) -> bool:
    """Return True if a verb inside the subject belongs to a clause: "the probability that x is even"."""
    words = words_of(head)
    verbs = [index for index, word in enumerate(words) if word in ("is", "are", "was", "equals", "equal")]
    return all({"that", "such"} & set(words[:index]) and "and" not in words[index:] for index in verbs) and (
        bool(words) and words[0] in ("the", "probability", "number")
    )


def _of_things(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove what a value is of: "four solutions", "3 values of n", "the point (2, -3)", "12, attained at x = 3"."""
    if (count := spelled_count(masked)) is not None:
        yield Reduction(count)
    if end := end_of_count(masked):
        yield Reduction(part(answer, masked, 0, end))
    if begin := begin_of_thing(masked):
        named = named_by(masked[:begin])
        yield Reduction(part(answer, masked, begin, len(answer)), subject=named)
    place = where_attained(masked)
    if place is not None and not hedged(masked[place[1] :]):
        yield Reduction(part(answer, masked, 0, place[0]))


def _prefix(answer: str, masked: str) -> Iterator[Reduction]:
    """Remove "Answer:" before the value."""
    match = _PREFIX.match(masked)
    if match is not None:
        yield Reduction(part(answer, masked, match.end(), len(answer)))


def _named_point(_answer: str, masked: str) -> Iterator[Reduction]:
    """Remove the name of a point: "P(3, 4)" is (3, 4). C(3, 4) is a number of choices."""
    match = _POINT.match(masked) if masked.rstrip(" .").endswith(")") else None
    if match is not None:
        yield Reduction(match[1])


def _chinese_subject(_answer: str, masked: str) -> Iterator[Reduction]:
    """Remove what is asked for before its value: 最小值为7, 共7种."""
    found = None if masked.isascii() else chinese_subject(masked)
    if found is not None:
        yield Reduction(masked[found[0] :], subject=tuple(filter(None, (found[1],))))


_POINT = re.compile(r"^\s*[ABD-Z](?:_\d|')?\s*((?:\\left\s*)?\([^()]+,[^()]+\))\s*\.?$")
_PREFIX = re.compile(
    r"^\s*(?:a\s+(?:grand\s+)?total\s+of\s+(?=[\d\\$])|both\s+(?=[^,]+\sand\s)|(?:thus|hence|so|therefore|then)\s*,\s*|(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|ans)\s*[:.]\s*)(?=\S)",
    re.IGNORECASE,
)


def _direction(answer: str, masked: str) -> Iterator[Reduction]:
    """Put the word of direction after its value: "a profit of 20%" is "20% profit"."""
    match = _DIRECTED.match(masked)
    if match is not None and _REASON.search(masked) is None:
        direction = match[1].lower() if match[1] else _VERBS_OF_DIRECTION[match[2].lower()]
        value = part(answer, masked, match.end(), len(answer)).rstrip(" .")
        if value.count("}") > value.count("{"):
            value = value.removesuffix("}")
        yield Reduction(f"{value} \\text{{ {direction}}}")


_VERBS_OF_DIRECTION = {
    "increases": "increase", "decreases": "decrease", "rises": "rise", "falls": "fall", "drops": "drop",
    "grows": "growth", "increased": "increase", "decreased": "decrease", "reduced": "reduction", "rose": "rise",
    "fell": "fall",
    "dropped": "drop", "grew": "growth",
}  # fmt: skip
_DIRECTED = re.compile(
    r"^[\s{]*(?:(?:an?\s+|the\s+)?(profit|loss|gain|increase|decrease|discount|rise|fall|drop|reduction|growth|decline|"
    r"surplus|deficit)(?:\s+of\s+|\s*[:=]\s*|\s+)|(increase[sd]|decrease[sd]|reduced|rises|rose|falls|fell|dropped|drops|grows|grew)\s+by\s+)(?=[-+\d\\$])",
    re.IGNORECASE,
)


def _yes_or_no(_answer: str, masked: str) -> Iterator[Reduction]:
    """Remove an elaboration after yes or no: "Yes, it is possible"."""
    match = _YES_NO.match(masked)
    if match is None:
        return
    rest = masked[match.end() :]
    words = words_of(rest)
    if (
        not words
        or (len(words) == 1 and words[0] not in _EMPHASIS)
        or hedged(rest)
        or not _STATEMENTS.isdisjoint(words[:1] + [word for word in words if word != "no"])
    ):
        return
    denied = not DENIALS.isdisjoint(words) or any(word.endswith("nt") and word in DENIALS for word in words)
    positive = match[1].lower() in ("yes", "true")
    if words == ["never"] or restricts(words):
        return
    if positive != denied or (not positive and words[:1] in (["because"], ["since"])):
        yield Reduction(match[1])


_RULES = (
    _prefix, _named_point, _chinese_subject, _direction, _in_brackets, _approximation, _claim, _reason, _subject,
    _yes_or_no, _of_things,
)  # fmt: skip
