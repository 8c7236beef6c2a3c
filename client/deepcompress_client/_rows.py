"""Batches as flat lists, one entry per rollout: put the rows into groups, and read the rewards back in row order.

Also the texts and names of rows that loops and adapters have in common.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InvalidRequest
from .wire import ScoreAnswer

Row = Any
"""An entry of a flat list: a prompt, a gold answer, a response or a length, of any type that `Run.rewards` reads."""


def text_of(content: object) -> str:
    """Return the text of a completion: a string, a message, or a conversation (its last assistant message).

    Parts that are not text are left out.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, Mapping):
        if "content" in content:
            return text_of(content["content"])
        return str(content.get("text") or "")
    if isinstance(content, Sequence):
        messages = [part for part in content if isinstance(part, Mapping) and "role" in part]
        if messages:
            replies = [message for message in messages if message["role"] == "assistant"]
            return text_of((replies or messages)[-1])
        return "".join(text_of(part) for part in content)
    return str(content)


def prompt_text(prompt: object) -> str:
    """Return a prompt as text that is the same in every process and epoch: roles and texts, without images."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence):
        return json.dumps(
            [[str(m.get("role")), text_of(m.get("content"))] if isinstance(m, Mapping) else str(m) for m in prompt],
            ensure_ascii=False,
        )
    return str(prompt)


def gold_text(value: object) -> str | list[str]:
    """Return a gold answer in the wire format: text, or a list of alternatives. Numbers become their digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    if hasattr(value, "tolist") and not isinstance(value, int | float):  # numpy, from data frames
        return gold_text(value.tolist())
    return str(value)


def checked_gold(value: object, where: str) -> str | list[str]:
    """Return a gold answer in the wire format (`gold_text`); `where` is its place, for errors.

    Raises:
        InvalidRequest: it is of another type than text, a finite number, or a list of these.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    several = isinstance(value, list | tuple)
    alternatives = [scalar(one) for one in value] if isinstance(value, list | tuple) else [value]
    for one in alternatives:
        is_number = isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
        if not is_number and not isinstance(one, str):
            found = str(one) if one is None or isinstance(one, bool | float) else f"a {type(one).__name__}"
            raise invalid(where, f"pass text, a finite number, or a list of alternatives, not {found}")
    return gold_text(alternatives if several else alternatives[0])


def scalar(value: object) -> object:
    """Return a numpy or torch scalar as a Python number, and any other value unchanged."""
    if type(value) in (str, int, bool, float, list, dict, type(None)):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def invalid(where: str, detail: str) -> InvalidRequest:
    """Return the error for a field of a request."""
    return InvalidRequest(422, "invalid-request", f"{where}: {detail}")


def problem_name(prompt: object, gold: object, given: object = None) -> str:
    """Return the given name as text, else one that is equal for equal prompts and golds, in every process."""
    if given is not None:
        return str(given)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([prompt_text(prompt), gold_text(gold)], ensure_ascii=True).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """The groups of a flat batch, and the row numbers of each."""

    count: int
    """Rows of the batch."""
    groups: list[dict[str, Any]]
    rows: list[list[int]]
    """The row numbers of each group, ascending. Rows without a gold are in no group."""


def group_rows(
    prompts: Iterable[Row],
    golds: Iterable[Row],
    responses: Iterable[Row],
    tokens: Iterable[Row],
    truncated: Iterable[Row] | None = None,
    problem_ids: Iterable[Row] | None = None,
) -> GroupedRows:
    """Put rows with equal prompts, or equal problem ids if given, into groups; each argument is [rows].

    Groups come in the order of their first rows, and the rows of a group keep their order. A row whose gold is None
    is in no group.

    Raises:
        InvalidRequest: the lists are not equally long, a gold is no answer, or rows of one problem have different
            golds.
    """
    columns = {"prompts": prompts, "golds": golds, "responses": responses, "tokens": tokens}
    optional = {"truncated": truncated, "problem_ids": problem_ids}
    lists = {name: _listed(name, column) for name, column in columns.items()}
    lists |= {name: _listed(name, column) for name, column in optional.items() if column is not None}
    counts = {name: len(column) for name, column in lists.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise invalid("rewards", f"pass one entry per rollout in each list; their lengths are: {found}")
    cut = lists.get("truncated") or [False] * counts["prompts"]
    named = lists.get("problem_ids")
    answers = [
        None if gold is None else checked_gold(gold, f"golds[{row}]") for row, gold in enumerate(lists["golds"])
    ]
    rows_of: dict[str, list[int]] = {}
    for row, (prompt, gold) in enumerate(zip(lists["prompts"], answers, strict=True)):
        if gold is not None:
            key = prompt_text(prompt) if named is None else str(named[row])
            rows_of.setdefault(key, []).append(row)
    groups = []
    for rows in rows_of.values():
        first = rows[0]
        gold = answers[first]
        for row in rows:
            if answers[row] != gold:
                what, fix = (
                    ("prompts", "pass problem_ids if these are different problems")
                    if named is None
                    else ("problem_ids", "give each problem an id of its own")
                )
                raise invalid(
                    "golds",
                    f"rows {first} and {row} have equal {what} and different golds; {fix}, or one list of "
                    "alternatives as the gold of all rows of the problem",
                )
        name = problem_name(lists["prompts"][first], gold, None if named is None else named[first])
        rollouts = [
            {"response": text_of(lists["responses"][row]), "tokens": lists["tokens"][row], "truncated": cut[row]}
            for row in rows
        ]
        groups.append({"problem_id": name, "gold": gold, "group_size": len(rows), "rollouts": rollouts})
    return GroupedRows(counts["prompts"], groups, list(rows_of.values()))


def rewards_by_row(grouped: GroupedRows, answer: ScoreAnswer) -> list[float | None]:
    """Return the reward of each row, [rows]; None for a row that must not be trained on."""
    rewards: list[float | None] = [None] * grouped.count
    for rows, group in zip(grouped.rows, answer.groups, strict=True):
        for row, reward, trainable in zip(rows, group.rewards, group.trainable, strict=True):
            if trainable:
                rewards[row] = reward
    return rewards


def _listed(name: str, column: Iterable[Row]) -> list[Row]:
    """Return a list of a column's entries; arrays and tensors become plain numbers.

    Raises:
        InvalidRequest: the column is not a list.
    """
    if isinstance(column, str | bytes | Mapping) or not isinstance(column, Iterable):
        raise invalid(name, f"pass a list with one entry per rollout, not one {type(column).__name__}")
    return list(column.tolist() if hasattr(column, "tolist") else column)
