"""``deepcompress demo`` shows the method: the level moves and a problem turns from hard to simple."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_the_demo_ends_well_and_shows_the_method(cli: Callable[..., Any]) -> None:
    result = cli("demo")
    assert result.exit_code == 0, result.output
    assert "was hard" in result.output
    assert "6 of 6 groups were answered from their records" in result.output
    assert max(map(len, result.output.splitlines())) <= 120
    assert "\x1b[2J" not in result.output


def test_the_demos_numbers(cli: Callable[..., Any]) -> None:
    result = cli("demo", "--json")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    # mean pass ratio 0.375 at step 0: level = 0.6 * 1 + 0.4 * 0.375
    assert answers[0]["level"] == 0.75
    assert len({answer["level"] for answer in answers}) == 5
    sides = {
        group["problem_id"]: [answer["groups"][i]["difficulty"] for answer in answers]
        for i, group in enumerate(answers[0]["groups"])
    }
    assert sides["telescoping"] == ["hard", "hard", "simple", "simple", "simple"]
    assert set(sides["arrangements"]) == {"hard"}
    assert all(
        verdict["status"] != "gold_unreadable" for group in answers[0]["groups"] for verdict in group["verdicts"]
    )
    hostile = next(group for group in answers[0]["groups"] if group["problem_id"] == "hostile")
    assert hostile["correct"] == [True, False, False, False]
