"""Closing phrases: "The answer is X", "#### X", "A: X", and a last line that states the answer.

Used for the format `final_answer` if there is no box, and to detect that a response restates its answer after its
last box. Linear: find and rfind over the text, and a bounded tail that is examined by lines.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re

from deepcompress_verify.beside import DENIED
from deepcompress_verify.reader.words import DIRECTIONS, FUNCTION_WORDS

_TAIL = 4096
"""Characters at the end of the text that are searched for a closing phrase."""
_MARKERS = (
    "所以选", "因此选", "故答案选", "答案选", "答案】",
    "answer is", "answer:", "answer**:", "answer to the problem is", "answer：", "answer=", "answer =", "option is",
    "choice is", "option:", "choice:", "答案是", "答案为", "答案：", "答案:", "故选", "故选择", "应选",
    "answers are", "answers are:", "solutions are", "roots are",
    "answer would be", "answer must be", "answer should be", "answer to the question is", "answer to this problem is",
)  # fmt: skip
_TAG, _TAG_END = "<answer>", "</answer>"
_CHOICE_MARKERS = ("option is", "choice is", "option:", "choice:")
"""Markers only after a word such as "correct"."""
_LINE_MARKERS = ("answer is", "answer:", "option is", "choice is", "答案")
_CORRECT = frozenset("correct right best final".split())
_DENYING = frozenset(
    "not no never wrong incorrect false isn't wasn't cannot can't another other one possible first initial previous "
    "earlier different alternative if unless suppose supposing assume assuming whether doubt doubts doubted "
    "unclear unknown unlikely impossible deny denies denied refute refutes 不是 错误".split()
)
"""Words before a marker after which it states no answer: "a wrong answer is 5"."""
_SUPPOSING = frozenset(("if", "suppose", "supposing", "assume", "assuming", "were", "had"))
"""Words before "the answer would be" that make it the answer of another case."""
_HEDGED_LINE = re.compile(r"\b(?:could|might|may)\s+be\b|\bneither\b|\bnone\s+of\b")
"""Words of a last line that states no answer."""
_MAX_MARKERS = 16
"""Markers tried from the end of the text."""
_RETRACTIONS = frozenset("wait actually sorry correction oops nope edit update erratum errata corrigendum".split())
"""Words that, at the beginning of a sentence after the statement, withdraw it."""
_ALTERNATIVES = frozenset(
    "no hmm but however alternatively or instead unless mistake perhaps maybe otherwise".split()
)
"""The same, if the sentence has a value: a digit, a formula or a single capital letter."""
_WITHDRAWN = ("i made a mistake", "i was wrong", "that is wrong", "that's wrong", "is incorrect", "not correct")
_MAX_STATEMENT = 400
"""Maximum characters of a statement."""
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_DIGITS = frozenset("0123456789")
_UNIT_WORDS = frozenset("percent pct % degrees cm dollars inches miles hours minutes".split())
_EXPRESSION = re.compile(r"[-+]?[\w.()^ ]+(?:[-+*/][\w.()^ ]+)+", re.ASCII)
"""A line that is a formula in plain text: -1 + sqrt(3)."""
_NAMES = re.compile(r"[A-Za-z_]{2,}")
_OPENING = " *:\n：=_"
"""Characters between a marker and its statement."""
_CLOSING = " *.:。,;；，_\n"
"""Characters at the end of a statement that are not part of it."""


def find_restated_answer(text: str, end: int) -> str | None:
    """Return the mathematics of a phrase "final answer is X" after the last box, or None."""
    if text.find(" answer", end) < 0 and text.find(" Answer", end) < 0 and text.find(" ANSWER", end) < 0:
        return None
    position, size = -1, 0
    for spelling in ("inal answer", "inal Answer", "INAL ANSWER", "orrect answer is"):
        found = text.rfind(spelling, end)
        if found > position:
            position, size = found, len(spelling)
    if position < 0:
        return None
    rest = text[position + size :][:_MAX_STATEMENT].lstrip(" *:")
    if rest[:2].lower() == "is":
        rest = rest[2:].lstrip(" *:")
    if "boxed" in rest:
        return None
    return _delimited(rest) or _leading_number(rest)


def find_marked_answer(text: str, end: int) -> str | None:
    """Return what "Final answer: X" or a last line "#### X" states after the last box, or None.

    The box then holds an intermediate result.
    """
    if find_restated_answer(text, end) is None and text.find("####", end) < 0:
        return None
    statement, _ = _after_marker(text, end)
    return statement


def find_closing_answer(text: str, start: int) -> str | None:
    """Return the answer that the end of the text states without a box, or None."""
    statement, marked = _after_marker(text, start)
    return statement if marked else _last_line(text, start)


def has_marker(text: str, start: int = 0) -> bool:
    """Return True if the text has a phrase that states an answer, even if the text withdraws it."""
    return _after_marker(text, start)[1]


def _after_marker(text: str, start: int) -> tuple[str | None, bool]:
    """Return (statement, True) of the last marker: the line after "####" and "A:", the sentence after a phrase.

    The statement is None if the text after it withdraws it. Without a marker the result is (None, False).
    """
    hashes = text.rfind("####", start)
    line = max(text.rfind("\nA:", start), 0 if start == 0 and text.startswith("A:") else -1)
    tail_start = max(start, len(text) - _TAIL)
    if text.find(_TAG_END, tail_start) >= 0:
        tagged = _tagged(text, tail_start)
        if tagged is not None:
            return tagged or None, True
    phrase, after = _last_phrase(text[tail_start:])
    if phrase >= 0 and tail_start + phrase > max(hashes, line):
        statement, rest = _statement(text[tail_start + after :])
        return (None if _withdraws(rest) else statement), True
    if hashes > line:
        return _line(text, hashes + len("####")), True
    if line >= 0:
        return _line(text, text.find(":", line) + 1), True
    return None, False


def _tagged(text: str, start: int) -> str | None:
    """Return the content of the last <answer>...</answer>: a sentence in it states the answer; None without tags."""
    end = text.rfind(_TAG_END, start)
    begin = text.rfind(_TAG, start, end)
    if begin < 0 or end - begin > _TAIL:
        return None
    inside = text[begin + len(_TAG) : end].strip()
    phrase, after = _last_phrase(inside)
    if phrase >= 0:
        inside = _statement(inside[after:])[0] or ""
    for opener, closer in _DELIMITERS:
        if inside.startswith(opener) and inside.find(closer, len(opener)) == len(inside) - len(closer):
            return inside[len(opener) : -len(closer)].strip()
    return inside


def _last_phrase(tail: str) -> tuple[int, int]:
    """Return (begin, end) of the last marker that no word before it denies; (-1, -1) without one."""
    lower = tail.lower()
    if len(lower) != len(tail):  # some letters grow: İ
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in tail)
    end = len(lower)
    for _ in range(_MAX_MARKERS):
        begin, after = -1, -1
        for marker in _MARKERS:
            position = lower.rfind(marker, 0, end)
            if position >= 0 and position + len(marker) > after:
                begin, after = position, position + len(marker)
        if begin < 0:
            return -1, -1
        if _states(lower[max(0, begin - 48) : begin], lower[begin:after]):
            return begin, after
        end = begin + 1
    return -1, -1


def _states(before: str, marker: str) -> bool:
    """Return True if a marker after the words `before` states the answer."""
    for mark in ("\n", ". ", "; ", "。"):
        before = before.rpartition(mark)[2]
    words = before.replace("*", " ").replace("doubt,", " ").replace(",", " , ").split()
    last = words[-4:]
    if not _DENYING.isdisjoint(last) or ("would" in marker and not _SUPPOSING.isdisjoint(words)):
        return False
    return marker not in _CHOICE_MARKERS or not _CORRECT.isdisjoint(last)


def _line(text: str, begin: int) -> str | None:
    end = text.find("\n", begin)
    return text[begin : len(text) if end < 0 else end][:_MAX_STATEMENT].strip() or None


def _statement(rest: str) -> tuple[str | None, str]:
    """Return the statement after "the answer is", up to the end of its sentence, and the text after it.

    Nothing of the sentence is dropped: words that it goes on with are part of the answer (`remarks` reads them).
    """
    rest = rest.lstrip(_OPENING)
    end, resume = _end_of_sentence(rest[:_MAX_STATEMENT])
    sentence = rest[:end].replace("**", " ").strip(_CLOSING)
    for opener, closer in _DELIMITERS:
        if sentence.startswith(opener) and sentence.find(closer, len(opener)) == len(sentence) - len(closer):
            return sentence[len(opener) : -len(closer)].strip() or None, rest[resume:]
    result = _delimited(sentence)
    if result is not None and result.endswith("}") and _only_unit(sentence):
        return result, rest[resume:]
    return sentence or None, rest[resume:]


def _only_unit(sentence: str) -> bool:
    """Return True if nothing but a unit of `_UNIT_WORDS` follows the mathematics: "$28$ percent"."""
    after = max(sentence.rfind(closer) + len(closer) for _, closer in _DELIMITERS if sentence.rfind(closer) >= 0)
    return sentence[after:].strip(_CLOSING) in _UNIT_WORDS


def _end_of_sentence(text: str) -> tuple[int, int]:
    """Return (end, begin of the next sentence) of the first sentence; formulas may hold stops and line ends."""
    position = 0
    while position < len(text):
        for opener, closer in _DELIMITERS:
            if text.startswith(opener, position):
                close = text.find(closer, position + len(opener))
                if close >= 0:
                    position = close + len(closer)
                    break
        else:
            if text[position] in "\n。" or text.startswith("<|", position):
                return position, position + 1
            if text[position] == "." and text[position + 1 : position + 2] in (" ", "\n", "*", ""):
                return position, position + 1
            position += 1
    return len(text), len(text)


def _withdraws(rest: str) -> bool:
    """Return True if a sentence after the statement withdraws it: "Wait, that is wrong"."""
    lower = rest[:_TAIL].lower()
    if any(phrase in lower for phrase in _WITHDRAWN):
        return True
    for sentence in rest[:_TAIL].replace("!", ".").replace("?", ".").replace("\n", ".").split("."):
        words = sentence.replace(",", " ").replace("*", " ").split()
        if not words:
            continue
        first = words[0].lower().rstrip(":")
        if first in _RETRACTIONS or (first in _ALTERNATIVES and any(map(_is_value, words[1:]))):
            return True
    return False


def _is_value(word: str) -> bool:
    return (
        not _DIGITS.isdisjoint(word)
        or "$" in word
        or "\\(" in word
        or (len(word.strip("()")) == 1 and word.isupper())
    )


def _delimited(rest: str) -> str | None:
    """Return the mathematics at the beginning of the text, with the unit directly after it."""
    for opener, closer in _DELIMITERS:
        if rest.startswith(opener):
            end = rest.find(closer, len(opener))
            if end > 0:
                return _with_unit(rest[len(opener) : end].strip(), rest[end + len(closer) :])
    return None


def _with_unit(inside: str, after: str) -> str | None:
    """Return the mathematics with a following unit: "$28$ percent" is 28 percent."""
    if not inside:
        return None
    after = after[:16].lstrip(" ")
    word = "percent" if after.startswith("%") else after.split(" ")[0].split(".")[0].split("\n")[0].strip(",;*")
    return f"{inside} \\text{{ {word}}}" if word in _UNIT_WORDS else inside


def _last_line(text: str, start: int) -> str | None:
    """Return the last mathematics, bold text or number of the last line with content."""
    tail = text[max(start, len(text) - _TAIL) :]
    for line in reversed(tail.split("\n")[-6:]):
        stripped = line.strip()
        if stripped in ("$$", "\\]") and (block := _display(tail, stripped)) is not None:
            return block
        if stripped and stripped not in ("$$", "\\]", "\\)") and not stripped.startswith("```"):
            lower = stripped.lower()
            if any(marker in lower for marker in _LINE_MARKERS) or _HEDGED_LINE.search(lower):
                return None  # denied or hedged: "the wrong answer is 5", "it could be 5"
            if (choice := _stated_choice(stripped)) is not None:
                return choice
            if _EXPRESSION.fullmatch(stripped) and FUNCTION_WORDS.keys() >= set(_NAMES.findall(stripped)):
                return stripped
            return _unguarded(stripped, _last_delimited(stripped) or _last_bold(stripped) or _last_value(stripped))
    return None


def _display(tail: str, line: str) -> str | None:
    """Return the formula of several lines that ends the text, after the line that closes it."""
    opener = {"$$": "$$", "\\]": "\\["}.get(line)
    end = tail.rfind(line)
    if opener is None or tail[end + len(line) :].strip():
        return None
    begin = tail.rfind(opener, 0, end)
    return (tail[begin + len(opener) : end].strip() or None) if begin >= 0 else None


_OPTION = re.compile(
    r"(?:(?:hence|so|thus|therefore|clearly)\s*,?\s+|[^,.;:]{1,48},\s+(?=(?:option|choice)\s))?(?:option|choice)?\s*(?P<choice>[\"'`*(]*[A-J][\"'`*).:]*(?:\s.*)?)$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"[\"'`*(]*(?P<letter>[A-J])[\"'`*).:]*(?P<rest>\s+is\s+(?:the\s+)?(?:correct|right|best|true)(?:\s+(?:answer|option|choice))?"
    r"(?:\s*[.!]|\s*,?\s*(?:because|since|as)\s.*)?)?"
)
_LISTED = re.compile(
    r"[*(]*(?P<letter>[A-J])[.):]+[*]*\s+(?P<text>[A-Za-z][^.;]*|-?[\d$\\][^;\s]*?(?:\s[a-zA-Z%/^\d]+)?)[.]?"
)


_CHOSEN = re.compile(
    r"(?<![不未别勿非])(?:选择?|选项)(?:为|是|：|:)?\s*[（(]?(?P<letters>[A-J]{1,5})[)）]?(?:项|选项)?(?:是?正确的?)?[。.]?$"
)
"""The end of a line that chooses: 因此，选B。"""


def _stated_choice(line: str) -> str | None:
    """Return the choice that a last line states: "B", "`B`", "B. Increases", "Option (B) is correct."."""
    if (chosen := _CHOSEN.search(line)) is not None and not any(word in line for word in ("不", "排除", "错误")):
        return chosen["letters"]
    match = _OPTION.fullmatch(line)
    if match is None:
        return None
    rest = match["choice"]
    sentence = _SENTENCE.fullmatch(rest)
    if sentence is not None:
        return None if not sentence["rest"] and sentence["letter"].islower() else sentence["letter"].upper()
    listed = _LISTED.fullmatch(rest)
    return f"{listed['letter']}. {listed['text']}" if listed is not None else None


def _unguarded(line: str, value: str | None) -> str | None:
    """Return a value of a line, or None if the words before it in its clause deny, bound or only number it."""
    if value is None:
        return None
    stated = value.partition(" \\text")[0].strip("%")
    begin = max(line.rfind(stated), 0)
    before = line[:begin]
    if DENIED.match(line[begin + len(stated) :].lstrip(" $*)%\\")) is not None:
        return None  # 42 is not the answer
    for mark in (". ", "; ", ", ", "。", "，", " is ", " are ", " was ", "=", " equals "):
        before = before.rpartition(mark)[2]
    if _GUARD.search(before) is not None:
        return None
    return value


_GUARD = re.compile(
    r"\b(?:not|isn['’]t|aren['’]t|can['’]t|cannot|never|neither|nor|than|at least|at most|fewer|except|unless"
    r"|including|such as|rul(?:e[sd]?|ing) out|(?:eliminat|exclud|discard|reject|dismiss)(?:e?[sd]?|ing))\b"
    r"|\b(?:under|below|above|over|exceeds?|exceeding|up to|between\s+\S+\s+and)\s+[\W]*$"
    r"|\b(?:step|equation|problem|question|figure|table|example|theorem|lemma|chapter|section|case|exercise|part)\s+[\W]*$"
    r"|(?:≠|<|>|≤|≥|≈|\\(?:neq?|leq?|geq?|lt|gt|approx|not))\s*\$?\s*$|不是|不为|至少|至多|小于|大于|少于|多于|不等于|不超过",
    re.IGNORECASE,
)
"""Words and signs before a value in the last line that deny it, bound it, or use it as a number of something."""


def _last_delimited(line: str) -> str | None:
    for opener, closer in _DELIMITERS[1:]:
        end = line.rfind(closer)
        begin = line.rfind(opener, 0, end - (line[end - 1 : end] == "$")) if end > 0 else -1
        if begin >= 0:
            result = _with_unit(line[begin + len(opener) : end].strip("$ "), line[end + len(closer) :])
            if result:
                return result
    return None


def _last_bold(line: str) -> str | None:
    end = line.rfind("**")
    begin = line.rfind("**", 0, end) if end > 0 else -1
    return line[begin + 2 : end].strip() or None if begin >= 0 else None


def _last_value(line: str) -> str | None:
    """Return the last number of a line with sign, fraction and percent sign, or a last word of one capital letter."""
    end = len(line)
    while end > 0 and line[end - 1] not in _DIGITS:
        end -= 1
    if end == 0:
        word = line.rstrip(" .").split(" ")[-1].strip("*.()")
        return word if len(word) == 1 and word.isascii() and word.isupper() else None
    begin = end
    while begin > 0 and (
        line[begin - 1] in _DIGITS or (line[begin - 1] in ".," and begin > 1 and line[begin - 2] in _DIGITS)
    ):
        begin -= 1
    before = line[begin - 1 : begin]
    if before == "/" or (before == "-" and (begin == 1 or line[begin - 2] in " (=")):
        return line[:end].split(" ")[-1]
    after = line[end:]
    if not after.lstrip(" *$").startswith("left over") and not DIRECTIONS.isdisjoint(
        word.strip(".,;:*$}").lower() for word in after.split()[:3]
    ):
        return f"{line[begin:end]} \\text{{{after.rstrip(' .*$')}}}"  # 5 km south
    return line[begin:end] + ("%" if after.lstrip().startswith("%") else "")


def _leading_number(rest: str) -> str | None:
    end = 0
    while end < len(rest) and (rest[end] in _DIGITS or rest[end] in ".,/-"):
        end += 1
    number = rest[:end].rstrip(".,/-")
    return number if not _DIGITS.isdisjoint(number) else None
