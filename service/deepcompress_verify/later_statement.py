"""Sentences after the last box that state another answer ("So the answer is 48.") or withdraw it ("That is wrong.").

A sentence counts only if it states a value and nothing else. The value is then a second statement of the answer,
which must be correct as well. Linear: each sentence is examined once, up to a length.
"""

from __future__ import annotations

import re

MAX_CHARS = 4_096
"""Characters after the box that are examined."""
_MAX_SENTENCE = 160
_SENTENCES = re.compile(r"[.!?。](?=\s|$)|\n")
_RETRACTION = r"(?:(?:wait|no|actually|sorry|oops|correction|rather|but|hmm)[,:.!]* )"
_VALUE = (
    r"(?P<value>\$[^$]{1,64}\$|\\\([^()]{1,64}\\\)|[-−]?\d[\d.,/]*(?:\\?%)?|\(?[A-J]\)?)"
    r"(?: (?!or|and|more|less|times|plus|minus|if|for|when)[a-z]+)?[.,]?"
)
_ANSWER = re.compile(
    rf"(?:(?:so|thus|therefore|hence|then|and)[,:]? |{_RETRACTION})?{_RETRACTION}?"
    r"(?:the|my|our) (?:correct |right |true |actual |exact |real )?answer"
    rf" (?:is|should be|must be|would be|should have been)(?: actually)?:? {_VALUE}",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    rf"{_RETRACTION}{{1,2}}(?:(?:it|that|this)(?:['’]s| is| should be| must be)|i meant|make that)?"
    rf"(?: actually)? ?{_VALUE}",
    re.IGNORECASE,
)
_SHOULD = re.compile(
    rf"(?:it|that|this) should (?:actually |really )?(?:be|have been):? {_VALUE}"
    rf"|.{{0,80}}\bbut the (?:exact|actual|true|real|correct) (?:answer|value) is {_VALUE.replace('value', 'other')}",
    re.IGNORECASE,
)
_WITHDRAWN = re.compile(
    rf"{_RETRACTION}{{0,2}}(?:that|this|it)(?:['’]s| is| was)(?: [a-z]+ly)?"
    r" (?:not (?:right|correct|true)|wrong|incorrect|a mistake)\b"
    rf"|{_RETRACTION}{{0,2}}I(?:['’]ve| have)? (?:made an? (?:[a-z]+ )?(?:error|mistake)"
    r"|(?:forgot|miscounted|misread|miscalculated|misinterpreted|double-counted|overcounted|undercounted)\b)",
    re.IGNORECASE,
)
_WORDS = (
    "nswer", "rong", "orrect", "ait", "ctually", "orry", "ops", "meant", "Rather", "rather", "istake", "No", "no,",
    "But", "but",
    "mm", "that",
    "right", "should", "rror", " I ",
)  # fmt: skip
"""Parts of the words without which no sentence counts."""
_CLOSERS = " $*\\)]}.,\n`"
_NUMERAL = re.compile(r"\d")


def later_statement(answer: str, text: str, end: int) -> str | None:
    """Return the value of the last sentence after the box that states an answer, or a denial of the answer.

    None if there is no such sentence. The box ends before `end`.
    """
    after = text[end : end + MAX_CHARS]
    if not any(word in after for word in _WORDS) or "boxed" in after:
        return None
    found: str | None = None
    first = True
    for piece in _SENTENCES.split(after.lstrip(_CLOSERS)):
        sentence = " ".join(piece[:_MAX_SENTENCE].replace("*", " ").strip(" #>-").split())
        if not sentence:
            continue
        if first and _WITHDRAWN.match(sentence) is not None:
            return f"\\text{{not }} {answer}"
        first = False
        match = _ANSWER.fullmatch(sentence) or _INSTEAD.fullmatch(sentence) or _SHOULD.fullmatch(sentence)
        if match is not None:
            value = next(filter(None, match.groups())).strip("$").removeprefix("\\(").removesuffix("\\)").strip(" .,")
            found = value if _NUMERAL.search(value) or len(value.strip("()")) == 1 or "\\" in value else found
    return found
