"""``deepcompress audit`` with every checker, and ``deepcompress verify`` with a remote one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepcompress_service.cli.app import app

from ..ports import free_port
from ..remote.scripted import endpoint


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def findings(*arguments: str) -> dict[str, str]:
    """The kind of finding by problem."""
    result = CliRunner().invoke(app, ["audit", *arguments, "--json"])
    assert result.exit_code in (0, 1), result.output
    return {row["problem_id"]: row["kind"] for row in map(json.loads, result.stdout.splitlines())}


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the remote checker `far`, in the settings."""
    file = tmp_path / "remote.toml"
    file.write_text('[far]\nurl = "http://127.0.0.1:9/"\nattempts = 1\n')
    monkeypatch.setenv("DEEPCOMPRESS_REMOTE_CHECKERS_FILE", str(file))
    return file


BAD: dict[str, tuple[str, str]] = {
    # gold that this checker cannot use: (checker, gold)
    "math": ("math", r"\frac{1}{"),
    "choice": ("choice", "Z"),
    "number": ("number", "many"),
    "json": ("json", "{"),
    "regex": ("regex", "("),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("way", ["field", "source", "default"])
def test_a_gold_is_read_by_the_rows_checker(tmp_path: Path, name: str, way: str) -> None:
    checker, gold = BAD[name]
    row: dict[str, Any] = {"problem_id": "p", "gold": gold, "options": ["x", "y"] if name == "choice" else None}
    row |= {"field": {"checker": checker}, "source": {"data_source": "s"}, "default": {}}[way]
    arguments = {"field": [], "source": ["--checkers", json.dumps({"s": checker})], "default": ["--checker", checker]}
    path = written(tmp_path / "golds.jsonl", [row])
    assert findings(path, *arguments[way]) == {"p": "unreadable"}
    # Every text is a gold of the checker `text`.
    row.pop("checker", None)
    path = written(tmp_path / "golds.jsonl", [row | {"data_source": "t"}])
    assert findings(path, "--checkers", '{"t": "text", "s": "math"}') == {}


def test_the_field_comes_before_the_data_source_and_that_before_the_default(tmp_path: Path) -> None:
    rows = [
        {"problem_id": "field", "gold": "(", "data_source": "a", "checker": "text"},
        {"problem_id": "source", "gold": "(", "data_source": "a"},
        {"problem_id": "default", "gold": "(", "data_source": "b"},
    ]
    path = written(tmp_path / "golds.jsonl", rows)
    assert findings(path, "--checkers", '{"a": "regex"}', "--checker", "text") == {"source": "unreadable"}


@pytest.mark.usefixtures("remote")
def test_golds_of_a_remote_checker_are_not_read(tmp_path: Path) -> None:
    responses = [{"problem_id": "p", "gold": r"\frac{1}{", "response": r"\boxed{8}"} for _ in range(4)]
    rows = [row | {"data_source": "code"} for row in responses]
    path = written(tmp_path / "rows.jsonl", rows)
    assert findings(path, "--rollouts", path, "--checkers", '{"code": "far"}') == {}
    assert findings(path, "--rollouts", path) == {"p": "unreadable"}
    odd = written(tmp_path / "odd.jsonl", [{"gold": "1", "checker": "near"}])
    result = CliRunner().invoke(app, ["audit", odd])
    assert result.exit_code == 2
    assert "far" in result.output


def test_rollouts_without_a_gold_row_are_routed_too(tmp_path: Path) -> None:
    golds = written(tmp_path / "golds.jsonl", [{"problem_id": "other", "gold": "1"}])
    rows = [
        {"problem_id": "p", "gold": "7", "response": r"\boxed{8}", "data_source": "near"},
        {"problem_id": "p", "gold": "7", "response": r"\boxed{8.0}", "data_source": "near"},
        {"problem_id": "p", "gold": "7", "response": r"\boxed{8}", "data_source": "near"},
    ]
    path = written(tmp_path / "rollouts.jsonl", rows)
    assert findings(golds, "--rollouts", path) == {"p": "likely_wrong"}
    near = json.dumps({"near": {"name": "number", "absolute": 1}})
    assert findings(golds, "--rollouts", path, "--checkers", near) == {}


@pytest.mark.parametrize("value", ["[]", "{", "math"])
def test_the_option_is_a_json_object(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "golds.jsonl", [{"gold": "1"}])
    assert CliRunner().invoke(app, ["audit", path, "--checkers", value]).exit_code == 2


def verified(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["verify", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout or "{}")


def test_verify_with_a_remote_checker(remote: Path) -> None:
    with endpoint() as server:
        remote.write_text(f'[far]\nurl = "{server.url}"\n')
        code, verdict = verified("4", "4", "--checker", "far", "--question", "2+2?", "--row", '{"a": 1}')
        assert (code, verdict["status"], verdict["decided_by"]) == (0, "correct", "far")
        assert verified("4", "5", "-c", "far")[0] == 1
    sent = json.loads(server.requests[0])
    assert (sent["question"], sent["row"]) == ("2+2?", {"a": 1})
    code, verdict = verified("4", "4", "-c", "far")
    assert (code, verdict["status"]) == (4, "unchecked")


def test_verify_with_a_file_that_is_not_valid(remote: Path) -> None:
    remote.write_text("[far]")
    assert CliRunner().invoke(app, ["verify", "4", "4", "-c", "far"]).exit_code == 2
    # The built-in checkers do not need it.
    assert verified("4", "4", "-c", "text")[0] == 0


def test_a_file_that_is_not_valid_ends_the_start(remote: Path) -> None:
    remote.write_text('[far]\nurl = "http://user:hunter2@a/"\n')
    result = CliRunner().invoke(app, ["serve", "--port", str(free_port())])
    assert result.exit_code == 2
    assert "DEEPCOMPRESS_REMOTE_CHECKERS_FILE" in result.output
    assert "hunter2" not in result.output


def test_the_summary_counts_in_words(cli: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{"problem_id": str(number), "gold": "7"} for number in range(2)]
    assert "1 gold: no findings" in cli("audit", str(written(tmp_path / "golds.jsonl", rows[:1]))).output
    assert "2 golds: no findings" in cli("audit", str(written(tmp_path / "golds.jsonl", rows))).output
