"""Upgrades: runs that an older version began go on with the same rewards, and repeats of their groups are replays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from ..difficulty.servers import RedisServer, needs_redis
from . import recorded


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
    """Today's service on the recorded state of commit 6112358."""
    server = RedisServer(tmp_path / "redis") if request.param == "redis" else None
    if server is None:
        url = recorded.restore_sqlite(tmp_path)
    else:
        server.start()
        url = server.url
        with server.client() as client:
            recorded.restore_redis(client)
    settings = Settings(state_url=url, verifier_workers=1, rollout_wait_seconds=recorded.WAIT_SECONDS)
    try:
        with TestClient(create_app(settings), raise_server_exceptions=False) as service:
            yield service
    finally:
        if server is not None:
            server.kill()


def test_runs_of_an_older_version_go_on(upgraded: TestClient) -> None:
    runs = {row["run"]: row["config"] for row in upgraded.get("/v1/runs").json()["runs"]}
    replayed = 0
    for line in recorded.answers():
        where = (line["method"], line["path"], line["body"])
        sent = upgraded.request(line["method"], line["path"], json=line["body"])
        assert sent.status_code == line["status"], (where, sent.text)
        run = (line["body"] or {}).get("run")
        weight = runs.get(run, {}).get("length_weight", 1.0)
        answer = recorded.as_answered_then(sent.json(), weight)
        line["answer"].pop("warnings", None)  # once per process then, in every answer now
        if run == "s-diet":
            # Its advantages left out length_weight and the overlong term then.
            for group in (*answer.get("groups", []), *line["answer"].get("groups", [])):
                group.pop("advantages", None)
        assert recorded.text(answer) == recorded.text(line["answer"]), where
        replayed += sum(group["replayed"] for group in answer.get("groups", []))
    assert replayed > 100


def test_steps_of_an_older_version_have_no_figures_by_data_source(upgraded: TestClient) -> None:
    for row in upgraded.get("/v1/runs").json()["runs"]:
        assert upgraded.get(f"/v1/runs/{row['run']}/data-sources").json()["steps"] == [], row["run"]
    (step,) = upgraded.get("/v1/runs/shadows/history?limit=1").json()["steps"]
    rollouts = [{"correct": k < 1, "tokens": 10 + k} for k in range(4)]
    groups = [{"problem_id": "new", "data_source": "gsm8k", "rollouts": rollouts}]
    body = {"run": "shadows", "step": step["step"] + 1, "groups": groups}
    sent = upgraded.post("/v1/shape", json=body)
    assert sent.status_code == 200, sent.text
    (split,) = upgraded.get("/v1/runs/shadows/data-sources").json()["steps"]
    assert (split["step"], split["data_sources"]["gsm8k"]["correct"]) == (step["step"] + 1, 1)


def test_a_stored_configuration_sent_again_is_no_conflict(upgraded: TestClient) -> None:
    runs = upgraded.get("/v1/runs").json()["runs"]
    assert len(runs) > 30
    for row in runs:
        answer = upgraded.put(f"/v1/runs/{row['run']}", json=row["config"])
        incarnation = answer.json()["incarnation"]
        assert len(incarnation) == 16, "drawn by the first write"
        expected = {**row, "created": False, "incarnation": incarnation}
        assert (answer.status_code, answer.json()) == (200, expected), row["run"]


def test_an_export_of_an_older_version_is_imported(upgraded: TestClient) -> None:
    (shape,) = [
        line
        for line in recorded.answers()
        if (line["body"] or {}).get("run") == "shadows" and line["body"].get("step") == 3
    ]
    imported = upgraded.put("/v1/runs/copy/import", content=recorded.read("export.ndjson"))
    assert imported.status_code == 200, imported.text
    weight = imported.json()["config"]["length_weight"]
    sent = upgraded.post("/v1/shape", json={**shape["body"], "run": "copy"})
    answer = recorded.as_answered_then(sent.json(), weight)
    changed = {"run": "copy", "epoch": imported.json()["epoch"], "warnings": answer["warnings"]}
    assert recorded.text(answer) == recorded.text(shape["answer"] | changed)
