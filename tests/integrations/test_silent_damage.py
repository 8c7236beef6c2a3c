"""Mistakes that trained on wrong rewards without a word: each is now refused, put right, or in a warning.

The frameworks are stand-ins; what needs TRL or verl themselves is in their own tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deepcompress_client import Client, errors

from . import live, reference
from .test_adapters import GROUPS, SkyGenerator, episodes, sky_batch, slime_args, slime_rollout, slime_samples

RIGHT, WRONG = {"correct": True, "tokens": 5}, {"correct": False, "tokens": 9}
GSM8K = "She makes 3*4=<<3*4=12>>12 muffins.\n#### 12"
UNREADABLE = "\\frac{1}{"


def train(url: str, run: str, steps: int = 3) -> Any:
    opened = Client(url).run(run, next_step=0)
    for step in range(steps):
        opened.shape([{"problem_id": "a", "rollouts": [RIGHT, WRONG, WRONG]}], step=step)
    return opened


# --- rows of several problems are no group --------------------------------------------------------------


def test_trl_group_reward_refuses_a_batch_of_several_problems(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.trl import DeepCompressGroupReward

    reward = DeepCompressGroupReward(run, url=service.url, gold="answer", groups_per_step=1)

    def call(**more: Any) -> Any:
        batch = {
            "prompts": ["q1", "q1", "q2", "q2"],
            "completions": ["\\boxed{1}", "\\boxed{1}", "\\boxed{2}", "\\boxed{2}"],
            "completion_ids": [[1]] * 4,
            "answer": ["1", "1", "2", "2"],
        }
        return asyncio.run(reward(**{**batch, **more}))

    with pytest.raises(ValueError, match="2 different pairs of prompt and gold"):
        call()
    with pytest.raises(ValueError, match="different pairs"):
        call(prompts=["q"] * 4)
    with pytest.raises(ValueError, match=r"DeepCompressReward and attach"):
        call(prompts=["q"] * 4, answer=["1"] * 4, trainer_state=SimpleNamespace(global_step=0))
    assert len(call(prompts=["q"] * 4, answer=["1"] * 4)) == 4


def test_gathered_completions_of_several_problems_are_no_group() -> None:
    from deepcompress_client.integrations._batch import VerifiedCompletion, shape_group

    rows = [VerifiedCompletion("named", question=question) for question in ("q1", "q1", "q2", "q2")]
    with pytest.raises(ValueError, match="different prompts, golds or problem ids"):
        shape_group(rows, "g")


def test_slime_samples_of_several_problems_are_no_group(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    for field in ("prompt", "label"):
        reward, args, samples = SlimeReward(run, url=service.url, fresh=True), slime_args(), slime_samples(GROUPS[:1])
        slime_rollout(reward, args, samples)
        setattr(samples[2], field, "8")
        with pytest.raises(ValueError, match="different pairs"):
            reward.post_process(args, samples)


def test_prime_rl_skyrl_and_rubrics_refuse_groups_of_several_problems(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping
    from deepcompress_client.integrations.skyrl import shaped
    from deepcompress_client.integrations.verifiers import group_reward

    shaping = GroupShaping(run, assign=lambda *_: None, url=service.url)
    mixed = episodes(GROUPS[0], "g", 0)
    mixed[1].task.data.answer = "8"
    with pytest.raises(ValueError, match="different pairs"):
        asyncio.run(shaping.score_group(mixed))

    generator = shaped(SkyGenerator, run=run, url=service.url)(True)
    generator.next = GROUPS[:1]
    batch = sky_batch(GROUPS[:1], 1, "train")
    batch["env_extras"][3] = {"reward_model": {"ground_truth": "8"}}
    with pytest.raises(ValueError, match="different pairs"):
        asyncio.run(generator.generate(batch))

    rubric = group_reward(f"{run}-rubric", groups_per_step=1, url=service.url)
    tokens = [{"tokens": {"completion_mask": [1]}}]
    states = [
        {"prompt": "q", "answer": gold, "completion": "\\boxed{1}", "trajectory": tokens} for gold in ("1", "2")
    ]
    with pytest.raises(ValueError, match="different pairs"):
        asyncio.run(rubric(states))


def test_siblings_that_share_an_object_must_share_the_problem() -> None:
    from deepcompress_client.integrations._barrier import Barrier

    async def join() -> None:
        barrier, shared = Barrier(), object()
        siblings = await barrier.join(shared, "one")
        with pytest.raises(ValueError, match="different problems"):
            await barrier.join(shared, "two")
        with pytest.raises(RuntimeError, match="failed"):
            await siblings.rewards

    asyncio.run(join())


# --- no reward, by version of the framework -------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "neutral"), [("0.24.0", True), ("1.5.1", True), ("1.6.0", False), ("1.16.0", False)]
)
def test_trl_that_trains_none_as_0_gets_the_mean_of_the_group(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, installed: str, neutral: bool
) -> None:
    from deepcompress_client.integrations._trl import trains_none_as_0

    monkeypatch.setattr("deepcompress_client.integrations._versions.version", lambda _: installed)
    caplog.set_level(logging.INFO, "deepcompress_client")
    assert trains_none_as_0() is neutral
    assert "trl 0.24 to 1.16" in caplog.text
    assert installed in caplog.text


def test_versions_out_of_the_tested_range(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from deepcompress_client.integrations._versions import check_version

    installed = {"trl": "0.18.2", "verl": "0.10.0.dev1"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("deepcompress_client.integrations._versions.version", version)
    with pytest.raises(RuntimeError, match=r"trl 0\.18\.2 is too old.*0\.24 to 1\.16"):
        check_version("trl", "0.24", "1.16")
    assert check_version("verl", "0.9", "0.9") == (0, 10, 0)
    assert "missing rewards may differ" in caplog.text
    assert check_version("areal", "1.0", "1.0") is None


def test_a_row_without_a_reward_is_the_mean_of_its_group_where_none_trains_as_0() -> None:
    from deepcompress_client.integrations._batch import rewards_by_row

    group = SimpleNamespace(
        rewards=[1.0, 2.0, -1.0, -1.0],
        trainable=[True, True, True, False],
        components=SimpleNamespace(length=[0.0] * 4),
    )
    answer: Any = SimpleNamespace(groups=[group])
    assert rewards_by_row(5, [range(4)], answer)[0] == [1.0, 2.0, -1.0, None, None]
    neutral = rewards_by_row(5, [range(4)], answer, neutral=True)[0]
    assert neutral == [1.0, 2.0, -1.0, pytest.approx(2.0 / 3.0), None]


# --- runs with history ----------------------------------------------------------------------------------


def test_a_training_that_starts_on_a_run_with_history_is_refused(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations._common import open_run

    train(service.url, run)
    client = Client(service.url)
    with pytest.raises(errors.RunInUse, match="fresh=True") as refused:
        open_run(client, run, 0, None, {})
    assert "continue_from" in str(refused.value)
    assert len(client.run(run, join=True).history().steps) == 3
    opened = open_run(client, run, 0, None, {}, fresh=True)
    assert opened.history().steps == []


def test_the_same_training_is_known_by_the_file_beside_its_checkpoints(
    service: live.Service, run: str, tmp_path: Path
) -> None:
    """It crashed before its first checkpoint, and is restarted automatically."""
    from deepcompress_client.integrations._common import open_run

    client = Client(service.url)
    first = open_run(client, run, 0, None, {}, folder=tmp_path / "out")
    first.shape([{"problem_id": "a", "rollouts": [RIGHT, WRONG]}], step=0)
    saved = json.loads((tmp_path / "out" / f"deepcompress-{run}.json").read_text())
    assert saved["incarnation"] == first.state_dict()["incarnation"]
    again = open_run(client, run, 0, None, {}, folder=tmp_path / "out")
    assert again.history().steps == []
    again.shape([{"problem_id": "a", "rollouts": [RIGHT, WRONG]}], step=0)
    with pytest.raises(errors.EpochMismatch, match="another training opened"):
        first.shape([{"problem_id": "a", "rollouts": [WRONG, WRONG]}], step=1)
    with pytest.raises(errors.RunInUse):  # another training: another folder
        open_run(client, run, 0, None, {}, folder=tmp_path / "other")

    client.delete_run(run)
    train(service.url, run)  # somebody else's, under the same name
    with pytest.raises(errors.RunInUse):
        open_run(client, run, 0, None, {}, folder=tmp_path / "out")
    with pytest.raises(errors.RunLost, match=r"delete .*deepcompress-.*\.json"):
        open_run(client, run, 2, None, {}, folder=tmp_path / "out")


def test_a_second_stage_keeps_the_difficulty_state_also_after_a_crash(
    service: live.Service, run: str, tmp_path: Path
) -> None:
    from deepcompress_client.integrations._common import open_run

    level = train(service.url, f"{run}-1").info().level
    client = Client(service.url)
    for _ in range(2):
        second = open_run(client, f"{run}-2", 0, None, {}, continue_from=f"{run}-1", folder=tmp_path)
        assert second.info().level == pytest.approx(level)
        assert second.info().problems == 1
        second.shape([{"problem_id": "a", "rollouts": [WRONG, WRONG]}], step=0)


def test_adapters_pass_on_the_refusal(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping
    from deepcompress_client.integrations.slime import SlimeReward

    train(service.url, run)
    samples = slime_samples(GROUPS[:1])
    with pytest.raises(errors.RunInUse):
        slime_rollout(SlimeReward(run, url=service.url), slime_args(), samples)
    slime_rollout(SlimeReward(run, url=service.url, fresh=True), slime_args(), samples)
    train(service.url, run)
    shaping = GroupShaping(run, assign=lambda *_: None, url=service.url)
    with pytest.raises(errors.RunInUse):  # prime-rl counts its steps from 1
        asyncio.run(shaping.score_group(episodes(GROUPS[0], "g", 1)))


def test_names_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    from deepcompress_client.integrations.areal import group_workflow
    from deepcompress_client.integrations.ms_swift import DeepCompressReward as SwiftReward
    from deepcompress_client.integrations.nemo_rl import StepShaping as NemoShaping
    from deepcompress_client.integrations.prime_rl import GroupShaping as PrimeShaping
    from deepcompress_client.integrations.rllm import StepShaping as RllmShaping
    from deepcompress_client.integrations.roll import GroupShaping as RollShaping
    from deepcompress_client.integrations.skyrl import shaped
    from deepcompress_client.integrations.slime import SlimeReward
    from deepcompress_client.integrations.trl import DeepCompressGroupReward, DeepCompressReward
    from deepcompress_client.integrations.verifiers import group_reward

    for make in (
        lambda name: DeepCompressReward(name),
        lambda name: DeepCompressGroupReward(name, groups_per_step=1),
        lambda name: SwiftReward(name),
        lambda name: SlimeReward(name),
        lambda name: NemoShaping(name, next_step=0),
        lambda name: RllmShaping(name, next_step=0),
        lambda name: RollShaping(name),
        lambda name: PrimeShaping(name, assign=lambda *_: None),
        lambda name: shaped(SkyGenerator, run=name),
        lambda name: group_workflow(object, run=name, epoch=0),
        lambda name: group_reward(name, groups_per_step=1),
    ):
        for name in ("org/model-grpo", "exp 1", ""):
            with pytest.raises(errors.InvalidRequest, match="letters, digits, dots"):
                make(name)


# --- golds ----------------------------------------------------------------------------------------------


def test_a_run_without_any_success_has_a_warning(service: live.Service, run: str) -> None:
    opened, warnings = Client(service.url).run(run, next_step=0), []
    for step in range(4):
        groups = [{"problem_id": f"p{n}", "rollouts": [WRONG, {**WRONG, "tokens": 3}] * 4} for n in range(4)]
        warnings += opened.shape(groups, step=step).warnings
    counted = [one.split(" rollouts")[0] for one in warnings if one.startswith("nothing-correct")]
    assert counted == [f"nothing-correct: none of the first {count}" for count in (64, 96, 128)]

    lucky, warnings = Client(service.url).run(f"{run}-lucky", next_step=0), []
    for step in range(6):
        groups = [{"problem_id": f"p{n}", "rollouts": [WRONG] * 8} for n in range(4)]
        if step == 0:
            groups[0]["rollouts"] = [RIGHT] * 8
        warnings += lucky.shape(groups, step=step).warnings
    assert not any(one.startswith("nothing-correct") for one in warnings)


def test_unreadable_golds_stale_groups_and_undecided_rollouts_have_warnings(service: live.Service, run: str) -> None:
    opened = Client(service.url).run(run, next_step=0)
    unreadable = {"problem_id": "a", "gold": UNREADABLE, "rollouts": [{"response": "\\boxed{1}", "tokens": 2}] * 2}
    readable = {**unreadable, "problem_id": "b", "gold": "1"}
    (one,) = [w for w in opened.score([unreadable], step=0).warnings if w.startswith("gold-unreadable")]
    assert "no group has a gold" in one
    undecided = {"correct": False, "status": "undecided", "tokens": 5}
    found = opened.shape([{"problem_id": "c", "rollouts": [RIGHT, undecided]}], step=3).warnings
    assert any(one.startswith("undecided-rate: 1 of 2") for one in found)
    late = opened.score([readable], step=1)
    assert late.groups[0].stale
    assert any(one.startswith("stale-groups: 1 of 1 groups came for step 1") for one in late.warnings)


def test_adapters_log_the_warnings(service: live.Service, run: str, caplog: pytest.LogCaptureFixture) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping
    from deepcompress_client.integrations.trl import DeepCompressGroupReward

    shaping = GroupShaping(run, assign=lambda *_: None, url=service.url)
    for step in (2, 1):
        asyncio.run(shaping.score_group(episodes(GROUPS[0], f"g{step}", step)))
    assert "stale-groups" in caplog.text
    reward = DeepCompressGroupReward(f"{run}-2", url=service.url, gold="answer", groups_per_step=1)
    asyncio.run(reward(["q"] * 2, ["\\boxed{1}"] * 2, [[1], [1, 2]], answer=[UNREADABLE] * 2))
    assert "gold-unreadable" in caplog.text


# --- one rollout, several samples -----------------------------------------------------------------------


def test_segments_of_one_rollout_count_once(service: live.Service, run: str) -> None:
    """slime and miles: samples that share a rollout_id."""
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url), slime_args()
    samples = slime_samples([[(False, 3), (False, 4), (True, 5), (False, 6)]])
    for sample, rollout in zip(samples, (0, 0, 0, 1), strict=True):
        sample.rollout_id = rollout
    samples[0].response = samples[1].response = "still thinking"
    samples[1].prompt = "what 0, and what was thought so far"
    slime_rollout(reward, args, samples)
    raw, trained = reward.post_process(args, samples)
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert (entry.groups, entry.rollouts, entry.batch_pass_ratio) == (1, 2, 0.5)
    group = [(True, 12), (False, 6)]
    rewards = reference.rewards(group, reference.next_level(1.0, [group]))
    assert raw == pytest.approx([rewards[0]] * 3 + [rewards[1]], abs=1e-9)
    assert trained[0] == trained[1] == trained[2] == -trained[3]


def test_a_segment_is_no_observation_of_its_own(service: live.Service, run: str) -> None:
    """A dynamic filter drops the first group, so it counts by its observations alone."""
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url, observe=True), slime_args()
    dropped, kept = slime_samples(GROUPS[:1]), slime_samples(GROUPS[1:2], first_group=1)
    for place, sample in enumerate(dropped):
        sample.rollout_id = dropped[1].index if place == 2 else sample.index
    slime_rollout(reward, args, [*dropped, *kept])
    reward.post_process(args, kept)
    slime_rollout(reward, args, later := slime_samples(GROUPS[1:2], first_group=2))
    reward.post_process(args, later)
    steps = Client(service.url).run(run, join=True).history().steps
    assert (steps[0].groups, steps[0].rollouts) == (2, 7)


def test_prime_rl_subtracts_the_mean_only_and_judges_every_trace(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: list[tuple[int, float]] = []
    shaping = GroupShaping(run, assign=lambda trace, value: given.append((id(trace), value)), url=service.url)
    group = [(True, 4), (False, 9)]
    two = episodes(group, "g", 1)
    second = episodes([(False, 2)], "g", 1)[0].traces[0]
    judge = episodes([(True, 2)], "g", 1)[0].traces[0]
    judge.agent.trainable = False
    two[0].traces += [second, judge]  # another agent's, and one that is not trained
    asyncio.run(shaping.score_group(two))
    rewards = reference.rewards([(True, 4), (False, 2), (False, 9)], 1.0)
    mean = sum(rewards) / 3
    assert [value for _, value in given] == pytest.approx([reward - mean for reward in rewards], abs=1e-9)
    assert [place for place, _ in given] == [id(two[0].traces[0]), id(second), id(two[1].traces[0])]


# --- NeMo Gym -------------------------------------------------------------------------------------------


def test_nemo_gym_cohort_before_the_run_exists(service: live.Service, run: str) -> None:
    def row(place: int, correct: bool) -> dict[str, Any]:
        content = [{"type": "output_text", "text": f"\\boxed{{{7 if correct else 8}}}"}]
        message = {
            "type": "message",
            "role": "assistant",
            "content": content,
            "generation_token_ids": [1] * (3 + place),
        }
        return {
            "responses_create_params": {"input": "what"},
            "response": {"id": f"r{place}", "output": [message]},
            "expected_answer": "7",
            "_ng_task_index": 0,
            "_ng_group_id": "g",
            "_ng_rollout_index": place,
        }

    async def post(query: str) -> list[httpx.Response]:
        url = f"{service.url}/compat/nemo_gym/verify?run={run}&cohort=2{query}"
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(client.post(url, json=row(n, n == 0)) for n in range(2)))

    refused = asyncio.run(post(""))
    assert [one.status_code for one in refused] == [409, 409]
    assert "groups_per_step=N" in refused[0].json()["detail"]
    answered = asyncio.run(post("&groups_per_step=4"))
    assert [one.status_code for one in answered] == [200, 200]
    assert answered[0].json()["reward"] > 0 > answered[1].json()["reward"]
    config = Client(service.url).run(run, join=True).info().config
    assert config.groups_per_step == 4
