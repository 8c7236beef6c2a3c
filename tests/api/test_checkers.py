"""The checker of each row: where it comes from, what is refused, and that requests without one are what they were."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_client.wire import ScoreGroup, ScoreRequest
from deepcompress_service.scoring.records import score_digest

from .test_endpoints import problem

OPTIONS = ["Paris", "London"]


def item(gold: str, response: str, **fields: Any) -> dict[str, Any]:
    return {"gold": gold, "response": response, "answer_format": "bare", **fields}


def statuses(service: TestClient, items: list[dict[str, Any]], **request: Any) -> list[str]:
    answer = service.post("/v1/verify", json={"items": items, **request})
    assert answer.status_code == 200, answer.text
    return [verdict["status"] for verdict in answer.json()["verdicts"]]


def test_each_item_has_its_checker(service: TestClient) -> None:
    items = [
        item("1/2", "0.5"),
        item("1/2", "0.5", checker="text"),
        item("B", "London", checker="choice", options=OPTIONS),
        item("B", "London", options=OPTIONS),
        item("3.14", "3.1", checker={"name": "number", "absolute": 0.1}),
        item('{"a": 1}', '{"a": 1.0}', checker="json"),
        item("[0-9]+", "12", checker="regex"),
        item("(", "12", checker="regex"),
        {"gold": "5", "response": "The answer is 5.", "answer_format": "final_answer"},
        {"gold": "5", "response": "The answer is 5."},
    ]
    wanted = ["correct", "wrong", "correct", "correct", "correct", "correct", "correct", "gold_unreadable", "correct"]
    assert statuses(service, items) == [*wanted, "no_answer"]


def test_precedence(service: TestClient, run: str) -> None:
    config = {"checkers": {"words": "text", "numbers": {"name": "number", "absolute": 1}}}
    assert service.put(f"/v1/runs/{run}", json=config).status_code == 201
    rows = [
        item("2", "2.0", run=run),
        item("2", "2.0", run=run, data_source="words"),
        item("2", "2.0", run=run, data_source="another"),
        item("2", "3", run=run, data_source="numbers"),
        item("2", "3", run=run, data_source="numbers", checker="math"),
    ]
    assert statuses(service, rows) == ["correct", "wrong", "correct", "correct", "wrong"]
    assert statuses(service, rows, checker="text") == ["wrong"] * 5
    assert statuses(service, rows, answer_format="bare")[1] == "wrong"


def score(run: str, **fields: Any) -> dict[str, Any]:
    rollouts = [{"response": text, "tokens": 10} for text in ("London", "Paris")]
    group = {"problem_id": "p", "gold": "B", "rollouts": rollouts, "answer_format": "bare", **fields}
    return {"run": run, "step": 1, "groups": [group]}


def test_score_groups(service: TestClient, run: str) -> None:
    body = score(run, checker="choice", options=OPTIONS)
    answer = service.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["groups"][0]["correct"] == [True, False]
    assert service.post("/v1/score", json=body).json()["groups"][0]["replayed"]
    problem(service.post("/v1/score", json=score(run, checker="text")), 409, "group-conflict")


@pytest.mark.parametrize(
    ("checker", "words"),
    [("maths", "math, choice, number, text, json, regex"), ({"name": "number", "x": 1}, "absolute"), ({}, "a name")],
)
def test_an_unknown_checker_is_refused(service: TestClient, run: str, checker: Any, words: str) -> None:
    for body in ({"items": [item("1", "1", checker=checker)]}, {"items": [item("1", "1")], "checker": checker}):
        assert words in problem(service.post("/v1/verify", json=body), 422, "invalid-checker")["detail"]
    assert (
        words
        in problem(service.post("/v1/score", json=score(run, checker=checker)), 422, "invalid-checker")["detail"]
    )
    config = {"checkers": {"a": checker}}
    assert words in problem(service.put(f"/v1/runs/{run}", json=config), 422, "invalid-config")["detail"]


def test_a_configuration_without_checkers_is_what_it_was(service: TestClient, run: str) -> None:
    assert service.put(f"/v1/runs/{run}", json={}).status_code == 201
    assert service.put(f"/v1/runs/{run}", json={"checkers": None}).status_code == 200
    assert service.put(f"/v1/runs/{run}", json={"checkers": {}}).status_code == 200


def test_a_digest_changes_only_with_sent_fields() -> None:
    plain = {"problem_id": "p", "gold": "1", "rollouts": [{"response": "1"}]}
    digest = score_digest(ScoreGroup.model_validate(plain))
    assert score_digest(ScoreGroup.model_validate({**plain, "checker": None})) == digest
    changed = {
        score_digest(ScoreGroup.model_validate({**plain, **fields}))
        for fields in (
            {"checker": "text"}, {"checker": {"name": "text"}}, {"data_source": "a"}, {"options": ["a"]},
            {"answer_format": "bare"},
        )
    }  # fmt: skip
    assert len(changed | {digest}) == 6


def test_the_request_forms() -> None:
    body = {"groups": [{"gold": "1", "rollouts": [{"response": "1"}], "options": ["a"] * 27}]}
    with pytest.raises(ValueError, match="options"):
        ScoreRequest.model_validate_json(json.dumps(body))
