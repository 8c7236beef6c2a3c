"""The elements of a large body are validated one by one: the same model, or the same error, as at once."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel

from deepcompress_client.wire import (
    MAX_GROUP_ROLLOUTS,
    ObserveRequest,
    ScoreRequest,
    ShapeRequest,
    VerifyRequest,
)
from deepcompress_service.api import json_bodies as bodies
from deepcompress_service.api.errors import ApiError
from deepcompress_service.api.json_bodies import parse

VALUES = (None, True, 0, -1, 7, 1.5, "", "1", "x" * 600, [], {}, ["1"], [[]], {"a": 1}, "train", "\ud800", "\x00")
NAMES = (
    "run", "step", "phase", "groups", "items", "rollouts", "gold", "response", "tokens", "correct", "problem_id",
    "group_id", "group_size", "status", "scores", "options", "row", "checker", "version", "turns", "unknown", "id",
)  # fmt: skip


def rollout(model: type[BaseModel]) -> dict[str, Any]:
    return {"response": "1", "tokens": 5} if model is ScoreRequest else {"correct": True, "tokens": 5}


def valid(model: type[BaseModel]) -> dict[str, Any]:
    if model is VerifyRequest:
        return {"items": [{"gold": "1", "response": str(n), "options": ["a"]} for n in range(6)]}
    gold = {"gold": ["1", "2"]} if model is ScoreRequest else {}
    groups = [{"problem_id": f"p{n}", **gold, "rollouts": [rollout(model) for _ in range(3)]} for n in range(4)]
    return {"run": "r", "step": 1, "groups": groups}


def holders(value: Any) -> list[Any]:
    """Every list and object of a value."""
    if not isinstance(value, dict | list):
        return []
    return [
        value,
        *(found for one in (value.values() if isinstance(value, dict) else value) for found in holders(one)),
    ]


def damaged(choice: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    for _ in range(choice.choice((0, 1, 1, 2, 3))):
        holder = choice.choice(holders(body))
        if isinstance(holder, dict):
            holder[choice.choice((*NAMES, *holder))] = deepcopy(choice.choice(VALUES))
            if holder and choice.random() < 0.3:
                del holder[choice.choice(list(holder))]
        elif holder:
            holder[choice.randrange(len(holder))] = deepcopy(choice.choice(VALUES))
    return body


def outcome(model: type[BaseModel], raw: bytes) -> Any:
    try:
        body = parse(model, raw)
    except ApiError as error:
        return error.status, error.slug, error.detail, error.extra
    return body, body.model_fields_set, body.model_dump(exclude_unset=True)


@pytest.mark.parametrize("model", [ShapeRequest, ScoreRequest, ObserveRequest, VerifyRequest])
def test_the_same_model_or_the_same_error(model: type[BaseModel], monkeypatch: pytest.MonkeyPatch) -> None:
    choice = random.Random(model.__name__)
    kinds = set()
    for _ in range(500):
        body = damaged(choice, valid(model))
        raw = json.dumps(body).encode()
        if choice.random() < 0.1:
            raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        found = []
        for limit in (1 << 30, 0):
            monkeypatch.setattr(bodies, "ON_LOOP_BYTES", limit)
            found.append(outcome(model, raw))
        assert found[0] == found[1], raw
        kinds.add(found[0][2] if isinstance(found[0][0], int) else "valid")
    assert "valid" in kinds
    assert len(kinds) > 30


def test_errors_of_fields_after_and_before_the_elements_are_listed_with_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "ON_LOOP_BYTES", 0)
    body = {**valid(ShapeRequest), "run": "a/b", "other": 1}
    body["groups"][2]["rollouts"][1]["tokens"] = "5"
    with pytest.raises(ApiError) as error:
        parse(ShapeRequest, json.dumps(body).encode())
    fields = [one["field"] for one in error.value.extra["errors"]]  # type: ignore[attr-defined]
    assert fields == ["run", "groups.2.rollouts.1.tokens", "other"]


@pytest.mark.parametrize("model", [ShapeRequest, ScoreRequest, ObserveRequest])
def test_a_group_has_a_most_of_rollouts(model: type[BaseModel]) -> None:
    body = valid(model)
    body["groups"][1]["rollouts"] = [rollout(model)] * MAX_GROUP_ROLLOUTS
    assert len(parse(model, json.dumps(body).encode()).groups[1].rollouts) == MAX_GROUP_ROLLOUTS  # type: ignore[attr-defined]
    body["groups"][1]["rollouts"] = [rollout(model)] * (MAX_GROUP_ROLLOUTS + 1)
    with pytest.raises(ApiError) as error:
        parse(model, json.dumps(body).encode())
    assert (error.value.status, error.value.slug) == (422, "invalid-request")
    assert error.value.detail.startswith(f"groups.1.rollouts: List should have at most {MAX_GROUP_ROLLOUTS} items")
