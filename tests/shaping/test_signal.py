"""Figures of the length term's effect, and the warnings made of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepcompress_service.shaping import Group, reward_from_config
from deepcompress_service.shaping.guard import GuardSums

from .test_plain import realistic


def group(correct: list[bool], tokens: list[int]) -> Group:
    return Group(tuple(correct), tuple(tokens), (False,) * len(correct), level=0.5)


def test_an_all_correct_group_is_length_alone_and_a_run_without_lengths_has_none() -> None:
    solved, mixed = group([True] * 3, [10, 20, 30]), group([True, False], [10, 10])
    reward = reward_from_config({"name": "kimi_k1.5"})
    figures = reward.signal([solved, mixed], reward.shape([solved, mixed]))
    assert (figures.groups, figures.effective_groups) == (2, 2)
    assert figures.length_share_all_correct == pytest.approx(1)
    assert figures.length_share_mixed == 0
    assert figures.correct_pushed_down == 0.25
    assert (figures.hard_tokens, figures.easy_tokens) == (None, 16)
    outcome = reward_from_config({"name": "outcome"})
    figures = outcome.signal([solved, mixed], outcome.shape([solved, mixed]))
    assert (figures.effective_groups, figures.length_share, figures.length_share_all_correct) == (1, 0, None)


def test_the_shares_of_parts_add_up() -> None:
    sent = realistic(30, 8)
    reward = reward_from_config({"name": "kimi_k1.5"}, None, 0.3)
    shaped = reward.shape(sent)
    length = reward.signal(sent, shaped).length_share
    swapped = [replace(s, components={**s.components, "length": s.components["outcome"]}) for s in shaped]
    rest = reward.signal(sent, swapped).length_share
    assert length is not None
    assert rest is not None
    assert length + rest == pytest.approx(1)


def test_decoupled_advantages_have_the_share_of_their_length_part() -> None:
    sent = [group([True, True, False, False], [10, 30, 20, 20])] * 3
    for weight in (0.0, 0.5):
        reward = reward_from_config({"name": "kimi_k1.5"}, None, weight, advantage={"decouple": True})
        share = reward.signal(sent, reward.shape(sent)).length_share
        assert share is not None
        assert (share == 0) == (weight == 0)


def test_the_sign_of_the_drift_and_of_the_correlation() -> None:
    long_right, short_right = group([True, False], [90, 10]), group([True, False], [10, 90])
    reward = reward_from_config({"name": "outcome"})
    for one, sign in ((long_right, 1), (short_right, -1)):
        figures = reward.signal([one], reward.shape([one]))
        assert figures.length_correctness == pytest.approx(sign)
        assert (figures.expected_drift or 0) * sign > 0


def test_untrainable_rollouts_are_left_out() -> None:
    one = replace(group([True, False, True], [10, 90, 5000]), trainable=(True, True, False))
    reward = reward_from_config({"name": "outcome"})
    assert reward.signal([one], reward.shape([one])).easy_tokens == 50


def slugs(reward: object, sent: list[Group]) -> set[str]:
    assert hasattr(reward, "shape")
    return {slug for slug, _ in reward.warnings(sent, reward.shape(sent))}  # type: ignore[attr-defined]


def test_a_length_term_too_small_to_matter() -> None:
    sent = [group([True, True, False, False], [10, 20 + i, 15, 12]) for i in range(8)]
    assert "weak-length-signal" in slugs(reward_from_config({"name": "kimi_k1.5"}, None, 0.001), sent)
    assert "weak-length-signal" not in slugs(reward_from_config({"name": "kimi_k1.5"}), sent)
    assert "weak-length-signal" not in slugs(reward_from_config({"name": "outcome"}), sent)
    assert "weak-length-signal" not in slugs(reward_from_config({"name": "kimi_k1.5"}, None, 0.001), sent[:7])


def test_spreads_of_one_token() -> None:
    sent = [group([True] * 4, [1000, 1001, 1000, 1000])] * 8
    assert "amplified-spreads" in slugs(reward_from_config({"name": "kimi_k1.5"}), sent)
    assert "amplified-spreads" not in slugs(
        reward_from_config({"name": "kimi_k1.5"}, advantage={"scale": "none"}), sent
    )
    wide = [group([True] * 4, [1000, 2000, 1000, 1000])] * 8
    assert "amplified-spreads" not in slugs(reward_from_config({"name": "kimi_k1.5"}), wide)


def test_longer_answers_that_are_right() -> None:
    sent = [group([True, True, True, False], [50, 90, 500, 10])] * 8
    pushed = reward_from_config({"name": "shorter_better", "beta": 1.0})
    assert "longer-is-right" in slugs(pushed, sent)
    gated = reward_from_config({"name": "shorter_better", "beta": 1.0}, gate={"min_pass_ratio": 1})
    assert "longer-is-right" not in slugs(gated, sent)


def test_the_figures_of_a_guarded_run_whose_answer_has_advantages() -> None:
    sums = GuardSums()
    sent = [replace(g, guard=sums, accumulators=(0.0,) * 4) for g in realistic(12, 4)]
    reward = reward_from_config({"name": "kimi_k1.5"}, guard={}, advantage={"decouple": True})
    figures = reward.signal(sent, reward.shape(sent))
    plain = reward_from_config({"name": "kimi_k1.5"}, advantage={"decouple": True})
    bare = [replace(g, guard=None, accumulators=()) for g in sent]
    assert figures == plain.signal(bare, plain.shape(bare))
