"""Filter, advantages, loss and diagnostics, held against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

from deepcompress_trainer.config import SettingsError
from deepcompress_trainer.generate import Rollout
from deepcompress_trainer.grpo import (
    advantages,
    check_length_term,
    clipped_loss,
    correct_pushed_down,
    keep_group,
    kl_to_reference,
    length_shares,
    sampled_entropy,
)

from .groups import group

LENGTHS = [8, 10, 12, 14, 16, 18, 20, 30]
ONE = {"length_term": "reward", "length_weight": 1.0}
APART = {"length_term": "advantage", "length_weight": 1.0}


def total(*groups: Any, scale: Literal["group", "batch", "none"], **how: Any) -> list[float]:
    found = advantages(groups, scale_rewards=scale, **(how or ONE))
    return [value for one in found for value in one.total]


@pytest.mark.parametrize(
    ("right", "level", "scale", "expected"),
    [
        (8, 0.5, "group", [1.17, 0.89, 0.59, 0.29, -0.02, -0.32, -0.63, -1.98]),
        (8, 0.95, "group", [1.15, 0.87, 0.58, 0.29, 0.0, -0.29, -0.58, -2.02]),
        (8, 0.5, "none", [0.029, 0.022, 0.015, 0.007, 0.0, -0.008, -0.016, -0.050]),
        (8, 0.95, "none", [0.003, 0.002, 0.002, 0.001, 0.0, -0.001, -0.002, -0.005]),
    ],
)
def test_dividing_by_the_group_std_cancels_alpha_and_beta_where_all_are_correct(
    right: int, level: float, scale: Literal["group", "none"], expected: list[float]
) -> None:
    found = total(group([True] * right, LENGTHS, level=level), scale=scale)
    assert found == pytest.approx(expected, abs=0.006 if scale == "group" else 0.0006)


def test_in_a_mixed_group_the_length_part_is_small_beside_the_outcome() -> None:
    found = total(group([True] * 7 + [False], LENGTHS), scale="group")
    assert (found[0], found[6], found[7]) == pytest.approx((0.376, 0.330, -2.475), abs=0.002)


def test_parts_add_up_to_the_advantage_of_the_whole_reward() -> None:
    one = group([True, True, False, True], [5, 9, 7, 20])
    (found,) = advantages([one], scale_rewards="group", **ONE)  # type: ignore[arg-type]
    rewards = np.array(one.service_rewards.rewards)
    assert found.total == pytest.approx((rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6))


def test_an_undecided_rollout_has_no_advantage_and_changes_no_other() -> None:
    whole = total(group([True, True, False], [5, 9, 7]), scale="none")
    withheld = group([True, True, False, False], [5, 9, 7, 7], trainable=[True, True, True, False])
    found = total(withheld, scale="none")
    assert found[3] == 0
    # The length reward's z does count it, as in the service; the outcome part does not.
    assert found[:3] == pytest.approx(whole, abs=0.02)


def test_ready_advantages_of_a_strategy_are_taken_as_they_are() -> None:
    one = group([True, False], [5, 9])
    one.service_rewards.advantages = [0.25, -0.75]
    assert total(one, scale="group") == [0.25, -0.75]


def test_batch_scale_is_one_number_for_all_groups() -> None:
    groups = [group([True, False], [5, 5]), group([True, True], [4, 8])]
    unscaled, scaled = total(*groups, scale="none"), total(*groups, scale="batch")
    rewards = [r for one in groups for r in one.service_rewards.rewards]
    assert np.array(unscaled) / np.array(scaled) == pytest.approx(np.std(rewards, ddof=1) + 1e-6)


def test_apart_the_outcome_is_scaled_by_itself_and_the_length_term_is_minus_beta_z_over_the_correct() -> None:
    one = group([True, True, False, True], [4, 6, 50, 8], level=0.25)
    (found,) = advantages([one], scale_rewards="group", length_term="advantage", length_weight=2.0)
    z = (np.array([4, 6, 8]) - 6) / math.sqrt(8 / 3)
    assert found.length == pytest.approx([-2 * 0.5 * z[0], -2 * 0.5 * z[1], 0.0, -2 * 0.5 * z[2]])
    assert found.outcome == pytest.approx(np.array([0.5, 0.5, -1.5, 0.5]) / (1.0 + 1e-6))


def test_apart_an_all_correct_group_keeps_the_size_of_beta() -> None:
    steep = total(group([True] * 4, [4, 6, 8, 10], level=0.5), scale="group", **APART)
    mild = total(group([True] * 4, [4, 6, 8, 10], level=0.9), scale="group", **APART)
    assert np.array(steep) == pytest.approx(5 * np.array(mild))


@pytest.mark.parametrize(
    ("correct", "tokens", "metric", "kept"),
    [
        ([True, False], [5, 5], "acc", True),
        ([True, True], [5, 9], "acc", False),
        ([False, False], [5, 9], "acc", False),
        ([True, True], [5, 9], "reward", True),
        ([True, True], [5, 5], "reward", False),
        ([False, False], [5, 9], "reward", False),
        ([False, False], [5, 9], "none", True),
    ],
)
@pytest.mark.parametrize("how", [ONE, APART])
def test_filter(correct: list[bool], tokens: list[int], metric: Any, kept: bool, how: Any) -> None:
    assert keep_group(group(correct, tokens), metric, **how) is kept


def test_a_group_without_trainable_rollouts_is_never_kept() -> None:
    one = group([False, False], [5, 9], trainable=[False, False])
    assert not keep_group(one, "none", **ONE)  # type: ignore[arg-type]


LAST = [False] * 7 + [True]
LEFT_OUT: list[dict[str, Any]] = [
    {"truncated": LAST, "mask_truncated": True},
    {"trainable": [not last for last in LAST]},
]


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_a_wrong_rollout_that_is_left_out_makes_no_mixed_group(left_out: dict[str, Any]) -> None:
    """Seven right and one wrong that does not train: the seven would train on their lengths at full strength."""
    one = group([True] * 7 + [False], LENGTHS, **left_out)
    assert one.kind == "all"
    assert not keep_group(one, "acc", **ONE)  # type: ignore[arg-type]
    assert keep_group(one, "reward", **ONE)  # type: ignore[arg-type]
    found = advantages([one], scale_rewards="group", **ONE)  # type: ignore[arg-type]
    assert found[0].total[7] == 0
    assert length_shares([one], found)["length_share_some"] is None
    assert length_shares([one], found)["length_share_all"] == pytest.approx(1.0)
    assert group([True] * 7 + [False], LENGTHS, truncated=LAST).kind == "some", "unmasked, it trains"


def test_a_group_of_one_trained_rollout_has_no_signal() -> None:
    alone = [not last for last in LAST]
    one = group([False] * 7 + [True], LENGTHS, truncated=alone, mask_truncated=True)
    assert one.trained == LAST
    assert not keep_group(one, "reward", **ONE)  # type: ignore[arg-type]
    assert not keep_group(one, "acc", **ONE)  # type: ignore[arg-type]


def test_a_length_term_of_beta_is_refused_where_the_strategy_has_none() -> None:
    with_beta, without = group([True, False], [5, 9]), group([True, False], [5, 9])
    without.service_rewards.beta = None
    with pytest.raises(SettingsError, match="length_term advantage needs a strategy with beta; cosine gives none"):
        check_length_term([without, without], length_term="advantage", strategy="cosine")
    check_length_term([without, with_beta], length_term="advantage", strategy="deepcompress")
    check_length_term([without], length_term="reward", strategy="cosine")


def test_loss_is_clipped_on_the_side_that_gains() -> None:
    old = torch.zeros(1, 4)
    ratios = torch.tensor([[1.5, 0.5, 1.5, 0.5]])
    advantage = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    loss, clipped = clipped_loss(ratios.log(), old, advantage, torch.ones(1, 4), clip_low=0.2, clip_high=0.28)
    assert float(loss) == pytest.approx(-(1.28 + 0.5 - 1.5 - 0.8))
    assert float(clipped) == 2


def test_padding_takes_no_part_in_the_loss() -> None:
    real = torch.tensor([[1.0, 0.0]])
    loss, _ = clipped_loss(
        torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[3.0]]), real, clip_low=0.2, clip_high=0.28
    )
    assert float(loss) == -3.0


def test_kl_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    here = torch.tensor([[-1.0, -2.0]])
    assert float(kl_to_reference(here, here, torch.ones(1, 2))) == 0
    assert float(kl_to_reference(here, here - 0.5, torch.ones(1, 2))) > 0


def test_kl_takes_no_notice_of_padding_however_far_apart_the_policies_are_there() -> None:
    here = torch.tensor([[-1.0, -120.0]], requires_grad=True)
    kl = kl_to_reference(here, torch.tensor([[-1.5, -5.0]]), torch.tensor([[1.0, 0.0]]))
    kl.backward()
    assert float(kl.detach()) == pytest.approx(math.exp(-0.5) + 0.5 - 1)
    assert here.grad is not None and torch.isfinite(here.grad).all() and here.grad[0, 1] == 0


def test_sampled_entropy_is_the_mean_surprise_of_a_token() -> None:
    rollouts = [Rollout([1, 2, 3], [-0.5, -1.0, -1.5], truncated=False), Rollout([4], [-2.0], truncated=True)]
    assert sampled_entropy(rollouts) == pytest.approx(5 / 4)


def test_a_fourth_component_is_trained_on_and_is_not_counted_as_length() -> None:
    one, more = (group([True, True, False, False], [10, 20, 12, 16]) for _ in range(2))
    fourth = np.array([0.5, -0.25, 0.0, 0.125])
    more.service_rewards.rewards = [
        reward + value for reward, value in zip(more.service_rewards.rewards, fourth, strict=True)
    ]
    (plain,) = advantages([one], scale_rewards="none", **ONE)  # type: ignore[arg-type]
    (found,) = advantages([more], scale_rewards="none", **ONE)  # type: ignore[arg-type]
    assert found.length == pytest.approx(plain.length)
    assert found.other == pytest.approx(fourth - fourth.mean())
    assert found.total == pytest.approx(plain.total + fourth - fourth.mean())
    assert not plain.other.any()


def test_length_shares_by_kind_of_group() -> None:
    groups = [group([True] * 4, [4, 6, 8, 10]), group([True, False, True, False], [4, 6, 8, 10])]
    shares = length_shares(groups, advantages(groups, scale_rewards="group", **ONE))  # type: ignore[arg-type]
    assert shares["length_share_all"] == pytest.approx(1.0)
    some = shares["length_share_some"]
    assert some is not None and 0 < some < 0.1
    assert shares["length_share_none"] is None


def test_the_share_of_correct_rollouts_that_are_pushed_down() -> None:
    groups = [group([True] * 4, [4, 6, 8, 10]), group([True, False], [4, 6])]
    found = advantages(groups, scale_rewards="group", **ONE)  # type: ignore[arg-type]
    assert correct_pushed_down(groups, found) == pytest.approx(2 / 5)
