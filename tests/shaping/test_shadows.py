"""Shadow strategies: what they would have paid, from the same verdicts and a state of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deepcompress_service.shaping import ConfigError, Group, next_value, reward_from_config

STEPS = [[(3, 4), (1, 4)], [(4, 4), (2, 4), (0, 4)], [(1, 4)], [(2, 4), (2, 4)]]


def groups_of(step: list[tuple[int, int]]) -> list[Group]:
    return [
        Group(tuple(i < passes for i in range(size)), tuple(300 + 70 * i * i for i in range(size)), (False,) * size)
        for passes, size in step
    ]


def walk(config: dict[str, Any], shadows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Each step's shaped groups and shadows, with the state carried as a store carries it."""
    reward = reward_from_config(config, None, 1.0, None, shadows)
    level, values = reward.initial_level, tuple(spec.initial for spec in reward.accumulators)
    walked = []
    for step in STEPS:
        sent = groups_of(step)
        mean = sum(g.pass_ratio for g in sent) / len(sent)
        accuracy = sum(sum(g.correct) for g in sent) / sum(len(g.correct) for g in sent)
        after = reward.ema * level + (1 - reward.ema) * mean
        used = level if reward.reference == "previous" else after
        ready = [replace(g, level=used, accumulators=values) for g in sent]
        walked.append((reward.shape(ready), reward.shape_shadows(ready)))
        level = after
        values = tuple(next_value(s, v, mean, accuracy) for s, v in zip(reward.accumulators, values, strict=True))
    return walked


@pytest.mark.parametrize(
    "shadow",
    [
        {"name": "deepcompress", "alpha": 0.5},
        {"name": "deepcompress", "ema": 0.5},
        {"name": "deepcompress", "ema": 0.0, "initial_level": 0.3},
        {"name": "deepcompress", "reference": "previous", "ema": 0.9},
        {"name": "deepcompress", "mode": "paper", "reference": "previous"},
        {"name": "a_dlp", "rate": 0.1},
        {"name": "short_rl", "accuracy_tolerance": 0.0},
        {"name": "kimi_k1.5"},
    ],
    ids=str,
)
def test_a_shadow_pays_what_it_would_pay_alone(shadow: dict[str, Any]) -> None:
    others: list[dict[str, Any]] = [{"name": "a_dlp", "label": "another"}, {**shadow, "label": "it"}]
    for (_, beside), (alone, _) in zip(walk({"name": "deepcompress"}, others), walk(shadow, []), strict=True):
        for by_label, expected in zip(beside, alone, strict=True):
            assert by_label["it"].rewards == pytest.approx(expected.rewards, abs=1e-12)
            assert (by_label["it"].beta is None) == (expected.beta is None)


def test_shadows_change_no_reward() -> None:
    config = {"name": "short_rl"}
    shadows = [{"name": "a_dlp"}, {"name": "deepcompress", "ema": 0.5}]
    assert [paid for paid, _ in walk(config, shadows)] == [paid for paid, _ in walk(config, [])]


def test_a_shadow_keeps_its_published_outcome_or_its_own() -> None:
    shadows = [{"name": "gr3"}, {"name": "laser"}, {"name": "laser", "label": "l", "outcome": {"wrong": -2}}]
    reward = reward_from_config({"name": "deepcompress"}, None, 1.0, None, shadows)
    assert [s["outcome"]["wrong"] for s in reward.shadow] == [0.0, -0.5, -2.0]
    assert [s["outcome"]["correct"] for s in reward.shadow] == [1.0, 1.0, 1.0]
    again = reward_from_config(reward.strategy, reward.outcome, 1.0, None, reward.shadow)
    assert again.shadow == reward.shadow


@pytest.mark.parametrize(
    ("run", "shadow", "field"),
    [
        ({}, {"step_level": "last"}, "shadow.0.step_level"),
        ({}, {"reference": "dataset"}, "shadow.0.reference"),
        ({"reference": "dataset"}, {"reference": "current"}, "shadow.0.reference"),
        ({"reference": "previous"}, {"reference": "current"}, "shadow.0.reference"),
        ({"ema": 1.0}, {"ema": 0.9}, "shadow.0.reference"),
    ],
)
def test_levels_that_the_state_does_not_determine_are_refused(run: Any, shadow: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reward_from_config({"name": "deepcompress", **run}, None, 1.0, None, [{"name": "deepcompress", **shadow}])
    assert caught.value.field == field
    assert "send" in caught.value.message


def test_two_shadows_of_one_name_need_labels() -> None:
    with pytest.raises(ConfigError, match="label"):
        reward_from_config({"name": "outcome"}, None, 1.0, None, [{"name": "gr3"}, {"name": "gr3", "alpha": 1}])
