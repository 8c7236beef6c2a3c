"""The wire's answer formats, as choices of an option."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """Where in a response the answer is looked for."""

    boxed = "boxed"
    one_boxed = "one_boxed"
    final_answer = "final_answer"
    bare = "bare"
