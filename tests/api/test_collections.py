"""Garbage collections are rare; full ones wait for large requests, and are made as usual afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.admission.collections import THRESHOLDS, FullCollections
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings


@pytest.fixture(autouse=True)
def _threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_full_collections_wait_for_large_requests_to_end_and_the_young_ones_do_not() -> None:
    collections = FullCollections()
    collections.begin()
    assert gc.get_threshold() == (700, 10, 700)
    collections.begin()
    collections.end()
    assert gc.get_threshold() == (700, 10, 700)
    collections.end()
    assert gc.get_threshold() == (700, 10, 10)


def test_a_full_collection_that_is_due_is_made_by_python_after_the_last_one() -> None:
    collections = FullCollections()
    gc.collect()
    full = gc.get_stats()[2]["collections"]
    collections.begin()
    kept: list[list[object]] = [[] for _ in range(20 * 11 * 700)]
    assert gc.get_count()[2] > 10
    assert gc.get_stats()[2]["collections"] == full
    collections.end()
    kept += [[] for _ in range(20 * 11 * 700)]
    assert gc.get_stats()[2]["collections"] > full
    assert len(kept) == 40 * 11 * 700


def test_the_objects_of_a_request_form_no_cycles_and_wait_for_no_collection() -> None:
    groups = [{"problem_id": f"p{g}", "gold": "7"} for g in range(16)]
    for group in groups:
        group["rollouts"] = [{"response": f"It is \\boxed{{{k}}}.", "tokens": 9 + k} for k in range(8)]  # type: ignore[assignment]
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as client:
        assert gc.get_threshold() == THRESHOLDS
        for step in range(4):
            if step == 3:
                gc.collect()
                gc.disable()
            try:
                client.post("/v1/score", json={"run": "cycles", "step": step, "groups": groups}).raise_for_status()
                cyclic = gc.collect()
            finally:
                gc.enable()
        assert cyclic < 16 * 8  # less than one object for each rollout
