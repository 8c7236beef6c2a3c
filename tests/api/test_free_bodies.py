"""The frameworks' bodies hold any JSON: its depth and its numbers are bounded before our code reads it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.api.json_bodies import MAX_DEPTH

LONE = "\\ud800"
"""A lone surrogate: JSON that only the slower parser reads."""


ROUNDED = [str(2**64), str(-(2**63) - 1), "[1e300, 123456789012345678901234567890]"]
"""Integers that orjson rounds to floats, which would pass for numbers that the caller sent."""


def nested(depth: int, inner: str = "1") -> str:
    return "[" * depth + inner + "]" * depth


def bodies(value: str, text: str = "x") -> list[tuple[str, str]]:
    """(path, body) of every route, with `value` in the place of the gold answer or of a free field."""
    content = f'[{{"type": "output_text", "text": "{text}"}}]'
    message = f'{{"output": [{{"type": "message", "content": {content}}}]}}'
    task = f'{{"response": "{text}", "reward_info": {{"ground_truth": {value}}}}}'
    return [
        ("/compat/slime/rm", f'{{"response": "{text}", "label": {value}}}'),
        ("/compat/openrlhf/get_reward", f'{{"query": ["{text}"], "prompts": [""], "labels": [{value}]}}'),
        ("/compat/roll/submit_task", task),
        ("/compat/nemo_gym/verify", f'{{"expected_answer": {value}, "response": {message}}}'),
        ("/compat/nemo_gym/verify", f'{{"expected_answer": "1", "extra": {value}, "response": {message}}}'),
        ("/compat/nemo_gym/aggregate_metrics", f'{{"verify_responses": [{{"reward": {value}, "id": "{text}"}}]}}'),
    ]


@pytest.mark.parametrize("text", ["x", LONE])
@pytest.mark.parametrize(
    "value",
    [nested(100), nested(900), nested(100, '"a"'), "9" * 400, "9" * 5000, "NaN", "1e999", *ROUNDED],
    ids=lambda v: v[:9],
)
def test_a_body_out_of_bounds_is_a_422_at_once(service: TestClient, value: str, text: str) -> None:
    for path, body in bodies(value, text):
        began = time.process_time()
        answer = service.post(path, content=body)
        assert answer.status_code == 422, (path, answer.text)
        assert len(answer.content) < 2000
        assert time.process_time() - began < 5


def test_a_list_of_lists_is_no_gold_answer(service: TestClient) -> None:
    for path, body in bodies("[[1]]")[:4]:
        answer = service.post(path, content=body)
        assert answer.status_code == 422, (path, answer.text)
        assert "text, a number, or a list of these" in answer.json()["detail"]


@pytest.mark.parametrize("value", ["9" * 30, "-" + "9" * 17, "[1, 9007199254740993]", "1e17"])
def test_a_gold_number_that_json_may_have_rounded_is_refused(service: TestClient, value: str) -> None:
    for path, body in bodies(value)[:4]:
        answer = service.post(path, content=body)
        assert answer.status_code == 422, (path, answer.text)


def test_what_is_within_the_bounds_is_kept(service: TestClient) -> None:
    deep: Any = json.loads(nested(MAX_DEPTH - 1))
    row = {"expected_answer": [1, "2"], "extra": deep, "response": {"output": []}}
    answer = service.post("/compat/nemo_gym/verify", json=row)
    assert answer.status_code == 200
    assert answer.json()["extra"] == deep


@pytest.mark.parametrize("value", [2.0**64, -1e300, [1e20, {"a": 2**63 - 1}], [nested(50), 1e19]])
def test_large_numbers_that_are_no_integers_are_kept(service: TestClient, value: Any) -> None:
    row = {"expected_answer": "1", "extra": value, "response": {"output": []}}
    answer = service.post("/compat/nemo_gym/verify", json=row)
    assert answer.status_code == 200
    assert json.dumps(answer.json()["extra"]) == json.dumps(value)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_the_place_of_a_rounded_integer_is_named_in_a_body_of_any_size(service: TestClient, size: int) -> None:
    items = [{"gold": "1", "response": "x" * size, "row": {"a": [1.5, 1e200]}}] * 2
    body = json.dumps({"items": [*items, {**items[0], "row": {"a": [1e200, 2**64 + 1]}}]})
    answer = service.post("/v1/verify", content=body)
    assert answer.json()["errors"] == [{"field": "items.2.row.a", "detail": "an integer has more than 64 bits"}]
    assert service.post("/v1/verify", content=json.dumps({"items": items})).status_code == 200


@pytest.mark.parametrize("text", ["x", LONE])
@pytest.mark.parametrize(
    "value", [nested(100), nested(900), "9" * 400, "9" * 5000, "NaN", "1e999", *ROUNDED], ids=lambda v: v[:9]
)
def test_open_fields_of_our_own_routes_have_the_same_bounds(service: TestClient, value: str, text: str) -> None:
    strategy = f'{{"name": "deepcompress", "one": {value}}}'
    for method, path, body in (
        ("PUT", "/v1/runs/open", f'{{"strategy": {strategy}, "answer_format": "{text}"}}'),
        ("POST", "/v1/verify", f'{{"items": [{{"gold": "1", "response": "{text}", "row": {{"a": {value}}}}}]}}'),
        ("POST", "/v1/verify", f'{{"items": [{{"gold": {value}, "response": "{text}"}}]}}'),
        ("PUT", "/v1/runs/open/import", f'{{"format": {value}, "text": "{text}"}}\n'),
    ):
        answer = service.request(method, path, content=body)
        assert answer.status_code == 422, (path, answer.text)
        assert len(answer.content) < 2000


def test_the_place_of_a_fault_is_named_but_no_text_of_the_body(service: TestClient) -> None:
    body = {"response": "x", "label": {"one": [{"two words": 1e400}]}}
    answer = service.post("/compat/slime/rm", content=json.dumps(body).replace("Infinity", "1" * 400))
    assert answer.json()["errors"] == [{"field": "label.one.0", "detail": "an integer has more than 64 bits"}]
