"""Full garbage collections wait for large requests, and are made as usual afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from deepcompress_service.admission.collections import FullCollections


@pytest.fixture(autouse=True)
def _threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_full_collections_wait_for_large_requests_to_end_and_the_young_ones_do_not() -> None:
    collections = FullCollections()
    collections.begin()
    assert gc.get_threshold() == (700, 10, 5000)
    collections.begin()
    collections.end()
    assert gc.get_threshold() == (700, 10, 5000)
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
