"""``deepcompress score``: a file in, verdicts and rewards out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS: list[dict[str, Any]] = [
    {"problem_id": "a", "gold": "7", "response": "\\boxed{7}", "tokens": 100},
    {"problem_id": "b", "gold": "1/2", "response": "\\boxed{0.5}", "tokens": 50},
    {"problem_id": "a", "gold": "7", "response": "\\boxed{8}", "tokens": 200},
    {"problem_id": "a", "gold": "7", "response": "\\boxed{7.0}", "tokens": 300},
    {"problem_id": "b", "gold": "1/2", "response": "<think>so", "tokens": 4096, "truncated": True},
    {"problem_id": "b", "gold": "1/2", "response": "\ud800\x00\x1b[2J \\boxed{[/red]}", "tokens": 9},
]


@pytest.fixture
def rollouts(tmp_path: Path) -> Path:
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_rows_come_out_in_the_files_order(cli: Callable[..., Any], rollouts: Path, tmp_path: Path) -> None:
    out = tmp_path / "rewards.jsonl"
    result = cli("score", str(rollouts), "--out", str(out))
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["problem_id"] for row in rows] == [row["problem_id"] for row in ROWS]
    assert [row["correct"] for row in rows] == [True, True, False, True, False, False]
    assert rows[4]["status"] == "no_answer"
    for row in rows:
        assert row["reward"] == pytest.approx(row["outcome"] + row["length"] + row["overlong"])
    # Everything starts hard: the longer of the two correct responses earns more.
    assert rows[3]["reward"] > rows[0]["reward"] > 1
    assert "rollouts: 6, problems: 2" in result.output
    assert "\x1b" not in result.output


def test_rows_can_go_to_standard_output(cli: Callable[..., Any], rollouts: Path) -> None:
    result = cli("score", str(rollouts), "--out", "-")
    assert [json.loads(line)["problem_id"] for line in result.stdout.splitlines()] == list("abaabb")


def test_the_summary_as_json(cli: Callable[..., Any], rollouts: Path) -> None:
    result = cli("score", str(rollouts), "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["rollouts"], summary["problems"]) == (6, 2)
    assert summary["statuses"] == {"correct": 3, "wrong": 2, "no_answer": 1}
    assert [row["difficulty"] for row in summary["difficulties"]] == ["hard"]
    result = cli("score", str(rollouts), "--json", "--out", "-")
    assert len(result.stdout.splitlines()) == 6
    assert json.loads(result.stderr.splitlines()[-1])["rollouts"] == 6


def test_the_strategy_can_have_parameters(cli: Callable[..., Any], rollouts: Path, tmp_path: Path) -> None:
    out = tmp_path / "rewards.jsonl"
    strategy = '{"name": "deepcompress", "initial_level": 0.0, "ema": 1.0}'
    assert cli("score", str(rollouts), "--strategy", strategy, "--out", str(out)).exit_code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["difficulty"] for row in rows} == {"simple"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "bad.jsonl has no rows"),
        ("not json\n", "bad.jsonl, line 1: not JSON"),
        ("[1]\n", "line 1: not a JSON object"),
        ('\n{"problem_id": "a", "gold": "1"}\n', "line 2: no response"),
        (
            '{"problem_id": "a", "gold": "1", "response": ""}\n{"problem_id": "a", "gold": "2", "response": ""}\n',
            "line 2: problem 'a' had another gold",
        ),
    ],
)
def test_a_bad_file_is_refused_by_line(cli: Callable[..., Any], tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    result = cli("score", str(path))
    assert result.exit_code == 2
    assert complaint in result.output


def test_a_file_that_is_not_there_is_an_error_and_no_traceback(cli: Callable[..., Any]) -> None:
    result = cli("score", "nowhere.jsonl")
    assert result.exit_code == 2
    assert "nowhere.jsonl" in result.output


def test_lengths_are_never_guessed(cli: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text('{"problem_id": "a", "gold": "1", "response": "\\\\boxed{1}"}\n')
    result = cli("score", str(path))
    assert result.exit_code == 2
    assert "tokens" in result.output


def test_an_unknown_strategy_is_named(cli: Callable[..., Any], rollouts: Path) -> None:
    result = cli("score", str(rollouts), "--strategy", "no-such-thing")
    assert result.exit_code == 2
    assert "no-such-thing" in result.output
