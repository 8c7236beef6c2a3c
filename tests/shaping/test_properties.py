"""Properties of every strategy for all groups: order, cutting, range, conditioning, finiteness."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deepcompress_service.shaping import Group, ShapedGroup, reward_from_config
from deepcompress_service.shaping.checks import find_faults
from deepcompress_service.shaping.registry import BUILT_IN

from .groups import batches, groups, permuted, ready, rewards_of

NAMES = sorted(BUILT_IN)
seeds = st.integers(0, 2**16)
few = settings(max_examples=min(60, settings.default.max_examples), deadline=None)  # type: ignore[union-attr]
every = pytest.mark.parametrize("name", NAMES)


def per_rollout(group: Group, shaped: ShapedGroup) -> list[tuple[object, ...]]:
    """Each rollout's content and everything it got, sorted: equal for equal sets of rollouts.

    A selection among rollouts that tie in what it selects by goes by position, so it is not held to the rest.
    """
    absent = (None,) * len(group.correct)
    if shaped.mask is not None:
        group = replace(group, truncated=absent, thinking=None, repetitive=None, formatted=())
    rows = zip(
        group.correct,
        group.tokens or absent,
        group.truncated,
        group.thinking or absent,
        group.repetitive or absent,
        group.formatted or absent,
        shaped.rewards,
        shaped.length_term,
        *shaped.components.values(),
        shaped.mask or absent,
        shaped.weights or absent,
        shaped.advantages or absent,
        strict=True,
    )
    return sorted(rows, key=repr)


@few
@given(sent=batches(3), seed=seeds, data=st.data())
def test_order_of_rollouts_changes_nothing(sent: list[Group], seed: int, data: st.DataObject) -> None:
    orders = [data.draw(st.permutations(range(len(g.correct)))) for g in sent]
    for name in NAMES:
        reward = rewards_of(name, seed)
        straight = ready(reward, sent)
        mixed = [permuted(g, order) for g, order in zip(straight, orders, strict=True)]
        for g, a, h, b in zip(straight, reward.shape(straight), mixed, reward.shape(mixed), strict=True):
            assert per_rollout(g, a) == per_rollout(h, b), reward.strategy
            assert (a.pass_ratio, a.beta, a.difficulty) == (b.pass_ratio, b.beta, b.difficulty)


@few
@given(sent=batches(), seed=seeds)
def test_groups_are_paid_apart(sent: list[Group], seed: int) -> None:
    """Order of groups changes nothing; nor does cutting, for strategies that do not declare the whole batch."""
    for name in NAMES:
        reward = rewards_of(name, seed)
        whole = ready(reward, sent)
        together = reward.shape(whole)
        assert reward.shape(whole) == together, reward.strategy
        assert reward.shape(whole[::-1])[::-1] == together, reward.strategy
        if "batch" not in reward.needs:
            assert [reward.shape([g])[0] for g in whole] == together, reward.strategy


@few
@given(sent=batches(), seed=seeds, value=st.floats(0, 1))
def test_rewards_are_finite_and_in_range(sent: list[Group], seed: int, value: float) -> None:
    for name in NAMES:
        reward = rewards_of(name, seed)
        part = reward.main
        low, high = part.strategy.bounds(part.params, part.pair)
        slack = 1e-9 * max([1.0, *(abs(b) for b in (low, high) if math.isfinite(b))])
        for shaped in reward.shape(ready(reward, sent, value)):
            numbers = [*shaped.rewards, *chain.from_iterable(shaped.components.values()), *shaped.length_term]
            numbers += [*(shaped.weights or ()), *(shaped.advantages or ())]
            assert all(math.isfinite(x) for x in numbers), reward.strategy
            assert all(low - slack <= term <= high + slack for term in shaped.length_term), reward.strategy


@few
@given(group=groups(), seed=seeds, tokens=st.integers(0, 30_000))
def test_conditioning_holds(group: Group, seed: int, tokens: int) -> None:
    """If so declared, the length of a wrong rollout never changes its own reward."""
    assume(not all(group.correct))
    index = group.correct.index(False)
    assert group.tokens is not None
    for name in NAMES:
        reward = rewards_of(name, seed)
        explores = reward.strategy.get("unsolved") == "explore"
        if not reward.main.strategy.correctness_conditioned or explores:
            continue
        (sent,) = ready(reward, [group])
        other = replace(sent, tokens=(*group.tokens[:index], tokens, *group.tokens[index + 1 :]))
        before, after = reward.shape([sent])[0], reward.shape([other])[0]
        assert before.rewards[index] == after.rewards[index], reward.strategy


@every
def test_degenerate_groups(name: str) -> None:
    """One rollout, equal lengths, all or none correct: finite, and equal rollouts get equal rewards."""
    reward = reward_from_config({"name": name})
    for size in (1, 2, 8):
        for right in (True, False):
            (sent,) = ready(
                reward,
                [
                    Group(
                        (right,) * size,
                        (700,) * size,
                        (False,) * size,
                        level=0.4,
                        step=3,
                        reference_accuracy=0.5,
                        reference_tokens=700.0,
                        target_tokens=700.0,
                        thinking=(True,) * size,
                        repetitive=(False,) * size,
                    )
                ],
            )
            shaped = reward.shape([sent])[0]
            assert len(set(shaped.rewards)) == 1
            assert math.isfinite(shaped.rewards[0])


@every
def test_passes_the_gate_of_user_strategies(name: str) -> None:
    assert find_faults(BUILT_IN[name]) == []


@few
@given(seed=seeds)
def test_configuration_survives_the_round_trip(seed: int) -> None:
    """The stored JSON of a run's reward gives the same reward again."""
    for name in NAMES:
        reward = rewards_of(name, seed)
        stored = json.loads(json.dumps([reward.strategy, reward.outcome, reward.shadow]))
        again = reward_from_config(stored[0], stored[1], 1.0, None, stored[2])
        assert (again.strategy, again.outcome, again.shadow) == (reward.strategy, reward.outcome, reward.shadow)


@few
@given(
    sent=batches(),
    variant=st.sampled_from(["floored", "verl", "openrlhf", "skyrl"]),
    weight=st.sampled_from([0.7, -1.3, 1e-9, 0.0]),
)
def test_components_add_up(sent: list[Group], variant: str, weight: float) -> None:
    overlong = {"max_tokens": 9000, "buffer_tokens": 3000, "factor": 0.5, "variant": variant}
    for name in NAMES:
        reward = reward_from_config({"name": name}, None, weight, overlong)
        for shaped in reward.shape(ready(reward, sent)):
            parts = zip(*shaped.components.values(), strict=True)
            for total, (outcome, length, late) in zip(shaped.rewards, parts, strict=True):
                assert total == (outcome + length) + late, name
            weighted = tuple(weight * term + 0.0 for term in shaped.length_term)
            assert shaped.components["length"] == weighted, name
            assert (shaped.why is None) == any(weighted), name


@few
@given(sent=batches())
def test_evaluation_is_the_outcome_alone(sent: list[Group]) -> None:
    bare = [Group(correct=g.correct, tokens=None, truncated=g.truncated) for g in sent]
    for name in NAMES:
        reward = reward_from_config({"name": name})
        right, wrong = reward.outcome["correct"], reward.outcome["wrong"]
        for g, shaped in zip(bare, reward.shape(bare, evaluate=True), strict=True):
            assert shaped.rewards == shaped.components["outcome"] == tuple(right if c else wrong for c in g.correct)
            assert shaped.beta is None
            assert shaped.difficulty is None


@few
@given(sent=batches())
def test_smartthinker_never_punishes_a_correct_rollout(sent: list[Group]) -> None:
    """No correct rollout's reward lies below its group's mean, as its authors promise."""
    for group, shaped in zip(sent, reward_from_config({"name": "smartthinker"}).shape(sent), strict=True):
        mean = sum(shaped.rewards) / len(shaped.rewards)
        right = [r for r, correct in zip(shaped.rewards, group.correct, strict=True) if correct]
        assert min(right, default=mean) >= mean - 1e-9


@few
@given(sent=batches())
def test_nemo_group_keeps_the_mean_reward(sent: list[Group]) -> None:
    for shaped in reward_from_config({"name": "nemo_group"}).shape(sent):
        assert sum(shaped.length_term) == pytest.approx(0.0, abs=1e-9)
