"""The tables of a server process are bounded: names that are never seen again leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from cachetools import LRUCache
from fastapi.testclient import TestClient

from deepcompress_service.activity import recent
from deepcompress_service.app import create_app
from deepcompress_service.dashboard import board, routes
from deepcompress_service.difficulty.stores import redis
from deepcompress_service.difficulty.stores.redis import RedisStore
from deepcompress_service.scoring import pipeline, plan, warnings
from deepcompress_service.scoring.warnings import FirstRollouts
from deepcompress_service.settings import Settings

SMALL = (
    (warnings, "KNOWN_RUNS", 20),
    (warnings, "KNOWN_COURSES", 10),
    (recent, "MAX_RUNS", 10),
    (board, "MAX_BOARDS", 5),
    (board, "MAX_SPARKS", 30),
    (routes, "MAX_VIEWERS", 20),
    (pipeline, "CACHED_PLANS_BYTES", 1 << 18),
)
"""Every bound of a table with an entry for each run, small enough to be reached."""


@pytest.fixture
def small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(plan, "_read_plans", LRUCache(1 << 18, lambda read: plan.plan_bytes(read[2])))
    settings = Settings(state_url=f"sqlite:///{tmp_path / 'state.sqlite3'}", verifier_workers=1, log_level="error")
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def visit(client: TestClient, number: int) -> None:
    """Send requests of every kind with names that no other visit has."""
    run, name = f"run-{number}", f"name-{number}"
    rollouts = [{"response": f"\\boxed{{{number}}}", "tokens": 10 + place} for place in range(2)]
    group = {"problem_id": name, "group_id": name, "gold": str(number), "data_source": name, "rollouts": rollouts}
    config = {"strategy": {"name": "deepcompress", "alpha": 0.1 + number / 1e6}, "checkers": {name: "number"}}

    def send(method: str, path: str, body: Any = None, status: int = 200) -> None:
        answer = client.request(method, path, json=body, headers={"x-request-id": name, "user-agent": name})
        assert answer.status_code == status, answer.text

    send("PUT", f"/v1/runs/{run}", config, 201)
    send("POST", "/v1/score", {"run": run, "step": 1, "groups": [group]})
    send("POST", "/v1/score", {"run": run, "step": 2, "groups": [group]})
    send("POST", "/v1/verify", {"items": [{"gold": name, "response": name, "checker": "text"}]})
    rollout = {"run": run, "step": 3, "problem_id": name, "group_size": 1, "rollout_index": 0, "gold": "1"}
    send("POST", "/v1/rollouts", {**rollout, "response": "\\boxed{1}", "tokens": 5})
    for path in ("", "/history", "/problems", f"/problems/{name}", "/data-sources", "/checkpoints", "/export"):
        send("GET", f"/v1/runs/{run}{path}")
    send("GET", f"/dashboard/runs/{run}/problem?problem={name}")
    send("POST", f"/v1/runs/{run}/checkpoints/{name}", {"step": 2}, 201)
    send("GET", "/metrics")
    # Errors name what was sent.
    send("GET", f"/v1/runs/{name}", None, 404)
    send("GET", f"/{name}", None, 404)
    send("GET", f"/dashboard/static/{name}.js", None, 404)
    send("PUT", f"/v1/runs/{name}", {"strategy": {"name": name}}, 422)
    send("POST", "/v1/score", {"run": run, "step": 4, name: 1, "groups": []}, 422)
    send("DELETE", f"/v1/runs/{run}")


def sizes() -> dict[int, tuple[int, Collection[object]]]:
    """Return the size of every container of the process, and the container, by its id.

    Lists of timers and of weak references are left out: the event loop and the interpreter clear them by the hundred.
    """
    gc.collect()
    found = (one for one in gc.get_objects() if issubclass(type(one), (dict, set, list, deque)))
    return {
        id(one): (len(one), one)
        for one in found
        if not (isinstance(one, list) and one and isinstance(one[-1], (ref, asyncio.TimerHandle)))
    }


def test_names_that_are_seen_once_leave_nothing(small_tables: TestClient) -> None:
    """No container of the process has an entry more for each visit."""
    gc.unfreeze()
    visits = 30
    for number in range(visits):  # until the tables are full
        visit(small_tables, number)
    before = sizes()
    for number in range(visits, 2 * visits):
        visit(small_tables, number)
    grown = [
        f"{type(one).__name__} of {size} entries, {size - before[key][0]} more: {repr(list(one)[-3:])[:300]}"
        for key, (size, one) in sizes().items()
        if key in before and size - before[key][0] >= visits // 2
    ]
    assert not grown, "\n".join(grown)


def test_first_rollouts_are_of_few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "KNOWN_RUNS", 20)
    first = FirstRollouts()
    for number in range(100):
        first.warning(f"r{number}", 0, [[False]])
    assert len(first._counts) == 20


def test_known_names_of_runs_in_redis_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "MAX_REGISTERED", 20)
    sent = []

    async def scenario() -> None:
        store = RedisStore("redis://127.0.0.1:1/0")

        async def command(*arguments: object, **_: object) -> None:
            sent.append(arguments[-1])

        monkeypatch.setattr(store._link, "command", command)
        for number in range(90):
            await store._register(f"r{number}")
            await store._register(f"r{number}")
            assert len(store._registered) <= 20

    asyncio.run(scenario())
    assert sent == [f"r{number}" for number in range(90)]
