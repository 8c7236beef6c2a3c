"""Words directly beside a box: `\\boxed{5}` km south, a loss of `\\boxed{20}`, `\\boxed{42}` is wrong.

These words never change a verdict from wrong to right. They change it from right to wrong if they name another unit
or direction than the gold, if they state that the answer is wrong, or if they give a second value. All other words
are ignored.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from functools import lru_cache

from deepcompress_verify.reader.words import DIRECTIONS, UNITS

MAX_CHARS = 96
"""Characters that are examined on each side of a box."""
_DRESS = re.compile(
    r"\\(?:text|mathrm|rm|textrm|textbf|mathbf|operatorname)(?![a-zA-Z])\s*\{?|\\[ ,;:!]|\\quad|[{}~*$]|\\[()\[\]]"
)
"""Typesetting between a box and the words beside it."""
_END = re.compile(r"[.,;:!?()\n。，；]")
"""The end of the words that belong to a box."""
DENIED = re.compile(
    r"(?:is|was|would\s+be)\s+(?:[a-z]+ly\s+)?(?:(?:wrong|incorrect|false|invalid|mistaken|impossible|excluded|rejected|ruled\s+out|not\s+(?:correct|right|true|valid|possible|allowed|an?\s+solution))\b"
    r"|(?:far\s+|much\s+)?too\s+[a-z]+\b"
    r"|not\s+(?:the|my|our|a|an)\s+(?:correct\s+|right\s+|final\s+|valid\s+)?(?:answer|solution|result|option|choice)\b)"
    r"|(?:is|was)n['’]?t\s+(?:(?:the|my)\s+)?(?:correct|right|answer|final)\b",
    re.IGNORECASE,
)
_DENIED_IN_BRACKETS = re.compile(
    r"\s*\(\s*(?:wrong|incorrect|false|invalid|rejected|discarded|excluded|extraneous|not\s+(?:valid|right|correct|a\s+solution))\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:answer|solution|result|option|choice)\s+(?:is\s+(?:[a-z]+ly\s+)?not|isn['’]t|isnt|cannot\s+be|can['’]t\s+be)(?:\s+the)?\s*$"
    r"|\b(?:wrong|incorrect|false)\s*:\s*$"
    r"|(?:wrong|incorrect|false)\s+(?:answer|solution|result|option|choice)\s+is\s*$"
    r"|(?:cannot|can['’]t|could\s+not|could(?:n['’]t))\s+be\s*$|\brul(?:e|es|ed|ing)\s+out\s*$|\bnot\s*$"
    r"|(?:answer|result|solution|value)\s+is\s+at\s+(?:least|most)\s*$|(?:不是|不为|并非|不等于|不可能是|不能是|大于|小于|多于|少于|超过|不足)\s*$"
    r"|(?:more|less|greater|fewer|larger|smaller|higher|lower)\s+than\s*$|\bbetween\s*$|(?:\\neq?|\\not\s*=|≠)\s*$",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r" *,? *or +(?:maybe\s+|perhaps\s+|possibly\s+|even\s+|just\s+)?"
    r"(?:\$(?P<math>[^$\n]{1,64})\$|\\\((?P<inline>[^\n]{1,64}?)\\\)|(?P<plain>-?\d[\d.,/]*(?<![.,])(?:\\?%)?|[A-HJ](?![A-Za-z])))"
    r"|\s*\\text\s*\{\s*or\s*\}\s*(?P<typeset>-?\d[\d.,/]*(?<![.,])|[A-J])(?=\s*(?:\$|\\[)\]]))"
)
"""A second value after a box. I is a pronoun outside of formulas."""
_SECOND_BEFORE = re.compile(
    r"(?:\$(?P<math>[^$\n]{1,64})\$|\\\((?P<inline>[^\n]{1,64}?)\\\)|(?<![\w.,/\\-])"
    r"(?P<plain>-?\d[\d.,/]*(?<![.,])(?:\\?%)?|[A-HJ])) *,? (?:or|OR) *[$*\\(\[ ]*$"
    r"|(?<![\w.,/\\-])(?P<typeset>-?\d[\d.,/]*(?<![.,])|[A-J])\s*\\text\s*\{\s*or\s*\}\s*$"
)
"""A second value before a box."""
_SCALED_BEFORE = re.compile(
    r"\b(?:twice|thrice|half(?:\s+of)?|double|triple|(?:square|cube)(?:\s+root)?\s+of|(?:reciprocal|opposite|negative|logarithm)\s+of"
    r"|anything\s+but|exceeds|differs\s+from)\s*$",
    re.IGNORECASE,
)
_CHANGED_AFTER = re.compile(
    r"(?:minus|plus|divided\s+by|multiplied\s+by|times\s+[\d\\]|squared|cubed|factorial|doubled|tripled|halved"
    r"|(?:is|as)\s+(?:only\s+)?an?\s+(?:lower|upper)\s+bound)\b",
    re.IGNORECASE,
)
"""Words of arithmetic beside a box."""
_OTHER_CASE = re.compile(
    r"[\s$)\]}*\\]*,?\s*(?:if|when|for)\b[^.;\n]{1,80}?\b(?:and|but|or|while)\b,?\s+"
    r"(?:\$(?P<math>[^$\n]{1,64})\$|\\\((?P<inline>[^\n]{1,64}?)\\\)|(?P<plain>-?\d[\d.,/]*(?<![.,])))\s+(?:if|when|for|otherwise)\b"
)
"""A value for another case after a box: 12 if n is even and 13 if n is odd."""
_ROUGHLY = re.compile(
    r"[\s$)\]}*\\]*(?:[\s,(]*(?:(?:i\.e\.|which\s+is|that\s+is|or),?\s*|(?<=[,(]))\s*(?:about|approximately|roughly|around)|(?<=\\)approx|≈)\s*\$?"
    r"(?P<value>-?\d+\.\d+(?:\s*\\?%)?)(?![\d\s]*(?:\\times|\\cdot|×|\^|[eE]\d))(?!\$?\s+[a-z]+s\b)"
)
"""An approximation after a box."""
_HALF = re.compile(r"(?:[ap]\.?\s?m(?![a-z])|noon|midnight|morning|evening)", re.IGNORECASE)
_HALF_OF_DAY = re.compile(
    r"[\s,]*(?:[ap]\.?\s?m(?![a-zA-Z])|(?:o['’]clock\s+)?in\s+the\s+(?:(?P<am>morning)|afternoon|evening)\b)",
    re.IGNORECASE,
)
"""A half of the day after a box: `\\boxed{3:15}` am."""
_NAMED_VALUE = re.compile(r"\s*\\?[A-Za-z]+(?:_(?:\w|\{\w+\}))?\s*=(?!=)")
_SMALL_NAME = re.compile(r"\s*[a-z]\s*=(?!=)")
_HEAD = re.compile(r"(?:^|[\s$(\[{,;:])([a-z]|\(\s*[xyz](?:\s*,\s*[xyz]){1,2}\s*\))\s*=$")
"""A variable, or coordinates, before a box."""
_NUMBER_OF = re.compile(
    r"(?:(?:real|distinct|different|complex|integer|positive|negative|possible|such)\s+)*(?P<noun>solutions?|roots?|zeros|values|answers)\b"
)
_DECIMAL = re.compile(r"-?\d+\.\d+")
OPENERS = " $*\\([{\n"
_CLOSERS = " $*\\)]},"
_DENIALS = (
    " than",
    "etween",
    "not",
    "Not",
    "n't",
    "n’t",
    "isnt",
    " be",
    " the",
    " out",
    "\\ne",
    "\\neq",
    "\\not=",
    "\\not =",
    "≠",
    " least",
    " most",
    "不是",
    "不为",
    "并非",
    "等于",
    "能是",
    "大于",
    "小于",
    "多于",
    "少于",
    "超过",
    "不足",
    "rong:",
    "orrect:",
    "lse:",
)
"""The last words of a denial before a box, other than "the wrong answer is"."""
_AFTER_DIRECTION = (" of", " about", " exactly")
"""The last words before a box after a direction: a loss of about."""
_SCALING = ("Twice", "twice", "hrice", "alf", "ouble", "riple", "thing but", "xceeds", "differs from")
_OR = (" or", "{or", "OR")
ENDINGS = (" is", *_DENIALS, *_AFTER_DIRECTION, *_SCALING, *_OR)
"""The last words before a box that may matter even if no words follow it; " is" does after "the wrong answer"."""
_VERBS = ("is", "was", "would")
LETTER = re.compile("[A-Za-z]")
_DIRECTED_BEFORE = re.compile(r"([A-Za-z]+)\s+of(?:\s+(?:about|exactly))?\s*$")
_WORD = re.compile(r"\\?[A-Za-z]+")
_AMBIGUOUS = frozenset("in a us at are bar th st nd rd min unit units ordinal degree degrees deg cup am pm".split())
"""Units that are words of prose as well, or that an answer may leave out beside a word."""
_UNIT = re.compile(
    r"\s*((?:square|sq|cubic)\s+)?([A-Za-z]+)(\s*\^?\s*[23²³]|\s+squared|\s+cubed)?((?:\s*/\s*|\s+per\s+)[A-Za-z]+)?"
)


def restated(answer: str, golds: tuple[str, ...], text: str, begin: int, end: int) -> str | None:
    """Return the answer with the words beside its box, for a second comparison; None if none of them can contradict.

    The box begins at `begin` and ends before `end`.
    """
    before = text[max(0, begin - MAX_CHARS) : begin]
    has_words_after = LETTER.search(text, end, end + MAX_CHARS) is not None
    last = before.rstrip(OPENERS)
    if last.endswith("=") and (named := _other_name(answer, golds, last)) is not None:
        return named
    if not has_words_after and not may_contradict(last):
        return None  # most responses end with the box
    if _denied_before(before):
        return f"\\text{{not }} {answer}"
    if last.endswith((*_SCALING, *_AFTER_DIRECTION)) and _SCALED_BEFORE.search(_DRESS.sub(" ", before)) is not None:
        return f"\\text{{not }} {answer}"
    after = text[end : end + MAX_CHARS]
    if last.endswith(_OR) and (second := _SECOND_BEFORE.search(before)) is not None:
        return _both(answer, second)
    if has_words_after:
        rest = after.lstrip(_CLOSERS)
        sentence = rest.removeprefix("which ") if rest.startswith("which ") else after
        if rest.lstrip(" ").startswith("(") and _DENIED_IN_BRACKETS.match(rest) is not None:
            return f"\\text{{not }} {answer}"
        if _CHANGED_AFTER.match(_sentence(after)) is not None:
            return f"\\text{{not }} {answer}"
        if sentence.lstrip(_CLOSERS).startswith(_VERBS) and DENIED.match(_sentence(sentence)) is not None:
            return f"\\text{{not }} {answer}"
        if (rough := _ROUGHLY.match(after)) is not None and "." not in answer:
            return f"{answer} ({rough['value']})"
        if rest.lstrip(" ").startswith(_CASES) and (second := _OTHER_CASE.match(after)) is not None:
            return _both(answer, second)
        counted = rest.lstrip(" ").startswith(_NUMBERED) and "=" not in answer and all(map(_NAMED_VALUE.match, golds))
        if counted and (noun := _NUMBER_OF.match(_sentence(after))) is not None:
            return f"{answer} \\text{{ {noun['noun']}}}"
        if any(map(_HALF.search, golds)) and (half := _half_of_day(answer, after)):
            return f"{answer} \\text{{ {half}}}"
        if "or" in rest[:12] and (second := _SECOND.match(_closed(after))) is not None:
            return _both(answer, second)
    elif not last.endswith(_AFTER_DIRECTION):
        return None
    stated = frozenset[str]().union(*map(_words, golds))
    marked = any("\\$" in gold or "%" in gold for gold in golds)
    if not stated and not marked:
        return None
    words, own = _sentence(after), _words(answer)
    unit = _unit(words) if (marked or stated & UNITS.keys()) and not own else ""
    if marked:
        unit = unit.partition(" per ")[0].partition("/")[0]  # $40: 40 dollars per month
    direction = _direction(words, before, bool(own)) if stated & DIRECTIONS and not own & DIRECTIONS else ""
    beside = " ".join(filter(None, (unit, direction)))
    return f"{answer} \\text{{ {beside}}}" if beside else None


def _half_of_day(answer: str, after: str) -> str:
    """Return "am" or "pm" if it follows the box of a time without it, otherwise an empty text."""
    match = None if _HALF.search(answer) is not None else _HALF_OF_DAY.match(_DRESS.sub(" ", after))
    if match is None:
        return ""
    return "am" if match["am"] or match.group().strip(" ,")[0] in "aA" else "pm"


_CASES = ("if", "when", "for")
_COMPASS = {"N": "north", "S": "south", "E": "east", "W": "west"}
_NUMBERED = ("sol", "roo", "zer", "val", "ans", "rea", "dis", "dif", "com", "int", "pos", "neg", "suc")


def _other_name(answer: str, golds: tuple[str, ...], last: str) -> str | None:
    """Return the answer with the variable before its box, if the gold has a variable or the box a point."""
    head = _HEAD.search(last)
    if head is None or "=" in answer:
        return None
    if head[1][0] == "(" or all(map(_SMALL_NAME.match, golds)):
        return f"{head[1]} = {answer}"
    return None


def may_contradict(last: str) -> bool:
    """Return True if the last words before a box may contradict it although no words follow it."""
    if not last.endswith(" is"):
        return last.endswith(ENDINGS)
    words = last.lower()
    return "wrong" in words or "incorrect" in words or "false" in words


def _both(answer: str, second: re.Match[str]) -> str | None:
    """Return the answer and a second value."""
    value = next(filter(None, second.groups()))
    if _DECIMAL.fullmatch(value):
        return f"{answer} ({value})"  # it may be an approximation
    return None if "boxed" in value else f"{answer} \\text{{ or }} {value}"


def _denied_before(before: str) -> bool:
    """Return True for "the answer is not" and "the wrong answer is"."""
    last = before.rstrip(OPENERS)
    if not last.endswith((" is", *_DENIALS)) or not may_contradict(last):
        return False
    return _DENIED_BEFORE.search(_DRESS.sub(" ", before).rpartition("\n")[2]) is not None


def _sentence(after: str) -> str:
    """Return the words after a box, without typesetting, up to the end of their sentence."""
    words = _DRESS.sub(" ", after)
    stop = _END.search(words)
    return (words[: stop.start()] if stop is not None else words).lstrip()


def _closed(after: str) -> str:
    """Return the text after the end of the formula around a box."""
    rest = after.lstrip(" ")
    for closer in ("$$", "$", "\\)", "\\]"):
        if rest.startswith(closer):
            return rest[len(closer) :]
    return rest


def _words(text: str) -> frozenset[str]:
    """Return the first words of a text, in lower case, and those of two letters as they are: mW and MW are units.

    A command is a word if it names a unit: \\pounds.
    """
    return _words_of(text[:1_000])  # cut before it is cached: a gold may be long


@lru_cache(maxsize=2_048)
def _words_of(text: str) -> frozenset[str]:
    found = (word.removeprefix("\\") for word in _WORD.findall(text) if word[0] != "\\" or word[1:] in UNITS)
    return frozenset(word if len(word) < 3 else word.lower() for word in found)


def _unit(words: str) -> str:
    """Return the unit at the beginning of the words, or an empty text."""
    match = _UNIT.match(words)
    if match is None:
        return ""
    name = match[2]
    known = name in UNITS or (len(name) > 3 and name.lower() in UNITS)
    if not known or name.lower() in _AMBIGUOUS:
        return ""
    if len(name) < 3 and words[match.end() :].strip() and not DIRECTIONS & set(words[match.end() :].lower().split()):
        return ""  # a letter in the middle of a sentence
    return match.group().strip()


def _direction(words: str, before: str, has_unit: bool) -> str:
    """Return the first direction among the words after a box, or that of "a loss of" before it."""
    for index, word in enumerate(words.split()[:5]):
        if word.lower() in DIRECTIONS:
            return word.lower()
        if (index or has_unit) and word in _COMPASS:
            return _COMPASS[word]  # 5 km S; 5 N is a force
    match = _DIRECTED_BEFORE.search(_DRESS.sub(" ", before))
    return match[1].lower() if match is not None and match[1].lower() in DIRECTIONS else ""
