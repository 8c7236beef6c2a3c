"""A real service for the trainer's tests, and a small untrained policy. Without the [trainer] extra none of these
tests is collected.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

MISSING = [name for name in ("torch", "transformers", "accelerate") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []

if not MISSING:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on a free port; tests use run names of their own."""
    from deepcompress_client._embedded import embedded_service

    with embedded_service(tmp_path_factory.mktemp("service")) as url:
        yield url


@pytest.fixture(scope="session")
def untrained() -> Any:
    from deepcompress_trainer.model import new_tiny_policy

    return new_tiny_policy(width=32, layers=1, seed=1)
