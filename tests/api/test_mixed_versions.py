"""An older replica beside a newer one, on one store.

The newer one is today's with more fields: in the configuration of a run, in a rollout that waits for its group, and
in a recorded verdict. The tests write them into the store.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.scoring.errors import NewerConfigurationError
from deepcompress_service.scoring.records import unpack_verdicts
from deepcompress_service.settings import Settings

from ..difficulty.servers import RedisServer, needs_redis
from .test_endpoints import problem

Payload = dict[str, dict[str, Any]]


class Replica:
    """An older replica, and the store that it shares with a newer one."""

    def __init__(self, service: TestClient, path: Path, redis: RedisServer | None) -> None:
        self.service = service
        self._path = path
        self._redis = redis

    def change_waiting(self, change: Callable[[Payload], None]) -> None:
        """Change the one rollout that waits for its group, as if a newer replica had received it."""
        if self._redis is not None:
            with self._redis.client() as client:
                (key,) = [
                    key for key in client.scan_iter() if client.type(key) == b"hash" and client.hexists(key, "s0")
                ]
                stored = client.hget(key, "s0")
                assert isinstance(stored, bytes)
                client.hset(key, "s0", stored[:16] + _changed(stored[16:], change))
            return
        with closing(sqlite3.connect(f"{self._path}-rendezvous")) as db, db:
            ((payload,),) = db.execute("select payload from slots").fetchall()
            db.execute("update slots set payload = ?", (_changed(payload, change),))


def _changed(payload: bytes, change: Callable[[Payload], None]) -> bytes:
    content = orjson.loads(payload)
    change(content)
    return orjson.dumps(content)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def replica(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replica]:
    path, redis = tmp_path / "state.sqlite3", None
    url = f"sqlite:///{path}"
    if request.param == "redis":
        redis = RedisServer(tmp_path / "redis")
        redis.start()
        url = redis.url
    settings = Settings(state_url=url, verifier_workers=1, rollout_wait_seconds=0.1)
    try:
        with TestClient(create_app(settings), raise_server_exceptions=False) as service:
            yield Replica(service, path, redis)
    finally:
        if redis is not None:
            redis.kill()


def rollout(index: int) -> dict[str, Any]:
    return {
        "run": "r",
        "step": 1,
        "problem_id": "p",
        "group_size": 2,
        "rollout_index": index,
        "gold": "42",
        "response": ("\\boxed{42}", "\\boxed{41}")[index],
        "tokens": 10 + index,
    }


def _null_fields(payload: Payload) -> None:
    payload["rollout"]["of_tomorrow"] = None
    payload["verdict"]["of_tomorrow"] = None
    payload["of_tomorrow"] = {}


def test_what_a_newer_replica_left_neutral_is_ignored(replica: Replica) -> None:
    assert replica.service.post("/v1/rollouts", json=rollout(0)).status_code == 503
    replica.change_waiting(_null_fields)
    for index in (1, 0):
        answer = replica.service.post("/v1/rollouts", json=rollout(index))
        assert answer.status_code == 200, answer.text
        assert (answer.json()["complete"], answer.json()["correct"]) == (True, index == 0)
    assert replica.service.get("/v1/runs/r/problems/p").json()["attempts"] == 2


@pytest.mark.parametrize("more", [{"of_tomorrow": 0}, {"status": "half-correct"}], ids=str)
def test_a_waiting_rollout_that_only_a_newer_replica_can_read(replica: Replica, more: dict[str, Any]) -> None:
    assert replica.service.post("/v1/rollouts", json=rollout(0)).status_code == 503
    replica.change_waiting(lambda payload: payload["rollout"].update(more))
    answer = replica.service.post("/v1/rollouts", json=rollout(1))
    problem(answer, 503, "newer-configuration")
    assert next(iter(more)) in answer.json()["detail"]
    assert answer.headers["retry-after"]
    # Nothing was counted: the group is a newer replica's.
    assert replica.service.get("/v1/runs/r").json()["problems"] == 0


def test_a_waiting_verdict_that_only_a_newer_replica_can_read(replica: Replica) -> None:
    assert replica.service.post("/v1/rollouts", json=rollout(0)).status_code == 503
    replica.change_waiting(lambda payload: payload["verdict"].update(of_tomorrow=0.5))
    assert replica.service.post("/v1/rollouts", json=rollout(1)).status_code == 200
    problem(replica.service.post("/v1/rollouts", json=rollout(0)), 503, "newer-configuration")


@pytest.mark.parametrize(
    ("more", "accepted"),
    [
        ({"of_tomorrow": None}, True),
        ({"of_tomorrow": 0}, False),
        ({"overlong": {"max_tokens": 9, "buffer_tokens": 3, "of_tomorrow": None}}, True),
        ({"overlong": {"max_tokens": 9, "buffer_tokens": 3, "of_tomorrow": []}}, False),
    ],
    ids=str,
)
def test_a_run_that_a_newer_replica_configured(replica: Replica, more: dict[str, Any], accepted: bool) -> None:
    service = replica.service
    config = service.put("/v1/runs/mine", json={}).json()["config"]
    stored = {**config, **more}
    context = service.app.state.context  # type: ignore[attr-defined]
    service.portal.call(  # type: ignore[union-attr]
        context.store.put_run, "r", context.pipeline.default_plan.difficulty, json.dumps(stored)
    )
    group = {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 8}, {"correct": False, "tokens": 4}]}
    answer = service.post("/v1/shape", json={"run": "r", "step": 0, "groups": [group]})
    again = service.post("/v1/shape", json={"run": "r", "step": 0, "groups": [group]})
    single = service.post("/v1/rollouts", json={**rollout(0), "group_size": 1})
    if accepted:
        assert (answer.status_code, again.status_code, single.status_code) == (200, 200, 200)
        assert again.json()["groups"][0] == {**answer.json()["groups"][0], "replayed": True}
    else:
        for refused in (answer, again, single):
            problem(refused, 503, "newer-configuration")
        assert service.get("/v1/runs/r").json()["kind"] is None
    # A newer replica finds its own configuration.
    assert service.get("/v1/runs/r").json()["config"] == stored


def test_a_recorded_verdict_of_a_newer_replica() -> None:
    row = [True, "correct", "42", "string", "equal", 0.5]
    (verdict,) = unpack_verdicts(zlib.compress(orjson.dumps([[*row, None]])), 1)
    assert (verdict.correct, verdict.cpu_ms) == (True, 0.5)
    with pytest.raises(NewerConfigurationError):
        unpack_verdicts(zlib.compress(orjson.dumps([[*row, None], [*row, 0]])), 2)
