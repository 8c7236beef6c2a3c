"""Advantages that a configuration describes, against plain loops over one group."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest

from deepcompress_service.shaping import ConfigError, Group, reward_from_config
from deepcompress_service.shaping.advantages import whitening

from .test_options import RECORD
from .test_plain import realistic

OVERLONG = {"max_tokens": 9000, "buffer_tokens": 4000, "factor": 0.7}
SCORES = {"format": {"weight": 0.3}, "aside": {"weight": -0.2, "only_if_correct": True}}


def sent(count: int = 40, size: int = 6) -> list[Group]:
    source = random.Random(count)
    return [
        replace(
            g,
            scores=tuple({"format": source.random(), "aside": source.random()} for _ in g.correct),
            trainable=tuple(source.random() < 0.9 for _ in g.correct),
        )
        for g in [*realistic(count, size), *realistic(10, 1), *realistic(10, 2)]
    ]


def normalised(values: list[float], trained: tuple[bool, ...], scale: bool) -> list[float]:
    kept = [value for value, ok in zip(values, trained, strict=True) if ok]
    if len(kept) < 2:
        return [0.0] * len(values)
    divisor = stdev(kept) + 1e-6 if scale else 1.0
    return [(value - fmean(kept)) / divisor if ok else 0.0 for value, ok in zip(values, trained, strict=True)]


@pytest.mark.parametrize(
    ("scale", "decouple"),
    [("group", False), ("group", True), ("none", False), ("none", True), ("outcome", True)],
)
def test_weights_overlong_and_scores_are_in_the_advantages(scale: str, decouple: bool) -> None:
    reward = reward_from_config(
        {"name": "kimi_k1.5"},
        None,
        0.4,
        OVERLONG,
        scores=SCORES,
        gate={"min_pass_ratio": 0.5},
        advantage={"scale": scale, "decouple": decouple},
    )
    groups = sent()
    for g, shaped in zip(groups, reward.shape(groups), strict=True):
        scaled, weight = scale == "group", 0.4 if g.pass_ratio >= 0.5 else 0.0
        if decouple:
            parts = shaped.components
            rest = [o + v for o, v in zip(parts["outcome"], parts["overlong"], strict=True)]
            rows = [(1.0, rest), (weight, list(shaped.length_term))]
            rows += [(p["weight"], list(shaped.scores[name])) for name, p in sorted(SCORES.items())]  # type: ignore
            # A score that is already weighted is normalised as the unweighted one is, up to its sign.
            unweighted = [(w, [x / w for x in row] if i > 1 else row) for i, (w, row) in enumerate(rows)]
            divided = [scaled or (scale == "outcome" and i == 0) for i in range(len(rows))]
            normal = [
                (w, normalised(row, g.trainable, by_std))
                for (w, row), by_std in zip(unweighted, divided, strict=True)
            ]
            expected = [sum(w * row[i] for w, row in normal) for i in range(len(g.correct))]
        else:
            expected = normalised(list(shaped.rewards), g.trainable, scaled)
        assert list(shaped.advantages or ()) == pytest.approx(expected, abs=1e-9)


def test_gdpo_a_spread_of_lengths_does_not_dilute_the_outcome() -> None:
    mixed = Group((True, True, False, False), (10, 9000, 10, 10), (False,) * 4)
    together = reward_from_config({"name": "kimi_k1.5"}, advantage={})
    apart = reward_from_config({"name": "kimi_k1.5"}, advantage={"decouple": True})
    outcome = reward_from_config({"name": "outcome"}, advantage={})
    (a,), (b,), (o,) = (reward.shape([mixed]) for reward in (together, apart, outcome))
    # The outcome's part of the decoupled advantage is that of the outcome alone.
    length = normalised(list(b.length_term), (True,) * 4, True)
    assert [x - y for x, y in zip(b.advantages or (), length, strict=True)] == pytest.approx(o.advantages)
    assert a.advantages != pytest.approx(b.advantages)


@pytest.mark.parametrize("decouple", [False, True])
def test_the_bonus_is_not_centred_away(decouple: bool) -> None:
    target = {"quantile": 0.5, "slack": 1.0, "min_rollouts": 20, "bonus": 0.3}
    reward = reward_from_config(
        {"name": "outcome"}, None, 2.0, target=target, advantage={"scale": "none", "decouple": decouple}
    )
    solved = Group((True, True), (5, 10), (False, False), lengths=RECORD)
    (shaped,) = reward.shape([solved])
    assert shaped.advantages == (0.6, 0.6)
    (long,) = reward.shape([replace(solved, tokens=(5, 15))])
    assert long.advantages == pytest.approx((0.5 + 0.6, -0.5))


def test_the_outcome_is_scaled_and_a_relative_excess_keeps_its_size() -> None:
    target = {"quantile": 0.5, "slack": 1.0, "min_rollouts": 20}
    advantage = {"scale": "outcome", "decouple": True}
    reward = reward_from_config({"name": "outcome"}, None, 0.5, target=target, gate={}, advantage=advantage)
    solved = Group((True, True), (10, 11), (False, False), lengths=RECORD)
    mixed = Group((True, True, True, False), (10, 11, 15, 15), (False,) * 4, lengths=RECORD)
    (small,), (wide,), (outcome,) = (reward.shape([g]) for g in (solved, replace(solved, tokens=(10, 20)), mixed))
    assert small.advantages == pytest.approx((0.5 * 0.05, -0.5 * 0.05))
    assert wide.advantages == pytest.approx((0.5 * 0.5, -0.5 * 0.5))
    assert outcome.advantages == pytest.approx((0.5, 0.5, 0.5, -1.5), rel=1e-5)


def test_the_outcome_is_scaled_alone_only_if_parts_are_apart() -> None:
    with pytest.raises(ConfigError, match="decouple"):
        reward_from_config({"name": "outcome"}, advantage={"scale": "outcome"})


def test_untrainable_rollouts_have_no_advantage_and_no_part_in_the_mean() -> None:
    reward = reward_from_config({"name": "outcome"}, advantage={"scale": "none"})
    group = Group((True, False, False), (1, 1, 1), (False,) * 3, trainable=(True, True, False))
    assert reward.shape([group])[0].advantages == (1.0, -1.0, 0.0)


@pytest.mark.parametrize(("strategy", "published"), [({"name": "diet"}, (1.0, 0.0)), ({"name": "ddca"}, (1.0, 0.0))])
def test_own_advantages_include_weight_overlong_scores_and_gate(strategy: Any, published: Any) -> None:
    groups = [replace(g, step=3, trainable=()) for g in sent()]
    plain = reward_from_config(strategy).shape(groups)
    weighted = reward_from_config(strategy, None, 0.5, gate={"min_pass_ratio": 0.5}).shape(groups)
    none = reward_from_config(strategy, None, 0.0).shape(groups)
    for g, a, b, o in zip(groups, plain, weighted, none, strict=True):
        factor = 0.5 if g.pass_ratio >= 0.5 else 0.0
        expected = [z + factor * (x - z) for x, z in zip(a.advantages or (), o.advantages or (), strict=True)]
        assert list(b.advantages or ()) == pytest.approx(expected, abs=1e-9)
    full = reward_from_config(strategy, None, 0.0, OVERLONG, scores=SCORES).shape(groups)
    for g, shaped in zip(groups, full, strict=True):
        values = list(shaped.rewards)
        if strategy["name"] == "diet":
            assert list(shaped.advantages or ()) == pytest.approx(
                normalised(values, (True,) * len(g.correct), True), abs=1e-9
            )


def test_whitened_advantages_have_mean_0_and_std_1_over_the_tokens() -> None:
    reward = reward_from_config({"name": "dler"}, advantage={"scale": "none", "whiten": "batch"})
    groups = sent()
    flat = [
        (a, n)
        for g, shaped in zip(groups, reward.shape(groups), strict=True)
        for a, n, ok in zip(shaped.advantages or (), g.tokens or (), g.trainable, strict=True)
        if ok
    ]
    count = sum(n for _, n in flat)
    assert sum(a * n for a, n in flat) / count == pytest.approx(0, abs=1e-9)
    assert sum(a * a * n for a, n in flat) / count == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("advantages", "tokens", "chosen", "mean", "variance"),
    [
        # Over the tokens, divided by their number less one: 1, -1 and 2, -1, -1.
        ([1.0, -1.0], [1, 1], [True, True], 0.0, 2.0),
        ([2.0, -1.0], [1, 2], [True, True], 0.0, 3.0),
        ([2.0, -1.0, 9.0, 9.0], [1, 2, 5, 0], [True, True, False, True], 0.0, 3.0),
        ([4.0], [2], [True], 4.0, 0.0),
    ],
)
def test_mean_and_std_are_taken_over_tokens(
    advantages: list[float], tokens: list[int], chosen: list[bool], mean: float, variance: float
) -> None:
    assert whitening(advantages, tokens, chosen) == (mean, math.sqrt(variance + 1e-8))


@pytest.mark.parametrize("tokens", [[], [0], [1]])
def test_fewer_than_two_tokens_are_not_whitened(tokens: list[int]) -> None:
    assert whitening([3.0] * len(tokens), tokens, [True] * len(tokens)) == (0.0, 1.0)


def test_recorded_whitening_gives_the_same_bits_in_any_cutting() -> None:
    reward = reward_from_config({"name": "dler"}, scores=SCORES, advantage={"decouple": True, "whiten": "batch"})
    groups = sent()
    whole = reward.shape(groups)
    by = reward.step_whitening(groups)
    recorded = [replace(g, whitening=by) for g in groups]
    assert [reward.shape([g])[0] for g in recorded] == whole
    assert reward.step_whitening(groups[::-1]) == by
