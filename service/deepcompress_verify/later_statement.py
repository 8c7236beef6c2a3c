"""Sentences after the last box that state another answer ("So the answer is 48.") or withdraw it ("That is wrong.").

A sentence is read by clauses: openers ("so", "wait"), a subject ("the correct value", "it"), a verb and a value. It
states an answer if the subject is the answer, or if an opener retracts what was stated before. The last statement
counts, and must be correct as well. Linear: each sentence is examined once, up to a length.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from typing import NamedTuple

MAX_CHARS = 4_096
"""Characters after the box that are examined."""
_MAX_SENTENCE = 200
_MAX_SENTENCES = 64
_SENTENCES = re.compile(r"[.!?。](?=\s|$)|\n")
_CLAUSES = re.compile(r"(?:[,;:…]|\.{2,}|\s[-–—])\s+")
_MATH = re.compile(r"\$[^$]{1,64}\$|\\\([^()]{1,64}\\\)")
_OPENER = re.compile(
    r"(?:(?P<retracts>wait|no|nope|actually|sorry|oops|correction|edit|update|errat(?:um|a)|corrigendum|rather|(?P<contrasts>but|however)|hmm+"
    r"|hold on|re(?:checking|computing|calculating|counting)|(?:scratch|strike) that"
    r"|on (?:reflection|second thought)|let me correct (?:that|this|it|myself))"
    r"|so|thus|therefore|hence|then|and"
    r"|(?:i|we) (?:now )?(?:think|believe|conclude)(?: that)?)\b[,:;!.]*\s*",
    re.IGNORECASE,
)
_VALUE = re.compile(r"(?:\$[^$]+\$|\\\([^()]+\\\)|[-−]?\d[\d.,/]*(?:\\?%)?|\(?[A-J]\)?)(?![\w\\$^!*+/=-])")
_SUBJECT = re.compile(
    r"(?:(?:(?:the|my|our) )(?P<sort>(?:[a-z]+ )?)"
    r"(?P<goal>answer|result|value|count|number|total|sum|solution|option|choice)"
    r"|(?P<pronoun>it|that|this|which|there))"
    r"(?:['’]s| (?:is|was|are|equals|becomes|turns out to be|must be|would be|will be"
    r"|(?P<should>should (?:actually |really )?(?:be|have been))))(?: actually| really)?:? "
    r"|(?P<own>(?:this |it )?should (?:be|read|say|have been)|i (?:meant|mean|should have (?:said|written))"
    r"|make (?:that|it)|(?:a|for a) total of|we have|(?:i|we) (?:now )?(?:get|obtain)) ",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"\s*(?P<unit>[a-z]+)?\s*(?P<sum>in total|altogether|in all|overall)?[.,]*"
    r"(?:\s*\b(?:because|since|as|not|instead of|rather than|and not)\b.*)?",
    re.IGNORECASE,
)
_HEADING = re.compile(r"(?:(?:the|my|our) )?(?:(?:final|correct|right) )?(?:answer|ans)", re.IGNORECASE)
"""The heading of a value: "Answer: 15"."""
_MARKED = re.compile(r"####\s*|</?answer>", re.IGNORECASE)
_NO_UNITS = frozenset("or and more less times plus minus if for when is was".split())
_TRUE = frozenset(("correct ", "right ", "true ", "actual ", "exact ", "real ", "final "))
_ASKED = re.compile(r"\b(?:problem|question|exercise)\b.*\b(?:asks|asked|wants|wanted|needs)\b", re.IGNORECASE)
_SUPPOSED = re.compile(r"\b(?:if|when|unless|without|suppose|were|had|would)\b", re.IGNORECASE)
_WITHDRAWN = re.compile(
    r"(?:please )?(?:ignore|disregard) (?:the above|that|this|my answer)\b"
    r"|(?:(?:that|this|it|(?:the|my|our) (?:above )?answer(?: above)?)(?:(?:['’]s| is| was| seems| looks)"
    r"(?: [a-z]+ly)? (?:not (?:(?:the )?(?:right|correct)(?: answer)?|true|the answer)"
    r"|wrong|incorrect|an? (?:mistake|error))"
    r"|(?: can['’]?t| cannot| could ?n[o'’]t| does ?n[o'’]t)(?: look| seem)?(?: to)?(?: be)? (?:right|correct|true))"
    r"(?:\s*$|\s+(?:because|since|as)\b)"
    r"|(?P<person>i|we)(?:['’]ve| have)? (?:(?:made an? (?:[a-z]+ )?(?:error|mistake)|take (?:that|it) back|retract"
    r"|forgot|miscounted|misread|miscalculated|misinterpreted|double-counted|overcounted|undercounted)\b))",
    re.IGNORECASE,
)
_WORDS = (
    "nswer", "rong", "orrect", "ait", "ctually", "orry", "ops", "meant", "Rather", "rather", "istake", "No", "no,",
    "But", "but", "mm", "that", "right", "should", "rror", " I ", "dit:", "DIT:", "PDATE:", "rrat", "RRAT",
    "orrigendum", "owever", " true ",
    " actual ", "eflection",
    "thought", "old on", "echeck", "ecomput", "ecalculat", "ecount", "gnore", "isregard", "####",
    " total", " in all", "pdate:", "altogether",
)  # fmt: skip
"""Parts of the words without which no sentence counts."""
_CLOSERS = " $*\\)]}.,;…\n`"


class _Clause(NamedTuple):
    """A clause without its openers."""

    text: str
    retracts: bool
    contrasts: bool
    """It is retracted by "but" or "however" alone, which may refer to the sentence before."""


def later_statement(answer: str, text: str, end: int) -> str | None:
    """Return the value of the last sentence after the box that states an answer, or a denial of the answer.

    None if there is no such sentence. The box ends before `end`.
    """
    after = text[end : end + MAX_CHARS]
    if not any(word in after for word in _WORDS) or "boxed" in after:
        return None
    found: str | None = None
    withdrawn = False
    first = True
    for piece in _SENTENCES.split(after.lstrip(_CLOSERS), _MAX_SENTENCES):
        marked = (
            _MARKED.sub("Answer: ", piece[:_MAX_SENTENCE], 1) if "####" in piece or "<answer>" in piece else piece
        )
        sentence = " ".join(_MARKED.sub("", marked[:_MAX_SENTENCE]).replace("*", " ").strip(" #>-").split())
        if not sentence:
            continue
        clauses = _clauses(sentence)
        if _withdraws(clauses, first):
            withdrawn, found = True, f"\\text{{not }} {answer}"
        value = _stated(sentence, clauses, withdrawn)
        found = value if value is not None else found
        first = False
    return found


def _clauses(sentence: str) -> list[_Clause]:
    """Return the clauses of a sentence. A formula is not split; an opener that retracts counts for what follows."""
    formulas = [(match.start(), match.end()) for match in _MATH.finditer(sentence)]
    clauses: list[_Clause] = []
    begin, retracts, corrects = 0, False, False
    cuts = [match for match in _CLAUSES.finditer(sentence) if not any(a < match.start() < b for a, b in formulas)]
    for start, stop in [*((cut.start(), cut.end()) for cut in cuts), (len(sentence), len(sentence))]:
        text = sentence[begin:start]
        while (opener := _OPENER.match(text)) is not None:
            retracts = retracts or opener["retracts"] is not None
            corrects = corrects or (opener["retracts"] is not None and opener["contrasts"] is None)
            text = text[opener.end() :]
        clauses.append(_Clause(text, retracts, retracts and not corrects))
        begin = stop
    return clauses


def _withdraws(clauses: list[_Clause], first: bool) -> bool:
    """Return True if the sentence withdraws the answer: the first one, or one with an opener that retracts."""
    clause = next((clause for clause in clauses if clause.text), None)
    match = _WITHDRAWN.match(clause.text) if clause is not None else None
    if clause is None or match is None:
        return False
    if match["person"] is None:
        return first or (clause.retracts and not clause.contrasts)  # of 6: "but that is wrong"
    return clause.retracts or (first and match["person"].lower() == "i")


def _stated(sentence: str, clauses: list[_Clause], withdrawn: bool) -> str | None:
    """Return the value that a sentence states as the answer, or None."""
    for index, (text, retracts, _) in enumerate(clauses):
        subject = _SUBJECT.match(text)
        begin = subject.end() if subject is not None else 0
        value = _VALUE.match(text, begin)
        if value is None:
            continue
        tail = _TAIL.fullmatch(text, value.end())
        if tail is None or (tail["unit"] or "").lower() in _NO_UNITS:
            continue
        before = sentence[: sentence.find(text)]
        if _SUPPOSED.search(before) is not None:
            return None  # if n is even, the answer is 6
        leading = not any(clause.text for clause in clauses[:index])
        last = index == len(clauses) - 1
        headed = subject is None and index > 0 and _HEADING.fullmatch(clauses[index - 1].text) is not None
        if headed or tail["sum"] or _counts(subject, leading, retracts or withdrawn, before, last=last):
            return value.group().strip("$").removeprefix("\\(").removesuffix("\\)").strip(" .,")
    return None


def _counts(subject: re.Match[str] | None, leading: bool, retracts: bool, before: str, last: bool) -> bool:
    """Return True if a value with this subject is stated as the answer.

    `leading` is True if nothing but openers precedes the clause, `last` if no clause follows.
    """
    if subject is None:
        return retracts and leading and last
    if subject["goal"] is not None:
        return subject["goal"].lower() == "answer" or subject["sort"].lower() in _TRUE or retracts
    if subject["pronoun"] is not None and subject["pronoun"].lower() == "which":
        return _ASKED.search(before) is not None
    return leading and (retracts or subject["should"] is not None)
