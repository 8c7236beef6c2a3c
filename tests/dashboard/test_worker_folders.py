"""The folders that worker processes share, and what must not be written into the operator's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepcompress_service.observability.worker_folders import METRICS_VARIABLE, metrics_folder, shared_folders


def test_an_operators_prometheus_folder_gets_counters_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    with shared_folders() as activity:
        assert metrics_folder() == tmp_path
        assert activity.is_dir()
        assert tmp_path != activity and tmp_path not in activity.parents
    assert os.environ[METRICS_VARIABLE] == str(tmp_path)
    assert tmp_path.is_dir() and not activity.exists()


def test_workers_get_two_folders_that_are_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(METRICS_VARIABLE, raising=False)
    with shared_folders() as activity:
        counters = metrics_folder()
        assert counters is not None and counters.is_dir() and activity.is_dir()
        assert counters != activity
    assert metrics_folder() is None
    assert not counters.exists() and not activity.exists()
