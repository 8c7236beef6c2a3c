"""The number of runs in a store is bounded: a new one beyond it is refused, and nothing that exists is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from .conftest import shape_body
from .test_endpoints import problem

MIXED = ("p", [True, False], [10, 20])


@pytest.fixture
def two_runs() -> Iterator[TestClient]:
    """A service that allows two runs, and has them: `put` and `trained`."""
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1, max_runs=2))) as client:
        client.put("/v1/runs/put", json={}).raise_for_status()
        client.post("/v1/shape", json=shape_body("trained", 0, MIXED)).raise_for_status()
        yield client


def test_no_request_creates_a_run_too_many(two_runs: TestClient) -> None:
    export = two_runs.get("/v1/runs/trained/export").content
    rollout = {"run": "new", "step": 0, "problem_id": "p", "group_size": 1, "rollout_index": 0, "gold": "1"}
    for answer in (
        two_runs.put("/v1/runs/new", json={}),
        two_runs.post("/v1/shape", json=shape_body("new", 0, MIXED)),
        two_runs.post("/v1/rollouts", json={**rollout, "response": "\\boxed{1}", "tokens": 3}),
        two_runs.put("/v1/runs/new/import", content=export),
    ):
        found = problem(answer, 403, "too-many-runs")
        assert found["max_runs"] == 2
    assert [row["run"] for row in two_runs.get("/v1/runs").json()["runs"]] == ["put", "trained"]


def test_what_exists_goes_on(two_runs: TestClient) -> None:
    export = two_runs.get("/v1/runs/trained/export").content
    assert two_runs.put("/v1/runs/put", json={}).status_code == 200
    for run in ("put", "trained"):
        two_runs.post("/v1/shape", json=shape_body(run, 1, MIXED)).raise_for_status()
    two_runs.put("/v1/runs/trained/import", content=export).raise_for_status()
    two_runs.post("/v1/shape", json=shape_body("other", 0, MIXED, phase="eval")).raise_for_status()


def test_a_deleted_run_leaves_room(two_runs: TestClient) -> None:
    two_runs.delete("/v1/runs/put").raise_for_status()
    two_runs.put("/v1/runs/new", json={}).raise_for_status()
    problem(two_runs.put("/v1/runs/put", json={}), 403, "too-many-runs")


def test_a_lost_run_is_an_error_of_its_own(two_runs: TestClient) -> None:
    two_runs.delete("/v1/runs/put").raise_for_status()
    two_runs.put("/v1/runs/new", json={}).raise_for_status()
    answer = two_runs.post("/v1/shape", json=shape_body("put", 0, MIXED, epoch=1, incarnation="0" * 16))
    problem(answer, 409, "run-lost")
