"""A full verifier is a 503 with Retry-After, and nothing is half done."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from deepcompress_verify import PoolBusyError, PoolClosedError

from .test_endpoints import problem


@pytest.mark.parametrize(("error", "slug"), [(PoolBusyError(), "overloaded"), (PoolClosedError(), "stopping")])
def test_a_verifier_that_refuses_is_a_503(
    service: TestClient, run: str, monkeypatch: pytest.MonkeyPatch, error: Exception, slug: str
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service.app.state.context.pipeline.verifier, "verify_many", refuse)  # type: ignore[attr-defined]
    group = {"problem_id": "p", "gold": "1", "rollouts": [{"response": "\\boxed{1}", "tokens": 3}]}
    answer = service.post("/v1/score", json={"run": run[:100], "step": 1, "groups": [group]})
    problem(answer, 503, slug)
    assert int(answer.headers["retry-after"]) >= 1
    problem(service.get(f"/v1/runs/{run[:100]}"), 404, "unknown-run")
