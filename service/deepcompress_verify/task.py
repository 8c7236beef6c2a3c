"""The golds of a check with its checker, as the strings that travel to a worker.

A check by `math` without options is its golds. Any other check is one string: a mark and JSON. It takes the place of
the golds, so that the pool groups and caches it like them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from deepcompress_verify.checkers.protocol import Json
from deepcompress_verify.checkers.registry import find_checker, resolve_checker

MARK = "\0checker:"


@dataclass(frozen=True, slots=True)
class Task:
    """A checker with its parameters, the golds and the options."""

    checker: str
    golds: tuple[str, ...]
    parameters: Mapping[str, Json] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def encode_task(
    golds: tuple[str, ...], checker: str | Mapping[str, Json] | None, options: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the golds, or the task as one string.

    Raises:
        CheckerError: The checker or a parameter is unknown.
    """
    if checker is None and not options and not (golds and golds[0].startswith("\0")):
        return golds
    name, parameters = resolve_checker(checker)
    if name == "math" and not options and not (golds and golds[0].startswith("\0")):
        return golds
    return (MARK + json.dumps([name, golds, parameters, options], separators=(",", ":"), sort_keys=True),)


def decode_task(golds: tuple[str, ...]) -> Task:
    """Return the task of what `encode_task` returned."""
    if len(golds) != 1 or not golds[0].startswith(MARK):
        return Task("math", golds)
    name, texts, parameters, options = json.loads(golds[0][len(MARK) :])
    return Task(name, tuple(texts), parameters, tuple(options))


def is_plain(golds: tuple[str, ...]) -> bool:
    """Return True if these are golds of `math`, without options."""
    return not (golds and golds[0].startswith(MARK))


def resolved_task(task: Task) -> Task:
    """Return the task; `math` with options becomes `choice` if the gold is one of them."""
    if task.checker != "math" or not task.options:
        return task
    choice = find_checker("choice")
    if task.golds and all(choice.gold_error(gold, {}, task.options) is None for gold in task.golds):
        return Task("choice", task.golds, {}, task.options)
    return Task("math", task.golds)


def run_task(task: Task, answer: str | None, restated_answer: str | None) -> tuple[str, str, str]:
    """Return (status, decided_by, reason) of a task that is not `math`."""
    checker = find_checker(task.checker)
    if answer is None:
        errors = [checker.gold_error(gold, task.parameters, task.options) for gold in task.golds] or [
            "no gold was given"
        ]
        if all(errors):
            return "gold_unreadable", task.checker, str(errors[0])
        return "readable", "extraction", ""
    result = checker.check(task.golds, answer, task.parameters, task.options)
    if result.status == "correct" and restated_answer is not None:
        second = checker.check(task.golds, restated_answer, task.parameters, task.options)
        if second.status == "wrong":
            reason = f"the box is right, but the text after it ends with {restated_answer[:64]!r}"
            return "wrong", "extraction", reason
    return result.status, result.decided_by or task.checker, result.reason
