"""Warnings on the bounds from which they are made, and the numbers in their texts."""

from __future__ import annotations

import pytest

from deepcompress_service.scoring.warnings import (
    FirstRollouts,
    pace_warnings,
    reward_warnings,
    run_created,
    stale_groups,
    too_old_groups,
    untrainable_warnings,
)
from deepcompress_service.shaping import Group, reward_from_config


def truncated_of(count: int, rollouts: int) -> Group:
    correct = (True,) + (False,) * (rollouts - 1)
    flags = (True,) * count + (False,) * (rollouts - count)
    return Group(correct, tuple(range(100, 100 + rollouts)), flags, level=0.5)


@pytest.mark.parametrize(("count", "warned"), [(2, False), (3, True)])
def test_truncation_is_a_warning_above_a_fifth(count: int, warned: bool) -> None:
    reward, groups = reward_from_config({"name": "outcome"}), [truncated_of(count, 10)]
    found = dict(reward_warnings(reward, groups, reward.shape(groups)))
    assert ("truncation-rate" in found) == warned
    assert not warned or found["truncation-rate"].startswith("3 of 10 rollouts were truncated")


def test_the_rollouts_beyond_the_limit_are_counted() -> None:
    overlong = {"max_tokens": 107, "buffer_tokens": 5}
    reward, groups = reward_from_config({"name": "outcome"}, overlong=overlong), [truncated_of(0, 10)]
    found = dict(reward_warnings(reward, groups, reward.shape(groups)))
    assert found["longer-than-max"].startswith("2 of 10 rollouts are longer than overlong.max_tokens = 107")


@pytest.mark.parametrize(("steps", "warned"), [(9, False), (10, True)])
def test_the_level_is_looked_at_from_ten_steps_on(steps: int, warned: bool) -> None:
    ratio, level = 0.2, 1.0
    for _ in range(steps):
        level = 0.99 * level + 0.01 * ratio
    assert bool(pace_warnings(level, 1.0, 0.99, steps)) == warned


@pytest.mark.parametrize(("undecided", "warned"), [(10, False), (11, True)])
def test_undecided_rollouts_are_a_warning_above_a_tenth(undecided: int, warned: bool) -> None:
    rows = [("undecided",) * undecided, ("correct",) * (100 - undecided)]
    assert [slug for slug, _ in untrainable_warnings(rows)] == ["undecided-rate"] * warned


def test_groups_without_a_readable_gold_are_counted() -> None:
    unreadable, read = ("gold_unreadable",) * 4, ("wrong",) * 4
    ((slug, some),) = untrainable_warnings([unreadable, read, unreadable])
    ((_, every),) = untrainable_warnings([unreadable, unreadable])
    assert slug == "gold-unreadable"
    assert some.startswith("2 of 3 groups have no gold") and every.startswith("no group has a gold")
    assert untrainable_warnings([read]) == []


def test_nothing_correct_is_a_warning_from_four_groups_and_64_rollouts_on() -> None:
    first = FirstRollouts()
    wrong = [False] * 64
    assert first.warning("few groups", 0, [wrong]) == []
    assert first.warning("few groups", 0, [wrong, wrong]) == []
    ((slug, text),) = first.warning("few groups", 0, [[False]])
    assert slug == "nothing-correct" and text.startswith("none of the first 193 rollouts")
    assert first.warning("few rollouts", 0, [[False] * 9] * 7) == []  # 63 rollouts
    assert len(first.warning("few rollouts", 0, [[False]])) == 1
    assert first.warning("few rollouts", 0, [[True]]) == []
    assert first.warning("few rollouts", 0, [wrong] * 9) == []  # one was correct before
    assert len(first.warning("few rollouts", 1, [wrong] * 9)) == 1  # another epoch


def test_texts_have_their_numbers() -> None:
    assert stale_groups(2, 5, 7)[1].startswith("2 of 5 groups came for step 7")
    assert "2 of 5 groups are from policies more than 3 versions ago" in too_old_groups(2, 5, 3)[1]
    assert "since step 4" in run_created(4)
