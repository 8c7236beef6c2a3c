"""Marks without a meaning around an answer: check marks, ends of proofs, tags, "therefore", bold marks and braces."""

from __future__ import annotations

import re

_MARKS = (
    "\\checkmark", "\\blacksquare", "\\square", "\\Box", "\\qed", "\\qedhere", "\\quad", "\\qquad", "\\,", "\\;",
    "\\!", "\\ ", "\\nonumber", "\\text{Q.E.D.}", "\\text{QED}", "Q.E.D.", "QED",
    "✓", "✔", "✅", "☑", "∎", "■", "□", "◻", "◼", "▪", "🎉", "\ufe0f", "~", "!",
)  # fmt: skip
"""Marks without a meaning at the end of an answer."""
_LEADING = ("\\therefore", "\\implies", "\\Rightarrow", "\\Longrightarrow", "\\displaystyle", "∴", "⇒", "⟹")
"""Marks without a meaning at the beginning of an answer."""
_TAG = re.compile(r"\\(?:tag\*?|label)\s*\{[^{}]{0,32}\}$")
_TEXT_MARK = re.compile(r"\\(?:text|mathrm)\s*\{\s*[✓✔✅☑∎■□◻◼▪]\s*\}$")
_IN_ORDER = re.compile(
    r"respectively|\bthen\b|\bor\b|otherwise|\bif\b|\bwhen\b|\bfor\b|(?:^\{|[\s,;])\(?[a-h1-9i]\)", re.IGNORECASE
)
"""Words and labels of a list whose items have an order, or are cases."""

_SPACES = re.compile(r"(?:\\[ ,;:!]|\\q?quad|[\s~])+$")
_FACTORIAL = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ)}]!")
"""An exclamation mark after one of these may be a factorial."""


def without_marks(answer: str) -> str:
    """Return the text without the marks around it."""
    text = answer.strip()
    while True:
        before = text
        if text.endswith(_MARKS):
            for mark in _MARKS:
                if text.endswith(mark) and not (mark == "!" and _SPACES.sub("", text[:-1])[-1:] in _FACTORIAL):
                    text = text[: -len(mark)].rstrip()
        if text.startswith(_LEADING):
            for mark in _LEADING:
                if text.startswith(mark) and not text[len(mark) : len(mark) + 1].isalpha():
                    text = text[len(mark) :].lstrip()
        if text.endswith("}"):
            text = _TEXT_MARK.sub("", _TAG.sub("", text)).rstrip()
        if text.endswith("\\") and not text.endswith("\\\\"):  # the space of "\\ " is gone
            text = text[:-1].rstrip()
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        if text.startswith("**") and text.endswith("**") and text.count("**") == 2:
            text = text[2:-2].strip()
        if text.startswith("{") and text.endswith("}"):
            text = _without_braces(text)
        if text == before:
            return text


def _without_braces(text: str) -> str:
    """Return the text inside of braces around it, unless it is a list: {1, 2} may be a set."""
    level = brackets = 0
    listed = False
    for index, char in enumerate(text):
        if char in "{}":
            level += 1 if char == "{" else -1
            if level == 0 and index < len(text) - 1:
                return text
        elif char in "()":
            brackets = max(0, brackets + (1 if char == "(" else -1))
        elif level == 1 and brackets == 0 and char in ",;":
            listed = True
    if level or text[-2] == "\\" or (listed and _IN_ORDER.search(text) is None):
        return text
    return text[1:-1].strip()
