"""Unchecked rollouts: a group counts and is shaped without them, and their rewards change no baseline."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from deepcompress_client.wire import RunConfig, ShapeGroup, ShapeRequest
from deepcompress_service.difficulty.model import CommitOutcome, GroupOutcome, ProblemState
from deepcompress_service.scoring.batch import Batch, BatchGroup, Rewards
from deepcompress_service.scoring.plan import make_plan
from deepcompress_service.scoring.records import group_commit, shape_digest
from deepcompress_service.scoring.rewards import shape
from deepcompress_service.scoring.unchecked import unchecked_warning
from deepcompress_service.shaping import strategies

ROLLOUTS: list[dict[str, Any]] = [
    {"correct": True, "tokens": 800, "thinking": True, "repetitive": False},
    {"correct": True, "tokens": 1200, "truncated": True, "thinking": True, "repetitive": True},
    {"correct": False, "tokens": 2000, "status": "no_answer", "thinking": False, "repetitive": False},
    {"correct": False, "tokens": 400, "status": "undecided", "thinking": False, "repetitive": False},
]
UNCHECKED: dict[str, Any] = {
    "correct": False, "tokens": 9000, "truncated": True, "status": "unchecked", "thinking": True, "repetitive": True,
}  # fmt: skip
INPUTS = {"target_tokens": 900.0, "reference_tokens": 700.0, "reference_accuracy": 0.5}


def shaped(rollouts: list[dict[str, Any]], strategy: str = "deepcompress", **config: Any) -> tuple[Rewards, Any]:
    run = RunConfig.model_validate({"strategy": {"name": strategy}, **config})
    plan = make_plan(run, 0.3)
    group = {"problem_id": "p", "rollouts": rollouts, **INPUTS}
    request = ShapeRequest.model_validate({"run": "r", "step": 1, "groups": [group]})
    sent = BatchGroup(request.groups[0])
    sent.correct = tuple(rollout.correct for rollout in request.groups[0].rollouts)
    sent.statuses = tuple(rollout.status for rollout in request.groups[0].rollouts)
    values = tuple(one.initial for one in plan.difficulty.extra)
    record = GroupOutcome("p", "p", 0.5, values, ProblemState("p"), b"")
    outcome = CommitOutcome("r", 0, 1, 0.5, 0.5, (record,))
    batch = Batch(request, plan, 0, [sent], [], final=True, turns=[slice(0, 1)], large=False)
    rewards = asyncio.run(shape(batch, outcome))
    return rewards, group_commit(sent)


@pytest.mark.parametrize("strategy", [one.name for one in strategies()])
@pytest.mark.parametrize("seed", range(3))
def test_a_group_is_shaped_as_if_unchecked_rollouts_were_not_there(strategy: str, seed: int) -> None:
    rng = random.Random(seed)
    mixed = [*ROLLOUTS, UNCHECKED, UNCHECKED]
    rng.shuffle(mixed)
    config: dict[str, Any] = {
        "overlong": {"max_tokens": 2000, "buffer_tokens": 500},
        "shadow": [{"name": "outcome", "label": "o"}],
        "scores": {"format": {"weight": 0.1}},
    }
    mixed = [{**rollout, "scores": {"format": rollout["tokens"] / 1000}} for rollout in mixed]
    rewards, commit = shaped(mixed, strategy, **config)
    kept = [index for index, rollout in enumerate(mixed) if rollout.get("status") != "unchecked"]
    without, counted = shaped([mixed[index] for index in kept], strategy, **config)
    whole, part = rewards.shaped[0], without.shaped[0]
    assert tuple(whole.rewards[i] for i in kept) == part.rewards
    assert tuple(whole.length_term[i] for i in kept) == part.length_term
    assert (whole.pass_ratio, whole.beta, whole.why) == (part.pass_ratio, part.beta, part.why)
    assert commit == counted
    mean = sum(part.rewards) / len(part.rewards)
    assert whole.scores is not None
    columns = [*whole.components.values(), *whole.scores.values()]
    parts = [sum(column[i] for column in columns) for i in range(len(mixed))]
    assert parts == pytest.approx(whole.rewards)
    for index in range(len(mixed)):
        if index not in kept:
            assert whole.rewards[index] == pytest.approx(mean)
            assert not rewards.groups[0].trainable[index]
            assert whole.advantages is None or whole.advantages[index] == 0.0
            assert whole.weights is None or whole.weights[index] == 0.0
            assert whole.mask is None or not whole.mask[index]
    assert rewards.shadows is not None
    assert len(rewards.shadows[0]["o"].rewards) == len(mixed)


def test_a_group_without_a_checked_rollout_counts_nowhere() -> None:
    rewards, commit = shaped([UNCHECKED, UNCHECKED])
    assert not commit.counts
    (whole,) = rewards.shaped
    assert whole.rewards == whole.components["outcome"] == (0.0, 0.0)
    assert (whole.beta, whole.difficulty, whole.why) == (None, None, "untrainable")
    assert rewards.groups[0].trainable == (False, False)
    assert [slug for slug, _ in rewards.warnings] == ["unchecked"]


def test_an_unreadable_gold_still_counts_nowhere() -> None:
    _, commit = shaped([UNCHECKED, {"correct": False, "status": "gold_unreadable", "tokens": 5}])
    assert not commit.counts


def test_few_unchecked_rollouts_are_no_warning() -> None:
    assert unchecked_warning([["correct"] * 19 + ["unchecked"]]) == []
    ((slug, text),) = unchecked_warning([["correct"] * 18 + ["unchecked"] * 2])
    assert slug == "unchecked"
    assert text.startswith("2 of 20 rollouts")


def test_the_status_is_part_of_the_content() -> None:
    def digest(status: str | None) -> bytes:
        rollout = {"correct": False, "tokens": 5, "status": status}
        return shape_digest(ShapeGroup.model_validate({"problem_id": "p", "rollouts": [rollout]}))

    assert len({digest(status) for status in (None, "wrong", "undecided", "unchecked")}) == 4
