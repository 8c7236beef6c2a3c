"""A large request takes turns with others on the event loop, and gets the same rewards as at once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from fastapi import BackgroundTasks

from deepcompress_client.wire import RunConfig, ScoreRequest
from deepcompress_service.activity.recent import Activity
from deepcompress_service.activity.recorder import ActivityRecorder
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.scoring import pipeline
from deepcompress_service.scoring.batch import TURN
from deepcompress_service.scoring.pipeline import GROUP_WORK, Pipeline, turns_of
from deepcompress_service.scoring.plan import make_new_plan
from deepcompress_service.settings import Settings
from deepcompress_service.shaping import Group, Reward, StrategyError, strategies
from deepcompress_verify import Check, Verdict


class Rules:
    """A verifier that finds a response correct if it is the gold; "?" is undecided, "" unchecked."""

    async def verify_many(self, checks: list[Check], **_: Any) -> list[Verdict]:
        statuses = {"?": "undecided", "": "unchecked"}
        return [
            Verdict(
                check.response in check.gold,
                statuses.get(check.response, "correct" if check.response in check.gold else "wrong"),  # type: ignore[arg-type]
                check.response,
                "rules",
                "",
            )
            for check in checks
        ]


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        ([8] * 4, [4]),
        ([TURN - GROUP_WORK], [1]),
        ([TURN, TURN, 1], [1, 2, 3]),
        ([1, 3 * TURN, 1, TURN], [2, 4]),
        ([16] * (TURN // 16), [171, 256]),
        ([1] * 1000, [456, 912, 1000]),
        ([], [0]),
    ],
    ids=["small", "one turn", "large groups", "one of several turns", "small groups", "single rollouts", "none"],
)
def test_a_turn_is_of_4096_rollouts_or_of_one_group(sizes: list[int], ends: list[int]) -> None:
    turns = turns_of(sizes)
    assert [turn.stop for turn in turns] == ends
    assert [turn.start for turn in turns] == [0, *ends[:-1]]


CONFIGS: dict[str, dict[str, Any]] = {
    **{one.name: {"strategy": {"name": one.name}} for one in strategies()},
    "terms": {
        "overlong": {"max_tokens": 90, "buffer_tokens": 30},
        "scores": {"style": {"weight": 0.1}},
        "shadow": [{"name": "outcome", "label": "o"}],
    },
    "the best of the batch": {"gate": {"min_pass_ratio": 0.1, "top_share": 0.5}},
    "advantages": {"advantage": {"decouple": True}},
    "whitened": {"strategy": {"name": "dler", "limit": 50}, "advantage": {"scale": "none", "whiten": "batch"}},
}


def group(draw: random.Random, index: int, name: str) -> dict[str, Any]:
    rollouts = [
        {
            "response": draw.choice(("3", "3", "4", "?", "")),
            "tokens": draw.randrange(1, 100),
            "truncated": draw.random() < 0.1,
            "thinking": draw.random() < 0.5,
            "repetitive": draw.random() < 0.1,
            "context_tokens": draw.randrange(9),
            "turns": draw.randrange(1, 4),
            **({"scores": {"style": draw.random()}} if name == "terms" else {}),
        }
        for _ in range(draw.randrange(1, 9))
    ]
    more = {"target_tokens": 60.0, "reference_tokens": 70.0, "reference_accuracy": 0.5}
    return {"problem_id": f"p{index}", "gold": "3", "rollouts": rollouts, **more}


@pytest.mark.parametrize("name", CONFIGS)
def test_rewards_in_turns_are_those_at_once_to_the_last_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(name)
    steps = [[group(draw, index, name) for index in range(40)] for _ in range(2)]

    async def answers() -> list[Any]:
        store = open_store("memory://")
        await store.open()
        scorer = Pipeline(Settings(), store, Rules(), ActivityRecorder(Activity()))  # type: ignore[arg-type]
        plan = make_new_plan(RunConfig.model_validate(CONFIGS[name]), 0.3)
        await store.put_run("r", plan.difficulty, plan.text)
        given = []
        for step, groups in enumerate([*steps, steps[-1]]):  # the last one is repeated
            sent = {"run": "r", "step": min(step, 1), "groups": groups, "signal": True}
            tasks = BackgroundTasks()
            scored = await scorer.score(ScoreRequest.model_validate(sent), tasks.add_task)
            given.append(scored.to_dict())
            await tasks()
        return given

    at_once = asyncio.run(answers())
    monkeypatch.setattr(pipeline, "TURN", 48)
    in_turns = asyncio.run(answers())
    for one, other in zip(at_once, in_turns, strict=True):
        # The figures of the signal add up over turns: they may differ in the last bits.
        assert other.pop("signal") == pytest.approx(one.pop("signal"))
        assert {**other, "incarnation": ""} == {**one, "incarnation": ""}


def test_the_error_of_a_group_names_its_position_in_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [group(random.Random(index), index, "") for index in range(40)]
    groups[33]["rollouts"] = [{"response": "3", "tokens": 7777}]
    shape = Reward.shape

    def failing(reward: Reward, sent: list[Group], **options: Any) -> Any:
        for index, one in enumerate(sent):
            if one.tokens == (7777,):
                raise StrategyError(f"groups.{index}", "it failed")
        return shape(reward, sent, **options)

    async def refused() -> str:
        store = open_store("memory://")
        await store.open()
        scorer = Pipeline(Settings(), store, Rules(), ActivityRecorder(Activity()))  # type: ignore[arg-type]
        request = ScoreRequest.model_validate({"run": "r", "step": 0, "groups": groups})
        with pytest.raises(StrategyError) as error:
            await scorer.score(request, lambda *_: None)
        return error.value.field

    monkeypatch.setattr(Reward, "shape", failing)
    assert asyncio.run(refused()) == "groups.33"
    monkeypatch.setattr(pipeline, "TURN", 48)
    assert asyncio.run(refused()) == "groups.33"


@pytest.mark.parametrize(
    ("field", "shifted"),
    [
        ("groups.3", "groups.13"),
        ("groups.0.rollouts.2.tokens", "groups.10.rollouts.2.tokens"),
        ("strategy", "strategy"),
        ("groups", "groups"),
        ("groups.x", "groups.x"),
    ],
)
def test_positions_are_counted_from_the_first_group_of_a_part(field: str, shifted: str) -> None:
    error = StrategyError(field, "text").counted_from(10)
    assert (type(error), error.field, error.message) == (StrategyError, shifted, "text")
