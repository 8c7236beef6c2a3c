"""Values on the edges: ties, thirds, exact limits, groups of one, ends of declared ranges."""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from random import Random
from typing import Any

import numpy as np
import pytest

import deepcompress_service.shaping
from deepcompress_service.shaping import ConfigError, Group, reward_from_config
from deepcompress_service.shaping.batch import Batch
from deepcompress_service.shaping.checks import sample_groups
from deepcompress_service.shaping.configured import read_strategy
from deepcompress_service.shaping.curves import against_z
from deepcompress_service.shaping.registry import BUILT_IN
from deepcompress_service.shaping.replay import LoggedGroup, replay, summarise

from .plain import PLAIN
from .test_plain import realistic


def edge_groups(name: str) -> list[Group]:
    """Groups of 1 to 6 rollouts whose lengths tie, and lie on, just below and just above the limits of a strategy."""
    source = Random(name)
    defaults = [param.default for param in BUILT_IN[name].params if param.kind in ("integer", "number")]
    limits = [default for default in defaults if default is not None and 5 < default < 2**31]
    values = [0, 1, 2, 3, 100, 1000, *(int(limit) + shift for limit in limits for shift in (-1, 0, 1))]
    groups = []
    for group in [one for size in range(1, 7) for one in realistic(60, size, seed=size)]:
        size = len(group.correct)
        few = source.sample(values, source.choice([1, 2, 3]))
        tokens = tuple(source.choice(few) for _ in range(size))
        short = source.choice([1.0, 2.0, 3.0, group.reference_tokens])
        target = None if name.startswith("laser") else group.target_tokens
        level = source.choice([0.0, 0.5, 1.0])
        groups.append(
            dataclasses.replace(group, tokens=tokens, level=level, reference_tokens=short, target_tokens=target)
        )
    return groups


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_equal_to_the_plain_loop_on_the_edges(name: str) -> None:
    sent = edge_groups(name)
    for group, shaped in zip(sent, reward_from_config({"name": name}).shape(sent), strict=True):
        assert group.tokens is not None
        expected = PLAIN[name](group.tokens, group.correct, group)
        assert list(shaped.rewards) == pytest.approx(expected, abs=1e-9, rel=1e-9), group


def test_the_price_of_alp_is_beta_over_the_normaliser() -> None:
    group = Group((True, False), (100, 300), (False, False))
    for normaliser in (1, 4):
        reward = reward_from_config({"name": "alp", "beta": 0.002, "normaliser": normaliser})
        assert reward.shape([group])[0].length_term == pytest.approx((-0.1 / normaliser, -0.3 / normaliser))


def test_a_least_spread_below_one_token_counts() -> None:
    group = Group((True, True, True, False), (1000, 1000, 1001, 1000), (False,) * 4, level=0.1)
    reward = reward_from_config({"name": "deepcompress", "min_std_tokens": 0.5})
    assert reward.shape([group])[0].length_term == pytest.approx((0.1, 0.1, 0.1, 0))


@pytest.mark.parametrize(("thinking", "rewards"), [(True, (0.0, -1.0)), (False, (1.0, -2.0))])
def test_autothink_draws_a_batch_of_one_mode_to_the_published_values(
    thinking: bool, rewards: tuple[float, float]
) -> None:
    group = Group((True, False), (5, 9), (False, False), thinking=(thinking,) * 2)
    reward = reward_from_config({"name": "autothink_stage1"})
    assert reward.shape([group])[0].rewards == pytest.approx(rewards)


def test_grpo_lead_weighs_by_the_pass_ratio() -> None:
    """w(x) = 0.4 + 1.1 / (1 + exp(10 (x - 0.75))), of the pass ratio above the mean and of 1 - it below."""
    group = Group((True, True, True, False), (100, 100, 100, 100), (False,) * 4)
    weights = reward_from_config({"name": "grpo_lead"}).shape([group])[0].weights
    low = 0.4 + 1.1 / (1 + math.exp(10 * (0.25 - 0.75)))
    assert weights == pytest.approx((0.95, 0.95, 0.95, low))


def test_smartthinker_of_equal_spread_takes_the_side_of_the_correct_mean() -> None:
    """If both variances are equal, the authors' code takes the group's longest if the correct are shorter."""
    tokens = next(
        (a, b, c, d)
        for d in range(1, 60)
        for a, b, c in np.ndindex(d, d, d)
        if a < b and (a + b) / 2 < (a + b + c + d) / 4 and np.var([a, b]) == np.var([a, b, c, d])
    )
    group = Group((True, True, False, False), tokens, (False,) * 4)
    assert reward_from_config({"name": "smartthinker"}).shape([group])[0].length_term == (0, 0, 0, 0)


def test_lengths_of_no_rollout_are_zero() -> None:
    batch = Batch([Group((False, False), (10, 20), (False, False))])
    right = batch.correct_lengths
    assert [float(x[0]) for x in (right.count, right.total, right.low, right.high, right.mean)] == [0] * 5


def test_gfpo_takes_an_empty_rollout_for_one_token() -> None:
    reward = reward_from_config({"name": "gfpo", "keep": 1, "metric": "efficiency"})
    group = Group((True, True, False), (0, 10, 10), (False,) * 3)
    assert reward.shape([group])[0].mask == (True, False, False)


@pytest.mark.parametrize(
    ("config", "group", "why"),
    [
        ({}, Group((False, False), (1, 2), (False, False), trainable=(False, False)), "untrainable"),
        ({}, Group((False, False), (1, 2), (False, False)), "none-correct"),
        ({"name": "kimi_k1.5"}, Group((True, True, False), (1, 1, 1), (False,) * 3), "equal-lengths"),
        ({}, Group((True, True), (1, 2), (False, False), level=1.0), "all-correct"),
        ({"alpha": 0.0}, Group((True, True, False, False), (1, 2, 3, 4), (False,) * 4, level=0.5), "even"),
        ({"name": "dapo_soft_overlong"}, Group((True, True, False), (1, 2, 3), (False,) * 3), "strategy"),
        ({}, Group((True, True, False, False), (1, 2, 3, 4), (False,) * 4, level=0.25), None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_group_without_a_length_reward_has_the_reason(
    config: dict[str, Any], group: Group, why: str | None
) -> None:
    level = 0.25 if group.level is None else group.level
    group = dataclasses.replace(group, level=level)
    reward = reward_from_config({"name": "deepcompress"} | config)
    shaped = reward.shape([group])[0]
    assert (any(shaped.length_term), shaped.why) == (why is None, why)


def test_the_reason_of_evaluation_and_of_no_weight_come_first() -> None:
    group = Group((False, False), (1, 2), (False, False), level=0.5)
    assert reward_from_config({"name": "deepcompress"}, None, 0.0).shape([group])[0].why == "no-weight"
    assert reward_from_config({"name": "deepcompress"}).shape([group], evaluate=True)[0].why == "evaluation"


# --- declared ranges and limits ------------------------------------------------------------------------

NOT_REACHED = {
    "ddca",
    "deepcompress",
    "smartthinker",
    "grpo_lead",
    "autothink_stage1",
    "gr3",
    "nemo_group",
    "o1_pruner",
}
"""Their ends are limits that these groups come near to at most."""
SKYRL = {"name": "dapo_soft_overlong", "variant": "skyrl", "factor": 0.5}
OTHER_VARIANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (SKYRL, {}),
    (SKYRL, {"wrong": 0.0}),
    ({"name": "stop_properly", "coefficient": -0.5}, {}),
    ({"name": "stop_properly", "coefficient": 0.25}, {}),
]


@pytest.mark.parametrize(
    ("config", "outcome"),
    [*(({"name": name}, {}) for name in BUILT_IN if name not in NOT_REACHED), *OTHER_VARIANTS],
    ids=str,
)
def test_ends_of_a_declared_range_are_reached(config: dict[str, Any], outcome: dict[str, Any]) -> None:
    reward, part = reward_from_config(config, outcome), read_strategy(config, "strategy", outcome, "outcome")
    groups = [
        dataclasses.replace(
            group,
            accumulators=tuple(spec.initial for spec in reward.accumulators),
            truncated=tuple(length > 300 for length in group.tokens or ()),
            formatted=tuple(length != 100 for length in group.tokens or ()),
        )
        for group in [*edge_groups(config["name"]), *realistic(200, 8)]
    ]
    terms = [term for shaped in reward.shape(groups) for term in shaped.length_term]
    low, high = part.strategy.bounds(part.params, part.pair)
    assert math.isinf(low) or min(terms) == pytest.approx(low, abs=0.02)
    assert math.isinf(high) or max(terms) == pytest.approx(high, abs=0.02)


def test_whole_token_limits_reach_31_bits() -> None:
    for name, strategy in BUILT_IN.items():
        for param in strategy.params:
            if param.kind == "integer" and param.maximum > 2**30:
                reward_from_config({"name": name, param.name: 2**31 - 1})
                with pytest.raises(ConfigError):
                    reward_from_config({"name": name, param.name: 2**31})


# --- curves, replay, the gate of user strategies ---------------------------------------------------------


@pytest.mark.parametrize(("beta", "pass_ratio"), [(-1.0, 1 / 16), (0.0, 8 / 16), (0.5, 12 / 16), (1.0, 15 / 16)])
def test_a_curve_against_z_has_the_pass_ratio_of_its_beta(beta: float, pass_ratio: float) -> None:
    reward = reward_from_config({"name": "alp", "rollouts": 16})
    curve = against_z(reward, beta, correct=True)
    price = BUILT_IN["alp"].params[0].default
    assert curve.terms == pytest.approx([-price * t * pass_ratio for t in curve.tokens])


def test_a_summary_counts_by_hand() -> None:
    mixed = Group((True, True, True, False), (100, 400, 500, 300), (False,) * 4)
    solved = Group((True,) * 4, (100, 800, 850, 900), (False,) * 4)
    log = [(0, [LoggedGroup("a", mixed), LoggedGroup("b", solved)])]
    walk = replay(log, {"it": reward_from_config({"name": "kimi_k1.5"})})["it"]
    summary = summarise(log, walk, walk, [["simple", "hard"]])
    rewards = [np.array(shaped.rewards) for shaped in walk[0].shaped]
    below = [
        [reward < paid.mean() for reward, correct in zip(paid, group.correct, strict=True) if correct]
        for paid, group in zip(rewards, (mixed, solved), strict=True)
    ]
    assert sum(map(sum, below)) not in (0, 7)
    assert sum(below[0]) != sum(below[1])
    assert summary.spread == pytest.approx(np.mean([paid.std() for paid in rewards]))
    assert summary.negative_correct == pytest.approx(sum(map(sum, below)) / 7)
    assert summary.negative_correct_mixed == pytest.approx(sum(below[0]) / 3)
    assert (summary.reward_simple, summary.reward_hard) == pytest.approx((rewards[0].mean(), rewards[1].mean()))


def test_the_gate_tries_every_kind_of_group() -> None:
    groups = sample_groups((0.5,))
    tokens = {group.tokens for group in groups if group.tokens is not None}
    for one in tokens:
        shares = {sum(group.correct) / len(one) for group in groups if group.tokens == one}
        assert {0.0, 1.0} <= shares
        assert len(one) < 5 or any(0 < share < 1 for share in shares), one
    assert max(max(one) for one in tokens) == 2**31 - 1
    assert {len(one) for one in tokens} >= {1, 2, 3, 5, 8, 16}
    assert sum(group.history.attempts == 0 for group in groups) == 12
    assert {group.accumulators for group in groups} == {(0.5,)}
    for group in groups:
        assert min(group.context_tokens or ()) >= 0 and min(group.turns or ()) >= 1
    for flags in ("thinking", "repetitive", "truncated"):
        assert {flag for group in groups for flag in getattr(group, flags)} == {True, False}


def test_evaluation_has_no_length_and_no_overlong_term() -> None:
    reward = reward_from_config({"name": "deepcompress"}, None, 1.0, {"max_tokens": 10, "buffer_tokens": 5})
    shaped = reward.shape([Group((True, False), (100, 200), (False, False), level=0.5)], evaluate=True)[0]
    assert (shaped.rewards, shaped.length_term, shaped.components["overlong"]) == (
        (1.0, -1.0),
        (0.0, 0.0),
        (0.0, 0.0),
    )


@pytest.mark.parametrize("name", sorted(set(PLAIN) | {"gfpo", "stop_properly"}))
def test_no_number_is_minus_zero(name: str) -> None:
    groups = edge_groups(name)
    for shaped in reward_from_config({"name": name}).shape(groups):
        for values in (shaped.rewards, *shaped.components.values(), shaped.length_term, shaped.advantages or ()):
            assert not [value for value in values if value == 0 and math.copysign(1, value) < 0]


def test_records_are_frozen_but_for_those_that_are_made_for_each_group() -> None:
    package = deepcompress_service.shaping
    names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    records = {
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if dataclasses.is_dataclass(value) and isinstance(value, type)
    }
    assert len(records) > 10
    changed = {"SignalSums"}  # `add` joins those of two requests
    of_each_group = {"Group", "ShapedGroup"}
    assert {one.__name__ for one in records if not one.__dataclass_params__.frozen} == changed | of_each_group


def test_grpo_lead_leaves_alone_a_group_whose_shortest_are_on_the_limit() -> None:
    reward = reward_from_config({"name": "grpo_lead", "skip_below_tokens": 4000})
    for shift, left_alone in ((0, True), (1, False)):
        group = Group((True,) * 3, (3999 + shift, 4000 + shift, 4001 + shift), (False,) * 3)
        assert (reward.shape([group])[0].length_term == (0, 0, 0)) == left_alone
