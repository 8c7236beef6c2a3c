"""Numbers on the wire: integers where a float is expected, but no text, truth values, NaN or Infinity."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from deepcompress_client import wire
from deepcompress_service.shaping.registry import BUILT_IN, LEVEL_PARAMS

OVERLONG = {"max_tokens": 10, "buffer_tokens": 5}
GROUP: dict[str, Any] = {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 1}]}
ROLLOUT = {
    "run": "single",
    "step": 0,
    "problem_id": "p",
    "group_size": 1,
    "rollout_index": 0,
    "gold": "1",
    "response": "\\boxed{1}",
    "tokens": 1,
}
NOT_NUMBERS: list[Any] = ["0.5", "1", "", True, False, [1.0], {}, float("nan"), float("inf"), 10**400, -(10**400)]

Field = tuple[str, str, dict[str, Any], str]


def _in_group(field: str) -> Field:
    return "POST", "/v1/shape", {"phase": "eval", "groups": [GROUP]}, f"groups.0.{field}"


FIELDS: dict[str, Field] = {
    "GroupFields.reference_accuracy": _in_group("reference_accuracy"),
    "GroupFields.reference_tokens": _in_group("reference_tokens"),
    "GroupFields.target_tokens": _in_group("target_tokens"),
    "RolloutRequest.timeout_s": ("POST", "/v1/rollouts", ROLLOUT, "timeout_s"),
    "Outcome.correct": ("PUT", "/v1/runs/floats", {"outcome": {}}, "outcome.correct"),
    "Outcome.wrong": ("PUT", "/v1/runs/floats", {"outcome": {}}, "outcome.wrong"),
    "RunConfig.length_weight": ("PUT", "/v1/runs/floats", {}, "length_weight"),
    "Overlong.factor": ("PUT", "/v1/runs/floats", {"overlong": OVERLONG}, "overlong.factor"),
    **{
        f"{model}.{field}": ("PUT", "/v1/runs/floats", {model.lower(): {}}, f"{model.lower()}.{field}")
        for model, fields in {
            "Gate": ("min_pass_ratio", "min_stored", "top_share"),
            "Guard": ("margin", "z"),
            "Target": ("quantile", "slack", "bonus"),
        }.items()
        for field in fields
    },
    "ScoreConfig.weight": ("PUT", "/v1/runs/floats", {"scores": {"style": {}}}, "scores.style.weight"),
}


def send(service: TestClient, field: Field, value: Any) -> Any:
    method, path, body, name = field
    body = json.loads(json.dumps(body))
    inside: Any = body
    *parents, last = name.split(".")
    for parent in parents:
        inside = inside[int(parent) if parent.isdigit() else parent]
    inside[last] = value
    # json.dumps writes NaN and Infinity, as a careless caller would.
    return service.request(method, path, content=json.dumps(body), headers={"content-type": "application/json"})


LINES = {"DatasetProblem"}
"""Lines of a streamed body, which have a test of their own (tests/api/test_curriculum.py)."""


def _floats() -> Iterator[str]:
    modules = [import_module(found.name) for found in iter_modules(wire.__path__, f"{wire.__name__}.")]
    for name, model in {name: kind for module in modules for name, kind in vars(module).items()}.items():
        if isinstance(model, type) and issubclass(model, BaseModel) and name not in LINES:
            for field in model.__annotations__:
                annotation = model.model_fields[field].annotation if field in model.model_fields else None
                if _has_float(annotation):
                    yield f"{name}.{field}"


def _has_float(annotation: object) -> bool:
    """True for a float, alone or as one kind of value of the field itself: not for a list or a mapping of floats."""
    if typing.get_origin(annotation) in (list, dict, tuple):
        return False
    return annotation is float or any(map(_has_float, typing.get_args(annotation)))


def test_every_float_of_a_request_is_in_the_table() -> None:
    assert set(_floats()) == set(FIELDS)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", FIELDS)
def test_what_is_no_number_is_refused(service: TestClient, name: str, value: Any) -> None:
    answer = send(service, FIELDS[name], value)
    assert answer.status_code in (400, 422), answer.text
    if answer.status_code == 422 and isinstance(value, str | bool):
        assert answer.json()["errors"][0]["field"].startswith(FIELDS[name][3])


@pytest.mark.parametrize("name", FIELDS)
def test_integers_are_numbers(service: TestClient, name: str) -> None:
    assert send(service, FIELDS[name], 1).status_code in (200, 201)
    assert send(service, FIELDS[name], 0.5).status_code in (200, 201)


PARAMS = {
    f"{name}.{param.name}": (name, param)
    for name, strategy in BUILT_IN.items()
    for param in (*strategy.params, *LEVEL_PARAMS)
    if param.kind in ("number", "integer")
}


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: repr(value)[:12])
def test_parameters_of_strategies_are_strict_numbers(service: TestClient, value: Any) -> None:
    assert len(PARAMS) > 100
    for name, param in PARAMS.values():
        field: Field = ("PUT", "/v1/runs/floats", {"strategy": {"name": name}}, f"strategy.{param.name}")
        answer = send(service, field, value)
        assert answer.status_code in (400, 422), (name, param.name, answer.text)
        if isinstance(value, str | bool):
            assert answer.json()["errors"][0]["field"] == f"strategy.{param.name}"


def test_a_default_of_each_strategy_is_in_no_description(service: TestClient) -> None:
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    assert "default" not in schemas["RunConfig"]["properties"]["outcome"]
    assert all("default" not in half for half in schemas["Outcome"]["properties"].values())
    # Since it depends on the strategy: left out, each half is the published one.
    config = service.put("/v1/runs/published", json={"strategy": {"name": "gr3"}}).json()["config"]
    assert config["outcome"] == {"correct": 1.0, "wrong": 0.0}
