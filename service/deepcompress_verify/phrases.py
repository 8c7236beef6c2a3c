"""Closing phrases: "The answer is X", "#### X", "A: X", and a last line that states the answer.

Used for the format `final_answer` if there is no box, and to detect that a response restates its answer after its
last box. Linear: find and rfind over the text, and a bounded tail that is examined by lines.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

_TAIL = 4096
"""Characters at the end of the text that are searched for a closing phrase."""
_MARKERS = ("final answer is", "answer is", "final answer:", "answer:", "answer**:", "answer to the problem is")
_MAX_STATEMENT = 400
"""Maximum characters of a statement."""
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_DIGITS = frozenset("0123456789")
_UNIT_WORDS = frozenset("percent pct % degrees cm dollars inches miles hours minutes".split())


def find_restated_answer(text: str, end: int) -> str | None:
    """Return the mathematics of a phrase "final answer is X" after the last box, or None."""
    position = -1
    for spelling in ("inal answer", "inal Answer", "INAL ANSWER"):
        position = max(position, text.rfind(spelling, end))
    if position < 0:
        return None
    rest = text[position + len("inal answer") :][:_MAX_STATEMENT].lstrip(" *:")
    if rest[:2].lower() == "is":
        rest = rest[2:].lstrip(" *:")
    if "boxed" in rest:
        return None
    return _delimited(rest) or _leading_number(rest)


def find_closing_answer(text: str, start: int) -> str | None:
    """Return the answer that the end of the text states without a box, or None."""
    return _after_marker(text, start) or _last_line(text, start)


def _after_marker(text: str, start: int) -> str | None:
    """Return the text after the last marker: the line after "####" and "A:", the sentence after a phrase."""
    hashes = text.rfind("####", start)
    line = max(text.rfind("\nA:", start), 0 if start == 0 and text.startswith("A:") else -1)
    tail_start = max(start, len(text) - _TAIL)
    tail = text[tail_start:].lower()
    phrase, after = -1, -1
    for marker in _MARKERS:
        position = tail.rfind(marker)
        if position >= 0 and position + len(marker) > after:
            phrase, after = position, position + len(marker)
    if phrase >= 0 and tail_start + phrase > max(hashes, line):
        return _sentence(text[tail_start + after :][:_MAX_STATEMENT])
    if hashes > line:
        return _line(text, hashes + len("####"))
    if line >= 0:
        return _line(text, text.find(":", line) + 1)
    return None


def _line(text: str, begin: int) -> str | None:
    end = text.find("\n", begin)
    return text[begin : len(text) if end < 0 else end][:_MAX_STATEMENT].strip() or None


def _sentence(rest: str) -> str | None:
    """Return the statement after "the answer is": delimited mathematics, bold text, or words up to a full stop."""
    rest = rest.lstrip(" *:\n")
    result = _delimited(rest)
    if result:
        return result
    stop = len(rest)
    for mark in ("\n", ". ", "**", "<|"):
        position = rest.find(mark)
        if 0 <= position < stop:
            stop = position
    return rest[:stop].strip(" *.:") or None


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
        if stripped and stripped not in ("$$", "\\]", "\\)"):
            return _last_delimited(stripped) or _last_bold(stripped) or _last_value(stripped)
    return None


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
    return line[begin:end] + ("%" if line[end:].lstrip().startswith("%") else "")


def _leading_number(rest: str) -> str | None:
    end = 0
    while end < len(rest) and (rest[end] in _DIGITS or rest[end] in ".,/-"):
        end += 1
    number = rest[:end].rstrip(".,/-")
    return number if not _DIGITS.isdisjoint(number) else None
