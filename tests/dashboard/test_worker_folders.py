"""The folders that worker processes share, and what must not be written into the operator's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepcompress_service.observability.worker_folders import (
    COUNTER_BYTES,
    COUNTER_FILES,
    METRICS_VARIABLE,
    metrics_folder,
    remove_leftovers,
    shared_folders,
)


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


def _age(folder: Path) -> None:
    os.utime(folder, (1e9, 1e9))


def test_folders_of_killed_processes_are_removed_and_those_of_running_ones_stay(
    tmp_path: Path,
) -> None:
    program = (
        "from deepcompress_service.observability.worker_folders import own_folder\n"
        "import time\n"
        "with own_folder() as folder:\n"
        "    (folder / 'file').write_text('x')\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    processes, folders = [], []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
        processes.append(process)
    foreign = tmp_path / "deepcompress-without-a-lock"
    foreign.mkdir()
    link = tmp_path / "deepcompress-link"
    link.symlink_to(folders[1])
    try:
        processes[0].kill()
        processes[0].wait()
        assert folders[0].is_dir()
        assert remove_leftovers(tmp_path) == []  # too young
        for folder in (*folders, foreign):
            _age(folder)
        assert remove_leftovers(tmp_path) == [folders[0]]
        assert not folders[0].exists()
        assert folders[1].is_dir() and foreign.is_dir() and link.is_symlink()
    finally:
        processes[1].kill()
        processes[1].wait()


def test_counters_are_allocated_and_not_sparse(tmp_path: Path) -> None:
    """On a full file system, a sparse page that is mapped ends the process that touches it."""
    program = (
        "from deepcompress_service.observability import metrics\n"
        "for number in range(40):\n"
        "    metrics.VERDICTS.labels('correct', metrics.tier_label(f'rule {number}')).inc()\n"
        "    for route in range(40):\n"
        "        metrics.REQUESTS.labels(f'/v1/route/{route}', str(200 + number % 10)).inc()\n"
        "for route in range(40):\n"
        "    metrics.REQUEST_SECONDS.labels(f'/v1/route/{route}').observe(1)\n"
        "    metrics.STORE_SECONDS.labels(f'operation {route}').observe(1)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, METRICS_VARIABLE: str(tmp_path)})
    files = list(tmp_path.glob("*.db"))
    assert {file.name.rpartition("_")[0] for file in files} == set(COUNTER_FILES)
    for file in files:
        status = file.stat()
        assert status.st_size == COUNTER_BYTES
        assert status.st_blocks * 512 >= COUNTER_BYTES


def test_no_room_for_the_counters_is_an_error_at_start(tmp_path: Path) -> None:
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "import deepcompress_service.observability.metrics\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, METRICS_VARIABLE: str(tmp_path)},
    )
    assert ended.returncode == 1
    assert "OSError" in ended.stderr
