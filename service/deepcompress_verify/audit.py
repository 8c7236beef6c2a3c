"""Checks of a data set before training: its golds are parsed exactly as the service will parse them.

A gold that cannot be parsed excludes its entire group from training; a gold that is ambiguous, or that no exact tier
can compare, gives random rewards. With rollouts the audit also reports problems that are never solved although the
answers agree with each other: the gold is then probably wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deepcompress_verify.checkers.registry import BUILT_IN, find_checker
from deepcompress_verify.compare.context import (
    ComparisonContext,
    InconclusiveError,
    UndefinedValueError,
    WorkBudgetExceededError,
)
from deepcompress_verify.compare.judgement import judge
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.decide import gold_error
from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.pool import VerifierPool
from deepcompress_verify.reader import read
from deepcompress_verify.task import decode_task, encode_task, resolved_task
from deepcompress_verify.tree import (
    Add,
    BigOp,
    Call,
    Const,
    Div,
    List,
    Mul,
    Neg,
    Node,
    Num,
    Pow,
    Qualified,
    Rel,
    SetBuilder,
    Text,
    Unreadable,
    children,
    walk,
)
from deepcompress_verify.verdict import AnswerFormat, Check, Verdict

Kind = Literal["unreadable", "conflict", "ambiguous", "often_undecided", "likely_wrong"]

SERIOUS: frozenset[Kind] = frozenset({"unreadable", "conflict", "likely_wrong"})
"""Kinds to fix before a training run; the others are warnings."""

CheckerSpec = str | Mapping[str, object] | None

LEAST_SENTENCE_WORDS = 3
"""From this number of words on, a gold that is read as words is probably a sentence, which has other wordings."""
_LONG_GOLD = 400
_SCALAR = (Num, Const, Add, Neg, Mul, Div, Pow, Call, BigOp)
_MAX_DISTINCT = 32


@dataclass(frozen=True, slots=True)
class Finding:
    """One possible defect of the data set."""

    kind: Kind
    problem_id: str
    gold: str
    detail: str


@dataclass(frozen=True, slots=True)
class GoldRow:
    """One row of the file of golds."""

    problem_id: str
    gold: tuple[str, ...]
    checker: CheckerSpec = None
    options: tuple[str, ...] = ()
    remote: bool = False
    """True if a remote checker uses the gold: it may be anything, and its rollouts are not checked."""


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One row of the file of rollouts."""

    problem_id: str
    gold: tuple[str, ...]
    response: str
    truncated: bool = False
    checker: CheckerSpec = None
    options: tuple[str, ...] = ()


def audit_golds(problems: Iterable[GoldRow]) -> Iterator[list[Finding]]:
    """Yield the findings of each problem, in order: one list per problem, so that a caller can show progress."""
    seen: dict[str, tuple[str, ...]] = {}
    for row in problems:
        result = [
            Finding(kind, row.problem_id, text, detail)
            for text in (() if row.remote else row.gold)
            for kind, detail in _inspect(text, row.checker, row.options)
        ]
        if not row.gold:
            result.append(Finding("unreadable", row.problem_id, "", "no gold is given"))
        before = seen.setdefault(row.problem_id, row.gold)
        if before != row.gold:
            gold = " | ".join(row.gold)
            result.append(Finding("conflict", row.problem_id, gold, f"an earlier row says {' | '.join(before)}"))
        yield result


def _inspect(gold: str, checker: CheckerSpec, options: tuple[str, ...]) -> Iterator[tuple[Kind, str]]:
    """Yield (kind, detail) of each possible defect of one gold, as its checker reads it."""
    task = resolved_task(decode_task(encode_task((gold,), checker, options)))
    if task.checker == "math":
        yield from inspect_gold(gold)
    elif task.checker in BUILT_IN:
        error = find_checker(task.checker).gold_error(gold, task.parameters, task.options)
        if error is not None:
            yield "unreadable", error


def inspect_gold(gold: str) -> Iterator[tuple[Kind, str]]:
    """Yield (kind, detail) of each possible defect of one gold."""
    error = gold_error(gold)
    if error is not None:
        yield "unreadable", error
        return
    text = boxes_of_gold(gold)
    tree = read(text)
    assert not isinstance(tree, Unreadable)
    yield from (("ambiguous", detail) for detail in dict.fromkeys(_ambiguities(text, tree)))
    yield from (("often_undecided", detail) for detail in dict.fromkeys(_undecidable_parts(tree)))


def _ambiguities(text: str, tree: Node) -> Iterator[str]:
    if "</think>" in text or "####" in text or "\n\n" in text.strip() or len(text) > _LONG_GOLD:
        yield "looks like a solution rather than an answer"
    if isinstance(tree, Text):
        if len(tree.words.split()) >= LEAST_SENTENCE_WORDS:
            yield "read as words: only the same words are equal to it"
        return
    if re.search(r"[(\[{][^()\[\]{}]*(?<![\d.,])\d{1,3},\d{3}(?!\d)", text):
        yield "a comma between digits inside brackets: one number or two items"
    elif re.fullmatch(r"\$?\s*-?\d+,(?:\d{1,2}|\d{4,})\s*\$?", text):
        yield "a comma between digits: a decimal comma or two items"
    for node in walk(tree):
        if isinstance(node, List) and node.word == "or" and not any(isinstance(item, Rel) for item in node.items):
            yield "several values joined by 'or': all of them are required"
        if isinstance(node, Call) and node.name == "log" and len(node.args) == 1:
            yield "a log without a base: taken for base e and for base 10"


def _undecidable_parts(tree: Node) -> Iterator[str]:
    for node in walk(tree):
        if isinstance(node, SetBuilder):
            yield "a set given by a condition"
        elif isinstance(node, Qualified):
            yield "a value with a condition in words"
    for scalar in _scalars(tree):
        # If even gold + 1 cannot be refuted, only answers in the same form can be decided.
        context = ComparisonContext(judge)
        try:
            refuted = equal(scalar, Add((scalar, Num(1))), context)
        except (InconclusiveError, WorkBudgetExceededError, UndefinedValueError):
            refuted = None
        if refuted is None:
            integral = any(isinstance(node, BigOp) for node in walk(scalar))
            yield "a sum, integral or limit that is not evaluated" if integral else "no exact rule can evaluate it"


def _scalars(node: Node) -> Iterator[Node]:
    """Yield the outermost scalar expressions of a tree."""
    if isinstance(node, _SCALAR):
        yield node
    else:
        for child in children(node):
            yield from _scalars(child)


# With rollouts


async def audit_rollouts(
    rollouts: Sequence[RolloutRow],
    pool: VerifierPool,
    *,
    answer_format: AnswerFormat = "boxed",
    agreement: float = 0.5,
    least: int = 3,
    advance: Callable[[int], object] = lambda _count: None,
) -> list[Finding]:
    """Return the problems that no rollout solves although the answers agree.

    At least the share `agreement` of the answers, and at least `least` of them, must be equal. `advance` is called
    with the number of rollouts done since the last call.
    """
    groups: dict[str, list[RolloutRow]] = {}
    for rollout in rollouts:
        groups.setdefault(rollout.problem_id, []).append(rollout)
    findings: list[Finding] = []
    for name, members in groups.items():
        checks = [Check(m.gold, m.response, answer_format, m.truncated, m.checker, m.options) for m in members]
        verdicts = await pool.verify_many(checks)
        advance(len(members))
        if any(verdict.correct or verdict.status == "gold_unreadable" for verdict in verdicts):
            continue
        answer, votes = await _largest_agreement(verdicts, pool)
        if votes >= least and votes >= agreement * len(members):
            detail = f"none of {len(members)} rollouts is correct, and {votes} of them answer {answer}"
            findings.append(Finding("likely_wrong", name, " | ".join(members[0].gold), detail))
    return findings


async def _largest_agreement(verdicts: Sequence[Verdict], pool: VerifierPool) -> tuple[str, int]:
    """Return the most frequent answer, over all its notations, and its count."""
    counts = Counter(verdict.answer.strip() for verdict in verdicts if verdict.answer and verdict.answer.strip())
    kinds: list[list[tuple[str, int]]] = []
    for answer, count in counts.most_common(_MAX_DISTINCT):
        same = await pool.verify_many([Check((kind[0][0],), answer, "bare") for kind in kinds])
        for kind, verdict in zip(kinds, same, strict=True):
            if verdict.correct:
                kind.append((answer, count))
                break
        else:
            kinds.append([(answer, count)])
    sizes = [(kind[0][0], sum(count for _, count in kind)) for kind in kinds]
    return max(sizes, key=lambda size: size[1], default=("", 0))
