"""``deepcompress profile``: logged rollouts in, a data set with pass ratio and mean length of each problem out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from deepcompress_client.wire import DatasetProblem
from deepcompress_service.cli import profile as command
from deepcompress_service.cli.app import app

Rows = list[dict[str, Any]]


def written(path: Path, rows: Rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def profiled(folder: Path, rows: Rows, *options: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The lines by problem, and the summary."""
    out = folder / "profile.jsonl"
    words = ["profile", written(folder / "rows.jsonl", rows), "--out", str(out), "--json", *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(DatasetProblem.model_validate(line) for line in lines), "each is a line of a data set"
    return {line["problem_id"]: line for line in lines}, json.loads(result.stdout)


def refused(folder: Path, rows: Rows, *options: str) -> list[str]:
    """The lines of the error."""
    out = folder / "profile.jsonl"
    result = CliRunner().invoke(app, ["profile", written(folder / "rows.jsonl", rows), "--out", str(out), *options])
    assert result.exit_code == 2 and not out.exists(), result.output
    return [line for line in result.stderr.splitlines() if line.startswith("error")]


def test_each_problem_has_its_pass_ratio_and_mean_length(tmp_path: Path) -> None:
    source = Random(3)
    rows, passes, sizes, lengths = [], Counter[str](), Counter[str](), Counter[str]()
    for _ in range(400):
        number = source.randrange(12)
        correct, tokens = source.random() < number / 12, source.randrange(10, 4000)
        data = "gsm8k" if number < 5 else "aime"
        rows.append({"problem_id": f"p{number}", "data_source": data, "correct": correct, "tokens": tokens})
        sizes[f"p{number}"] += 1
        passes[f"p{number}"] += correct
        lengths[f"p{number}"] += tokens
    lines, summary = profiled(tmp_path, rows)
    assert list(lines) == list(dict.fromkeys(row["problem_id"] for row in rows)), "in the order of the file"
    for name, line in lines.items():
        assert line["rollouts"] == sizes[name]
        assert line["pass_ratio"] == passes[name] / sizes[name]
        assert line["tokens"] == lengths[name] / sizes[name]
    assert (summary["problems"], summary["rollouts"]) == (12, 400)
    assert summary["pass_ratio"] == pytest.approx(sum(line["pass_ratio"] for line in lines.values()) / 12)
    assert summary["mean_tokens"] == lengths.total() / 400
    assert {name: one["problems"] for name, one in summary["data_sources"].items()} == {"gsm8k": 5, "aime": 7}
    assert summary["none_correct"] == sum(line["pass_ratio"] == 0 for line in lines.values()) >= 1


def test_answers_are_checked_where_there_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_BATCH", 3)
    rows: Rows = [
        {"problem_id": "a", "gold": "3/4", "response": "so \\boxed{0.75}", "tokens": 10},
        {"problem_id": "a", "gold": "3/4", "response": "so \\boxed{0.5}", "tokens": 20},
        {"problem_id": "a", "correct": True, "tokens": 30},
        {"problem_id": "b", "gold": ["1", "2"], "response": "so \\boxed{2}"},
        {"problem_id": "b", "gold": ["1", "2"], "response": "2", "answer_format": "bare"},
        {"problem_id": "c", "gold": "B", "response": "\\boxed{B}", "checker": "choice", "options": ["x", "y"]},
        {"problem_id": "d", "gold": "Paris", "response": "\\boxed{Paris}", "data_source": "geo"},
        {"problem_id": "e", "gold": "\\frac{1}{", "response": "\\boxed{1}"},
        {"problem_id": "f", "gold": "5", "response": "<think> 5", "truncated": True},
    ]
    lines, summary = profiled(tmp_path, rows, "--checkers", '{"geo": "text"}')
    found = {name: (line["pass_ratio"], line["rollouts"], line["tokens"]) for name, line in lines.items()}
    assert found == {
        "a": (2 / 3, 3, 20.0),
        "b": (1.0, 2, None),
        "c": (1.0, 1, None),
        "d": (1.0, 1, None),
        "f": (0.0, 1, None),
    }
    assert summary["gold_unreadable"] == 1


def test_unchecked_rollouts_are_left_out_and_undecided_ones_are_wrong(tmp_path: Path) -> None:
    rows: Rows = [
        {"problem_id": "a", "correct": True, "status": "correct"},
        {"problem_id": "a", "correct": False, "status": "undecided"},
        {"problem_id": "a", "correct": False, "status": "unchecked"},
        {"problem_id": "b", "correct": False, "status": "unchecked"},
        {"problem_id": "c", "correct": False, "status": "gold_unreadable"},
    ]
    lines, summary = profiled(tmp_path, rows)
    assert lines["a"]["pass_ratio"] == 0.5
    assert (lines["b"]["pass_ratio"], lines["b"]["rollouts"]) == (None, 0), "known, and not measured"
    assert "c" not in lines
    assert (summary["unchecked"], summary["undecided"], summary["gold_unreadable"]) == (2, 1, 1)


def test_names_may_be_numbers_and_fields_have_other_names(tmp_path: Path) -> None:
    rows: Rows = [{"id": 7, "answer": 4, "response": "\\boxed{4}"}, {"id": "7", "correct": False}]
    lines, _ = profiled(tmp_path, rows, "--id-field", "id", "--gold-field", "answer")
    assert lines["7"]["pass_ratio"] == 0.5


GOOD: dict[str, Any] = {"problem_id": "p", "correct": True}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"correct": True}, "needs problem_id"),
        ({**GOOD, "problem_id": ""}, "needs problem_id"),
        ({**GOOD, "problem_id": "x" * 513}, "1 to 512 characters"),
        ({**GOOD, "problem_id": True}, "needs problem_id"),
        ({**GOOD, "problem_id": "\ud800"}, "lone surrogate"),
        ({**GOOD, "correct": 1}, "correct must be true or false"),
        ({**GOOD, "tokens": -1}, "tokens must be"),
        ({**GOOD, "tokens": 1.5}, "tokens must be"),
        ({**GOOD, "status": "right"}, "status must be one of"),
        ({**GOOD, "data_source": ""}, "data_source must be"),
        ({**GOOD, "data_source": "other"}, "has the data_source 'other' here and None before"),
        ({"problem_id": "q", "gold": "1"}, "needs correct, or gold and response"),
        ({"problem_id": "q", "response": "1"}, "needs correct, or gold and response"),
        ({"problem_id": "q", "gold": {}, "response": "1"}, "not a string or a list of strings"),
        ({"problem_id": "q", "gold": "1", "response": "1", "checker": "none"}, "'checker'"),
        ({"problem_id": "q", "gold": "1", "response": "1", "checker": ["math"]}, "'checker'"),
        ({"problem_id": "q", "gold": "1", "response": "1", "checker": {"name": ["math"]}}, "'checker'"),
        ({"problem_id": "q", "gold": "1", "response": "1", "answer_format": "x"}, "answer_format must be"),
        ({"problem_id": "q", "gold": "1", "response": "1", "truncated": "no"}, "truncated must be"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    (line,) = refused(tmp_path, [GOOD, row])
    assert "rows.jsonl, line 2: " in line and message in line


def test_all_bad_lines_are_named_up_to_a_bound(tmp_path: Path) -> None:
    rows: Rows = [GOOD, {**GOOD, "tokens": "7"}, GOOD, {**GOOD, "correct": None}]
    assert [line.split(": ")[0][-6:] for line in refused(tmp_path, rows)] == ["line 2", "line 4"]
    assert len(refused(tmp_path, [{**GOOD, "tokens": "7"}] * 100)) == command.MAX_ERRORS


def test_a_remote_checker_is_asked_for_in_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "remote.toml"
    file.write_text('[far]\nurl = "http://127.0.0.1:9/"\n')
    monkeypatch.setenv("DEEPCOMPRESS_REMOTE_CHECKERS_FILE", str(file))
    (line,) = refused(tmp_path, [{"problem_id": "q", "gold": "1", "response": "1", "checker": "far"}])
    assert "its checker is remote: log correct" in line


def test_standard_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = json.dumps({**GOOD, "data_source": "a\x1b[31m"})
    result = CliRunner().invoke(app, ["profile", "-"], input=sent)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pass_ratio"] == 1.0
    assert "rollouts" in result.stderr and "rollouts" in result.stdout
    assert "\x1b[31m" not in result.stderr
