"""Answers without the commands around their words: `mask` keeps the indices, `part` cuts by them."""

from __future__ import annotations

import re

_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mbox|textup|textsf|texttt|mathbf|bf|rm)\s*\{|(?<!\\)\$|\\[()\[\]]"
    r"|\\[ ,;:!]|\\q?quad(?![a-zA-Z])|\*\*|~"
)


def mask(text: str) -> str:
    """Return the text with the commands around words blanked, in the same length, so that indices agree."""
    if not ("\\" in text or "$" in text or "**" in text or "~" in text):
        return text
    result = list(text)
    position = 0
    depth: list[int] = []
    for match in _TEXT.finditer(text):
        result[match.start() : match.end()] = " " * (match.end() - match.start())
        if match.group().endswith("{"):
            depth.append(match.end())
    for begin in depth:
        level, position = 1, begin
        while position < len(text) and level:
            level += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if level == 0:
            result[position - 1] = " "
    return "".join(result)


_OPENED = re.compile(r"\\(?:text|textbf|mathrm)\s*\{\s*$")


def part(text: str, masked: str, begin: int, end: int) -> str:
    """Return a part of the text; the masked part if the cut is inside braces or formula signs."""
    part = _OPENED.sub("", text[begin:end])
    part += "}" if part.count("{") == part.count("}") + 1 and text[end : end + 4].lstrip()[:1] == "}" else ""
    balanced = (
        part.count("{") == part.count("}")
        and (part.count("$") - part.count("\\$")) % 2 == 0
        and part.count("**") % 2 == 0
    )
    balanced = balanced and part.count("\\(") == part.count("\\)") and part.count("\\[") == part.count("\\]")
    return (part if balanced else masked[begin:end]).strip()
