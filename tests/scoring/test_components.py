"""Components over HTTP: they add up to the reward to the last bit, and `why` tells why a length reward is missing."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from deepcompress_client.wire import Why
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings
from deepcompress_service.shaping import strategies

NAMES = [info.name for info in strategies()]


@pytest.fixture(scope="module")
def service() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as client:
        yield client


def groups(draw: Random) -> list[dict[str, Any]]:
    made = []
    for problem in range(4):
        share, most = draw.choice((0.0, 0.4, 0.8, 1.0)), draw.choice((3, 3000, 20_000))
        rollouts = [
            {
                "correct": draw.random() < share,
                "tokens": draw.randrange(0, most),
                "truncated": draw.random() < 0.1,
                "thinking": draw.random() < 0.5,
                "repetitive": draw.random() < 0.2,
            }
            for _ in range(draw.randrange(1, 7))
        ]
        references = {"reference_accuracy": draw.random(), "reference_tokens": 900.5, "target_tokens": 1200}
        made.append({"problem_id": f"p{problem}", "rollouts": rollouts, **references})
    return made


def check(group: dict[str, Any], rewards: list[float], weight: float) -> None:
    parts = group["components"]
    columns = zip(parts["outcome"], parts["length"], parts["overlong"], strict=True)
    assert rewards == [(outcome + length) + overlong for outcome, length, overlong in columns]
    assert parts["length"] == [weight * term for term in group["length_term"]]
    assert ("why" in group) == (not any(parts["length"]))


@pytest.mark.parametrize("name", NAMES)
def test_components_add_up_to_the_last_bit(service: TestClient, name: str) -> None:
    draw = Random(name)
    for weight in (0.3, -1.7, 1e-9):
        for variant in ("floored", "verl", "openrlhf", "skyrl"):
            run = f"{name}-{weight}-{variant}"
            overlong = {"max_tokens": 9000, "buffer_tokens": 4000, "factor": 0.7, "variant": variant}
            config = {"strategy": {"name": name}, "length_weight": weight, "overlong": overlong}
            service.put(f"/v1/runs/{run}", json=config).raise_for_status()
            for step in range(3):
                body = {"run": run, "step": step, "groups": groups(draw)}
                answer = service.post("/v1/shape", json=body)
                assert answer.status_code == 200, answer.text
                for group in answer.json()["groups"]:
                    check(group, group["rewards"], weight)


def rollouts(*rows: tuple[bool, int], **more: Any) -> list[dict[str, Any]]:
    return [{"correct": correct, "tokens": tokens, **more} for correct, tokens in rows]


DEEPCOMPRESS: dict[str, Any] = {"strategy": {"name": "deepcompress"}}
MIXED = rollouts((True, 10), (True, 20), (False, 30))

WHY: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "evaluation": (DEEPCOMPRESS, MIXED, {"phase": "eval"}),
    "no-weight": ({"length_weight": 0}, MIXED, {}),
    "untrainable": (DEEPCOMPRESS, rollouts((False, 10), (False, 20), status="gold_unreadable"), {}),
    "none-correct": (DEEPCOMPRESS, rollouts((False, 10), (False, 20)), {}),
    "equal-lengths": ({"strategy": {"name": "kimi_k1.5"}}, rollouts((True, 10), (True, 10), (False, 10)), {}),
    "all-correct": (DEEPCOMPRESS, rollouts((True, 10), (True, 20)), {}),
    "even": ({"strategy": {"name": "deepcompress", "beta": 0, "alpha": 0}}, MIXED, {}),
    "strategy": ({"strategy": {"name": "outcome"}}, MIXED, {}),
}
"""Configuration, rollouts and request that give each reason."""


def test_every_reason_is_in_the_table() -> None:
    assert set(WHY) == set(get_args(Why))


@pytest.mark.parametrize("why", WHY)
def test_why_a_group_has_no_length_reward(service: TestClient, why: str) -> None:
    config, sent, more = WHY[why]
    run = f"why-{why}"
    service.put(f"/v1/runs/{run}", json=config).raise_for_status()
    body = {"run": run, "step": 0, "groups": [{"problem_id": "p", "rollouts": sent}], **more}
    answer = service.post("/v1/shape", json=body)
    assert answer.status_code == 200, answer.text
    (group,) = answer.json()["groups"]
    assert group["why"] == why
    assert group["components"]["length"] == [0.0] * len(sent)


def test_a_group_with_a_length_reward_has_no_why(service: TestClient) -> None:
    body = {"run": "paid", "step": 0, "groups": [{"problem_id": "p", "rollouts": MIXED}]}
    answer = service.post("/v1/shape", json=body)
    (group,) = answer.json()["groups"]
    assert "why" not in group
    assert any(group["components"]["length"])
