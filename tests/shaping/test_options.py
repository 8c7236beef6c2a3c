"""Gate, guard, target and scores: options of every strategy."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_client.wire import MAX_TOKENS
from deepcompress_service.difficulty import arithmetic, codec
from deepcompress_service.difficulty.codec import (
    LENGTH_BINS,
    MOST_SINGLE,
    folded_lengths,
    joined_lengths,
    pack_bins,
    unpack_counts,
)
from deepcompress_service.difficulty.model import CHANGE_KINDS
from deepcompress_service.shaping import ConfigError, Group, InputError, ProblemHistory, reward_from_config
from deepcompress_service.shaping.guard import (
    CHANGE_ONE,
    KINDS,
    GuardSums,
    change,
    problem_guarded,
    run_guarded,
    step_changes,
)
from deepcompress_service.shaping.lengths import EDGES, HALVED_AFTER, LengthRecord, bin_of
from deepcompress_service.shaping.level import next_value
from deepcompress_service.shaping.registry import BUILT_IN
from deepcompress_service.shaping.reward import GUARD_ACCUMULATORS
from deepcompress_service.shaping.switches import among_the_top

from .groups import batches, ready
from .test_plain import realistic


def group(correct: list[bool], tokens: list[int], **more: Any) -> Group:
    return Group(tuple(correct), tuple(tokens), (False,) * len(correct), level=0.5, **more)


def lengths_of(reward: Any, *groups: Group) -> list[tuple[tuple[float, ...], str | None]]:
    return [(shaped.components["length"], shaped.why) for shaped in reward.shape(list(groups))]


# --- gate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_an_open_gate_changes_nothing_and_a_closed_one_leaves_the_outcome(name: str) -> None:
    sent = realistic(30, 8)
    plain = reward_from_config({"name": name})
    open_ = reward_from_config({"name": name}, gate={"min_pass_ratio": 0.0})
    assert open_.shape(ready(open_, sent)) == plain.shape(ready(plain, sent))
    half = reward_from_config({"name": name}, gate={"min_pass_ratio": 0.5})
    for of_plain, of_half, g in zip(
        plain.shape(ready(plain, sent)), half.shape(ready(half, sent)), sent, strict=True
    ):
        if g.pass_ratio >= 0.5:
            assert of_half == of_plain
        else:
            assert of_half.rewards == of_plain.components["outcome"]
            assert of_half.length_term == of_plain.length_term
            assert of_half.why in ("gated", "none-correct")


def test_a_gate_by_the_problem_needs_the_record_and_the_group() -> None:
    reward = reward_from_config({"name": "kimi_k1.5"}, gate={"min_pass_ratio": 1.0, "of": "problem"})
    assert "history" in reward.needs
    solved, slipped = ([True, True], [1, 3]), ([True, False], [1, 3])
    mastered, learning = ProblemHistory(8, 8, 1.0 - 1e-12), ProblemHistory(8, 7, 0.9)
    whys = [
        why
        for _, why in lengths_of(
            reward,
            group(*solved, history=mastered),
            group(*slipped, history=mastered),
            group(*solved, history=learning),
            group(*solved),
        )
    ]
    assert whys == [None, "gated", "gated", "gated"]


def test_a_gate_by_group_and_by_the_stored_ratio_beside_it() -> None:
    reward = reward_from_config({"name": "kimi_k1.5"}, gate={"min_pass_ratio": 1.0, "min_stored": 0.9})
    assert "history" in reward.needs
    solved, slipped = ([True, True], [1, 3]), ([True, False], [1, 3])
    mastered, learning = ProblemHistory(16, 15, 0.9 - 1e-12), ProblemHistory(16, 14, 0.89)
    whys = [
        why
        for _, why in lengths_of(
            reward,
            group(*solved, history=mastered),  # below a stored ratio of 1, which `of: problem` would ask for
            group(*slipped, history=mastered),
            group(*solved, history=learning),
            group(*solved),
        )
    ]
    assert whys == [None, "gated", "gated", "gated"]


def test_the_top_share_of_the_request() -> None:
    ratios = [0.2, 1.0, 0.6, 0.6, 0.0]
    assert among_the_top(np.array(ratios), 0.2).tolist() == [False, True, False, False, False]
    assert among_the_top(np.array(ratios), 0.4).tolist() == [False, True, True, True, False]
    assert among_the_top(np.array(ratios), 0.0).tolist() == [False] * 5
    assert among_the_top(np.array(ratios), 1.0).tolist() == [True] * 5
    reward = reward_from_config({"name": "kimi_k1.5"}, gate={"min_pass_ratio": 0.0, "top_share": 0.5})
    assert "batch" in reward.needs
    whys = [why for _, why in lengths_of(reward, group([True, True], [1, 3]), group([True, False], [1, 3]))]
    assert whys == [None, "gated"]


# --- guard ---------------------------------------------------------------------------------------------


def values_after(values: tuple[float, ...], changes: list[int]) -> tuple[float, ...]:
    """The guard's accumulators after a step with these changes."""
    return tuple(next_value(spec, x, 0.0, 0.0, changes) for spec, x in zip(GUARD_ACCUMULATORS, values, strict=True))


def step_sums(visits: list[tuple[float, float | None]]) -> GuardSums:
    """The evidence of a run with this step alone."""
    return GuardSums.of(values_after((0.0,) * 4, step_changes(visits)))


def test_the_sums_of_a_step() -> None:
    sums = step_sums([(0.5, 0.75), (1.0, None), (0.25, 0.25), (0.5, 0.25)])
    assert (sums.visits, sums.squared_weight, sums.total, sums.squares) == (3, 3, 0.0, 0.125)
    assert sums.standard_error == pytest.approx((0.125 / 2 / 3) ** 0.5)


def test_old_steps_lose_their_weight_and_sums_stay_whole_numbers() -> None:
    values: tuple[float, ...] = (0.0,) * 4
    for _ in range(400):
        values = values_after(values, [CHANGE_ONE // 2] * 10)
        assert all(value == int(value) for value in values)
    sums = GuardSums.of(values)
    # The weights 1, 15/16, (15/16)^2, ... add up to 16, their squares to 256/31.
    assert sums.visits == pytest.approx(160, abs=16)
    assert sums.squared_weight == pytest.approx(10 * 256 / 31, abs=9)
    assert sums.mean == pytest.approx(0.5, rel=0.1)
    for _ in range(400):
        values = values_after(values, [0] * 10)
    assert GuardSums.of(values).mean == pytest.approx(0.0, abs=1e-3)


def test_the_guard_acts_on_a_fall_and_not_on_noise_or_on_few_visits() -> None:
    fall = step_sums([(0.4 + 0.01 * (i % 3), 0.5) for i in range(40)])
    noise = step_sums([(0.4 if i % 2 else 0.6, 0.5) for i in range(40)])
    assert run_guarded(fall, 0.02, 2.0)
    assert not run_guarded(fall, 0.1, 2.0)
    assert not run_guarded(noise, 0.02, 2.0)
    assert not run_guarded(step_sums([(0.0, 1.0)] * 31), 0.02, 2.0)
    assert not run_guarded(None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("visits", "margin", "z", "guarded"),
    [
        # A mean change of -0.1 without spread.
        ([(0.4, 0.5)] * 32, 0.09, 9.0, True),
        ([(0.4, 0.5)] * 32, 0.11, 9.0, False),
        ([(0.4, 0.5)] * 31, 0.09, 9.0, False),
        # The same mean with a standard error of 0.1 / sqrt(31) = 0.01796.
        ([(0.3, 0.5), (0.5, 0.5)] * 16, 0.06, 2.0, True),
        ([(0.3, 0.5), (0.5, 0.5)] * 16, 0.07, 2.0, False),
        ([(0.3, 0.5), (0.5, 0.5)] * 16, 0.07, 1.0, True),
        ([(0.5, 0.4)] * 32, 0.0, 0.0, False),
    ],
)
def test_the_run_is_guarded_beyond_margin_and_error(
    visits: list[tuple[float, float | None]], margin: float, z: float, guarded: bool
) -> None:
    assert run_guarded(step_sums(visits), margin, z) is guarded


@pytest.mark.parametrize(
    ("margin", "z", "min_rollouts", "guarded"),
    [
        # 8 of 16 after 24 of 32: a fall of 1/4, with a standard error of sqrt(2/3 * 1/3 * 3/32) = 0.14434.
        (0.1, 1.0, 16, True),
        (0.11, 1.0, 16, False),
        (0.0, 1.7, 16, True),
        (0.0, 1.75, 16, False),
        (0.24, 0.0, 16, True),
        (0.25, 0.0, 16, False),
        (0.1, 1.0, 32, True),
        (0.1, 1.0, 33, False),
    ],
)
def test_a_problem_is_guarded_beyond_margin_and_error(
    margin: float, z: float, min_rollouts: int, guarded: bool
) -> None:
    assert problem_guarded(8, 16, 24, 32, margin, z, min_rollouts) is guarded


def test_a_problem_without_a_record_is_not_guarded() -> None:
    assert not problem_guarded(0, 16, 0, 0, 0.0, 0.0, 0)


def test_two_visits_have_a_standard_error_and_fewer_have_none() -> None:
    assert step_sums([(0.0, 0.5), (0.5, 0.5)]).standard_error == pytest.approx(0.25)
    assert step_sums([(0.0, 0.5)]).standard_error == float("inf")
    assert GuardSums() == GuardSums.of((0.0,) * 4)
    assert (GuardSums().mean, GuardSums().standard_error) == (0.0, float("inf"))


def test_changes_are_rounded_to_the_nearest_whole_number() -> None:
    assert (change(0.5, 1 / 3), change(1 / 3, 0.5), change(0.5, 0.5)) == (10923, -10923, 0)


def test_a_guarded_run_pays_no_length() -> None:
    reward = reward_from_config({"name": "kimi_k1.5"}, guard={})
    fall = values_after((0.0,) * 4, step_changes([(0.4, 0.5)] * 40))
    sent = [
        group([True, True], [1, 3], accumulators=values, guard=reward.guard_sums(values))
        for values in ((0.0,) * 4, fall)
    ]
    paid, guarded = lengths_of(reward, *sent)
    assert (paid[1], guarded) == (None, ((0.0, 0.0), "guarded"))


def test_a_guarded_problem_pays_no_length() -> None:
    reward = reward_from_config({"name": "kimi_k1.5"}, guard={"of": "problem", "min_rollouts": 16})
    known, few = ProblemHistory(32, 32, 1.0), ProblemHistory(15, 15, 1.0)
    sent = ([True] * 8 + [False] * 8, list(range(16)))
    whys = [why for _, why in lengths_of(reward, group(*sent, history=known), group(*sent, history=few))]
    assert whys == ["guarded", None]


class Stationary:
    """Problems with fixed pass probabilities, visited in turn; stored ratios are smoothed as the stores do it."""

    def __init__(self, seed: int, problems: int = 120, size: int = 8) -> None:
        self.source, self.size = random.Random(seed), size
        self.chances = [self.source.choice([0.0, 0.1, 0.5, 0.8, 0.95, 1.0]) for _ in range(problems)]
        self.stored: dict[int, float] = {}
        self.counts: dict[int, tuple[int, int]] = {}

    def visit(self, problem: int, chance: float) -> tuple[int, float, float | None]:
        passes = sum(self.source.random() < chance for _ in range(self.size))
        ratio, before = passes / self.size, self.stored.get(problem)
        self.stored[problem] = ratio if before is None else 0.7 * before + 0.3 * ratio
        return passes, ratio, before


def run_alarms(seed: int, steps: int, margin: float, fall: float = 0.0) -> int:
    world, alarms = Stationary(seed), 0
    values: tuple[float, ...] = (0.0,) * 4
    order = list(range(len(world.chances)))
    for step in range(steps):
        if step * 12 % len(order) == 0:
            world.source.shuffle(order)
        chosen = order[step * 12 % len(order) :][:12]
        visits = [world.visit(p, max(0.0, world.chances[p] - (fall if step >= 60 else 0.0))) for p in chosen]
        alarms += run_guarded(GuardSums.of(values), margin, 2.0)
        values = values_after(values, step_changes((ratio, before) for _, ratio, before in visits))
    return alarms


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_under_5_percent_of_false_alarms_on_a_stationary_policy(margin: float) -> None:
    steps, seeds = 200, 30
    alarms = sum(run_alarms(seed, steps, margin) for seed in range(seeds))
    assert alarms / (steps * seeds) < 0.05


def test_a_fall_by_ten_points_raises_the_alarm() -> None:
    assert sum(run_alarms(seed, 100, 0.02, fall=0.2) > 0 for seed in range(10)) >= 9


def test_under_5_percent_of_false_alarms_on_a_stationary_problem() -> None:
    source, alarms, visits = random.Random(0), 0, 0
    for chance in (0.05, 0.5, 0.8, 0.95, 0.99, 1.0):
        for _ in range(200):
            passes = attempts = 0
            for _ in range(8):
                now = sum(source.random() < chance for _ in range(16))
                alarms += problem_guarded(now, 16, passes, attempts, 0.0, 2.0, 16)
                visits += attempts >= 16
                passes, attempts = passes + now, attempts + 16
    assert alarms / visits < 0.05


# --- stored lengths and targets -----------------------------------------------------------------------


def test_bins_are_narrow_and_have_no_gap() -> None:
    assert EDGES[:14] == (0, *range(1, 14))
    assert all(high / low <= 2 ** (1 / 8) * (1 + 1 / low) for low, high in pairwise(EDGES[1:]))
    for tokens in (0, 1, 11, 12, 13, 100, 12345, MAX_TOKENS):
        k = bin_of(tokens)
        assert EDGES[k] <= tokens
        assert tokens < EDGES[k + 1]


def test_an_octave_has_eight_bins_that_begin_at_a_power_of_two() -> None:
    assert EDGES[bin_of(16) : bin_of(32) + 1] == (16, 18, 20, 21, 23, 25, 27, 30, 32)
    assert {2**k for k in range(32)} <= set(EDGES)
    assert EDGES[-1] == MAX_TOKENS + 1 == 2**31


def test_a_quantile_is_interpolated_within_its_bin() -> None:
    record = LengthRecord.of([16] * 4 + [18] * 4)  # bins 16 to 17 and 18 to 19
    assert [record.quantile(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [16.0, 16.5, 17.0, 18.5, 19.0]
    assert LengthRecord.of([MAX_TOKENS]).quantile(1.0) == MAX_TOKENS
    assert LengthRecord.of([2**31]).quantile(1.0) == 2**31
    with pytest.raises(AssertionError):
        record.quantile(1.1)


@given(st.lists(st.integers(0, MAX_TOKENS), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_within_a_bin_of_the_exact_one(lengths: list[int], share: float) -> None:
    value = LengthRecord.of(lengths).quantile(share)
    exact = sorted(lengths)[max(0, -int(-share * len(lengths) // 1) - 1)]
    assert value is not None
    assert exact / 1.1 - 2 <= value <= exact * 1.1 + 2


@given(st.lists(st.integers(0, 9999), max_size=40), st.randoms(use_true_random=False))
def test_a_record_does_not_depend_on_the_order(lengths: list[int], source: random.Random) -> None:
    assert LengthRecord.of(source.sample(lengths, len(lengths))) == LengthRecord.of(lengths)


def test_an_empty_record_has_no_quantile() -> None:
    assert LengthRecord.of([]).quantile(0.5) is None


def test_counts_are_halved_so_that_a_record_forgets() -> None:
    record = LengthRecord()
    for visit in range(HALVED_AFTER - 1):
        record = record.after([5] * 3 + [1000] * (visit == 0)).after([])
    assert record.counts == ((bin_of(5), 3 * HALVED_AFTER - 3), (bin_of(1000), 1))
    assert record.after([5] * 4) == LengthRecord(((bin_of(5), (3 * HALVED_AFTER + 1) // 2),), 0)
    assert (LengthRecord().visits, LengthRecord.of([5]).visits, HALVED_AFTER) == (0, 1, 16)


@given(
    st.lists(st.lists(st.lists(st.integers(0, 30), max_size=300), min_size=1, max_size=4), max_size=40),
    st.randoms(use_true_random=False),
)
def test_the_stores_keep_the_same_record(steps: list[list[list[int]]], source: random.Random) -> None:
    record, visits, lengths = LengthRecord(), 0, b""
    for shards in steps:
        record = record.after([tokens for shard in shards for tokens in shard])
        added = b""
        for shard in source.sample(shards, len(shards)):
            added = joined_lengths(added, pack_bins(bytes(map(bin_of, shard))))
        visits, lengths = folded_lengths(visits, lengths, added)
        assert (unpack_counts(lengths), visits) == (record.counts, record.visits)
        assert len(lengths) <= 4 + 3 * LENGTH_BINS + MOST_SINGLE


def test_the_stores_have_the_same_constants() -> None:
    assert (len(EDGES), HALVED_AFTER) == (LENGTH_BINS, codec.HALVED_AFTER)
    assert arithmetic.CHANGE_ONE == CHANGE_ONE
    assert KINDS == CHANGE_KINDS


RECORD = LengthRecord.of([10] * 20)  # a bin of one length: every quantile is 10


def target(**more: Any) -> Any:
    config = {"quantile": 0.5, "slack": 1.0, "min_rollouts": 20, **more}
    return reward_from_config({"name": "outcome"}, {"correct": 1, "wrong": -1}, target=config)


def test_the_relative_excess_of_correct_rollouts() -> None:
    sent = group([True, True, True, True, False], [5, 10, 15, 99, 99], lengths=RECORD)
    ((length, why),) = lengths_of(target(), sent)
    assert (length, why) == ((0.0, 0.0, -0.5, -1.0, 0.0), None)
    ((length, _),) = lengths_of(target(slack=1.5), sent)
    assert length == (0.0, 0.0, 0.0, -1.0, 0.0)


def test_the_limit_form_is_a_limit_by_problem() -> None:
    ((length, _),) = lengths_of(target(form="limit"), group([True, True, False], [10, 11, 11], lengths=RECORD))
    assert length == (0.0, -2.0, 0.0)


def test_the_bonus_is_for_all_correct_groups() -> None:
    solved, mixed = (
        group([True, True], [10, 15], lengths=RECORD),
        group([True, False], [10, 15], lengths=RECORD),
    )
    (of_solved, _), (of_mixed, why) = lengths_of(target(bonus=0.3), solved, mixed)
    assert (of_solved, of_mixed, why) == ((0.3, -0.5), (0.0, 0.0), "within-target")


def test_a_target_is_off_without_enough_stored_lengths() -> None:
    few = LengthRecord.of([10] * 19)
    for record in (None, few, LengthRecord.of([])):
        assert lengths_of(target(), group([True, True], [5, 99], lengths=record)) == [((0.0, 0.0), "no-target")]


def test_the_groups_own_lengths_make_a_target_at_the_first_visit() -> None:
    sent = group([True, True, False], [10, 20, 1])
    own = target(min_rollouts=2, current=True, quantile=0.0)
    ((length, why),) = lengths_of(own, sent)
    assert (length, why) == ((0.0, -1.0, 0.0), None)  # T is 10: the wrong rollout's length is not in it
    assert lengths_of(target(min_rollouts=2, quantile=0.0), sent)[0][1] == "no-target"
    stored = group([True, True], [10, 20], lengths=LengthRecord.of([5] * 8))
    ((length, _),) = lengths_of(own, stored)
    assert length == (-1.0, -1.0)
    assert lengths_of(own, group([True, False], [10, 1]))[0][1] == "no-target"  # one correct length of two


def test_the_bonus_ends_where_the_lengths_do_not_spread() -> None:
    spread = LengthRecord.of([5] * 8 + [11] * 9)
    mastered = LengthRecord.of([5] * 9 + [11] * 8)
    some = {"quantile": 0.1, "min_rollouts": 1, "bonus": 0.3}
    for record, paid, always in ((spread, 0.3, 0.3), (mastered, 0.0, 0.3)):
        sent = group([True, True], [5, 5], lengths=record)
        assert lengths_of(target(**some, bonus_while="spread"), sent)[0][0] == (paid, paid)
        assert lengths_of(target(**some), sent)[0][0] == (always, always)


# --- scores --------------------------------------------------------------------------------------------


def scored(**more: Any) -> Any:
    return reward_from_config({"name": "outcome"}, {"correct": 1, "wrong": 0}, **more)


def test_scores_are_added_by_name_in_order() -> None:
    reward = scored(scores={"b": {"weight": 0.1}, "a": {"weight": 2.0, "only_if_correct": True}})
    sent = group([True, False], [1, 1], scores=({"a": 0.7, "b": 0.3}, {"b": 0.3, "a": 0.7}))
    (shaped,) = reward.shape([sent])
    assert shaped.scores == {"a": (1.4, 0.0), "b": (0.1 * 0.3, 0.1 * 0.3)}
    assert list(shaped.scores or ()) == ["a", "b"]
    assert shaped.rewards == ((1.0 + 1.4) + 0.1 * 0.3, (0.0 + 0.0) + 0.1 * 0.3)


def test_missing_scores_are_refused() -> None:
    reward = scored(scores={"a": {}})
    for scores in (None, ({"a": 1.0}, {"b": 1.0})):
        with pytest.raises(InputError, match=r"groups.0.scores.a"):
            reward.shape([group([True, False], [1, 1], scores=scores)])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"gate": {"min_pass_ratio": 1.5}}, "gate.min_pass_ratio"),
        ({"gate": {"off": "group"}}, "gate.off"),
        ({"guard": {"of": "group"}}, "guard.of"),
        ({"target": {"quantile": -0.1}}, "target.quantile"),
        ({"advantage": {"whiten": "group"}}, "advantage.whiten"),
        ({"scores": {"a": {"weight": "1"}}}, "scores.a.weight"),
        ({"scores": {f"a{i}": {} for i in range(17)}}, "scores"),
    ],
)
def test_refused_options(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reward_from_config({"name": "outcome"}, **options)
    assert caught.value.field == field


def test_strategies_with_advantages_of_their_own_take_no_others() -> None:
    with pytest.raises(ConfigError, match="advantages of its own"):
        reward_from_config({"name": "diet"}, advantage={})


@given(batches(), st.integers(0, 999))
def test_components_and_scores_add_up_to_the_reward_to_the_bit(sent: list[Group], seed: int) -> None:
    source = random.Random(seed)
    rows = [
        replace(g, scores=tuple({"x": source.uniform(-9, 9), "y": source.uniform(-9, 9)} for _ in g.correct))
        for g in sent
    ]
    reward = reward_from_config(
        {"name": "kimi_k1.5"},
        None,
        0.3,
        {"max_tokens": 9000, "buffer_tokens": 3000},
        gate={"min_pass_ratio": 0.5},
        scores={"x": {"weight": 0.7}, "y": {"weight": -0.1, "only_if_correct": True}},
    )
    for shaped in reward.shape(rows):
        parts = zip(*shaped.components.values(), *(shaped.scores or {}).values(), strict=True)
        assert tuple((((o + n) + v) + x) + y for o, n, v, x, y in parts) == shaped.rewards
