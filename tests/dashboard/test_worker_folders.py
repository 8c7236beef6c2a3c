"""The folders that worker processes share, and what must not be written into the operator's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepcompress_service.observability.worker_folders import activity_folder, metrics_folder, prepare


def test_an_operators_prometheus_folder_gets_counters_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert activity_folder() is None
    with prepare():
        assert metrics_folder() == tmp_path
        activity = activity_folder()
        assert activity is not None and activity.is_dir()
        assert tmp_path != activity and tmp_path not in activity.parents
    assert activity_folder() is None
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(tmp_path)
    assert not activity.exists()


def test_workers_get_two_folders_that_are_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with prepare():
        folders = metrics_folder(), activity_folder()
        assert all(folder is not None and folder.is_dir() for folder in folders)
        assert folders[0] != folders[1]
    assert metrics_folder() is None
    assert activity_folder() is None
    assert not any(folder is not None and folder.exists() for folder in folders)
