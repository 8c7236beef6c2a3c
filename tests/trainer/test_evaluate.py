"""Evaluation: the figures are what was sampled, and `deepcompress eval` prints them for a checkpoint on any data."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deepcompress_client import Client
from deepcompress_trainer.__main__ import _say_where_no_service_is, main
from deepcompress_trainer.data import held_out_chains
from deepcompress_trainer.evaluate import _Outcome, summarise


def outcome(right: list[bool], tokens: list[int], truncated: list[bool], greedy: bool) -> _Outcome:
    return _Outcome("easy", right, tokens, truncated, greedy, 7)


def test_a_bins_figures_are_means_over_its_problems() -> None:
    found = summarise(
        [
            outcome([True, True, False, False], [4, 6, 8, 10], [False, False, False, True], greedy=True),
            outcome([True, True, True, True], [2, 2, 2, 2], [False] * 4, greedy=True),
            outcome([False, False, False, False], [9, 9, 9, 9], [True] * 4, greedy=False),
        ]
    )
    assert (found.problems, found.sampled, found.greedy) == (3, 0.5, pytest.approx(2 / 3))
    assert found.tokens == pytest.approx((28 + 8 + 36) / 12) and found.greedy_tokens == 7
    assert found.truncated == pytest.approx(5 / 12)
    # Normal over the problems' means 0.5, 1 and 0 (their std is 0.5), kept within 0 and 1.
    assert found.sampled_interval == pytest.approx((0.0, 1.0), abs=0.07)
    assert found.sampled_interval[1] == pytest.approx(min(1.0, 0.5 + 1.96 * 0.5 / 3**0.5))
    assert 0.2 < found.greedy_interval[0] < 2 / 3 < found.greedy_interval[1] < 0.95


def test_the_command_evaluates_a_model_on_a_file_and_touches_no_run(
    tmp_path: Path, service_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "problems.jsonl"
    problems = held_out_chains(12, operations=(3, 6))
    rows = [{"problem_id": p.problem_id, "prompt": p.prompt, "gold": p.gold, "bin": p.bin} for p in problems]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = [run.run for run in Client(service_url).runs()]
    words = ["eval", "start", "--service-url", service_url, "--data", str(file), "--eval_problems", "8"]
    words += ["--eval_samples", "2", "--max_new_tokens", "60", "--device", "cpu"]

    said = []
    for _ in range(2):
        assert main([*words, "--json"]) == 0
        said.append(json.loads(capfd.readouterr().out.splitlines()[-1]))
    assert said[0] == said[1], "the same checkpoint, problems and seed"
    assert {name: one["problems"] for name, one in said[0].items()} == {"all": 8, "easy": 4, "medium": 4}
    for one in said[0].values():
        for name in ("sampled", "greedy"):
            low, high = one[f"{name}_interval"]
            assert 0 <= low <= one[name] <= high <= 1
    assert said[0]["easy"]["greedy"] > 0, "the start knows the task"

    assert main(words) == 0
    table = capfd.readouterr().out
    assert all(word in table for word in ("held-out problems", "easy", "medium", "sampled", "greedy", "tokens"))
    assert [run.run for run in Client(service_url).runs()] == before


def test_what_cannot_be_evaluated_is_said_in_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, said in ((["eval", str(tmp_path / "no")], "no model at"), (["eval", "start", "--data", "x"], "x")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


def test_a_missing_service_is_named_with_the_ways_to_one(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        _say_where_no_service_is(f"http://{address}")
    said = capsys.readouterr().err
    assert address in said and "--embedded" in said and "deepcompress serve" in said
