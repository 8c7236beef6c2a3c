"""Relatives of the mistakes of test_silent_damage.py: resumes, failed and repeated rollouts, evaluation."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client, errors

from . import live, reference
from .test_adapters import GROUPS, episodes
from .test_silent_damage import UNREADABLE, train

# --- resumes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", ["step_20", "global_step_20", "checkpoint-20", "_actor/global_step20"])
def test_a_first_step_that_the_checkpoints_contradict_is_refused(run: str, tmp_path: Path, checkpoint: str) -> None:
    """A script with next_step=0 that is started again after a crash: the trainer resumes, the run would be wiped."""
    from deepcompress_client.integrations._common import check_first_step
    from deepcompress_client.integrations.areal import start
    from deepcompress_client.integrations.nemo_rl import StepShaping as NemoShaping
    from deepcompress_client.integrations.rllm import StepShaping as RllmShaping

    (tmp_path / checkpoint).mkdir(parents=True)
    for make in (NemoShaping, RllmShaping):
        with pytest.raises(ValueError, match=f"has a checkpoint, {checkpoint}"):
            make(run, next_step=0, folder=tmp_path)
        make(run, next_step=20, folder=tmp_path)
        make(run, next_step=0, folder=tmp_path, fresh=True)
        make(run, next_step=0, folder=tmp_path / "another")
    with pytest.raises(ValueError, match="next_step is 0"):
        start(run, groups_per_step=1, folder=tmp_path)
    check_first_step(None, {"folder": tmp_path})


def test_a_restart_before_the_first_checkpoint_is_logged(
    service: live.Service, run: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from deepcompress_client.integrations._common import open_run

    client = Client(service.url)
    opened = open_run(client, run, 0, None, {}, folder=tmp_path)
    assert "starts again" not in caplog.text
    opened.shape([{"problem_id": "a", "rollouts": [{"correct": True, "tokens": 1}]}], step=0)
    open_run(client, run, 0, None, {}, folder=tmp_path)
    assert f"run '{run}': this training starts again at step 0" in caplog.text


@pytest.mark.parametrize("step", [0, 1])
def test_prime_rl_by_groups_does_not_take_a_new_training_for_a_resumed_one(
    service: live.Service, run: str, step: int
) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    def shaping(**more: Any) -> GroupShaping:
        return GroupShaping(run, assign=lambda *_: None, url=service.url, groups_per_step=1, **more)

    asyncio.run(shaping().score_group(episodes(GROUPS[0], "a", step)))
    with pytest.raises(errors.RunInUse):
        asyncio.run(shaping().score_group(episodes(GROUPS[0], "b", step)))
    asyncio.run(shaping().score_group(episodes(GROUPS[0], "c", 2)))
    assert len(Client(service.url).run(run, join=True).history().steps) == 2


class Handler:
    """As much of transformers' callback handler as `attach` touches."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = ["starts the scoring process"]


def async_trainer(folder: Path, golds: list[str]) -> Any:
    rows = [{"prompt": [{"role": "user", "content": str(n)}], "answer": gold} for n, gold in enumerate(golds)]

    class Data(list[Any]):
        column_names = ("prompt", "answer")

        def __getitem__(self, part: Any) -> Any:
            return {"answer": [row["answer"] for row in super().__getitem__(part)]}

    return SimpleNamespace(
        train_dataset=Data(rows),
        args=SimpleNamespace(output_dir=str(folder), num_generations=2),
        callback_handler=Handler(),
        processing_class=SimpleNamespace(pad_token_id=0, eos_token_id=1),
        eos_token_ids=[1, 9],
        rollout_queue=SimpleNamespace(qsize=lambda: 5),  # samples: of seven groups three wait, in two steps
    )


def test_trl_asynchronous_resumes_behind_what_was_trained_and_refuses_the_orphan(
    service: live.Service, run: str, tmp_path: Path
) -> None:
    """The trainer's process opens the run; a pickled copy scores; an earlier copy counts no longer."""
    pytest.importorskip("transformers", reason="needs transformers: install the extra [trainer]")
    pytest.importorskip("accelerate", reason="needs accelerate: install the extra [trainer]")
    from deepcompress_client.integrations.trl import DeepCompressGroupReward

    def attached() -> tuple[Any, Any]:
        reward = DeepCompressGroupReward(run, url=service.url, gold="answer", groups_per_step=2)
        trainer = async_trainer(tmp_path, ["7"] * 4)
        reward.attach(trainer)
        assert trainer.callback_handler.callbacks[1:] == ["starts the scoring process"]
        return reward, trainer.callback_handler.callbacks[0]

    async def score(reward: Any, number: int) -> list[float | None]:
        return await reward(
            [[{"role": "user", "content": f"q{number}"}]] * 2,
            [[{"role": "assistant", "content": f"\\boxed{{{answer}}}"}] for answer in (7, 8)],
            [[5, 1], [5, 5, 5]],
            answer=["7"] * 2,
        )

    def state(step: int) -> Any:
        return SimpleNamespace(global_step=step, is_world_process_zero=True)

    args = SimpleNamespace(output_dir=str(tmp_path))
    reward, callback = attached()
    callback.on_train_begin(args, state(0), None)
    first = pickle.loads(pickle.dumps(reward))
    unused = pickle.loads(pickle.dumps(reward))  # of a process that starts to score only after the restart
    for number in range(7):
        asyncio.run(score(first, number))
    (tmp_path / "checkpoint-2").mkdir()
    callback.on_save(args, state(2), None)
    client = Client(service.url)
    names = [one["name"] for one in client.run(run, join=True).checkpoints()]
    assert names == ["step-1"]
    truncated = [entry.truncated for entry in client.run(run, join=True).history().steps]
    assert truncated == [2, 2, 2, 1], "the end tokens are the trainer's"

    reward, callback = attached()
    callback.on_train_begin(args, state(2), None)
    assert len(client.run(run, join=True).history().steps) == 1
    for orphan in (first, unused):
        with pytest.raises(errors.EpochMismatch, match="another training opened"):
            asyncio.run(score(orphan, 7))
    second = pickle.loads(pickle.dumps(reward))
    for number in range(3, 5):
        asyncio.run(score(second, number))
    assert [entry.groups for entry in client.run(run, join=True).history().steps] == [2, 2]

    unreadable = async_trainer(tmp_path, [f"{UNREADABLE}{n}" for n in range(4)])
    with pytest.raises(ValueError, match="not readable"):
        DeepCompressGroupReward(run, url=service.url, gold="answer", groups_per_step=2).attach(unreadable)
    with pytest.raises(ValueError, match="no column 'solution'"):
        DeepCompressGroupReward(run, url=service.url, groups_per_step=2).attach(async_trainer(tmp_path, ["7"]))


# --- failed rollouts, repeated prompts, evaluation ---------------------------------------------------------


def states(*rollouts: tuple[bool, int], failed: int | None = None) -> list[dict[str, Any]]:
    found = []
    for place, (correct, tokens) in enumerate(rollouts):
        state = {
            "prompt": "what",
            "answer": "7",
            "completion": f"\\boxed{{{7 if correct else 8}}}",
            "trajectory": [{"tokens": {"completion_mask": [1] * tokens}}],
            "error": None,
        }
        if place == failed:
            state |= {"completion": "", "trajectory": [], "error": RuntimeError("the sandbox ended")}
        found.append(state)
    return found


def test_a_failed_rollout_of_a_rubric_leaves_the_others_their_rewards(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.verifiers import group_reward

    rubric = group_reward(run, groups_per_step=1, url=service.url)
    group = [(True, 4), (False, 9), (True, 8)]
    rewards = asyncio.run(rubric(states(*group, (True, 5), failed=3)))
    expected = reference.rewards(group, 1.0)
    assert rewards == pytest.approx([*expected, sum(expected) / 3], abs=1e-9)
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert entry.rollouts == 3
    assert asyncio.run(rubric(states((True, 4), failed=0))) == [0.0]


def test_evaluation_by_a_rubric_changes_no_state(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.verifiers import group_reward

    before = train(service.url, run).info()
    rubric = group_reward(run, groups_per_step=1, phase="eval", url=service.url)
    assert asyncio.run(rubric(states((True, 4), (False, 9), (True, 1), failed=2))) == [1.0, 0.0, 0.0]
    after = Client(service.url).run(run, join=True).info()
    assert (after.version, after.level) == (before.version, before.level)


def test_a_prompt_that_is_twice_in_a_batch_of_ms_swift_is_two_groups(service: live.Service, run: str) -> None:
    """ms-swift names prompts by their text, and normalises blocks of num_generations."""
    pytest.importorskip("accelerate", reason="needs accelerate: install the extra [trainer]")
    from accelerate import PartialState

    from deepcompress_client.integrations.ms_swift import DeepCompressReward

    PartialState(cpu=True)
    reward = DeepCompressReward(
        run, url=service.url, gold="answer", args=SimpleNamespace(num_generations=3, eval_strategy="no")
    )
    groups = [[(True, 4), (False, 9), (True, 8)], [(False, 4), (False, 9), (True, 2)]]
    rollouts = [rollout for group in groups for rollout in group]
    rewards = reward(
        [f"\\boxed{{{7 if correct else 8}}}" for correct, _ in rollouts],
        messages=[[{"role": "user", "content": "what"}, {"role": "assistant", "content": ""}]] * 6,
        prompt_id=["prompt_0"] * 6,
        response_token_ids=[[1] * tokens for _, tokens in rollouts],
        trainer_state=SimpleNamespace(global_step=0),
        answer=["7"] * 6,
    )
    level = reference.next_level(1.0, groups)
    expected = [one for group in groups for one in reference.rewards(group, level)]
    assert rewards == pytest.approx(expected, abs=1e-9)
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert (entry.groups, entry.rollouts) == (2, 6)
