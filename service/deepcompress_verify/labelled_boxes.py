"""Several boxes with the labels of parts: "(a) ... \\boxed{5}" and, a paragraph later, "(b) ... \\boxed{7}".

They are one answer, "(a) 5 (b) 7", if the gold has parts as well. Linear in the text; no mathematics is parsed.
"""

from __future__ import annotations

import re

MAX_BOXES = 32
MAX_CHARS = 2_000
"""Longer texts are not searched for labels: this is done for every rollout."""
_LABEL = r"(?:[Pp]art\s{0,3})?\(?\s{0,3}([a-h]|[1-9]|i{1,3}|iv|vi?)\s{0,3}[).:]"
_IN_GOLD = re.compile(
    r"(?:^|[\s,;{])(?:[Pp]art\s{0,3}[A-Ha-h1-9]\b|\(?\s{0,3}(?:[a-h]|[1-9]|i{1,3}|iv|vi?)\s{0,3}\))"
)
_IN_BOX = re.compile(rf"\s*(?:\\(?:text|textbf|mathrm)\{{ ?)?{_LABEL}\s?\}}?(?:\\[ ,;]|\\quad|\s|~)*")
_BEFORE_BOX = re.compile(
    rf"(?:^|\n)[ \t*#>-]{{0,16}}(?:\\(?:text|textbf)\{{ ?)?{_LABEL}|(?:^|[\s*$]){_LABEL}[\s*$]{{0,8}}$"
)
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}


def has_labels(gold: str) -> bool:
    """Return True if a gold, or the content of a box, may have parts with labels."""
    return len(gold) <= MAX_CHARS and (")" in gold or "art" in gold) and len(_IN_GOLD.findall(gold)) > 1


def joined_parts(text: str, start: int, spans: list[tuple[int, int, int, int]]) -> str | None:
    """Return the contents of the labelled boxes as "(a) 5 (b) 7"; None unless each box has a label of the first ones.

    `spans` are the boxes from `start` on, in order: (beginning, beginning and end of the content, end). Of two boxes
    with one label the later one counts.
    """
    parts: dict[str, str] = {}
    end = start
    for position, begin, close, after in spans:
        content = text[begin:close]
        if has_labels(content):
            return None
        if inside := _IN_BOX.match(content):
            label, content = inside[1], content[inside.end() :]
        else:
            label = _label_before(text[end:position])
        if not label or not content.strip():
            return None
        parts.pop(label, None)
        parts[label] = content.strip()
        end = after
    if len(parts) < 2 or not _first_labels(list(parts)):
        return None
    return " ".join(f"({label}) {content};" for label, content in parts.items()).removesuffix(";")


def _label_before(text: str) -> str:
    """Return the last label at the beginning of a line, or directly before the box."""
    label = ""
    for match in _BEFORE_BOX.finditer(text):
        label = match[1] or match[2]
    return label


def _first_labels(labels: list[str]) -> bool:
    """Return True for a, b, c or 1, 2, 3 or i, ii, iii, in any order."""
    expected = list(range(1, len(labels) + 1))
    return any(
        sorted(numbers) == expected
        for numbers in (
            [_ROMAN.get(label, 0) for label in labels],
            [int(label) if label.isdigit() else 0 for label in labels],
            [ord(label) - 96 if len(label) == 1 and label.isalpha() else 0 for label in labels],
        )
    )
