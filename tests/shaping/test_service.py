"""Every strategy through the running service: configured, paid, repeated, refused, and beside another as a shadow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_client import wire
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings
from deepcompress_service.shaping import COMPONENTS, strategies

NAMES = [info.name for info in strategies()]
OUTCOMES = {info.name: info.outcome for info in strategies()}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path: Path = tmp_path_factory.mktemp("state") / "state.sqlite3"
    with TestClient(create_app(Settings(state_url=f"sqlite:///{path}", verifier_workers=1))) as client:
        yield client


def request(run: str, step: int, *, bare: bool = False) -> dict[str, Any]:
    """Two groups with everything that any strategy reads; with `bare`, nothing but what is always there."""
    groups = []
    for problem, rollouts in {"p": [(1, 900), (1, 4000), (0, 5000)], "q": [(0, 700), (1, 9000)]}.items():
        more = {} if bare else {"target_tokens": 2000, "reference_accuracy": 0.5, "reference_tokens": 3000}
        declared = {} if bare else {"thinking": True, "repetitive": False}
        sent = [{"correct": bool(c), "tokens": t + step, **declared} for c, t in rollouts]
        groups.append({"problem_id": problem, "rollouts": sent, **more})
    return {"run": run, "step": step, "groups": groups}


def paid(answer: Any) -> list[Any]:
    return [{k: v for k, v in group.items() if k != "replayed"} for group in answer.json()["groups"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_can_train_under_it(service: TestClient, name: str) -> None:
    created = service.put(f"/v1/runs/{name}", json={"strategy": {"name": name}, "outcome": OUTCOMES[name]})
    assert created.status_code == 201, created.text
    assert created.json()["config"]["strategy"]["name"] == name
    for step in (0, 1):
        first = service.post("/v1/shape", json=request(name, step))
        assert first.status_code == 200, first.text
        again = service.post("/v1/shape", json=request(name, step))
        assert paid(again) == paid(first)
        assert all(group["replayed"] for group in again.json()["groups"])
        for group in first.json()["groups"]:
            parts = group["components"].values()
            assert group["rewards"] == pytest.approx([sum(parts) for parts in zip(*parts, strict=True)])


def test_all_can_be_shadows_of_one_run(service: TestClient) -> None:
    shadows = [{"name": name} for name in NAMES]
    for run, chosen in (("shadows-a", shadows[:16]), ("shadows-b", shadows[16:32]), ("shadows-c", shadows[32:])):
        created = service.put(f"/v1/runs/{run}", json={"shadow": chosen})
        assert created.status_code == 201, created.text
        for step in (0, 1):
            answer = service.post("/v1/shape", json=request(run, step)).json()
            for group in answer["groups"]:
                assert list(group["shadow"]) == [shadow["name"] for shadow in chosen]


@pytest.mark.parametrize("name", ["hapo", "short_rl", "a_dlp", "deepcompress", "laser_d", "diet"])
def test_a_shadow_pays_what_its_own_run_pays(service: TestClient, name: str) -> None:
    alone, beside = f"alone-{name}", f"beside-{name}"
    service.put(f"/v1/runs/{alone}", json={"strategy": {"name": name}, "outcome": OUTCOMES[name]})
    service.put(f"/v1/runs/{beside}", json={"strategy": {"name": "outcome"}, "shadow": [{"name": name}]})
    for step in (0, 1, 2):
        own = service.post("/v1/shape", json=request(alone, step)).json()["groups"]
        other = service.post("/v1/shape", json=request(beside, step)).json()["groups"]
        assert [g["shadow"][name]["rewards"] for g in other] == [g["rewards"] for g in own]


@pytest.mark.parametrize("name", [i.name for i in strategies() if set(i.request_fields) - {"tokens", "step"}])
def test_a_request_that_lacks_its_fields_is_refused_and_counts_nowhere(service: TestClient, name: str) -> None:
    run = f"bare-{name}"
    service.put(f"/v1/runs/{run}", json={"strategy": {"name": name}, "outcome": OUTCOMES[name]})
    answer = service.post("/v1/shape", json=request(run, 0, bare=True))
    assert answer.status_code == 422
    assert "send " in answer.json()["detail"]
    assert service.get(f"/v1/runs/{run}").json()["kind"] is None
    assert service.post("/v1/shape", json=request(run, 0)).status_code == 200


def test_they_are_listed(service: TestClient) -> None:
    listed = service.get("/v1/strategies").json()["strategies"]
    assert [one["name"] for one in listed] == NAMES
    assert {"needs", "parameters", "source", "certainty", "level", "length_range"} <= set(listed[0])


def test_the_wire_has_the_components_of_shaping() -> None:
    assert wire.REWARD_COMPONENTS == COMPONENTS
    assert set(COMPONENTS) <= set(wire.RolloutAnswer.__annotations__)
