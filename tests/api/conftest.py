"""The app in process, on an embedded store, with real verifier workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

Post = Callable[..., Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One app for a module: tests use run names of their own."""
    path: Path = tmp_path_factory.mktemp("state") / "state.sqlite3"
    settings = Settings(state_url=f"sqlite:///{path}", verifier_workers=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    """A run name of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:120]


def shape_body(run: str, step: int | None, *groups: tuple[str, list[bool], list[int]], **more: Any) -> dict[str, Any]:
    """A shape request: groups are (problem_id, correct, tokens)."""
    return {
        "run": run,
        "step": step,
        "groups": [
            {
                "problem_id": problem_id,
                "rollouts": [{"correct": ok, "tokens": n} for ok, n in zip(correct, tokens, strict=True)],
            }
            for problem_id, correct, tokens in groups
        ],
        **more,
    }
