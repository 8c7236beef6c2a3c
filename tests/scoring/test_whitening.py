"""Whitened advantages over HTTP: the whole step in one request, and equal numbers for repeats in any cutting."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

CONFIG: dict[str, Any] = {
    "strategy": {"name": "dler", "limit": 50},
    "advantage": {"scale": "none", "whiten": "batch"},
}


def groups(count: int = 5) -> list[dict[str, Any]]:
    draw = Random(count)
    return [
        {
            "problem_id": f"p{i}",
            "rollouts": [{"correct": draw.random() < 0.6, "tokens": draw.randrange(1, 100)} for _ in range(4)],
        }
        for i in range(count)
    ]


@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_a_repeat_in_any_cutting_has_equal_advantages(store: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db" if store == "sqlite" else store
    with TestClient(create_app(Settings(state_url=url, verifier_workers=1))) as service:
        assert service.put("/v1/runs/w", json=CONFIG).status_code == 201
        sent = groups()

        def shape(step: int, part: list[dict[str, Any]]) -> Any:
            return service.post("/v1/shape", json={"run": "w", "step": step, "groups": part})

        first = shape(0, sent).json()["groups"]
        assert all(any(group["advantages"]) for group in first if 0 < group["pass_ratio"] < 1)
        for part in (sent, sent[::-1], sent[:1], sent[2:4]):
            repeated = shape(0, part).json()["groups"]
            by_name = {group["group_id"]: group for group in first}
            assert repeated == [{**by_name[group["group_id"]], "replayed": True} for group in repeated]
        # More groups for a step are refused, and change nothing.
        assert shape(1, sent[:2]).status_code == 200
        for _ in range(2):
            refused = shape(1, sent[2:])
            assert (refused.status_code, refused.json()["type"].rsplit(":", 1)[-1]) == (422, "whole-step-needed")
        assert service.get("/v1/runs/w/history").json()["steps"][-1]["groups"] == 2
        assert shape(1, sent[:2]).status_code == 200
        assert shape(2, sent).status_code == 200
        assert shape(0, sent[1:3]).json()["groups"][0]["advantages"] == first[1]["advantages"]


def test_scores_with_text_keep_verdicts_and_whitening() -> None:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as service:
        service.put("/v1/runs/w", json=CONFIG).raise_for_status()
        rollouts = [{"response": f"\\boxed{{{4 + i % 2}}}", "tokens": 10 + i} for i in range(4)]
        body = {"run": "w", "step": 0, "groups": [{"problem_id": "p", "gold": "4", "rollouts": rollouts}]}
        first, again = (service.post("/v1/score", json=body).json()["groups"][0] for _ in range(2))
        assert again == {**first, "replayed": True}
        assert first["advantages"][0] > 0 > first["advantages"][1]


@pytest.mark.parametrize(
    "config",
    [
        {"strategy": {"name": "deepcompress"}},
        {"strategy": {"name": "hapo"}},
        {"strategy": {"name": "a_dlp"}},
        {"strategy": {"name": "outcome"}, "target": {}},
        {"strategy": {"name": "outcome"}, "gate": {"of": "problem"}},
        {"strategy": {"name": "outcome"}, "guard": {}},
    ],
)
def test_rewards_that_read_the_state_are_refused(config: dict[str, Any]) -> None:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as service:
        answer = service.put("/v1/runs/w", json={**config, "advantage": {"whiten": "batch"}})
        assert answer.status_code == 422
        assert "advantage.whiten" in answer.json()["detail"]


def test_a_request_without_a_step_is_refused() -> None:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as service:
        service.put("/v1/runs/w", json=CONFIG).raise_for_status()
        answer = service.post("/v1/shape", json={"run": "w", "request_id": "a", "groups": groups()})
        assert answer.json()["type"].endswith("missing-step")
