"""Figures of the length term's effect, and the warnings made of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import fsum
from random import Random
from statistics import fmean, stdev

import pytest

from deepcompress_service.scoring.warnings import reward_warnings
from deepcompress_service.shaping import Group, Reward, reward_from_config
from deepcompress_service.shaping.guard import GuardSums
from deepcompress_service.shaping.lengths import LengthRecord
from deepcompress_service.shaping.signal import SignalSums

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


def by_hand(groups: list[Group], advantages: list[list[float]], lengths: list[list[float]]) -> dict[str, float]:
    """The figures as plain loops over the trainable rollouts."""
    rows = []
    for one, of_group, of_length in zip(groups, advantages, lengths, strict=True):
        kept = one.trainable or (True,) * len(one.correct)
        rows.append(
            [row for *row, ok in zip(one.correct, one.tokens or (), of_group, of_length, kept, strict=True) if ok]
        )
    rows = [row for row in rows if row]
    flat = [one for row in rows for one in row]

    def share(chosen: list[list[list[float]]]) -> float:
        parts = [one for row in chosen for one in row]
        return fsum(a * x for _, _, a, x in parts) / fsum(a * a for _, _, a, _ in parts)

    apart = [
        (n - fmean(m for _, m, _, _ in row), c - fmean(d for d, _, _, _ in row)) for row in rows for c, n, _, _ in row
    ]
    hard = [row for row in rows if fmean(c for c, *_ in row) < 0.5]
    easy = [row for row in rows if fmean(c for c, *_ in row) >= 0.5]
    return {
        "groups": len(rows),
        "effective_groups": sum(any(abs(a) > 1e-9 for _, _, a, _ in row) for row in rows),
        "length_share": share(rows),
        "length_share_mixed": share([row for row in rows if len({c for c, *_ in row}) == 2]),
        "length_share_all_correct": share([row for row in rows if all(c for c, *_ in row)]),
        "correct_pushed_down": fmean(a < -1e-9 for c, _, a, _ in flat if c),
        "length_correctness": fsum(x * y for x, y in apart)
        / (fsum(x * x for x, _ in apart) * fsum(y * y for _, y in apart)) ** 0.5,
        "hard_tokens": fmean(n for row in hard for _, n, _, _ in row),
        "easy_tokens": fmean(n for row in easy for _, n, _, _ in row),
        "expected_drift": fmean(a * (n / fmean(m for _, m, _, _ in row) - 1) for row in rows for _, n, a, _ in row),
    }


def grpo(values: list[float], kept: tuple[bool, ...], by: list[float]) -> list[float]:
    """Values less their mean, divided by the sample std of `by`, over the trainable rollouts."""
    chosen = [value for value, ok in zip(values, kept, strict=True) if ok]
    scale = [value for value, ok in zip(by, kept, strict=True) if ok]
    if len(chosen) < 2:
        return [0.0] * len(values)
    return [(value - fmean(chosen)) / (stdev(scale) + 1e-6) for value in values]


def mixed_batch() -> list[Group]:
    """Groups of every kind: of one rollout, partly and wholly untrainable, all wrong, all correct, all equal."""
    source = Random(5)
    sent = [*realistic(20, 6), *realistic(6, 1, seed=1), *realistic(10, 2, seed=2)]
    sent = [replace(g, trainable=tuple(source.random() < 0.8 for _ in g.correct)) for g in sent]
    return [*sent, replace(sent[0], trainable=(False,) * 6), group([True] * 3, [70, 70, 70])]


@pytest.mark.parametrize("advantage", [None, {"scale": "none"}, {"decouple": True}], ids=str)
def test_the_figures_are_those_of_plain_loops(advantage: dict[str, object] | None) -> None:
    sent = mixed_batch()
    reward = reward_from_config({"name": "kimi_k1.5"}, None, 0.4, advantage=advantage)
    without = reward_from_config({"name": "kimi_k1.5"}, None, 0.0, advantage=advantage).shape(sent)
    shaped = reward.shape(sent)
    advantages, lengths = [], []
    for g, one, bare in zip(sent, shaped, without, strict=True):
        if one.advantages is None or bare.advantages is None:
            kept = g.trainable or (True,) * len(g.correct)
            advantages.append(grpo(list(one.rewards), kept, list(one.rewards)))
            lengths.append(grpo(list(one.components["length"]), kept, list(one.rewards)))
        else:
            advantages.append(list(one.advantages))
            lengths.append([a - b for a, b in zip(one.advantages, bare.advantages, strict=True)])
    assert asdict(reward.signal(sent, shaped)) == pytest.approx(by_hand(sent, advantages, lengths))


def test_sums_of_requests_add_up_to_those_of_one() -> None:
    sent = mixed_batch()
    reward = reward_from_config({"name": "kimi_k1.5"}, None, 0.4)
    sums = SignalSums()
    for part in (sent[:7], sent[7:8], sent[8:]):
        sums.add(reward.signal_sums(part, reward.shape(part)))
    assert asdict(sums.figures()) == pytest.approx(asdict(reward.signal(sent, reward.shape(sent))))


def test_there_are_no_figures_of_nothing() -> None:
    reward = reward_from_config({"name": "outcome"})
    figures = asdict(reward.signal([], []))
    assert figures == asdict(SignalSums().figures()) == dict.fromkeys(figures) | {"groups": 0, "effective_groups": 0}
    assert set(asdict(SignalSums()).values()) == {0}
    plain = Group((True, False), None, (False, False))
    figures = asdict(reward.signal([plain], reward.shape([plain])))
    assert {name for name, value in figures.items() if value is None} == {
        "length_share_all_correct",
        "length_correctness",
        "hard_tokens",
        "easy_tokens",
        "expected_drift",
    }


def test_lengths_or_verdicts_without_a_spread_have_no_correlation() -> None:
    reward = reward_from_config({"name": "outcome"})
    for one in (group([True, False], [10, 10]), group([True, True], [10, 20]), group([False, False], [10, 20])):
        assert reward.signal([one], reward.shape([one])).length_correctness is None


@pytest.mark.parametrize("length_weight", [1.0, -1.0])
def test_a_bonus_of_one_sign_for_all_rollouts_has_an_effect(length_weight: float) -> None:
    target = {"quantile": 0.5, "min_rollouts": 1, "bonus": 0.3}
    reward = reward_from_config({"name": "outcome"}, None, length_weight, target=target, advantage={"scale": "none"})
    solved = replace(group([True, True], [5, 5]), lengths=LengthRecord.of([10] * 4))
    shaped = reward.shape([solved])
    assert shaped[0].advantages == pytest.approx((0.3 * length_weight,) * 2)
    assert reward.signal([solved], shaped).effective_groups == 1


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


def slugs(reward: Reward, sent: list[Group]) -> set[str]:
    return {slug for slug, _ in reward_warnings(reward, sent, reward.shape(sent))}


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


@pytest.mark.parametrize(
    ("changed", "warned"),
    [
        ({}, {"longer-is-right"}),
        ({"length_correctness": 0.2}, set()),
        ({"length_correctness": None}, set()),
        ({"expected_drift": 0.0}, set()),
        ({"expected_drift": None}, set()),
        ({"length_share": 0.02}, set()),
        ({"length_share": None}, set()),
        ({"length_share": 0.019}, {"weak-length-signal"}),
        ({"length_share": -0.019}, {"weak-length-signal"}),
        ({"length_share": -0.02}, set()),
        ({"effective_groups": 8}, {"longer-is-right"}),
        ({"effective_groups": 7}, set()),
    ],
    ids=str,
)
def test_figures_on_the_bounds_of_their_warnings(changed: dict[str, float | None], warned: set[str]) -> None:
    sent = [group([True, True, True, False], [50, 90, 500, 10])] * 9
    reward = reward_from_config({"name": "kimi_k1.5"})
    shaped = reward.shape(sent)
    figures = replace(reward.signal(sent, shaped), length_share=0.021, length_correctness=0.21, expected_drift=-0.001)
    changed_figures = replace(figures, **changed)  # type: ignore[arg-type]
    found = {slug for slug, _ in reward_warnings(reward, sent, shaped, changed_figures)}
    assert found & {"longer-is-right", "weak-length-signal"} == warned


@pytest.mark.parametrize(("narrow", "wide", "warned"), [(4, 11, True), (4, 12, False), (3, 5, False)])
def test_narrow_spreads_are_four_and_more_than_a_quarter_of_the_paid(narrow: int, wide: int, warned: bool) -> None:
    sent = [group([True] * 4, [1000, 1019, 1000, 1000])] * narrow
    sent += [group([True] * 4, [1000, 1022, 1000, 1000])] * wide
    assert ("amplified-spreads" in slugs(reward_from_config({"name": "kimi_k1.5"}), sent)) is warned


def test_the_figures_of_a_guarded_run_whose_answer_has_advantages() -> None:
    sums = GuardSums()
    sent = [replace(g, guard=sums, accumulators=(0.0,) * 4) for g in realistic(12, 4)]
    reward = reward_from_config({"name": "kimi_k1.5"}, guard={}, advantage={"decouple": True})
    figures = reward.signal(sent, reward.shape(sent))
    plain = reward_from_config({"name": "kimi_k1.5"}, advantage={"decouple": True})
    bare = [replace(g, guard=None, accumulators=()) for g in sent]
    assert figures == plain.signal(bare, plain.shape(bare))


def test_groups_without_lengths_are_left_out_of_the_figures_of_lengths() -> None:
    measured = group([True, False], [10, 30])
    reward = reward_from_config({"name": "outcome"})
    sent = [measured, replace(measured, tokens=None)]
    figures, alone = reward.signal(sent, reward.shape(sent)), reward.signal([measured], reward.shape([measured]))
    assert (figures.groups, figures.effective_groups) == (2, 2)
    assert (figures.easy_tokens, figures.expected_drift) == (20, alone.expected_drift) and alone.expected_drift != 0
    assert figures.length_correctness is None and alone.length_correctness == pytest.approx(-1)
