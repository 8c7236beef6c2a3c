"""Replay pays what the run would have paid: the state of a log is folded as the stores fold it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from deepcompress_service.difficulty.model import Accumulator, Commit, DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.shaping import Group, InputError, Reward, reward_from_config
from deepcompress_service.shaping.replay import LoggedGroup, rank_agreement, replay, summarise


def made_log(steps: int = 6, seed: int = 3) -> list[tuple[int, list[LoggedGroup]]]:
    source = Random(seed)
    log = []
    for step in range(steps):
        groups = []
        for number in source.sample(range(12), 7):
            size = source.choice([4, 4, 6])
            tokens = tuple(source.randint(100, 9000) for _ in range(size))
            correct = tuple(source.random() < number / 12 for _ in range(size))
            groups.append(LoggedGroup(f"p{number}", Group(correct, tokens, (False,) * size)))
        log.append((step * 2, groups))
    return log


def through_a_store(reward: Reward, log: list[tuple[int, list[LoggedGroup]]]) -> list[list[Group]]:
    """The log's groups with the state that the service's own store gives them."""
    config = DifficultyConfig(
        level=Accumulator("ema", reward.initial_level, reward.ema),
        extra=tuple(Accumulator(a.kind, a.initial, a.weight, a.target) for a in reward.accumulators),
        reference=reward.reference,
    )

    async def walk() -> list[list[Group]]:
        store = open_store("memory://")
        await store.open()
        given = []
        for step, logged in log:
            commits = tuple(commit_of(one) for one in logged)
            outcome = await store.commit(Commit("r", commits, step, config=config, config_text="{}"))
            given.append(
                [
                    replace(
                        one.group,
                        level=state.level,
                        accumulators=state.accumulators,
                        step=step,
                        history=replace(
                            one.group.history, shortest_correct_tokens=state.problem.shortest_correct_tokens
                        ),
                    )
                    for one, state in zip(logged, outcome.groups, strict=True)
                ]
            )
        await store.close()
        return given

    return asyncio.run(walk())


def commit_of(one: LoggedGroup) -> GroupCommit:
    group = one.group
    assert group.tokens is not None
    right = [t for t, c in zip(group.tokens, group.correct, strict=True) if c]
    return GroupCommit(
        group_id=one.problem_id,
        problem_id=one.problem_id,
        digest=one.problem_id.encode().ljust(16),
        payload=b"",
        size=len(group.correct),
        passes=sum(group.correct),
        tokens_sum=sum(group.tokens),
        correct_tokens_sum=sum(right),
        correct_tokens_min=min(right, default=None),
    )


@pytest.mark.parametrize(
    "config",
    [
        {"name": "deepcompress"},
        {"name": "deepcompress", "reference": "previous", "ema": 0.9, "initial_level": 0.5},
        {"name": "hapo"},
        {"name": "short_rl"},
        {"name": "a_dlp", "rate": 0.1},
    ],
    ids=str,
)
def test_replay_equals_the_run_to_the_last_bit(config: dict[str, Any]) -> None:
    reward, log = reward_from_config(config), made_log()
    walk = replay(log, {"it": reward})["it"]
    for given, step in zip(through_a_store(reward, log), walk, strict=True):
        assert tuple(reward.shape(given)) == step.shaped


def test_the_data_sets_level_is_that_of_the_run() -> None:
    """The stores keep its sum in fixed point, so it is equal to nine digits."""
    reward = reward_from_config({"name": "deepcompress", "reference": "dataset", "initial_level": 0.5})
    log = made_log()
    walk = replay(log, {"it": reward})["it"]
    for given, step in zip(through_a_store(reward, log), walk, strict=True):
        for expected, shaped in zip(reward.shape(given), step.shaped, strict=True):
            assert (shaped.beta, shaped.rewards) == (
                pytest.approx(expected.beta, abs=1e-9),
                pytest.approx(expected.rewards, abs=1e-9),
            )
    assert walk[0].level == 0.5
    assert walk[1].level != 0.5


def test_walks_do_not_touch_each_other() -> None:
    log = made_log()
    rewards = {name: reward_from_config({"name": name}) for name in ("deepcompress", "hapo", "short_rl", "a_dlp")}
    together = replay(log, rewards)
    for name, reward in rewards.items():
        assert together[name] == replay(log, {name: reward})[name]


def test_a_group_whose_gold_is_unreadable_moves_nothing() -> None:
    log = made_log()
    bad = LoggedGroup("p0", Group((False, False), (1, 2), (False, False), (False, False)), counts=False)
    more = [(step, [*groups, bad]) for step, groups in log]
    reward = {"it": reward_from_config({"name": "deepcompress"})}
    assert [s.level for s in replay(more, reward)["it"]] == [s.level for s in replay(log, reward)["it"]]


def test_missing_fields_are_named() -> None:
    with pytest.raises(InputError, match="target_tokens"):
        replay(made_log(), {"it": reward_from_config({"name": "l1_exact"})})


def test_summaries_distinguish_the_strategies() -> None:
    log = made_log(12)
    rewards = {
        "default": reward_from_config({"name": "deepcompress", "initial_level": 0.5}),
        "penalty": reward_from_config({"name": "deepcompress", "beta": 1}),
        "bonus": reward_from_config({"name": "deepcompress", "beta": -1}),
        "kimi": reward_from_config({"name": "kimi_k1.5"}),
        "kept": reward_from_config({"name": "smartthinker"}),
    }
    walks = replay(log, rewards)
    sides = [[s.difficulty for s in step.shaped] for step in walks["default"]]
    by = {name: summarise(log, walk, walks["default"], sides) for name, walk in walks.items()}
    assert by["default"].agreement == pytest.approx(1.0)
    assert by["default"].shorter_simple == pytest.approx(1.0)
    assert by["default"].shorter_hard == pytest.approx(-1.0)
    assert by["penalty"].shorter_hard == pytest.approx(1.0)
    assert by["bonus"].shorter_simple == pytest.approx(-1.0)
    assert by["kept"].negative_correct == 0.0
    assert (by["kimi"].negative_correct or 0) > 0.05
    assert (by["default"].reward_simple or 0) > (by["default"].reward_hard or 0)


def test_rank_agreement_is_kendalls() -> None:
    up, down, flat = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]), np.zeros(3)
    assert rank_agreement(up, up) == pytest.approx(1.0)
    assert rank_agreement(up, down) == pytest.approx(-1.0)
    assert rank_agreement(up, flat) is None
    # One tie in one list of three: 2 concordant of sqrt(3 * 2) pairs.
    assert rank_agreement(up, np.array([1.0, 2.0, 2.0])) == pytest.approx(2 / np.sqrt(6))
