"""Rewritings of a text that change the value of no kind of answer."""

from __future__ import annotations

import re
from collections.abc import Callable

RESTYLES: dict[str, Callable[[str], str]] = {
    "dollars": lambda text: f"${text}$",
    "displaystyle": lambda text: f"\\displaystyle {text}",
    "spaces": lambda text: f"  {text} \\, ",
    "full stop": lambda text: f"{text}.",
    "braces": lambda text: f"{{{text}}}",
    "left and right": lambda text: re.sub(r"\\(?:left|right)(?![a-z])", "", text),
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac"),
    "newline": lambda text: f"\n{text}\n",
    "le and leq": lambda text: text.replace(r"\le ", r"\leqslant "),
}
