"""Reading logged rollouts of many steps, for `deepcompress replay`.

One JSON object a line: `step`, `problem_id`, `tokens`, and either `correct` or `gold` with `response` (then the
answer is checked here, by the library, without a service).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ..shaping import Group
from ..shaping.replay import LoggedGroup

_FLAGS = ("thinking", "repetitive")
_OF_GROUP = ("reference_accuracy", "reference_tokens", "target_tokens")

Judge = Callable[[dict[str, Any]], tuple[bool, str | None]]
"""Whether a row that carries no `correct` is correct, and its verdict's status."""


class BadRows(Exception):
    """The file cannot be replayed; the message says where and why."""


def read_rows(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The rows of a JSONL stream, each checked. Raises BadRows with the line's number."""
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise BadRows(f"line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise BadRows(f"line {number} is not a JSON object")
        _check(row, number)
        rows.append(row)
    if not rows:
        raise BadRows("the file has no rollouts")
    return rows


def _check(row: dict[str, Any], number: int) -> None:
    if not _whole(row.get("step")):
        raise BadRows(f"line {number} needs a step, a whole number from 0")
    if "problem_id" not in row:
        raise BadRows(f"line {number} has no problem_id")
    if row.get("tokens") is not None and not _whole(row["tokens"]):
        raise BadRows(f"line {number}: tokens is a whole number from 0 to 2^31 - 1")
    if "correct" in row:
        if not isinstance(row["correct"], bool):
            raise BadRows(f"line {number}: correct is true or false")
    elif "gold" not in row or not isinstance(row.get("response"), str):
        raise BadRows(f"line {number} needs correct, or gold and response")
    elif not _is_gold(row["gold"]):
        raise BadRows(f"line {number}: gold is a text or a list of texts")
    for name in ("truncated", *_FLAGS):
        if not isinstance(row.get(name, False), bool):
            raise BadRows(f"line {number}: {name} is true or false")
    for name in _OF_GROUP:
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise BadRows(f"line {number}: {name} is a number from 0")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_gold(gold: Any) -> bool:
    alternatives = [gold] if isinstance(gold, str) else gold
    return isinstance(alternatives, list) and bool(alternatives) and all(isinstance(g, str) for g in alternatives)


def steps_of(rows: Iterable[dict[str, Any]], judge: Judge) -> list[tuple[int, list[LoggedGroup]]]:
    """The rows as steps of groups: rows of one step and group_id (by default problem_id) are one group."""
    steps: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        name = str(row.get("group_id", row["problem_id"]))
        steps.setdefault(row["step"], {}).setdefault(name, []).append(row)
    return [(step, [_group(members, judge) for members in steps[step].values()]) for step in sorted(steps)]


def _group(rows: list[dict[str, Any]], judge: Judge) -> LoggedGroup:
    judged = [(row["correct"], row.get("status")) if "correct" in row else judge(row) for row in rows]
    statuses = [status for _, status in judged]
    readable = "gold_unreadable" not in statuses
    tokens = tuple(row.get("tokens") for row in rows)
    group = Group(
        correct=tuple(correct for correct, _ in judged),
        tokens=None if None in tokens else tokens,  # type: ignore[arg-type]
        truncated=tuple(row.get("truncated", False) for row in rows),
        trainable=tuple(readable and status != "undecided" for status in statuses),
        formatted=tuple(status != "no_answer" for status in statuses),
        reference_accuracy=rows[0].get("reference_accuracy"),
        reference_tokens=rows[0].get("reference_tokens"),
        target_tokens=rows[0].get("target_tokens"),
        thinking=_flags(rows, "thinking"),
        repetitive=_flags(rows, "repetitive"),
    )
    return LoggedGroup(str(rows[0]["problem_id"]), group, counts=readable)


def _flags(rows: list[dict[str, Any]], name: str) -> tuple[bool, ...] | None:
    """The rows' flags; None where a row does not say."""
    return tuple(row[name] for row in rows) if all(name in row for row in rows) else None
