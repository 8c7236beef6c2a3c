"""The options of DeepCompress, and the exactness of what it is computed from."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress_service.shaping import Group, reward_from_config
from deepcompress_service.shaping.batch import Batch, sigmoid

from .groups import lengths


def terms(config: dict[str, Any], correct: str, tokens: list[int], level: float, truncated: str = "") -> list[float]:
    cut = truncated or "." * len(tokens)
    group = Group(tuple(c == "+" for c in correct), tuple(tokens), tuple(c == "t" for c in cut), level=level)
    return list(reward_from_config({"name": "deepcompress", **config}).shape([group])[0].length_term)


def test_simple_problems_pay_the_shorter_and_hard_ones_the_longer() -> None:
    short, long, wrong = terms({}, "++-", [100, 200, 300], 0.1)
    assert short > long > wrong == 0
    short, long, wrong = terms({}, "++-", [100, 200, 300], 0.9)
    assert 0 == wrong < short < long


def test_release_masks_solved_groups_and_paper_does_not() -> None:
    assert terms({}, "++", [100, 200], 0.5) == [0, 0]
    short, long = terms({"mode": "paper"}, "++", [100, 200], 0.5)
    assert short > long > 0


def test_near_equal_lengths_give_no_signal_where_asked() -> None:
    assert len(set(terms({}, "+++-", [1000, 1000, 1001, 1000], 0.1)[:3])) == 2
    assert terms({"min_std_tokens": 5}, "+++-", [1000, 1000, 1001, 1000], 0.1) == [0.1, 0.1, 0.1, 0]
    wide = [1000, 1400, 1800, 1000]
    assert terms({"min_std_tokens": 5}, "+++-", wide, 0.1) == terms({}, "+++-", wide, 0.1)


def test_unsolved_groups_explore_where_asked() -> None:
    assert terms({}, "---", [100, 200, 300], 0.5) == [0, 0, 0]
    short, long, cut = terms({"unsolved": "explore"}, "---", [100, 200, 300], 0.5, truncated="..t")
    assert 0 < short < long < 0.2
    assert cut == 0
    solved = ("++-", [100, 200, 300], 0.5)
    assert terms({"unsolved": "explore"}, *solved) == terms({}, *solved)


def test_the_papers_eps_softens_z() -> None:
    plain = terms({"mode": "paper"}, "++", [100, 101], 0.0)
    soft = terms({"mode": "paper", "eps": 1.0}, "++", [100, 101], 0.0)
    assert plain[0] > soft[0] > 0.1 > soft[1] > plain[1]


def test_the_sign_of_beta_is_the_difficulty() -> None:
    reward = reward_from_config({"name": "deepcompress"})
    groups = [Group((True, False), (1, 2), (False, False), level=level) for level in (0.4, 0.5, 0.6)]
    assert [s.difficulty for s in reward.shape(groups)] == ["simple", "even", "hard"]


@settings(max_examples=200, deadline=None)
@given(groups=st.lists(st.lists(lengths, min_size=1, max_size=30), min_size=1, max_size=4))
def test_statistics_are_exact_and_rounded_once(groups: list[list[int]]) -> None:
    batch = Batch([Group((True,) * len(g), tuple(g), (False,) * len(g)) for g in groups])
    moments = batch.moments()
    for i, tokens in enumerate(groups):
        n, total = len(tokens), sum(tokens)
        assert moments.scatter[i] == float(n * sum(t * t for t in tokens) - total * total)
        assert (moments.count[i], moments.total[i]) == (n, total)
        assert (moments.low[i], moments.high[i]) == (min(tokens), max(tokens))
        assert moments.mean[i] == float(Fraction(total, n))


def test_statistics_are_exact_beyond_64_bits() -> None:
    tokens = (0, 2**31 - 1) * 5000
    wide = Group((True,) * len(tokens), tokens, (False,) * len(tokens))
    batch = Batch([Group((True,) * 2, (1, 2), (False,) * 2), wide])
    assert batch.moments().scatter.tolist() == [1.0, float(len(tokens) ** 2 * (2**31 - 1) ** 2 // 4)]


@given(st.floats(-1e308, 1e308))
def test_the_sigmoid_is_stable(x: float) -> None:
    value = float(sigmoid(np.array([x]))[0])
    assert 0 <= value <= 1
    if abs(x) < 30:
        assert value == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-14)
