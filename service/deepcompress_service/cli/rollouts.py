"""Logged rollouts of many steps, for `deepcompress replay`.

Fields of a row: `step`, `problem_id`, the per-rollout fields of the wire (`tokens`, `truncated`, ...), and either
`correct` or `gold` with `response` (the answer is then checked in this process, without a service).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deepcompress_client.wire import GROUP_FIELDS, ROLLOUT_FIELDS, RolloutFields
from deepcompress_client.wire.shape import GroupFields
from deepcompress_verify.verdict import STATUSES

from ..scoring.unchecked import NOT_TRAINABLE, checked_indices
from ..shaping import Group
from ..shaping.replay import LoggedGroup
from .jsonl import Row, read_jsonl

MAX_GROUP = 4096
"""Most rollouts of a group, as at the service: the rewards of a group are compared pair by pair."""
_OPTIONAL_FIELDS = tuple(name for name in ROLLOUT_FIELDS if name not in ("tokens", "truncated"))

Judge = Callable[[dict[str, Any]], tuple[bool, str | None]]
"""Checks the answer of a row without `correct`: returns correct or not, and the verdict's status."""


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file.

    Raises:
        OSError: the file cannot be read.
        JsonlError: a row is invalid.
    """
    rows = []
    sizes: Counter[tuple[int, str]] = Counter()
    for row in read_jsonl(file):
        _check(row)
        group = row.fields["step"], _group_name(row.fields)
        sizes[group] += 1
        if sizes[group] > MAX_GROUP:
            raise row.error(f"over {MAX_GROUP} rows of step {group[0]} are of one group: give them a group_id")
        rows.append(row.fields)
    return rows


def _check(row: Row) -> None:
    fields = row.fields
    if not _is_count(fields.get("step")):
        raise row.error("needs a step, a whole number from 0")
    if "problem_id" not in fields:
        raise row.error("no problem_id")
    row.name("problem_id")
    row.name("group_id", "")
    if fields.get("status") is not None and fields["status"] not in STATUSES:
        raise row.error(f"status must be one of {', '.join(STATUSES)}")
    if fields.get("tokens") is not None and not _is_count(fields["tokens"]):
        raise row.error("tokens must be a whole number from 0 to 2^31 - 1")
    if "correct" in fields:
        if not isinstance(fields["correct"], bool):
            raise row.error("correct must be true or false")
    elif "gold" not in fields or not isinstance(fields.get("response"), str):
        raise row.error("needs correct, or gold and response")
    elif not _is_gold(fields["gold"]):
        raise row.error("gold must be a text or a list of texts")
    if not isinstance(fields.get("truncated", False), bool):
        raise row.error("truncated must be true or false")
    try:
        RolloutFields.model_validate({name: fields[name] for name in _OPTIONAL_FIELDS if name in fields})
        GroupFields.model_validate({name: fields[name] for name in GROUP_FIELDS if name in fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise row.error(f"{first['loc'][0]}: {first['msg']}") from None


def _group_name(fields: dict[str, Any]) -> str:
    """Return the name of a row's group; null stands for a field that is left out."""
    name = fields.get("group_id")
    return str(fields["problem_id"] if name is None else name)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_gold(gold: object) -> bool:
    alternatives = [gold] if isinstance(gold, str) else gold
    return isinstance(alternatives, list) and bool(alternatives) and all(isinstance(g, str) for g in alternatives)


def steps_of(rows: Iterable[dict[str, Any]], judge: Judge) -> list[tuple[int, list[LoggedGroup]]]:
    """Return the groups of each step: rows of one step and group_id (by default problem_id) are one group."""
    steps: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        steps.setdefault(row["step"], {}).setdefault(_group_name(row), []).append(row)
    return [(step, [_group(members, judge) for members in steps[step].values()]) for step in sorted(steps)]


def _group(rows: list[dict[str, Any]], judge: Judge) -> LoggedGroup:
    judged = [(row["correct"], row.get("status")) if "correct" in row else judge(row) for row in rows]
    statuses = [status for _, status in judged]
    checked = checked_indices(statuses)
    if checked and len(checked) < len(rows):
        rows, judged = [rows[i] for i in checked], [judged[i] for i in checked]
        statuses = [statuses[i] for i in checked]
    readable = "gold_unreadable" not in statuses
    tokens = tuple(row.get("tokens") for row in rows)
    optional: dict[str, Any] = {name: rows[0].get(name) for name in GROUP_FIELDS}
    optional |= {name: _column(rows, name) for name in _OPTIONAL_FIELDS}
    group = Group(
        correct=tuple(correct for correct, _ in judged),
        tokens=None if None in tokens else tokens,  # type: ignore[arg-type]
        truncated=tuple(row.get("truncated", False) for row in rows),
        trainable=tuple(readable and status not in NOT_TRAINABLE for status in statuses),
        formatted=tuple(status != "no_answer" for status in statuses),
        **optional,
    )
    return LoggedGroup(str(rows[0]["problem_id"]), group, counts=readable and bool(checked))


def _column(rows: list[dict[str, Any]], name: str) -> tuple[Any, ...] | None:
    """Return a field's values in all rows; None if a row lacks it."""
    values = tuple(row.get(name) for row in rows)
    return None if None in values else values
