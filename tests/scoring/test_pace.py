"""The warning that a run's level is still near its initial value, far from the pass ratio."""

from __future__ import annotations

import re
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_service.scoring.warnings import FAR, MIN_STEPS, pace_warnings, reward_warnings, run_pass_ratio
from deepcompress_service.shaping import Group, reward_from_config
from deepcompress_service.shaping.level import next_level

UNIT = st.floats(0, 1)


def level_after(initial: float, ema: float, ratios: list[float]) -> float:
    return [*accumulate(ratios, lambda level, ratio: next_level(level, ratio, ema), initial=initial)][-1]


@given(UNIT, st.floats(0.01, 0.999), st.lists(UNIT, min_size=1, max_size=60))
def test_the_runs_pass_ratio_follows_from_the_level(initial: float, ema: float, ratios: list[float]) -> None:
    weights = [ema ** (len(ratios) - 1 - index) for index in range(len(ratios))]
    mean = sum(w * r for w, r in zip(weights, ratios, strict=True)) / sum(weights)
    found = run_pass_ratio(level_after(initial, ema, ratios), initial, ema, len(ratios))
    assert found == pytest.approx(mean, abs=1e-9)


def test_a_pass_ratio_is_between_0_and_1_for_any_level() -> None:
    assert run_pass_ratio(0.0, 1.0, 0.5, 1) == 0.0  # no steps make this level: the mean would be -1
    assert run_pass_ratio(1.0, 0.0, 0.5, 1) == 1.0
    assert run_pass_ratio(0.7, 1.0, 1.0, 50) is None


@given(UNIT, UNIT, st.floats(0.01, 0.999), st.integers(MIN_STEPS, 500))
def test_it_is_made_exactly_while_the_level_is_far(initial: float, ratio: float, ema: float, steps: int) -> None:
    level = level_after(initial, ema, [ratio] * steps)
    gap = abs(level - ratio)
    if abs(gap - FAR) > 1e-6:
        assert bool(pace_warnings(level, initial, ema, steps)) == (gap > FAR)


def test_a_first_run_with_the_defaults_gets_it_and_one_with_the_advice_does_not() -> None:
    ratios = [0.55] * 60
    ((slug, text),) = pace_warnings(level_after(1.0, 0.99, ratios), 1.0, 0.99, 60)
    assert slug == "slow-level"
    assert "level 0.80 is still above the run's pass ratio 0.55" in text
    more = int(re.findall(r"about (\d+) more steps", text)[0])
    assert abs(level_after(1.0, 0.99, ratios + [0.55] * more) - 0.55) <= FAR
    assert abs(level_after(1.0, 0.99, ratios + [0.55] * (more - 1)) - 0.55) > FAR
    advised = 1 - 5 / 60
    for steps in range(MIN_STEPS, 61):
        assert pace_warnings(level_after(0.5, advised, ratios[:steps]), 0.5, advised, steps) == []


def test_a_level_that_starts_too_low_is_named_from_its_side() -> None:
    ((_, text),) = pace_warnings(level_after(0.0, 0.99, [0.6] * 20), 0.0, 0.99, 20)
    assert "below" in text
    assert "count as simple, and shorter answers are paid more" in text


@pytest.mark.parametrize("steps", [0, 1, MIN_STEPS - 1])
def test_the_first_steps_have_no_warning(steps: int) -> None:
    assert pace_warnings(1.0, 1.0, 0.99, steps) == []


@pytest.mark.parametrize("ema", [0.0, 1.0])
def test_a_level_that_is_the_batch_or_is_fixed_has_no_pace(ema: float) -> None:
    assert pace_warnings(0.9, 0.9, ema, 50) == []


def slugs(strategy: dict[str, object], step: int, level: float) -> set[str]:
    reward = reward_from_config(strategy)
    groups = [Group((True, False), (10, 20), (False, False), level=level, step=step)]
    return {slug for slug, _ in reward_warnings(reward, groups, reward.shape(groups))}


def test_the_reward_has_it_where_the_run_uses_its_level() -> None:
    far = level_after(1.0, 0.99, [0.5] * 20)
    assert "slow-level" in slugs({"name": "deepcompress"}, 19, far)
    assert "slow-level" not in slugs({"name": "deepcompress"}, 5, 0.97)
    assert "slow-level" not in slugs({"name": "deepcompress", "beta": 1.0}, 19, far)
    assert "slow-level" not in slugs({"name": "deepcompress", "reference": "dataset"}, 19, far)
    assert "slow-level" not in slugs({"name": "kimi_k1.5"}, 19, far)


def test_the_level_before_the_step_has_one_step_less() -> None:
    strategy = {"name": "deepcompress", "reference": "previous"}
    far = level_after(1.0, 0.99, [0.5] * MIN_STEPS)
    assert "slow-level" not in slugs(strategy, MIN_STEPS - 1, far)
    assert "slow-level" in slugs(strategy, MIN_STEPS, far)
