"""Explanation of a verdict for a person: both sides as parsed, and the result of each tier.

    print(render(explain(r"\\frac{3}{4}", "0.75")))

It runs in the caller's process, like `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from deepcompress_verify.compare.context import (
    ComparisonContext,
    InconclusiveError,
    UndefinedValueError,
    WorkBudgetExceededError,
)
from deepcompress_verify.compare.judgement import judge
from deepcompress_verify.extract import MAX_RESPONSE_CHARS, boxes_of_gold, prepare
from deepcompress_verify.reader import read
from deepcompress_verify.rendering import render_tree
from deepcompress_verify.tree import NODE_TYPES, Node, Unreadable, children
from deepcompress_verify.verdict import AnswerFormat, Check, Verdict
from deepcompress_verify.verify import verify

_MAX_OUTLINE = 60
"""Maximum lines of an outline."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One side: its text and its parsed tree."""

    text: str
    tree: Node | Unreadable


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with the steps that led to it."""

    verdict: Verdict
    golds: tuple[Reading, ...]
    answer: Reading | None
    """None if no answer was found."""
    trace: tuple[tuple[str, str], ...]
    """(tier, result) in the order of the comparison; the last one decided."""


class _TracingContext(ComparisonContext):
    """A ComparisonContext that keeps the records of all tiers, not only the last."""

    def __init__(self) -> None:
        super().__init__(judge)
        self.trace: list[tuple[str, str]] = []

    def record(self, tier: str, reason: str) -> None:
        super().record(tier, reason)
        self.trace.append((tier, reason))


def explain(
    gold: str | Sequence[str],
    response: str,
    *,
    answer_format: AnswerFormat = "bare",
    truncated: bool = False,
) -> Explanation:
    """Return the verdict of `verify` on the same arguments, with its explanation."""
    alternatives = (gold,) if isinstance(gold, str) else tuple(gold)
    verdict = verify(alternatives, response, answer_format=answer_format, truncated=truncated)
    result = prepare(Check(alternatives, response, answer_format, truncated), MAX_RESPONSE_CHARS)
    golds = tuple(Reading(text, read(boxes_of_gold(text))) for text in result.gold)
    if result.answer is None:
        extraction = result.extraction_verdict
        return Explanation(verdict, golds, None, (("extraction", extraction.reason),) if extraction else ())
    answer = Reading(result.answer, read(result.answer))
    trace = [("extraction", f"found {_cut(result.answer)!r}")]
    for number, side in enumerate(golds, 1):
        mark = f" (gold {number})" if len(golds) > 1 else ""
        trace += [(tier, reason + mark) for tier, reason in _tiers(side, answer)]
    if (verdict.decided_by, verdict.reason) != (trace[-1][0], trace[-1][1]):
        trace.append((verdict.decided_by, verdict.reason))
    return Explanation(verdict, golds, answer, tuple(trace))


def _tiers(gold: Reading, answer: Reading) -> Iterator[tuple[str, str]]:
    same = gold.text.strip() == answer.text.strip()
    yield "string", "the same text" if same else "the texts differ"
    if same:
        return
    for name, side in (("gold", gold), ("answer", answer)):
        if isinstance(side.tree, Unreadable):
            yield "reader", f"the {name} cannot be read: {side.tree.slug} {side.tree.detail}".strip()
            return
    assert not isinstance(gold.tree, Unreadable)
    assert not isinstance(answer.tree, Unreadable)
    context = _TracingContext()
    try:
        result = context.judge(gold.tree, answer.tree)
    except WorkBudgetExceededError:
        result, context.open_reason = None, "the comparison is over its budget of work"
    except (InconclusiveError, UndefinedValueError):
        result = None
    yield from context.trace
    if result is None:
        yield "limit", context.open_reason or "no exact tier can tell"


def render(explanation: Explanation) -> str:
    """Return the explanation as plain text for a terminal."""
    lines: list[str] = []
    for number, side in enumerate(explanation.golds, 1):
        lines += _side("gold" if len(explanation.golds) == 1 else f"gold {number}", side)
    if explanation.answer is not None:
        lines += _side("answer", explanation.answer)
    lines.append("tiers")
    width = max((len(tier) for tier, _ in explanation.trace), default=0)
    lines += [f"    {tier:<{width}}  {_cut(reason, 300)}" for tier, reason in explanation.trace]
    return "\n".join(lines)


def _side(name: str, side: Reading) -> list[str]:
    lines = [f"{name}  {_cut(side.text)}", ""]
    if isinstance(side.tree, Unreadable):
        return [*lines, f"    cannot be read: {side.tree.slug} {side.tree.detail}".rstrip(), ""]
    drawn = render_tree(side.tree)
    if drawn is not None:
        lines += ["    " + line for line in drawn.split("\n")] + [""]
    return [*lines, *("    " + line for line in outline(side.tree)), ""]


def outline(tree: Node) -> list[str]:
    """Return the tree with one node per line; a large tree is cut."""
    lines = list(_outlined(tree, "", "", 0))
    if len(lines) > _MAX_OUTLINE:
        return [*lines[:_MAX_OUTLINE], f"… and {len(lines) - _MAX_OUTLINE} more"]
    return lines


def _outlined(node: Node, first: str, rest: str, depth: int) -> Iterator[str]:
    yield first + _label(node)
    under = tuple(children(node))
    for number, child in enumerate(under, 1):
        last = number == len(under)
        yield from _outlined(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), depth + 1)


def _label(node: Node) -> str:
    words = [type(node).__name__]
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, NODE_TYPES) or value in (None, "", False):
            continue
        if isinstance(value, tuple):
            if value and all(isinstance(part, str) for part in value):
                words.append(" ".join(value))
        elif field.name == "q":
            words[-1] += f"/{value}" if value != 1 else ""
        elif field.name == "decimals":
            words.append(f"({value} decimals)")
        else:
            words.append(_cut(_plain(value), 80))
    return " ".join(words)


def _plain(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 400:
        return f"(a number of {value.bit_length()} bits)"
    return str(value)


def _cut(text: str, limit: int = 200) -> str:
    """Return `text` on one line without control characters (they could control the terminal), cut at `limit`."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "␤" if c == "\n" else "�" for c in cut)
