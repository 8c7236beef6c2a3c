"""``deepcompress verify``: one comparison, its reason, its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["\\frac{3}{4}", "0.75"], 0, "correct"),
        (["\\frac{3}{4}", "0.76"], 1, "wrong"),
        (["42", "So it is \\boxed{42}.", "--format", "boxed"], 0, "correct"),
        (["42", "I do not know.", "--format", "boxed"], 1, "no answer"),
        (["7", "8", "--or", "8"], 0, "correct"),
    ],
)
def test_the_exit_status_is_the_verdict(
    cli: Callable[..., Any], arguments: list[str], status: int, word: str
) -> None:
    result = cli("verify", *arguments)
    assert result.exit_code == status, result.output
    assert result.output.startswith(word)
    assert "decided by" in result.output


def test_json_is_the_whole_verdict(cli: Callable[..., Any]) -> None:
    result = cli("verify", "1/2", "0.5", "--json")
    verdict = json.loads(result.output)
    assert (verdict["correct"], verdict["status"], verdict["answer"]) == (True, "correct", "0.5")


def test_the_answer_can_come_from_standard_input(cli: Callable[..., Any]) -> None:
    result = cli("verify", "42", "-", "--format", "boxed", stdin=b"bytes \xff that are not text \\boxed{42}")
    assert result.exit_code == 0


def test_an_answer_cannot_drive_the_terminal(cli: Callable[..., Any]) -> None:
    result = cli("verify", "1", "\x1b[2J\x1b]0;owned\x07[bold]x[/bold] \u202e")
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    assert "\u202e" not in result.output
    assert "[bold]x[/bold]" in result.output


def test_checkers_by_name_and_with_parameters(cli: Callable[..., Any]) -> None:
    chosen = cli("verify", "B", "London", "--checker", "choice", "--option", "Paris", "--option", "London")
    assert chosen.exit_code == 0
    near = cli("verify", "3.14", "3.1", "--checker", '{"name": "number", "absolute": 0.1}')
    assert near.exit_code == 0
    unknown = cli("verify", "1", "1", "--checker", "maths")
    assert unknown.exit_code == 2
