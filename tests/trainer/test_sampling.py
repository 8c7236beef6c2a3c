"""`sampling`: the service draws the problems of each step, also after a resume, and each at most once in a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client, Run
from deepcompress_trainer.config import TrainConfig, sampling_policy
from deepcompress_trainer.data import Problem, ProblemSampler
from deepcompress_trainer.train import Trainer

from ..integrations.pages import PAGES, blocks
from .test_training import rows, settings


def test_a_policy_is_named_with_its_parameters() -> None:
    assert sampling_policy(TrainConfig(sampling="signal", group_size=6)) == {"name": "signal", "group_size": 6}
    given: dict[str, Any] = {"sampling": "band", "sampling_parameters": {"low": 0.2}}
    assert sampling_policy(TrainConfig(**given)) == {"name": "band", "low": 0.2}
    with pytest.raises(ValueError, match="sampling_parameters"):
        TrainConfig(sampling_parameters={"low": 0.2})


def test_problems_of_the_service_are_the_next_draws() -> None:
    problems = [Problem(name, name, "1", "all") for name in "abc"]
    sampler = ProblemSampler(problems, seed=0, cursor=5)
    assert [draw.group_id for draw in sampler.take(["b", "a"])] == ["b@5", "a@6"] and sampler.cursor == 7
    with pytest.raises(ValueError, match="problem 'z', which the training data do not have"):
        sampler.take(["z"])


class Noted(Trainer):
    """Notes the problems of each generation batch."""

    seen: list[tuple[int, list[str]]]

    def generate(self, step: int, generation: int) -> Any:
        groups, answer = super().generate(step, generation)
        self.seen = [*getattr(self, "seen", []), (step, [group.draw.problem.problem_id for group in groups])]
        return groups, answer


def trained(config: TrainConfig, url: str, resume: bool = False) -> Noted:
    with Client(url) as client:
        trainer = Noted(config, client, resume=resume)
        trainer.run()
    return trainer


def check_recorded(run: Run, config: TrainConfig, seen: list[tuple[int, list[str]]]) -> None:
    """Check that each step trained on the recorded sample, in its order and no problem twice."""
    for step in {step for step, _ in seen}:
        drawn = [name for one, names in seen if one == step for name in names]
        count = config.problems_per_step * config.max_generation_batches
        sample = run.sample(step, count, sampling_policy(config))
        recorded = [one.problem_id for one in sample.problems]
        assert drawn == recorded[: len(drawn)] and len(set(drawn)) == len(drawn) > 0


def test_a_training_takes_its_problems_from_the_service(tmp_path: Path, service_url: str) -> None:
    config = settings(tmp_path, "sampled", sampling="signal", steps=4)
    seen = trained(config, service_url).seen
    with Client(service_url) as client:
        run = client.run("sampled", join=True)
        assert run.dataset().problems == config.chain_problems
        check_recorded(run, config, seen)
    assert [row["step"] for row in rows(tmp_path / "sampled")] == [0, 1, 2, 3]


def test_a_resumed_training_goes_on_with_the_samples_of_its_run(tmp_path: Path, service_url: str) -> None:
    first = trained(settings(tmp_path, "broken", sampling="signal", steps=2), service_url)
    config = settings(tmp_path, "broken", sampling="signal")
    again = trained(config, service_url, resume=True)
    assert [row["step"] for row in rows(tmp_path / "broken")] == [0, 1, 2, 3, 4]
    seen = [*(one for one in first.seen if one[0] < again.seen[0][0]), *again.seen]
    assert sorted({step for step, _ in seen}) == [0, 1, 2, 3, 4]
    with Client(service_url) as client:
        check_recorded(client.run("broken", join=True), config, seen)


def test_a_policy_that_admits_nothing_more_ends_the_step_early(tmp_path: Path, service_url: str) -> None:
    changes = {"chain_problems": 6, "problems_per_step": 4, "filter_metric": "acc", "steps": 2, "eval_problems": 4}
    seen = trained(settings(tmp_path, "few", sampling="uniform", **changes), service_url).seen
    for step in range(2):
        batches = [names for one, names in seen if one == step]
        assert [len(names) for names in batches] in ([4], [4, 2])


def test_the_examples_of_the_page(service_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of one's own, and then the sampler on its run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPCOMPRESS_URL", service_url)
    ids = [f"p{number}" for number in range(24)]
    lines = [{"problem_id": name, "pass_ratio": number / 24, "rollouts": 8} for number, name in enumerate(ids)]
    (tmp_path / "profile.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    loop, with_torch = blocks("curriculum", folder=PAGES.parent)[:2]

    def roll_out(problems: list[str]) -> list[dict[str, Any]]:
        answers = [{"response": f"\\boxed{{{k % 2}}}", "tokens": 5 + k} for k in range(4)]
        return [{"problem_id": name, "gold": "1", "rollouts": answers} for name in problems]

    given: dict[str, Any] = {"roll_out": roll_out}
    exec(compile(loop, "curriculum.md", "exec", dont_inherit=True), given)
    assert given["run"].dataset().problems == 24
    assert [(entry.step, entry.groups) for entry in given["run"].history().steps] == [(0, 8), (1, 8), (2, 8)]
    given |= {"problem_ids": ids, "dataset": list(range(24))}
    exec(compile(with_torch, "curriculum.md", "exec", dont_inherit=True), given)
    given["sampler"].load_state_dict({"first_step": 3, "step": 3, "yielded": 0})
    batches = [batch.tolist() for batch in given["loader"]]
    recorded = [given["run"].sample(step, 8, "signal").problems for step in (3, 4, 5)]
    assert batches == [[ids.index(one.problem_id) for one in problems] for problems in recorded]
