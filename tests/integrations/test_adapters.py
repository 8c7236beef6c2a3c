"""Adapters of frameworks that cannot be installed here, with stand-ins that have the fields and the call order which
the frameworks document ("protocol-tested" on their pages), against a live service.
"""

from __future__ import annotations

import asyncio
import math
import struct
import sys
import types
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deepcompress_client import Client, errors
from deepcompress_client.integrations._common import GROUPWISE_STRATEGY, groupwise

from . import live, reference
from .stand_ins import played_areal

Group = list[reference.Rollout]
GROUPS: list[Group] = [
    [(True, 4), (False, 9), (True, 8), (False, 3)],
    [(True, 3), (True, 12), (False, 5), (True, 6)],
    [(False, 3), (False, 4), (False, 5), (False, 6)],
]


def text(correct: bool) -> str:
    return f"so \\boxed{{{7 if correct else 8}}}"


def history(service: live.Service, run: str) -> list[Any]:
    return Client(service.url).run(run, join=True).history().steps


def advantages(rewards: list[float]) -> list[float]:
    mean = sum(rewards) / len(rewards)
    std = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5
    return [(reward - mean) / (std + 1e-6) for reward in rewards]


class Column:
    """As much of a tensor as the adapters touch."""

    def __init__(self, values: list[float], kind: str = "float32") -> None:
        self.values, self.kind = list(values), kind

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Any:
        value = self.values[row]
        return Column(value) if isinstance(value, list) else value

    def __setitem__(self, row: int, value: float) -> None:
        self.values[row] = value

    def tolist(self) -> list[float]:
        return list(self.values)

    def clone(self) -> Column:
        return Column(self.values, self.kind)

    def float(self) -> Column:
        return Column(self.values, "float32")

    def sum(self) -> float:
        return sum(self.values)


# --- slime ----------------------------------------------------------------------------------------------


def slime_args(**more: Any) -> SimpleNamespace:
    defaults = {
        "n_samples_per_prompt": 4,
        "rollout_batch_size": 2,
        "advantage_estimator": "grpo",
        "rewards_normalization": True,
        "grpo_std_normalization": True,
        "start_rollout_id": 0,
        "save_interval": 1,
        "load": None,
        "reward_key": None,
        "eval_reward_key": None,
    }
    return SimpleNamespace(**{**defaults, **more})


def slime_samples(groups: list[Group], first_group: int = 0) -> list[Any]:
    return [
        SimpleNamespace(
            group_index=first_group + number,
            index=100 * (first_group + number) + place,
            prompt=f"what {first_group + number}",
            response=text(correct),
            response_length=tokens,
            label="7",
            metadata={},
            status=SimpleNamespace(value="completed"),
            remove_sample=False,
        )
        for number, group in enumerate(groups)
        for place, (correct, tokens) in enumerate(group)
    ]


def slime_rollout(reward: Any, args: Any, samples: list[Any]) -> None:
    async def rm() -> None:
        for one in await asyncio.gather(*(reward.custom_rm(args, sample) for sample in samples)):
            assert one in (0.0, 1.0)

    asyncio.run(rm())


def test_slime_outcome_first_then_shaped_and_normalised(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args, level = SlimeReward(run, url=service.url), slime_args(), 1.0
    for step in range(3):
        samples = slime_samples(GROUPS[:2], first_group=2 * step)
        slime_rollout(reward, args, samples)
        raw, trained = reward.post_process(args, samples)
        level = reference.next_level(level, GROUPS[:2])
        rewards = [reference.rewards(group, level) for group in GROUPS[:2]]
        assert raw == pytest.approx([one for group in rewards for one in group], abs=1e-9)
        assert trained == pytest.approx([one for group in rewards for one in advantages(group)], abs=1e-9)
    assert [entry.level for entry in history(service, run)][-1] == pytest.approx(level, abs=1e-12)


def test_slime_takes_the_advantages_of_the_answer(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url, advantage={"scale": "none"}), slime_args()
    samples = slime_samples(GROUPS[:2])
    slime_rollout(reward, args, samples)
    raw, trained = reward.post_process(args, samples)
    for start in (0, 4):
        mean = sum(raw[start : start + 4]) / 4
        assert trained[start : start + 4] == pytest.approx([one - mean for one in raw[start : start + 4]], abs=1e-9)


def test_slime_takes_a_preset(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args, samples = SlimeReward(run, url=service.url, preset="compress"), slime_args(), slime_samples(GROUPS)
    slime_rollout(reward, args, samples)
    reward.post_process(args, samples)
    config = Client(service.url).run(run, join=True).info().config
    assert config.preset is not None and config.preset.startswith("compress@")
    assert config.target is not None and config.gate is not None


def test_a_training_group_by_group_takes_the_strategy_of_its_preset(service: live.Service, run: str) -> None:
    config = {"preset": "compress", "groups_per_step": 2}
    client = Client(service.url)
    stored = client.run(run, next_step=0, strategy=groupwise(None, config), **config).info().config
    assert stored.strategy.name == "outcome"
    assert stored.strategy.model_dump()["reference"] == "previous"
    assert groupwise(None, {}) == GROUPWISE_STRATEGY
    assert groupwise("diet", config) == "diet"


def test_slime_takes_lists_and_reward_keys_and_evaluates_apart(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward = SlimeReward(run, url=service.url)
    samples = slime_samples(GROUPS[:1])
    found = asyncio.run(reward.custom_rm(slime_args(reward_key="acc", eval_reward_key="acc"), samples))
    assert found == [{"acc": float(correct)} for correct, _ in GROUPS[0]]
    assert asyncio.run(reward.eval_rm(slime_args(), samples[0])) == 1.0
    assert history(service, run) == []


def test_slime_groups_that_a_filter_drops_count_where_they_are_observed(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url, observe=True), slime_args()
    samples = slime_samples(GROUPS)
    slime_rollout(reward, args, samples)
    reward.post_process(args, samples[:8])  # the third group was dropped: no rollout of it is right
    later = slime_samples(GROUPS[:2], first_group=3)
    slime_rollout(reward, args, later)
    reward.post_process(args, later)
    first = history(service, run)[0]
    assert (first.groups, first.level) == (3, pytest.approx(reference.next_level(1.0, GROUPS), abs=1e-12))


def test_slime_asynchronous_groups_count_where_they_are_trained(service: live.Service, run: str) -> None:
    """A group that is verified in one rollout and trained in the next, as in slime's fully asynchronous example."""
    from deepcompress_client.integrations.slime import SlimeReward

    reward = SlimeReward(run, url=service.url, observe=True, asynchronous=True, max_age=1)
    args, samples = slime_args(), slime_samples(GROUPS)
    for sample, version in zip(samples, [1] * 4 + [1] * 4 + [3] * 4, strict=True):
        sample.weight_versions = [str(version + 1), str(version)]
    first, late, fresh = samples[:4], samples[4:8], samples[8:]
    slime_rollout(reward, args, samples)
    reward.post_process(args, first)
    _, trained = reward.post_process(args, [*late, *fresh])
    assert trained[:4] == [0.0] * 4 and all(sample.remove_sample for sample in late), "two versions old"
    assert not any(sample.remove_sample for sample in fresh)
    level = reference.next_level(1.0, GROUPS[:1])
    assert trained[4:] == pytest.approx(advantages(reference.rewards(GROUPS[2], level)), abs=1e-9)
    steps = history(service, run)
    assert [(one.step, one.groups, one.observed_groups) for one in steps] == [(0, 1, 0), (1, 1, 0)]
    assert (steps[0].mean_age, steps[1].largest_age, steps[1].too_old_groups) == (1.0, 3, 1)


def test_slime_without_numbers_of_versions_has_no_ages(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args, samples = SlimeReward(run, url=service.url, asynchronous=True), slime_args(), slime_samples(GROUPS)
    samples[0].weight_versions = ["default"]
    slime_rollout(reward, args, samples)
    reward.post_process(args, samples)
    assert history(service, run)[0].mean_age is None


def test_slime_resumes_at_the_given_step_and_refuses_to_guess(service: live.Service, run: str, tmp_path: Any) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url), slime_args()
    for step in range(4):
        samples = slime_samples(GROUPS[:2], first_group=2 * step)
        slime_rollout(reward, args, samples)
        reward.post_process(args, samples)
    before = [entry.level for entry in history(service, run)]

    resumed = SlimeReward(run, url=service.url)
    samples = slime_samples(GROUPS[1:], first_group=4)
    slime_rollout(resumed, slime_args(start_rollout_id=2), samples)
    resumed.post_process(slime_args(start_rollout_id=2), samples)
    levels = [entry.level for entry in history(service, run)]
    assert levels == [*before[:2], pytest.approx(reference.next_level(before[1], GROUPS[1:]), abs=1e-12)]

    (tmp_path / "latest_checkpointed_iteration.txt").write_text("7")
    unsure = SlimeReward(run, url=service.url)
    with pytest.raises(ValueError, match="next_step=N"):
        asyncio.run(unsure.custom_rm(slime_args(start_rollout_id=None, load=str(tmp_path)), samples[0]))


def test_slime_untrainable_samples_are_removed(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url), slime_args()
    samples = slime_samples(GROUPS[:2])
    for sample in samples[:4]:
        sample.label = "\\frac{1}{"
    slime_rollout(reward, args, samples)
    _, trained = reward.post_process(args, samples)
    assert trained[:4] == [0.0] * 4
    assert [sample.remove_sample for sample in samples] == [True] * 4 + [False] * 4


def test_slime_under_trouble_is_right_and_counts_once(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    with live.trouble(service.url) as between:
        reward, args, samples = SlimeReward(run, url=between.url), slime_args(), slime_samples(GROUPS[:2])
        between.faults = ["503", "lost", "unanswered", "slow", "503", "unanswered"]
        slime_rollout(reward, args, samples)
        between.faults = ["unanswered", "503", "lost"]
        raw, _ = reward.post_process(args, samples)
    level = reference.next_level(1.0, GROUPS[:2])
    assert raw == pytest.approx([r for group in GROUPS[:2] for r in reference.rewards(group, level)], abs=1e-9)
    (entry,) = history(service, run)
    assert (entry.groups, entry.rollouts) == (2, 8)


def test_slime_without_a_service_stops_within_the_deadline(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    with live.trouble(service.url) as between:
        reward, args, samples = (
            SlimeReward(run, url=between.url, deadline_s=10),
            slime_args(),
            slime_samples(GROUPS[:2]),
        )
        slime_rollout(reward, args, samples)
        between.faults = ["503"] * 50
        with pytest.raises(errors.Unavailable):
            reward.post_process(args, samples)


# --- miles ----------------------------------------------------------------------------------------------


@dataclass
class MilesSample:
    """The fields of miles' `Sample` that hooks read; the loss mask leaves out what tools wrote."""

    group_index: int | None
    index: int
    prompt: str | list[dict[str, str]]
    response: str
    response_length: int
    label: str | None
    loss_mask: list[int] | None
    status: MilesStatus = field(default_factory=lambda: MilesStatus.COMPLETED)
    metadata: dict[str, Any] = field(default_factory=dict)
    reward: float | None = None
    remove_sample: bool = False
    train_metadata: dict[str, Any] | None = None

    @property
    def effective_response_length(self) -> int:
        return self.response_length if self.loss_mask is None else sum(self.loss_mask)


class MilesStatus(Enum):
    PENDING = "pending"
    COMPLETED = "completed"
    TRUNCATED = "truncated"
    ABORTED = "aborted"
    FAILED = "failed"


def miles_samples(groups: list[Group]) -> list[MilesSample]:
    """Samples of which every second one used a tool, whose 50 tokens cost nothing."""
    return [
        MilesSample(
            group_index=number,
            index=4 * number + place,
            prompt=[{"role": "user", "content": f"what {number}"}],
            response=text(correct),
            response_length=tokens + 50 * (place % 2),
            label="7",
            loss_mask=[0] * 50 + [1] * tokens if place % 2 else None,
        )
        for number, group in enumerate(groups)
        for place, (correct, tokens) in enumerate(group)
    ]


def test_miles_samples_pass_the_hooks_of_slime(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.slime import SlimeReward

    reward, args = SlimeReward(run, url=service.url), slime_args()
    samples = miles_samples(GROUPS[:2])
    samples[2].status = MilesStatus.FAILED
    slime_rollout(reward, args, samples)
    raw, trained = reward.post_process(args, samples)
    rewards = [reference.rewards(group, reference.next_level(1.0, GROUPS[:2])) for group in GROUPS[:2]]
    assert raw == pytest.approx([one for group in rewards for one in group], abs=1e-9)
    assert trained == pytest.approx([one for group in rewards for one in advantages(group)], abs=1e-9)
    cut = miles_samples(GROUPS[2:3])
    cut[0].status, cut[0].response = MilesStatus.TRUNCATED, "<think> so \\boxed{7}"
    assert asyncio.run(reward.eval_rm(args, cut[0])) == 0.0


# --- axolotl --------------------------------------------------------------------------------------------


def axolotl_plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin, with a stand-in for Axolotl's base class; Axolotl creates it without arguments."""
    base = types.ModuleType("axolotl.integrations.base")
    base.BasePlugin = type("BasePlugin", (), {})  # type: ignore[attr-defined]
    for name, module in (
        ("axolotl", types.ModuleType("axolotl")),
        ("axolotl.integrations", types.ModuleType("axolotl.integrations")),
        ("axolotl.integrations.base", base),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "deepcompress_client.integrations.axolotl", raising=False)
    from deepcompress_client.integrations.axolotl import DeepCompressPlugin

    return DeepCompressPlugin()


def test_axolotl_attaches_the_rewards_of_its_trainer(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.trl import DeepCompressReward

    attached: list[tuple[Any, Any]] = []
    monkeypatch.setattr(DeepCompressReward, "attach", lambda self, trainer: attached.append((self, trainer)))
    reward = DeepCompressReward(run, url=service.url)
    trainer = SimpleNamespace(reward_funcs=[len, reward])
    plugin = axolotl_plugin(monkeypatch)
    plugin.post_trainer_create({"rl": "grpo"}, trainer)
    assert attached == [(reward, trainer)]
    for other in (SimpleNamespace(reward_funcs=[len]), SimpleNamespace()):
        with pytest.raises(ValueError, match=r"name one under trl\.reward_funcs"):
            plugin.post_trainer_create({}, other)


def test_axolotl_accepts_the_reward_as_a_function_of_yaml(run: str) -> None:
    """Axolotl refuses a reward function of fewer than two parameters."""
    import inspect

    from deepcompress_client.integrations.trl import DeepCompressReward

    assert len(inspect.signature(DeepCompressReward(run)).parameters) >= 2


# --- prime-rl -------------------------------------------------------------------------------------------


def episodes(group: Group, name: str, step: int) -> list[Any]:
    return [
        SimpleNamespace(
            group=SimpleNamespace(id=name),
            run=SimpleNamespace(work=SimpleNamespace(type="train", step=step)),
            task=SimpleNamespace(data=SimpleNamespace(prompt=f"what {name}", answer="7")),
            traces=[
                SimpleNamespace(
                    rewards={"correct": SimpleNamespace(value=float(correct))},
                    num_output_tokens=tokens,
                    is_truncated=False,
                    has_error=False,
                    agent=SimpleNamespace(trainable=True),
                    nodes=[SimpleNamespace(mask=[True])],
                )
            ],
        )
        for correct, tokens in group
    ]


def test_prime_rl_groups_come_one_by_one(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: list[float] = []
    shaping = GroupShaping(run, assign=lambda _, value: given.append(value), url=service.url)

    async def orchestrate() -> None:
        level = 1.0
        for step in range(2):
            for number, group in enumerate(GROUPS):
                given.clear()
                short = episodes(group, f"{step}-{number}", step)
                short[3].traces[0].has_error = number == 0  # one failed: the group is shorter
                kept = group[:3] if number == 0 else group
                await shaping.score_group(short)
                rewards = reference.rewards(kept, level)
                mean = sum(rewards) / len(rewards)
                assert given == pytest.approx([reward - mean for reward in rewards], abs=1e-9)
            level = reference.next_level(level, [GROUPS[0][:3], *GROUPS[1:]])

    asyncio.run(orchestrate())
    assert [entry.groups for entry in history(service, run)] == [3, 3]


def test_prime_rl_asynchronous_groups_count_at_the_live_version(service: live.Service, run: str) -> None:
    """A long pipeline: groups of step 1's dispatch are scored over three versions, and none is stale."""
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: list[float] = []
    config: dict[str, Any] = {"asynchronous": True, "max_age": 1}
    shaping = GroupShaping(run, assign=lambda _, value: given.append(value), url=service.url, **config)

    async def score(number: int, start: int, end: int) -> list[float]:
        group = episodes(GROUPS[number], f"{number}-{start}-{end}", 1)
        for episode in group:
            episode.run.work.policy = SimpleNamespace(start=start, end=end)
        given.clear()
        await shaping.score_group(group)
        return list(given)

    async def orchestrate() -> None:
        level = 1.0
        for number, start, end in ((0, 0, 0), (1, 0, 1), (2, 1, 2)):
            rewards = reference.rewards(GROUPS[number], level)
            mean = sum(rewards) / len(rewards)
            found = await score(number, start, end)
            assert found == pytest.approx([reward - mean for reward in rewards], abs=1e-9)
            level = reference.next_level(level, [GROUPS[number]])
        assert await score(0, 0, 1) == [0.0] * 4, "two versions behind the newest"

    asyncio.run(orchestrate())
    steps = history(service, run)
    assert [(one.step, one.groups, one.stale_groups, one.largest_age) for one in steps] == [
        (1, 1, 0, 0),
        (2, 1, 0, 1),
        (3, 1, 0, 2),
    ]
    assert steps[-1].too_old_groups == 1


def test_prime_rl_takes_the_advantages_of_the_answer(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: list[float] = []
    shaping = GroupShaping(run, assign=lambda _, value: given.append(value), url=service.url, advantage={})
    answer = asyncio.run(shaping.score_group(episodes(GROUPS[0], "0-0", 0)))
    assert answer is not None and answer.advantages is not None
    assert given == pytest.approx(advantages(list(answer.rewards)), abs=1e-9)  # divided by the std, as configured


def test_prime_rl_sends_what_the_trace_has_of_its_context_and_turns(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    shaping = GroupShaping(run, assign=lambda *_: None, url=service.url)
    (episode, *_), plain = episodes(GROUPS[0], "g", 0), episodes(GROUPS[0], "g", 0)[0]
    for name, value in (("num_input_tokens", 700), ("num_turns", 3)):
        setattr(episode.traces[0], name, value)
    sent = shaping._rollout(episode.traces[0])
    assert (sent["context_tokens"], sent["turns"]) == (700, 3)
    bare = shaping._rollout(plain.traces[0])
    assert (bare["context_tokens"], bare["turns"]) == (None, None)
    with Client(service.url) as client:
        groups = [{"problem_id": "p", "rollouts": [sent, bare]}]
        assert client.run(f"{run}-0").shape(groups, step=0).groups[0].correct == [sent["correct"]] * 2


def test_prime_rl_without_a_service_teaches_nothing(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.prime_rl import GroupShaping

    given: list[float] = []
    with live.trouble(service.url) as between:
        between.faults = ["503"] * 50
        shaping = GroupShaping(run, assign=lambda _, value: given.append(value), url=between.url, deadline_s=2)
        assert asyncio.run(shaping.score_group(episodes(GROUPS[0], "g", 0))) is None
    assert given == [0.0] * 4


# --- rLLM -----------------------------------------------------------------------------------------------


def rllm_groups(groups: list[Group], step: int) -> list[Any]:
    return [
        SimpleNamespace(
            group_id=f"task-{step}-{number}:solver",
            trajectories=[
                SimpleNamespace(
                    task={"question": f"what {number}", "answer": "7"},
                    steps=[SimpleNamespace(model_output=SimpleNamespace(completion_ids=[5] * tokens))],
                )
                for _, tokens in group
            ],
        )
        for number, group in enumerate(groups)
    ]


def test_rllm_estimates_a_whole_step(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.rllm import Evaluator, StepShaping

    evaluate = Evaluator(gold="answer", url=service.url)
    shaping, level = StepShaping(run, next_step=0, url=service.url), 1.0
    for step in range(2):
        groups = rllm_groups(GROUPS, step)
        outcomes = [[evaluate({"answer": "7"}, text(correct))[0] for correct, _ in group] for group in GROUPS]
        found, returns = shaping.estimate(outcomes, SimpleNamespace(), traj_groups=groups)
        level = reference.next_level(level, GROUPS)
        assert found == returns
        for given, group in zip(found, GROUPS, strict=True):
            assert given == pytest.approx(advantages(reference.rewards(group, level)), abs=1e-9)
    assert [entry.step for entry in history(service, run)] == [0, 1]


def test_rllm_takes_the_advantages_of_its_preset(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.rllm import Evaluator, StepShaping

    evaluate = Evaluator(gold="answer", url=service.url)
    shaping = StepShaping(run, next_step=0, url=service.url, preset="compress")
    solved: Group = [(True, 40), (True, 40), (True, 40), (True, 80)]
    found: list[list[float]] = []
    for step in range(2):
        outcomes = [[evaluate({"answer": "7"}, text(correct))[0] for correct, _ in solved]]
        found, _ = shaping.estimate(outcomes, SimpleNamespace(), traj_groups=rllm_groups([solved], step))
    config = Client(service.url).run(run, join=True).info().config
    assert config.preset is not None and config.preset.startswith("compress@")
    # Weight 3, not divided by the std; the target is near 1.1 * 40. GRPO's advantages would be 0.5 and -1.5.
    excess = (80 - 44) / 44
    assert found[0] == pytest.approx([3 * excess / 4] * 3 + [-3 * excess * 3 / 4], rel=0.1)


# --- SkyRL ----------------------------------------------------------------------------------------------


class Words:
    """A tokenizer of three words."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return " ".join({3: "\\boxed{7}", 4: "\\boxed{8}"}.get(token, "so") for token in ids)


class SkyGenerator:
    """Generates what it is given, as SkyRL's does."""

    def __init__(self, token_level: bool) -> None:
        self.tokenizer = Words()
        self.token_level = token_level
        self.next: list[Group] = []

    async def generate(self, input_batch: Any, disable_tqdm: bool = False) -> dict[str, Any]:
        flat = [rollout for group in self.next for rollout in group]
        responses = [[5] * (tokens - 1) + [3 if correct else 4] for correct, tokens in flat]
        zeros = [[0.0] * len(one) for one in responses]
        return {
            "response_ids": responses,
            "rewards": zeros if self.token_level else [0.0] * len(flat),
            "loss_masks": [[1] * len(one) for one in responses],
            "stop_reasons": ["stop"] * len(flat),
        }


def sky_batch(groups: list[Group], step: int, phase: str, gold: str = "7") -> dict[str, Any]:
    rows = [(number, place) for number, group in enumerate(groups) for place in range(len(group))]
    return {
        "prompts": [[{"role": "user", "content": f"what {number}"}] for number, _ in rows],
        "env_extras": [{"reward_spec": {"ground_truth": gold}} for _ in rows],
        "trajectory_ids": [SimpleNamespace(instance_id=f"u{n}", repetition_id=place) for n, place in rows],
        "batch_metadata": SimpleNamespace(global_step=step, training_phase=phase),
    }


@pytest.mark.parametrize("token_level", [True, False])
def test_skyrl_rewrites_the_rewards_of_a_batch(service: live.Service, run: str, token_level: bool) -> None:
    from deepcompress_client.integrations.skyrl import shaped

    generator = shaped(SkyGenerator, run=run, url=service.url)(token_level)
    generator.next = GROUPS

    async def train() -> None:
        level = 1.0
        for step in (1, 2):
            output = await generator.generate(sky_batch(GROUPS, step, "train"))
            level = reference.next_level(level, GROUPS)
            found = [one[-1] if token_level else one for one in output["rewards"]]
            expected = [reward for group in GROUPS for reward in reference.rewards(group, level)]
            assert found == pytest.approx(expected, abs=1e-9)
            evaluated = await generator.generate(sky_batch(GROUPS, step, "eval"))
            found = [one[-1] if token_level else one for one in evaluated["rewards"]]
            assert found == [float(correct) for group in GROUPS for correct, _ in group]
        output = await generator.generate(sky_batch(GROUPS, 3, "train", gold="\\frac{1}{"))
        assert all(set(mask) == {0} for mask in output["loss_masks"])

    asyncio.run(train())
    assert [entry.step for entry in history(service, run)] == [1, 2, 3]


def test_skyrl_samples_a_prompt_again_within_a_step(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.skyrl import shaped

    generator = shaped(SkyGenerator, run=run, url=service.url)(True)

    async def train() -> None:
        for groups in (GROUPS[:1], GROUPS[1:2]):
            generator.next = groups
            await generator.generate(sky_batch(groups, 1, "train"))

    asyncio.run(train())
    assert [entry.groups for entry in history(service, run)] == [2]


# --- AReaL ----------------------------------------------------------------------------------------------


class ArealWorkflow:
    """RLVRWorkflow's order of calls: generate one sample, ask for its reward, answer with tensors."""

    def __init__(self, reward_fn: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
        correct, tokens = engine.pop(0)
        await asyncio.sleep(0.01 * (tokens % 3))
        response = SimpleNamespace(output_tokens=[5] * (tokens - 1) + [3 if correct else 4], stop_reason="stop")
        return correct, tokens, await self._compute_rewards(response, data["prompt"], data)  # type: ignore[attr-defined]


def test_areal_samples_wait_for_their_siblings(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.areal import group_workflow, start

    context = played_areal(monkeypatch)

    epoch = start(run, groups_per_step=2, url=service.url)
    workflow = group_workflow(ArealWorkflow, run=run, epoch=epoch, url=service.url)(tokenizer=Words())

    async def grouped(group: Group, data: dict[str, Any]) -> list[Any]:
        """As AReaL's GroupedRolloutWorkflow: n calls with the same data."""
        engine = list(group)
        found = await asyncio.gather(*(workflow.arun_episode(engine, data) for _ in group))
        return [one for one in found if one is not None]

    async def train() -> None:
        level = 1.0
        for step in range(2):
            data = [{"prompt": f"what {step} {number}", "answer": "7"} for number in range(2)]
            groups = await asyncio.gather(*(grouped(*both) for both in zip(GROUPS[:2], data, strict=True)))
            for found in groups:
                expected = reference.rewards([(correct, tokens) for correct, tokens, _ in found], level)
                assert [reward for _, _, reward in found] == pytest.approx(expected, abs=1e-9)
            level = reference.next_level(level, GROUPS[:2])
        assert await grouped(GROUPS[0], {"prompt": "bad key", "answer": "\\frac{1}{"}) == []
        context.is_eval = True
        evaluated = await grouped(GROUPS[0], {"prompt": "held out", "answer": "7"})
        assert [reward for _, _, reward in evaluated] == [float(correct) for correct, _, _ in evaluated]

    asyncio.run(train())
    assert [entry.groups for entry in history(service, run)][:2] == [2, 2]


def test_areal_groups_have_ages_and_too_old_ones_are_left_out(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.areal import group_workflow, start

    played_areal(monkeypatch)

    class Workflow(ArealWorkflow):
        async def arun_episode(self, engine: Any, data: dict[str, Any]) -> Any:
            correct, tokens = engine.rollouts.pop(0)
            response = SimpleNamespace(
                output_tokens=[5] * (tokens - 1) + [3 if correct else 4],
                output_versions=[data["version"]] * (tokens - 1) + [data["version"] + 1],
                stop_reason="stop",
            )
            return await self._compute_rewards(response, data["prompt"], data)  # type: ignore[attr-defined]

    epoch = start(run, groups_per_step=1, url=service.url, max_age=2)
    workflow = group_workflow(Workflow, run=run, epoch=epoch, url=service.url)(tokenizer=Words())

    async def grouped(version: int, present: int) -> list[Any]:
        engine = SimpleNamespace(rollouts=list(GROUPS[0]), get_version=lambda: present)
        data = {"prompt": f"what {version}", "answer": "7", "version": version}
        found = await asyncio.gather(*(workflow.arun_episode(engine, data) for _ in GROUPS[0]))
        return [one for one in found if one is not None]

    async def train() -> None:
        assert len(await grouped(3, 5)) == 4
        assert await grouped(2, 5) == []

    asyncio.run(train())
    steps = history(service, run)
    assert [(one.groups, one.too_old_groups, one.largest_age) for one in steps] == [(1, None, 2), (0, 1, 3)]


def test_areal_refuses_a_profile_which_its_workflows_would_not_have(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.areal import start

    monkeypatch.setitem(sys.modules, "areal", types.ModuleType("areal"))
    with pytest.raises(errors.InvalidRequest, match="profile"):
        start(run, groups_per_step=1, url=service.url, profile="profile.jsonl")
    with Client(service.url) as client, pytest.raises(errors.NotFound):
        client.run(run, join=True)


# --- NeMo RL and ROLL -----------------------------------------------------------------------------------


def test_nemo_rl_shapes_the_batch_and_keeps_the_outcome(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.nemo_rl import StepShaping, verify

    grpo = types.ModuleType("nemo_rl.algorithms.grpo")
    grpo.apply_reward_shaping = lambda batch, cfg: batch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nemo_rl.algorithms.grpo", grpo)
    StepShaping(run, next_step=0, url=service.url).install()

    flat = [(number, rollout) for number, group in enumerate(GROUPS) for rollout in group]
    logs = [
        [
            {"role": "user", "content": f"what {number}", "token_ids": Column([1, 2, number])},
            {"role": "assistant", "content": text(correct), "token_ids": Column([5] * tokens)},
        ]
        for number, (correct, tokens) in flat
    ]
    outcomes = verify(Client(service.url), logs, [{"ground_truth": "7"}] * len(flat))
    assert outcomes == [float(correct) for _, (correct, _) in flat]

    class Outcomes(Column):
        def __getitem__(self, row: int) -> Any:
            return self.values[row]

    level = 1.0
    for _ in range(2):
        batch = grpo.apply_reward_shaping({"total_reward": Outcomes(outcomes), "message_log": logs}, None)
        level = reference.next_level(level, GROUPS)
        expected = [reward for group in GROUPS for reward in reference.rewards(group, level)]
        assert batch["total_reward"].tolist() == pytest.approx(expected, abs=1e-9)
        assert batch["unshaped_total_reward"].tolist() == outcomes
    assert [entry.step for entry in history(service, run)] == [0, 1]


def roll_responses(group: Group, step: int, prompt: int = 11, gold: str = "7") -> list[Any]:
    return [
        SimpleNamespace(
            meta_info={"global_step": step},
            non_tensor_batch={"ground_truth": [gold]},
            batch={
                "prompts": Column([[0, 0, prompt, 12]]),  # type: ignore[list-item]
                "prompt_mask": Column([[1, 1, 0, 0]]),  # type: ignore[list-item]
                "scores": Column([float(correct)]),
                "response_mask": Column([[1] * tokens + [0] * 3]),  # type: ignore[list-item]
                "response_level_rewards": Column([float(correct)], "float16"),
            },
        )
        for correct, tokens in group
    ]


def test_roll_shapes_the_responses_of_a_prompt_in_full_precision(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.roll import GroupShaping

    shaping = GroupShaping(run, url=service.url)

    async def train() -> None:
        level = 1.0
        for step in range(2):
            for number, group in enumerate(GROUPS):
                context = SimpleNamespace(prompt_id=f"p{number}", is_val=False)
                found = await shaping.apply(context, roll_responses(group, step, prompt=number))
                assert found is not None
                rewards = [data.batch["response_level_rewards"] for data in found]
                assert {one.kind for one in rewards} == {"float32"}
                assert [one[0] for one in rewards] == pytest.approx(reference.rewards(group, level), abs=1e-9)
            level = reference.next_level(level, GROUPS)
        validation = roll_responses(GROUPS[0], 2)
        kept = await shaping.apply(SimpleNamespace(prompt_id="p0", is_val=True), validation)
        assert [data.batch["response_level_rewards"][0] for data in kept or ()] == [1.0, 0.0, 1.0, 0.0]
        assert await shaping.apply(SimpleNamespace(prompt_id="p0", is_val=False), None) is None

    asyncio.run(train())
    assert [entry.groups for entry in history(service, run)] == [3, 3]


# --- no verdict to train on -----------------------------------------------------------------------------

UNREADABLE = "\\frac{1}{"
"""A gold answer that cannot be read, so that its rollouts have no verdict."""


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_marks_travel_in_a_number_and_are_read_again(wrong: float) -> None:
    from deepcompress_client.integrations._common import STATUS_OFFSETS, decode_status, encode_status

    assert decode_status(encode_status(1.0, "correct")) == {"correct": True}
    assert decode_status(encode_status(wrong, "wrong")) == {"correct": False}
    for status in STATUS_OFFSETS:
        kept = struct.unpack("e", struct.pack("e", encode_status(wrong, status)))[
            0
        ]  # fp16, as ROLL's workers keep it
        assert decode_status(kept) == {"correct": False, "status": status}
    assert decode_status(0.5) == {"correct": True}  # another outcome's own scale


def test_nemo_rl_leaves_out_what_has_no_verdict(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.nemo_rl import StepShaping, verify

    group, tokens = [(True, 4), (False, 9), (True, 8), (False, 3)], iter([4, 9, 8, 3] * 2)
    logs = [
        [
            {"role": "user", "content": f"what {number}", "token_ids": Column([1, number])},
            {"role": "assistant", "content": text(correct), "token_ids": Column([5] * next(tokens))},
        ]
        for number in range(2)
        for correct, _ in group
    ]
    golds = [{"ground_truth": "7"}] * 4 + [{"ground_truth": UNREADABLE}] * 4
    assert verify(Client(service.url), logs, golds)[4:] == [0.0] * 4  # without marks: to another shaping
    outcomes = verify(Client(service.url), logs, golds, marks=True)
    outcomes[1] = -(2.0**-10)  # undecided
    batch = {"total_reward": Column(outcomes), "message_log": logs, "loss_multiplier": Column([1.0] * 8)}
    found = StepShaping(run, next_step=0, url=service.url)(batch)
    assert found["loss_multiplier"].tolist() == [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    total = found["total_reward"].tolist()
    assert total[1] == pytest.approx((total[0] + total[2] + total[3]) / 3)
    assert len(set(total[4:])) == 1
    assert found["unshaped_total_reward"].tolist() == outcomes
    assert [entry.groups for entry in history(service, run)] == [1]  # the other's gold counts for nothing


def test_roll_and_its_endpoint_mark_rollouts_without_a_verdict(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.roll import GroupShaping

    def score(query: str, gold: str) -> dict[str, Any]:
        body = {"response": text(False), "reward_info": {"ground_truth": gold}}
        submitted = httpx.post(f"{service.url}/compat/roll/submit_task{query}", json=body, timeout=60).json()
        found = httpx.post(f"{service.url}/compat/roll/task_result", json=submitted, timeout=60)
        answer: dict[str, Any] = found.json()
        return answer

    plain, told = score("", UNREADABLE), score("?untrainable=marked", UNREADABLE)
    assert (plain["reward_score"], plain["dimention_reward_score"]["untrainable"]) == (0.0, 1.0)
    assert (told["reward_score"], told["dimention_reward_score"]["untrainable"]) == (-(2.0**-9), 1.0)
    assert score("?untrainable=marked", "7")["reward_score"] == 0.0
    assert score("?untrainable=marked&outcome_range=pm1", UNREADABLE)["reward_score"] == -1.0 - 2.0**-9

    responses = roll_responses(GROUPS[0], 0)
    responses[1].batch["scores"] = Column([-(2.0**-10)])
    context = SimpleNamespace(prompt_id="p", is_val=False)
    asyncio.run(GroupShaping(run, url=service.url).apply(context, responses))
    paid = [data.batch["response_level_rewards"][0] for data in responses]
    assert paid[1] == pytest.approx((paid[0] + paid[2] + paid[3]) / 3)
    assert responses[1].batch["scores"][0] == -(2.0**-10)


def test_rllm_gives_no_advantage_without_a_verdict(service: live.Service, run: str) -> None:
    from deepcompress_client.integrations.rllm import Evaluator, StepShaping

    evaluate = Evaluator(gold="answer", url=service.url, marks=True)
    outcomes = [[evaluate({"answer": "7"}, text(correct))[0] for correct, _ in GROUPS[0]]]
    reward, correct, signals = evaluate({"answer": UNREADABLE}, text(True))
    assert (correct, signals) == (False, {"untrainable": 1.0})
    assert Evaluator(url=service.url)({"answer": UNREADABLE}, text(True))[0] == 0.0
    outcomes[0][1] = -(2.0**-10)  # undecided
    outcomes.append([reward] * 4)
    groups = rllm_groups([GROUPS[0], GROUPS[1]], 0)
    found, _ = StepShaping(run, next_step=0, url=service.url).estimate(outcomes, None, traj_groups=groups)
    assert found[0][1] == 0.0
    assert sum(found[0]) == pytest.approx(0.0, abs=1e-9)
    assert all(found[0][place] != 0.0 for place in (0, 2, 3))
    assert found[1] == [0.0] * 4


@pytest.mark.parametrize(
    "gold", [None, math.nan, math.inf, True, b"42", {"target": 42}, [None], ["42", math.nan]], ids=repr
)
def test_a_missing_gold_is_an_error_and_no_text_that_makes_every_answer_wrong(gold: object) -> None:
    from deepcompress_client.errors import InvalidRequest
    from deepcompress_client.integrations._common import gold_text

    with pytest.raises(InvalidRequest, match="the gold answer of a row: pass text, a finite number, or a list"):
        gold_text(gold)
    assert gold_text(42) == "42" and gold_text(("a", 4)) == ["a", "4"]


@pytest.mark.parametrize("outcome", [math.nan, math.inf, -math.inf])
def test_an_outcome_that_is_no_number_is_no_verdict(outcome: float) -> None:
    from deepcompress_client.integrations._common import decode_status

    with pytest.raises(ValueError, match="returned no reward"):
        decode_status(outcome)
