"""Warnings are in every answer while they hold; the client's log has each kind once per run."""

from __future__ import annotations

import logging

import pytest

from deepcompress_client import _warnings


def test_each_kind_is_logged_once_per_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for step in range(3):
        _warnings.log_warnings("log-a", step, [f"slow-level: {9 - step} steps left", "stale-groups: one"])
    _warnings.log_warnings("log-b", 0, ["slow-level: other run"])
    assert [record.getMessage() for record in caplog.records] == [
        "run 'log-a', step 0: slow-level: 9 steps left",
        "run 'log-a', step 0: stale-groups: one",
        "run 'log-b', step 0: slow-level: other run",
    ]


def test_the_memory_of_kinds_is_bounded() -> None:
    for number in range(_warnings.MAX_REMEMBERED + 10):
        _warnings.log_warnings(f"bounded-{number}", 0, ["slug: text"])
    assert len(_warnings._logged) == _warnings.MAX_REMEMBERED
