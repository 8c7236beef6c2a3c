"""One live service for a whole module of tests; tests use run names of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import live


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Service]:
    with live.serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    """A run name of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:120]
