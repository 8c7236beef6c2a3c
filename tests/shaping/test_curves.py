"""The points that `deepcompress curves` draws."""

from __future__ import annotations

import math

import pytest

from deepcompress_service.shaping import reward_from_config, strategies
from deepcompress_service.shaping.curves import against_tokens, against_z, example_group


@pytest.mark.parametrize("beta", [-1.0, -0.8, -0.4, 0.0, 0.3, 1.0])
def test_deepcompress_against_z_is_the_papers_figure(beta: float) -> None:
    """alpha * sigmoid(-beta * z) at every z from about -2.5 to 3.5, for every group with such a z."""
    curve = against_z(reward_from_config({"name": "deepcompress"}), beta, correct=True)
    assert curve.z[0] < -2.5
    assert curve.z[-1] == pytest.approx(3.5, abs=0.01)
    assert list(curve.terms) == pytest.approx([0.2 / (1 + math.exp(beta * z)) for z in curve.z], abs=1e-12)


def test_wrong_rollouts_get_none_of_it() -> None:
    curve = against_z(reward_from_config({"name": "deepcompress"}), 0.5, correct=False)
    assert set(curve.terms) == {0.0}


def test_against_tokens_one_rollout_runs_and_the_rest_stand() -> None:
    reward = reward_from_config({"name": "kimi_k1.5"})
    group = example_group(reward, [100, 300, 500], [True, True, False], 0.5)
    curve = against_tokens(reward, group, 1, [0, 100, 300, 500, 900])
    assert curve.tokens == (0, 100, 300, 500, 900)
    assert curve.terms == pytest.approx((0.5, 0.5, 0.0, -0.5, -0.5))


@pytest.mark.parametrize("name", [info.name for info in strategies()])
def test_every_strategy_has_curves(name: str) -> None:
    reward = reward_from_config({"name": name})
    for correct in (True, False):
        curve = against_z(reward, 0.5, correct=correct, points=9)
        assert len(curve.z) == len(curve.tokens) == len(curve.terms) > 5
        assert sorted(curve.z) == list(curve.z)
