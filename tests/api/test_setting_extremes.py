"""Every number of the settings at the ends of its range: the service starts, and no request is an internal error.

A setting may make the service refuse (a limit of 1), but a value that is allowed never breaks it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings, explain, variable

from ..difficulty.servers import REDIS_SERVER, RedisServer
from .conftest import shape_body

NOT_TRIED = {
    "verifier_workers": "starts as many processes",
    "workers": "is of `deepcompress serve`",
    "port": "the same",
}
OF_THE_STORE = {"store_timeout_seconds", "run_ttl_days", "observation_ttl_days", "sweep_interval_seconds"}


def numbers() -> Iterator[tuple[str, float]]:
    for name, field in Settings.model_fields.items():
        if field.annotation not in (int, float) or name in NOT_TRIED:
            continue
        bounds = {type(one).__name__: one for one in field.metadata}
        least = bounds["Ge"].ge if "Ge" in bounds else bounds["Gt"].gt
        most = bounds["Le"].le if "Le" in bounds else None
        if field.annotation is int:
            values = [least, 2**63] if most is None else [least, most]
        else:
            least = least if "Ge" in bounds else math.nextafter(least, math.inf)
            values = [least, 1e18, 1e300] if most is None else [least, most]
        yield from ((name, value) for value in dict.fromkeys(values))


def exercise(client: TestClient) -> None:
    seen = {"problem_id": "p", "rollouts": [{"rollout_id": "a", "correct": True, "tokens": 5}]}
    group = {"problem_id": "p", "gold": "3", "rollouts": [{"response": "\\boxed{3}", "tokens": 9}] * 2}
    rollout = {
        "run": "s",
        "step": 0,
        "problem_id": "p",
        "group_size": 1,
        "rollout_index": 0,
        "gold": "3",
        "response": "3",
    }
    row = json.dumps({"problem_id": "p"}) + "\n"
    answers = [
        client.post("/v1/shape", json=shape_body("r", 0, ("p", [True, False], [10, 20]))),
        client.post("/v1/verify", json={"items": [{"gold": "x^2-1", "response": "\\boxed{(x-1)(x+1)}"}]}),
        client.post("/v1/score", json={"run": "r", "step": 1, "groups": [group]}),
        client.post("/v1/observe", json={"run": "r", "step": 2, "groups": [seen]}),
        client.post("/v1/observe", json={"run": "never-trained", "step": 2, "groups": [seen]}),
        client.post("/v1/rollouts", json=rollout),
        client.put("/v1/runs/r/dataset", content=row),
        client.post("/v1/runs/r/sample", json={"step": 2, "n": 1, "policy": "uniform"}),
        client.get("/v1/runs/r/export"),
        client.put("/v1/runs/t/import", content=client.get("/v1/runs/r/export").content),
        client.post("/v1/runs/r/checkpoints", json={"name": "c", "step": 0}),
        client.get("/v1/runs"),
        client.get("/readyz"),
        client.get("/metrics"),
        client.get("/"),
    ]
    wrong = [f"{one.request.method} {one.request.url.path}: {one.status_code} {one.text[:200]}" for one in answers]
    assert [text for text, one in zip(wrong, answers, strict=True) if one.status_code in (500, 502, 504)] == []
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("name", "value"), list(numbers()), ids=lambda value: f"{value}")
def test_a_number_at_the_end_of_its_range(tmp_path: Path, name: str, value: float) -> None:
    chosen: dict[str, Any] = {"state_url": f"sqlite:///{tmp_path}/s.sqlite3", "verifier_workers": 1, name: value}
    if name == "key_requests_per_second":
        chosen["api_keys"] = ("k",)
    try:
        settings = Settings(**chosen)
    except ValidationError:
        return  # refused at start, with the name of the variable
    headers = {"authorization": "Bearer k"} if "api_keys" in chosen else None
    with TestClient(create_app(settings), raise_server_exceptions=False, headers=headers) as client:
        exercise(client)


@pytest.mark.parametrize(
    "name", sorted({name for name, _ in numbers() if Settings.model_fields[name].annotation is int})
)
@pytest.mark.parametrize("value", ["9" * 400, "9" * 5000, str(2**63 + 1)])
def test_an_integer_without_end_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    message = explain(refused.value)
    assert message.startswith(f"{variable(name)}: ") and len(message) < 300


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REDIS_SERVER is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


@pytest.mark.parametrize(
    ("name", "value"), [one for one in numbers() if one[0] in OF_THE_STORE], ids=lambda value: f"{value}"
)
def test_the_same_on_redis(redis: str, name: str, value: float) -> None:
    try:
        settings = Settings(state_url=redis, verifier_workers=1, **{name: value})  # type: ignore[arg-type]
    except ValidationError:
        return
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        exercise(client)
