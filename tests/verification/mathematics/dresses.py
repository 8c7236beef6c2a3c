"""Dresses of an answer: the same statement in a box, a sentence, with a remark, a letter or a name around it.

A dress keeps the meaning of a text, so a wrong answer stays wrong in it and a right one stays right. `CONTRADICTIONS`
combine a right and a wrong answer into one that must not be paid. `mutations` change one token that carries meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from deepcompress_verify.extract import MAX_RESPONSE_CHARS, prepare
from deepcompress_verify.tiers import decide_pair
from deepcompress_verify.verdict import AnswerFormat, Check

Dress = Callable[[str], str]

IN_TEXT: dict[str, Dress] = {
    "none": lambda text: text,
    "check mark": lambda text: f"{text}\\ \\checkmark",
    "end of proof": lambda text: f"{text} \\quad \\blacksquare",
    "therefore": lambda text: f"\\therefore {text}",
    "braces": lambda text: f"{{{text}}}",
    "displaystyle": lambda text: f"\\displaystyle {text}",
    "dollars": lambda text: f"${text}$",
    "bold": lambda text: f"**{text}**",
    "tag": lambda text: f"{text} \\tag{{1}}",
    "full stop": lambda text: f"{text}.",
    "predicate": lambda text: f"{text} \\text{{ is the answer}}",
    "answer is": lambda text: f"\\text{{The answer is }} {text}",
    "answer colon": lambda text: f"\\text{{Answer: }} {text}",
    "reason": lambda text: f"{text} \\text{{ because the sum is even}}",
}
"""Dresses inside a box, or of a bare answer."""

RESPONSES: dict[str, tuple[AnswerFormat, Dress]] = {
    "bare": ("bare", lambda text: text),
    "box": ("boxed", lambda text: f"We get $x$.\n\n$$\\boxed{{{text}}}$$"),
    "box in a sentence": ("boxed", lambda text: f"The answer is $\\boxed{{{text}}}$."),
    "box, final": ("final_answer", lambda text: f"The answer is $\\boxed{{{text}}}$."),
    "one box": ("one_boxed", lambda text: f"The answer is $\\boxed{{{text}}}$."),
    "answer is": ("final_answer", lambda text: f"We add both.\n\nThe answer is ${text}$."),
    "final answer": ("final_answer", lambda text: f"We add both.\n\n**Final Answer:** ${text}$"),
    "hashes": ("final_answer", lambda text: f"We add both.\n#### {text}"),
    "after thinking": ("boxed", lambda text: f"<think>\\boxed{{0}}</think> \\boxed{{{text}}}"),
}
"""Responses with an answer, and the format in which each is read."""

CONTRADICTIONS: dict[str, Callable[[str, str], str]] = {
    "right or wrong": lambda right, wrong: f"{right} \\text{{ or }} {wrong}",
    "wrong or right": lambda right, wrong: f"{wrong} \\text{{ or }} {right}",
    "either": lambda right, wrong: f"\\text{{either }} {right} \\text{{ or }} {wrong}",
    "about": lambda right, wrong: f"{right} \\text{{ (about }} {wrong}\\text{{)}}",
    "approximately": lambda right, wrong: f"{right} (\\approx {wrong})",
    "i.e.": lambda right, wrong: f"{right} \\text{{ (i.e. }} {wrong}\\text{{)}}",
    "in brackets": lambda right, wrong: f"{right}\\text{{ (}}{wrong}\\text{{)}}",
    "wrong, right in brackets": lambda right, wrong: f"{wrong}\\text{{ (}}{right}\\text{{)}}",
    "chain": lambda right, wrong: f"{right} = {wrong}",
    "chain turned": lambda right, wrong: f"{wrong} = {right}",
    "list": lambda right, wrong: f"{right}, {wrong}",
    "not": lambda right, wrong: f"\\text{{not }} {right}",
    "is not": lambda right, wrong: f"\\text{{The answer is not }} {right}",
    "is wrong": lambda right, wrong: f"{right} \\text{{ is wrong}}",
    "maybe": lambda right, wrong: f"\\text{{maybe }} {right}",
    "hedged": lambda right, wrong: f"{right} \\text{{ or so}}",
    "instead of": lambda right, wrong: f"{wrong} \\text{{ instead of }} {right}",
    "correction": lambda right, wrong: f"{right} \\text{{ no, }} {wrong}",
    "wait": lambda right, wrong: f"{right} \\text{{. Wait, }} {wrong}",
    "because, but": lambda right, wrong: f"{right} \\text{{ because }} {wrong} \\text{{ is right}}",
    "subject": lambda right, wrong: f"{right} \\text{{ is less than the answer }} {wrong}",
    "choice": lambda right, wrong: f"\\text{{(A) }} {right} \\text{{ (B) }} {wrong}",
    "arrow": lambda right, wrong: f"{wrong} \\to {right}",
    "not equal": lambda right, wrong: f"\\ne {right}",
    "quantifier": lambda right, wrong: f"\\text{{at least }} {right}",
    "twice": lambda right, wrong: f"\\text{{twice }} {right}",
    "struck": lambda right, wrong: f"\\cancel{{{right}}} {wrong}",
    "lines": lambda right, wrong: f"\\begin{{aligned}} {right} \\\\ {wrong} \\end{{aligned}}",
    "aligned chain": lambda right, wrong: f"\\begin{{aligned}} x &= {wrong} \\\\ &= {right} \\end{{aligned}}",
}
"""Texts of a right and a wrong answer that state both, deny the right one or hedge it."""

_SWAPS = (
    ("north", "south"), ("east", "west"), ("profit", "loss"), ("increase", "decrease"), ("later", "earlier"),
    ("above", "below"), ("\\sin", "\\cos"), ("\\tan", "\\cot"), ("\\cup", "\\cap"), ("\\le", "\\ge"), ("<", ">"),
    ("+", "-"), ("\\in", "\\notin"), ("cm", "km"), ("meters", "feet"), ("hours", "minutes"), ("\\%", ""),
    ("even", "odd"), ("yes", "no"), ("Yes", "No"), ("true", "false"), ("\\pm", "+"), ("-", ""), ("\\pi", ""),
    ("i", ""), ("(", "["), ("]", ")"), ("\\overline", ""), ("\\sqrt", ""), ("\\infty", "0"), ("am", "pm"),
    ("a.m.", "p.m."), ("=", "\\ne "), ("!", ""), ("\\log", "\\ln"), ("\\lfloor", "\\lceil"), ("x", "y"), ("n", "k"),
    ("\\cdot", "+"), ("\\times", "+"), ("'", ""), ("^2", "^3"), ("\\circ", "\\%"), ("\\text{and}", "\\text{or}"),
)  # fmt: skip


def mutations(text: str) -> Iterator[str]:
    """Yield texts that differ from `text` in one digit, sign, word, bracket or item, or in the order of two parts."""
    for match in re.finditer("[0-9]", text):
        yield f"{text[: match.start()]}{(int(match.group()) + 1) % 10}{text[match.end() :]}"
    for one, two in _SWAPS:
        for old, new in ((one, two), (two, one)):
            if old and (position := text.find(old)) >= 0:
                yield text[:position] + new + text[position + len(old) :]
    parts = text.split(",")
    if len(parts) > 1:
        yield ",".join(parts[:-1])
        yield ",".join(parts[1:])
        if "(" in text:
            inner = re.fullmatch(r"(\\left)?\((.*?)(\\right)?\)", text)
            if inner is not None and inner[2].count(",") == 1:
                first, second = inner[2].split(",")
                yield f"({second},{first})"
    yield f"-{text}"
    yield f"{text}+1"
    yield f"2({text})"


def nested(dress: str, response: str) -> bool:
    """Return True if the dress repeats the words of the response: "The answer is The answer is 5"."""
    said_by_response = response in ("answer is", "final answer", "hashes")
    return said_by_response and dress not in ("none", "braces", "displaystyle", "predicate", "reason")


def is_one_value(gold: str) -> bool:
    """Return True for a gold that is one value: another one beside it contradicts it."""
    return not any(mark in gold for mark in _SEVERAL)


_SEVERAL = (",", "\\cup", "<", ">", "=", " or ", " and ", "\\pm", "\\to", "\\le", "\\ge", "\\{")


def response_status(gold: str, response: str, answer_format: AnswerFormat) -> str:
    """Return the status of a response, as a worker finds it."""
    found = prepare(Check((gold,), response, answer_format), MAX_RESPONSE_CHARS)
    if found.extraction_verdict is not None:
        return found.extraction_verdict.status
    return decide_pair(found.gold, found.answer, found.restated_answer)[0]
