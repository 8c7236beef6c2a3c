"""``deepcompress replay`` and ``deepcompress curves``: logs in; tables, figures and pictures out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deepcompress_service.shaping import strategies

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Twelve steps of four problems, with everything that any strategy reads."""
    source = Random(7)
    rows = []
    for step in range(12):
        for problem in range(4):
            for _ in range(6):
                correct = source.random() < (problem + 1) / 5
                rows.append(
                    {
                        "step": step,
                        "problem_id": f"p{problem}",
                        "correct": correct,
                        "tokens": source.randint(100, 9000),
                        "target_tokens": 2000,
                        "reference_accuracy": 0.5,
                        "reference_tokens": 4000,
                        "thinking": source.random() < 0.5,
                        "repetitive": False,
                    }
                )
    source.shuffle(rows)
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_strategy_can_be_replayed(cli: Callable[..., Any], log: Path, tmp_path: Path) -> None:
    names = [info.name for info in strategies()]
    chosen = [argument for name in names for argument in ("--strategy", name)]
    out = tmp_path / "figures.json"
    result = cli("replay", str(log), *chosen, "--out", str(out))
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert set(figures) == set(names)
    assert "288 rollouts, 12 steps, 48 groups" in result.output
    assert figures["deepcompress"]["agreement"] == pytest.approx(1.0)
    levels = [step["level"] for step in figures["deepcompress"]["steps"]]
    assert len(levels) == 12
    assert levels == sorted(levels, reverse=True)


def test_parameters_and_labels_are_taken(cli: Callable[..., Any], log: Path) -> None:
    penalty = '{"name": "deepcompress", "beta": 1, "label": "[bold]penalty"}'
    result = cli("replay", str(log), "-s", penalty, "-s", '{"name": "gr3", "alpha": 1.0}', "--out", "-")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert list(figures) == ["deepcompress", "[bold]penalty", "gr3 (alpha=1.0)"]
    assert figures["[bold]penalty"]["shorter_hard"] == pytest.approx(1.0)


def test_the_statistics_as_json(cli: Callable[..., Any], log: Path) -> None:
    printed = cli("replay", str(log), "-s", "gr3", "--json")
    written = cli("replay", str(log), "-s", "gr3", "--out", "-")
    assert json.loads(printed.stdout) == json.loads(written.stdout)


def test_pictures_are_drawn(cli: Callable[..., Any], log: Path, tmp_path: Path) -> None:
    result = cli("replay", str(log), "-s", "kimi_k1.5", "--pictures", str(tmp_path / "pictures"))
    assert result.exit_code == 0, result.output
    drawn = sorted((tmp_path / "pictures").glob("*.png"))
    assert [path.name for path in drawn] == ["agreement.png", "figures.png", "lengths.png", "steps.png"]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)


def test_answers_are_checked_where_rows_carry_none(cli: Callable[..., Any], tmp_path: Path) -> None:
    rows = [
        {"step": 0, "problem_id": "a", "gold": "1/2", "response": "\\boxed{0.5}", "tokens": 10},
        {"step": 0, "problem_id": "a", "gold": ["1/2", "50\\%"], "response": "\\boxed{0.6}", "tokens": 20},
        {"step": 0, "problem_id": "a", "gold": "1/2", "response": "<think>", "tokens": 30, "truncated": True},
        {"step": 0, "problem_id": "b", "gold": "\\frac{", "response": "\\boxed{0.6}", "tokens": 20},
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = cli("replay", str(path), "--out", "-")
    assert result.exit_code == 0, result.output
    (step,) = json.loads(result.stdout)["deepcompress"]["steps"]
    assert step["level"] == pytest.approx(0.99 + 0.01 / 3)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("nonsense", "line 1: not JSON"),
        ("[]", "line 1: not a JSON object"),
        ('{"problem_id": "a", "correct": true, "tokens": 1}', "line 1: needs a step"),
        ('{"step": 0, "correct": true, "tokens": 1}', "line 1: no problem_id"),
        ('{"step": 0, "problem_id": "a", "tokens": 1}', "line 1: needs correct, or gold and response"),
        ('{"step": 0, "problem_id": "a", "correct": 1, "tokens": 1}', "correct must be true or false"),
        ('{"step": 0, "problem_id": "a", "correct": true, "tokens": 1.5}', "tokens must be a whole number"),
        ('{"step": 0, "problem_id": "a", "correct": true, "tokens": 1, "truncated": "no"}', "truncated must be true"),
        ('{"step": 0, "problem_id": "a", "correct": true}', "never characters"),
        ("", "has no rows"),
    ],
)
def test_what_cannot_be_replayed_is_named(cli: Callable[..., Any], tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(row + "\n")
    result = cli("replay", str(path))
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_a_strategy_that_lacks_its_fields_is_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"step": 0, "problem_id": "a", "correct": true, "tokens": 5}\n')
    result = cli("replay", str(path), "-s", "l1_exact")
    assert result.exit_code == 2
    assert "target_tokens" in result.output
    assert cli("replay", str(path), "-s", "nonesuch").exit_code == 2
    assert cli("replay", str(path), "-s", "{nonsense").exit_code == 2


def test_curves_are_drawn(cli: Callable[..., Any], tmp_path: Path) -> None:
    chosen = ["-s", "deepcompress", "-s", "short_rl", "-s", '{"name": "hapo", "weight": 0.5}']
    path = tmp_path / "curves.png"
    result = cli("curves", *chosen, "--beta", "0.5", "--tokens", "100,200", "--correct", "1,0", "-o", str(path))
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tokens", "1,2", "--correct", "1"],
        ["--tokens", "1,b", "--correct", "1,1"],
        ["--correct", "1,2"],
        ["--beta", "2"],
        ["--strategy", "nonesuch"],
    ],
)
def test_a_group_that_is_none_is_refused(cli: Callable[..., Any], arguments: list[str]) -> None:
    result = cli("curves", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
