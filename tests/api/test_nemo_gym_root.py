"""The setting `nemo_gym`: NeMo Gym's paths at the root of the address, without a proxy in front."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings, explain


def row(answer: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"\\boxed{{{answer}}}"}]
    return {"expected_answer": "42", "response": {"output": [{"type": "message", "content": content}]}}


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path: Path = tmp_path_factory.mktemp("state") / "state.sqlite3"
    settings = Settings(state_url=f"sqlite:///{path}", verifier_workers=1, nemo_gym="outcome_range=pm1")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def test_the_paths_answer_at_the_root(rooted: TestClient) -> None:
    assert rooted.post("/verify", json=row("41")).json()["reward"] == -1.0, "the query of the setting applies"
    assert rooted.post("/verify?outcome_range=0_1", json=row("41")).json()["reward"] == -1.0, "and holds"
    assert rooted.post("/verify?gold=other", json=row("42")).status_code == 422, "others may be given"
    assert rooted.post("/compat/nemo_gym/verify", json=row("41")).json()["reward"] == 0.0
    assert rooted.post("/seed_session", json={}).json() == {}
    assert rooted.post("/close_session", json={}).json() == {}
    assert rooted.get("/reverify_mode").json() == {"reverify_mode": "stateless"}
    answers = [rooted.post("/verify", json=row("42")).json()]
    assert rooted.post("/aggregate_metrics", json={"verify_responses": answers}).status_code == 200
    assert rooted.post("/v1/verify", json={"items": [{"gold": "1", "response": "\\boxed{1}"}]}).status_code == 200


def test_without_the_setting_there_is_nothing_at_the_root(service: TestClient) -> None:
    assert service.post("/verify", json=row("42")).status_code == 404


@pytest.mark.parametrize("query", ["run=r", "cohort=4", "rn=r&cohort=4", "gold=a&gold=b", "gold"])
def test_a_query_that_cannot_be_meant_ends_the_start(query: str) -> None:
    with pytest.raises(ValueError, match="nemo_gym"):
        Settings(nemo_gym=query)


@pytest.mark.parametrize(
    "value",
    [
        *("run=r&cohort=abc", "run=r&cohort=0", "run=r&cohort=", "run=a/b&cohort=4"),
        "run=r&cohort=4&groups_per_step=x",
        *("timeout_s=nan", "timeout_s=0", "outcome_range=0", "answer_format=box", "gold=" + "x" * 129),
    ],
)
def test_a_value_that_the_route_refuses_ends_the_start_with_its_name(rooted: TestClient, value: str) -> None:
    """Otherwise every call of /verify would be a 422."""
    assert rooted.post(f"/compat/nemo_gym/verify?{value}", json=row("42")).status_code == 422
    name = value.rpartition("&")[2].partition("=")[0] if "/" not in value else "run"
    with pytest.raises(ValidationError) as refused:
        Settings(nemo_gym=value)
    assert f"DEEPCOMPRESS_NEMO_GYM: {name}: " in explain(refused.value)


def test_the_setting_takes_the_parameters_of_the_route(rooted: TestClient) -> None:
    route = rooted.get("/openapi.json").json()["paths"]["/compat/nemo_gym/verify"]["post"]
    names = sorted(one["name"] for one in route["parameters"])
    with pytest.raises(ValueError, match=f"out of: {', '.join(names)} "):
        Settings(nemo_gym="rn=r")
