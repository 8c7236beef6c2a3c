"""Evaluation: the figures are what was sampled, and `deepcompress eval` prints them for a checkpoint on any data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deepcompress_client import Client
from deepcompress_trainer.__main__ import _warn_if_unreachable, main
from deepcompress_trainer.config import TrainConfig, as_dict, start_checkpoint
from deepcompress_trainer.data import Problem, held_out_chains
from deepcompress_trainer.evaluate import Evaluation, _Outcome, clustered_wilson, summarise, wilson
from deepcompress_trainer.run_logger import comparison

from ..ports import free_port


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
    # The problems' means 0.5, 1 and 0 vary as three independent trials do.
    assert found.sampled_interval == pytest.approx(wilson(1.5, 3))
    assert 0.2 < found.greedy_interval[0] < 2 / 3 < found.greedy_interval[1] < 0.95


def test_the_sampled_interval_has_a_width_wherever_there_is_doubt() -> None:
    sure = [outcome([True] * 4, [3] * 4, [False] * 4, greedy=True)] * 10
    found = summarise(sure)
    assert found.sampled == 1 and found.sampled_interval == pytest.approx(wilson(10, 10))
    one = summarise(sure[:1])
    assert one.sampled_interval is None, "one problem's samples say nothing of others"
    assert json.loads(json.dumps(one.sampled_interval)) is None
    nearly = [*sure[:9], outcome([True, True, True, False], [3] * 4, [False] * 4, greedy=True)]
    interval = summarise(nearly).sampled_interval
    assert interval is not None and interval[0] < 0.9 and 0.975 < interval[1] <= 1


def test_samples_of_a_problem_count_as_far_as_they_are_independent() -> None:
    agree, independent = [0.0, 1.0] * 20, [0.25, 0.5, 0.5, 0.75] * 10
    assert clustered_wilson(agree, samples=4) == pytest.approx(wilson(20, 40))
    assert clustered_wilson([0.5] * 40, samples=4) == pytest.approx(wilson(80, 160))
    wide, narrow = clustered_wilson(agree, samples=4), clustered_wilson(independent, samples=4)
    assert wide is not None and narrow is not None
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 1.9


def test_the_table_shows_the_interval_and_not_half_of_what_was_cut_off() -> None:
    easy = summarise([outcome([True] * 4, [3] * 4, [False] * 4, greedy=True)] * 9)
    evaluation = Evaluation({"[easy]": easy, "hard": summarise([outcome([True], [3], [False], greedy=True)])}, [])
    with (console := Console(width=140)).capture() as said:
        console.print(comparison(evaluation, evaluation))
    assert "[easy]" in said.get()
    assert "100.0% → 100.0% (70 to 100)" in said.get() and "100.0% (one problem)" in said.get()


def test_an_evaluation_comes_back_from_its_row() -> None:
    whole = Evaluation(
        {"all": summarise([outcome([True, False], [3, 4], [False] * 2, greedy=True)] * 2)}, [{"bin": "x"}]
    )
    row = json.loads(json.dumps({"step": 3, "bins": whole.as_dict(), "samples": whole.samples}))
    back = Evaluation.from_row(row)
    assert json.loads(json.dumps(back.as_dict())) == row["bins"] and back.samples == whole.samples


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
    assert said[0]["easy"]["greedy"] > 0, "the start can do the task"

    assert main(words) == 0
    table = capfd.readouterr().out
    assert all(word in table for word in ("held-out problems", "easy", "medium", "sampled", "greedy", "tokens"))
    assert [run.run for run in Client(service_url).runs()] == before


def asked_of(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> tuple[TrainConfig, list[Problem]]:
    """Return the settings that `deepcompress eval` would use."""
    seen: list[tuple[TrainConfig, list[Problem]]] = []

    def stand(policy: Any, problems: list[Problem], client: Any, config: TrainConfig, *, seed: str) -> Evaluation:
        seen.append((config, problems))
        return Evaluation({"all": summarise([outcome([True], [3], [False], greedy=True)])}, [])

    monkeypatch.setattr("deepcompress_trainer.evaluate.evaluate", stand)
    monkeypatch.setattr("deepcompress_trainer.__main__._warn_if_unreachable", lambda url: None)
    assert main(["eval", *words, "--device", "cpu"]) == 0
    return seen[0]


def test_the_held_out_file_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("held_out", "other"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": "3 c +8 =", "gold": name}))
    file, other = (str(tmp_path / f"{name}.jsonl") for name in ("held_out", "other"))
    for words in (["--eval_data", file], ["--data", file], ["--eval_data", file, "--data", other]):
        _, problems = asked_of(monkeypatch, ["start", *words])
        assert [problem.gold for problem in problems] == ["held_out"]


def test_a_checkpoint_is_evaluated_as_its_run_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainConfig(
        name="tiny", chain_operations=[2, 3], eval_problems=6, max_new_tokens=17, device="cuda", chain_problems=50
    )
    checkpoint = tmp_path / "step-000119"
    shutil.copytree(start_checkpoint(), checkpoint / "model")
    state = {"step": 119, "cursor": 0, "config": {**as_dict(trained), "a_setting_of_another_version": 1}}
    (checkpoint / "state.json").write_text(json.dumps(state))
    config, problems = asked_of(monkeypatch, [str(checkpoint / "model")])
    assert (config.max_new_tokens, config.device, len(problems)) == (17, "cpu", 6)
    assert {problem.prompt.count(" ") // 2 for problem in problems} == {2, 3}
    config, problems = asked_of(monkeypatch, [str(checkpoint / "model"), "--eval_problems", "4"])
    assert (config.max_new_tokens, len(problems)) == (17, 4)


def test_evaluations_that_cannot_run_are_an_error_of_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, said in (
        (["eval", str(tmp_path / "no")], "no model at"),
        (["eval", "start", "--data", "x"], "x"),
        (["eval", "start", "--data", str(tmp_path)], str(tmp_path)),
        (["eval", "start", "--chat", "true"], "chat: the tokenizer has no chat template"),
        (["eval", "start", "--answer_format", "foo"], "answer_format is one of boxed"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error


def test_a_missing_service_is_named_with_the_ways_to_one(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    _warn_if_unreachable(f"http://{address}")
    said = capsys.readouterr().err
    assert address in said and "--embedded" in said and "deepcompress serve" in said
