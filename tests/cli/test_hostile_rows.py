"""Every field of a row of a file, with every kind of value: a message with the line, or a result. No traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_service.cli import rollouts

from .test_mistakes import harmless

ROW = {"problem_id": "p", "gold": "3", "response": "\\boxed{3}", "tokens": 7, "step": 0}
FIELDS = (
    *("step", "problem_id", "group_id", "gold", "response", "tokens", "truncated", "correct", "status", "thinking"),
    *("repetitive", "context_tokens", "turns", "scores", "policy_version", "reference_accuracy", "reference_tokens"),
    *("target_tokens", "checker", "options", "data_source", "answer_format"),
)
DEEP = "[" * 900 + "]" * 900
VALUES = (
    *("null", "true", "0", "-1", "0.5", "1e308", "NaN", "Infinity", "-Infinity", "1" + "0" * 400, "[]", "{}", '""'),
    *('"x"', '"\\ud800"', '"\\u0000"', '"\\u001b[2J"', '["x", "y"]', '{"x": 1}', "[null]", DEEP, '{"name": 5}'),
    *('{"name": "number", "relative": NaN}', f'{{"name": "json", "x": {DEEP}}}'),
)
COMMANDS = [["replay", "-s", "kimi_k1.5"], ["audit"], ["profile", "-o", "-"]]
CHECKED = {"gold", "response", "checker", "options", "answer_format"}
"""Fields that only a row without a verdict has."""


def rows(field: str, checked: bool = False) -> Iterator[str]:
    row = ROW if checked or field in CHECKED else {"step": 0, "problem_id": "p", "correct": True, "tokens": 7}
    text = json.dumps({name: one for name, one in row.items() if name != field})
    for value in VALUES:
        yield f'{text[:-1]}, "{field}": {value}}}'


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_with_every_kind_of_value(
    cli: Callable[..., Any], tmp_path: Path, command: list[str], field: str
) -> None:
    file = tmp_path / "rows.jsonl"
    for row in rows(field, checked=command == ["audit"]):
        file.write_text(row + "\n")
        harmless(cli(*command, str(file)))


@pytest.mark.parametrize("field", ["problem_id", "gold", "response", "tokens", "truncated"])
def test_a_field_of_a_scored_file(cli: Callable[..., Any], tmp_path: Path, field: str) -> None:
    """Every refusal is made while the file is read, before a service is needed."""
    file = tmp_path / "rows.jsonl"
    for row in rows(field, checked=True):
        file.write_text(row + "\n")
        harmless(cli("score", str(file), "--url", "http://127.0.0.1:9"))


@pytest.mark.parametrize("value", ["[1]", "{}", "true"])
def test_a_name_is_a_text_or_a_number(cli: Callable[..., Any], tmp_path: Path, value: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"step": 0, "problem_id": "p", "correct": true, "group_id": ' + value + "}\n")
    result = cli("replay", str(file))
    assert result.exit_code == 2
    assert "line 1: group_id is neither a text nor a number" in result.stderr


def test_null_as_group_id_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [{"step": 0, "problem_id": name, "correct": True, "tokens": 7, "group_id": None} for name in ("p", "q")]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ((_, groups),) = rollouts.steps_of(rollouts.read_rows(file), lambda _: (False, None))
    assert [group.problem_id for group in groups] == ["p", "q"]


def test_a_group_is_bounded(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards are compared pair by pair: a log without group ids took memory with the square of its rows."""
    monkeypatch.setattr(rollouts, "MAX_GROUP", 8)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"step": 3, "problem_id": "p", "correct": true, "tokens": 7}\n' * 9)
    result = cli("replay", str(file))
    assert result.exit_code == 2
    assert "line 9: over 8 rows of step 3 are of one group" in result.stderr


@pytest.mark.parametrize("words", [("runs", "create", "r", "--config"), ("replay", "rows.jsonl", "--strategy")])
def test_deep_json_of_an_option(cli: Callable[..., Any], tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"step": 0, "problem_id": "p", "correct": true, "tokens": 7}\n')
    call = [str(tmp_path / word) if word == "rows.jsonl" else word for word in words]
    result = cli(*call, '{"name": ' + "[" * 9000 + "]" * 9000 + "}")
    assert result.exit_code == 2
    harmless(result)
