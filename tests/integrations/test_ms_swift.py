"""ms-swift 4.6.0's own scoring of completions (its samples, its reward rows, its reward tensor), against a live
service; one process.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client, errors

from . import live, reference
from .pages import blocks

pytest.importorskip("swift.rl_core", reason="needs ms-swift: python tests/integrations/run_real.py ms_swift")

import torch
from swift.rewards import orms
from swift.rl_core.data import GRPOSample
from swift.rl_core.grpo_algorithm import score_completions

from deepcompress_client.integrations.ms_swift import register

Group = list[reference.Rollout]
GROUPS: list[Group] = [
    [(True, 4), (False, 9), (True, 8), (False, 3)],
    [(True, 3), (True, 12), (False, 5), (True, 6)],
]
ARGS = SimpleNamespace(num_generations=4, eval_strategy="no", save_steps=1)


@pytest.fixture(autouse=True)
def address(service: live.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_URL", service.url)


def samples(groups: list[Group], **columns: Any) -> list[Any]:
    return [
        GRPOSample.from_row(
            {
                "messages": [
                    {"role": "user", "content": f"what {number}"},
                    {"role": "assistant", "content": f"so \\boxed{{{7 if correct else 8}}}"},
                ],
                "prompt_id": f"prompt_{number}",
                "request_id": f"request_{number}_{place}",
                "finish_reason": "stop",
                "response_token_ids": [[5] * tokens],
                "solution": "7",
                **columns,
            }
        )
        for number, group in enumerate(groups)
        for place, (correct, tokens) in enumerate(group)
    ]


def score(reward: Any, batch: list[Any], step: int | None) -> list[float]:
    state = None if step is None else SimpleNamespace(global_step=step)
    found = score_completions(batch, [reward], [None], False, torch.device("cpu"), trainer_state=state)
    assert found.shape == (len(batch), 1)
    values: list[float] = found[:, 0].tolist()
    return values


def expected(groups: list[Group], level: float) -> Any:
    return pytest.approx([r for group in groups for r in reference.rewards(group, level)], rel=1e-6)


def test_the_lines_of_the_page_register_a_reward_that_is_right(service: live.Service) -> None:
    exec(compile(blocks("ms_swift")[0], "ms_swift.md", "exec"), {})
    reward, level = orms["deepcompress"](args=ARGS), 1.0
    for step in range(3):
        found = score(reward, samples(GROUPS), step)
        level = reference.next_level(level, GROUPS)
        assert found == expected(GROUPS, level)
    run = Client(service.url).run("my-run", join=True)
    assert [entry.groups for entry in run.history().steps] == [2, 2, 2]
    assert {one["name"] for one in run.checkpoints()} == {"step-1", "step-2"}

    resumed = orms["deepcompress"](args=ARGS)
    assert score(resumed, samples(GROUPS[:1]), 1) == expected(
        GROUPS[:1], reference.next_level(reference.next_level(1.0, GROUPS), GROUPS[:1])
    )


def test_what_must_not_be_trained_on_is_never_none(run: str) -> None:
    """ms-swift's nansum would make a None 0, between right and wrong."""
    reward = register(run, name="untrainable")(args=ARGS)
    batch = [*samples(GROUPS[:1], solution="\\frac{1}{"), *samples(GROUPS)[4:]]
    found = score(reward, batch, 0)
    assert not torch.isnan(torch.tensor(found)).any()
    assert len(set(found[:4])) == 1 and found[0] == -1.0


def test_evaluation_is_recognised_or_refused_at_start(service: live.Service, run: str) -> None:
    evaluating = SimpleNamespace(**{**vars(ARGS), "eval_strategy": "steps"})
    with pytest.raises(ValueError, match="split"):
        register(run, name="unsure")(args=evaluating)
    reward = register(run, name="sure", split="split")(args=evaluating)
    score(reward, samples(GROUPS, split="train"), 0)
    found = score(reward, samples(GROUPS, split="test"), 1)
    assert found == [1.0 if correct else -1.0 for group in GROUPS for correct, _ in group]
    assert [entry.step for entry in Client(service.url).run(run, join=True).history().steps] == [0]


def test_without_a_step_it_requires_groups_per_step(run: str) -> None:
    with pytest.raises(ValueError, match="groups_per_step"):
        score(register(run, name="stepped")(args=ARGS), samples(GROUPS), None)
    stepless = register(run, name="stepless", groups_per_step=2)(args=ARGS)
    level = 1.0
    for _ in range(2):
        assert score(stepless, samples(GROUPS), None) == expected(GROUPS, level)  # against the step before
        level = reference.next_level(level, GROUPS)


def test_groups_that_are_not_whole_are_refused(run: str) -> None:
    with pytest.raises(ValueError, match="do not have 4 completions"):
        score(register(run, name="torn")(args=ARGS), samples([GROUPS[0][:3]]), 0)


def test_lengths_are_never_guessed(run: str) -> None:
    batch = samples(GROUPS)
    batch[3].response_token_ids = []
    with pytest.raises(ValueError, match="response_token_ids"):
        score(register(run, name="blind")(args=ARGS), batch, 0)


def test_trouble_changes_nothing_and_a_service_that_stays_away_stops_it(service: live.Service, run: str) -> None:
    with live.trouble(service) as between:
        reward = register(run, name="trouble", url=between.url)(args=ARGS)
        between.faults = ["unanswered", "503", "lost", "unanswered", "restart", "slow"]
        assert score(reward, samples(GROUPS), 0) == expected(GROUPS, reference.next_level(1.0, GROUPS))
        between.faults = ["503"] * 100
        hasty = register(f"{run}-hasty", name="hasty", url=between.url, deadline_s=2)(args=ARGS)
        with pytest.raises(errors.Unavailable):
            score(hasty, samples(GROUPS), 1)
    assert [entry.groups for entry in Client(service.url).run(run, join=True).history().steps] == [2]
