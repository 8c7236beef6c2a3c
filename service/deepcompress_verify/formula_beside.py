r"""The formula around a box: `-\boxed{5}`, `2\cdot\boxed{5}`, `\frac{\boxed{5}}{2}`, `\boxed{5} + 1`.

An operator directly before or after a box makes another value of it. The formula from its last relation on, with the
braces of the box removed, is then a second statement of the answer, which must be correct as well. A relation that
follows the box, as in `3+\boxed{5}=8`, makes the box a blank that was filled in: nothing is stated a second time.
"""

from __future__ import annotations

import re

MAX_CHARS = 96
"""Characters of the formula on each side of the box."""
OPERATORS_BEFORE = frozenset("-+*/^_{}−×·÷0123456789")
"""The last characters before a box that may make it a part of a formula; `{` also ends `\\frac{`."""
COMMANDS_BEFORE = ("times", "cdot", "div", "pm", "mp", "sqrt", "frac", "log", "ln", "sin", "cos", "tan")
OPERATORS_AFTER = frozenset("-+*/^!.,\\}−–×·÷≠%0123456789")
"""The first characters after a box that may make it a part of a formula, other than a letter."""
_COMMAND = r"\\(?:cdot|times|div|pm|mp|sqrt|[dt]?frac|pi|ln|log|sin|cos|tan)(?![a-zA-Z])"
_BEFORE_IN_FORMULA = re.compile(
    rf"(?:[-+/^−(]|(?<=[\d)}}])[*_]|{_COMMAND}|\\sqrt\s*\[\d\]|\\[dt]?frac\s*\{{[^{{}}]*\}}|(?<![\d.,])\d+)\s*\{{?\s*$"
)
_BEFORE_IN_TEXT = re.compile(r"(?:(?<![^\s=(])[-−]|(?<=\d)\s*[-+*/−×·÷]\s*|(?<![^\s=(])\d+)$")
"""A sign at the box, an operator after a number, or digits at the box. "- " begins an item of a list."""
_AFTER_IN_FORMULA = re.compile(
    rf"\s*(?:\^|!|/|[-+*−×·÷]\s*[\d\\({{a-zA-Z]|\.\d|\d|\}}\s*(?:\{{|\^)|{_COMMAND}"
    r"|(?:,\s*[-−]?\d[\d.]*\s*)+(?:\$|\\[)\]])|(?P<letter>[a-zA-Z])(?![a-zA-Z]))"
)
_AFTER_IN_TEXT = re.compile(r" ?(?:[+*/^×·÷](?=\s?\d)|[-−–](?=\d)|[-−] (?=\d+\s*(?:[.=]|$))|\.(?=\d)|\d)")
_POWER = re.compile(r"\$\^(\{[-−]?\d+\}|\d)\$")
"""A power of a box in a formula of its own: \\boxed{5}$^{-1}$."""
_RELATION = re.compile(
    r"=|<|>|:|,|;|≤|≥|≈|→|⇒|\\(?:leq?|geq?|lt|gt|approx|equiv|implies|iff|to|in|sim|therefore|[Rr]ightarrow|Longrightarrow"
    r"|quad|qquad|text|mathrm|textbf|mathbf|left|displaystyle)(?![a-zA-Z])|\\\\|&|\$|\\[(\[]|\n"
)
"""The signs before the part of a formula that holds the box."""
_END = re.compile(r"\$|\\[)\]]|\n|\\(?:text|mathrm|quad|qquad|end)(?![a-zA-Z])|\\\\|&")
_EQUAL = re.compile(r"=|<|>|\\(?:leq?|geq?|lt|gt|approx|equiv|implies|neq?)(?![a-zA-Z])")
_NOT_EQUAL = re.compile(r"\s*(?:\\neq?(?![a-zA-Z])|\\not\s*=|≠)")
_PERCENT = re.compile(r"\s*\$?\s*\\?%(?![A-Za-z ]*\n)")
_TERMS_BEFORE = re.compile(r"[-+*/\d.() −×·÷]*$")
_TERMS_AFTER = re.compile(r"[-+*/\d.() ^−–×·÷]*")
_UNITS_OF_ONE_LETTER = frozenset("mgsLlhdKJNWVAFCTMkBR")


def second_statement(answer: str, text: str, begin: int, end: int) -> str | None:
    """Return the formula around a box, if an operator joins the box to it; None otherwise.

    The box begins at `begin` and ends before `end`.
    """
    before, after = text[max(0, begin - MAX_CHARS) : begin], text[end : end + MAX_CHARS]
    if "%" not in answer and _PERCENT.match(after) is not None:
        return f"{answer}\\%"
    if _NOT_EQUAL.match(after) is not None:
        return f"\\text{{not }} {answer}"
    if _in_formula(before):
        found = _AFTER_IN_FORMULA.match(after)
        joined = found is not None and (found["letter"] is None or found["letter"] not in _UNITS_OF_ONE_LETTER)
        if not joined and _BEFORE_IN_FORMULA.search(before) is None:
            return None
        stop = _END.search(after)
        right = after[: stop.start()] if stop is not None else after
        if _EQUAL.search(right) is not None:
            return None
        start = 0
        for relation in _RELATION.finditer(before):
            start = relation.end()
        left = before[start:]
    elif (power := _POWER.match(after)) is not None:
        return f"{{{answer}}}^{power[1]}"
    else:
        if _BEFORE_IN_TEXT.search(before) is None and _AFTER_IN_TEXT.match(after) is None:
            return None
        terms = _TERMS_AFTER.match(after)
        assert terms is not None
        if after[terms.end() : terms.end() + 1] == "=":
            return None
        found = _TERMS_BEFORE.search(before)
        assert found is not None
        left, right = found.group(), terms.group().rstrip(" .-+*/(")
        if not _BEFORE_IN_TEXT.search(before):
            left = ""
    return _balanced(f"{left}{answer if answer.isdigit() else f'{{{answer}}}'}{right}".strip().rstrip(".,"))


def _in_formula(before: str) -> bool:
    """Return True if the text ends within $, \\( or \\[."""
    line = before[before.rfind("\n") + 1 :].replace("\\$", "")
    if line.replace("$$", "$").count("$") % 2:
        return True
    if any(line.rfind(opener) > line.rfind(closer) for opener, closer in (("\\(", "\\)"), ("\\[", "\\]"))):
        return True
    return before[: len(before) - len(line)].rstrip().endswith(("$$", "\\[")) and "$" not in line


def _balanced(formula: str) -> str:
    """Return the formula without the braces that have no counterpart."""
    kept: list[str] = []
    opened: list[int] = []
    for index, sign in enumerate(formula):
        escaped = index > 0 and formula[index - 1] == "\\"
        if sign == "{" and not escaped:
            opened.append(index)
        elif sign == "}" and not escaped:
            if not opened:
                kept.append("")
                continue
            opened.pop()
        kept.append(sign)
    for index in opened:
        kept[index] = ""
    return "".join(kept)
