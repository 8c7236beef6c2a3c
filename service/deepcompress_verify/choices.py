"""Letters of choices in every dress: "(D)", `\\textbf{(d)}`, "D. Alina", "Option D: it can't be A or B".

`read_choice` returns the letter and the text after it. A text after the letter that names another letter as an
answer ("D. or B", "D: B") is no choice.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from deepcompress_verify.hedges import DENIALS, HEDGES
from deepcompress_verify.masking import mask

MAX_CHARS = 2_000
_DRESS = re.compile(
    r"^\s*(?:(?:the\s+)?(?:correct\s+|right\s+|best\s+|final\s+)?(?:option|choice|answer|选项?|答案)(?:\s+is|是|为)?\s*[:：]?\s*)?"
    r"(?P<open>[{\[(（【\s]*)(?P<letter>[A-Za-z])(?P<close>[}\])）】\s]*)(?P<after>[.。:：)、．]|\s*[—–]|\s-(?=\s+[A-Za-z]{3}))?\s*",
    re.IGNORECASE,
)
_LETTER = r"(?:[A-J]|\([A-J]\)|\{[A-J]\}|\[[A-J]\])"
_AND = r"(?:[,;&、，]\s*(?:and\b)?|and\b|\\text\s*\{\s*,?\s*and\s*\})"
_SEVERAL = re.compile(rf"{_LETTER}(?:\s*{_AND}\s*{_LETTER}){{1,9}}")
_SEVERAL_JOINED = re.compile(r"[A-J]{2,6}")


def several_choices(text: str) -> str | None:
    """Return the letters of several choices in ascending order, "ACD" for "A, C and D", or None.

    Letters without separators are choices only in ascending order: ACD, and not CAB.
    """
    if len(text) > 64 or text.islower() or text.isdigit():
        return None
    text = text.strip().rstrip(".").strip()
    for command in ("\\text", "\\textbf", "\\mathrm", "\\mathbf"):
        if text.startswith(command + "{") and text.endswith("}"):
            text = text[len(command) + 1 : -1].strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        text = text[2:-2].strip()
    if _SEVERAL.fullmatch(text) is not None:
        letters = [sign for sign in text.replace("\\text", " ").replace("and", " ") if sign.isupper()]
        return "".join(sorted(letters)) if len(set(letters)) == len(letters) else None
    if _SEVERAL_JOINED.fullmatch(text) is not None and list(text) == sorted(set(text)):
        return text
    return None


_NO_CHOICE = re.compile(r"[{\[( ]*(?:[0-9+-]|\\(?:[dt]?frac|sqrt|left|pi)(?![a-z]))")
_PREDICATE = re.compile(
    r"^(?:is|was)\s+(?:the\s+|my\s+)?(?:correct|right|best|true|answer)(?:\s+(?:answer|option|choice))?[.!]?\s*$",
    re.I,
)
_ONLY_DENIES = re.compile(r"^,?\s*(?:and\s+)?not\s+\(?([A-Z])\)?[.!]?\s*$")
"""C, not B."""
_NEITHER = re.compile(r"^(?:neither|none|both|all)\b", re.IGNORECASE)
_CONTINUES = re.compile(
    r"[+*/^_=<>!']|\\(?:ne|neq|cup|cap|cdot|times|to|not)(?![a-zA-Z])"
    r"|(?:is|are|was|can|does|could|should|must|has|looks|seems)\b(?!\s+(?:the|my|correct|right))"
    r"|(?:or|and|if|unless|not|no|than|instead|maybe|isn.t|isnt|can.t|cannot)\b",
    re.IGNORECASE,
)
"""A text that goes on after a letter and is no text of an option: "+ 1", "is wrong", "or so"."""
_TOKEN = re.compile(r"[A-Za-z]+(?:['’][a-zA-Z]+)?|[,/&|.;:()]|[^\sA-Za-z]")
_ASSERTING = frozenset(
    "or and & / | , option options choice choices answer answers so then therefore thus hence "
    "letter letters both nor 或 和 选 是".split()
)
_LINKS = frozenset(
    "be is are was the option options answer answers choice choices or and nor , / letter letters either a an "
    "是 或 和".split()
)
_RIGHT = frozenset("right correct true answer best".split())
_PART = re.compile(r"\([A-Za-z]\)|(?<![A-Za-z])[A-Za-z][):]|\b(?:i|ii|iii|iv)\)")


@dataclass(frozen=True, slots=True)
class ChoiceText:
    """A choice: its letter, in upper case, and the text after the letter."""

    letter: str
    content: str
    """The text of the option, or a remark; empty if there is none."""
    lower: bool
    """The letter was written in lower case, in brackets."""


def read_choice(text: str) -> ChoiceText | None:
    """Return the choice that a text states, or None if it states none, or more than one."""
    if len(text) > MAX_CHARS:
        return None
    text = text.strip().rstrip(".。 ").removesuffix("项")
    if text[:1] in "0123456789+-" or _NO_CHOICE.match(text):
        return None  # empty, or a number or formula
    masked = mask(text)
    match = _DRESS.match(masked)
    if match is None:
        return None
    letter = match["letter"]
    if _unbalanced(match["open"], match["close"], match["after"] or ""):
        return None
    wrapped = any(bracket in match["open"] for bracket in "([（【") or masked.strip() == f"{letter})"
    if letter.islower() and not wrapped:
        return None
    content = masked[match.end() :].strip()
    separated = wrapped or match["after"] or not set(match["close"]).isdisjoint(")]）】")
    denied = _ONLY_DENIES.match(content)
    if denied is not None and denied[1] != letter.upper():
        content = ""
    if content and not (separated or _PREDICATE.match(content)):
        return None
    if _PREDICATE.match(content):
        content = ""
    if content and (
        _CONTINUES.match(content)
        or (content[0] == "-" and not masked[match.end() - 1].isspace())
        or names_another(content, letter.upper())
    ):
        return None
    original = text[match.end() :].strip()
    if original.count("{") != original.count("}") or original.count("$") % 2:
        original = content
    return ChoiceText(letter.upper(), original if content else "", letter.islower())


def has_parts(content: str) -> bool:
    """Return True if the text after a letter goes on with another part: (a) 5 (b) 7."""
    return _PART.search(content) is not None


def _unbalanced(opened: str, closed: str, after: str) -> bool:
    closed += after
    pairs = (("(", ")"), ("[", "]"), ("（", "）"), ("【", "】"))
    if any(opened.count(left) > closed.count(right) for left, right in pairs):
        return True
    return opened.count("[") != closed.count("]")


def names_another(content: str, own: str) -> bool:
    """Return True if the text hedges, or names a letter other than `own` as an answer without denying it."""
    tokens = _TOKEN.findall(content)
    words = [token.replace("'", "").replace("’", "").lower() for token in tokens]
    option = _NEITHER.match(content) is not None and own not in tokens
    if option and words[0] in ("neither", "both"):
        return "or" in words  # the text of an option: neither A nor B
    if not HEDGES.isdisjoint(words) or ("no", ",") in pairwise(words):
        return True
    for index, part in enumerate(tokens):
        if (
            len(part) != 1
            or not part.isupper()
            or (part == "I" and own != "I")
            or (part == "A" and _article(words, index))
        ):
            continue
        before, after = words[max(0, index - 2) : index], words[index + 1 : index + 4]
        denied = _denied_before(words, index) or (
            after[:1] in (["is"], ["are"], ["was"], ["cannot"], ["cant"], ["isnt"], ["doesnt"], ["does"])
            and not DENIALS.isdisjoint(after)
        )
        if part == own:
            if denied:
                return True
            continue
        if not denied and tokens[index - 1 : index + 2 : 2] == ["(", ")"]:
            return True
        verb = words[index + 1 :]
        while verb and verb[0] in (")", "]"):
            verb = verb[1:]
        if verb[:1] in (["is"], ["are"]) and not denied and not _RIGHT.isdisjoint(verb[1:4]):
            return True
        if content.startswith("(") and not denied:
            return True
        while before and before[-1] in ("(", "[", "{"):
            before.pop()
        asserted = not before or not _ASSERTING.isdisjoint(before)
        if asserted and not denied:
            return True
    return False


def _article(words: list[str], index: int) -> bool:
    return (
        words[index + 1 : index + 2] != [] and words[index + 1].isalpha() and len(words[index + 1]) > 2 and index == 0
    )


def _denied_before(words: list[str], index: int) -> bool:
    """Return True if a denial comes before, with nothing but letters and links between: "can't be A or B"."""
    for word in reversed(words[max(0, index - 8) : index]):
        if word in DENIALS or word in ("不", "非"):
            return True
        if word not in _LINKS and len(word) != 1:
            return False
    return False
