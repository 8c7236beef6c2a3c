"""``deepcompress serve``: starts, answers, and ends by SIGTERM without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepcompress_client import Client, Retry

from ..ports import free_port

START_S = 180.0
"""Longest time in seconds for a service to start on a loaded machine."""


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "deepcompress_service", "serve", "--port", str(port), *options],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_and_ends_when_asked(tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, "--workers", workers) as (process, url):
        with Client(url, retry=Retry(max_elapsed_s=START_S)) as client:
            run = client.run("r")
            group = {"problem_id": "p", "gold": "7", "rollouts": [{"response": "\\boxed{7}", "tokens": 3}]}
            assert run.score(step=0, groups=[group]).groups[0].correct == [True]
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) in (0, -signal.SIGTERM)
    assert (tmp_path / "deepcompress.sqlite3").exists()


SLOW_START = """
import sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    time.sleep(7)
"""
"""A sitecustomize module: each worker process waits before it imports anything, as on a busy machine."""


@pytest.mark.slow
def test_workers_that_start_slowly_are_not_ended(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_START)
    with serving(tmp_path, "--workers", "2", PYTHONPATH=str(tmp_path)) as (process, url):
        with Client(url, retry=Retry(max_elapsed_s=START_S)) as client:
            client.run("r")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=START_S)
    assert b"died" not in output


def test_state_survives_a_restart(tmp_path: Path) -> None:
    group = {"problem_id": "p", "gold": "7", "rollouts": [{"response": "\\boxed{7}", "tokens": 3}]}
    answers = []
    for _ in range(2):
        with serving(tmp_path) as (_, url), Client(url, retry=Retry(max_elapsed_s=START_S)) as client:
            answers.append(client.score(run="r", step=0, groups=[group]))
    first, second = (answer.groups[0] for answer in answers)
    assert second.replayed
    assert first.rewards == second.rewards


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"DEEPCOMPRESS_PORT": "eleven"}, b"DEEPCOMPRESS_PORT"),
        ({"DEEPCOMPRESS_STATE_URL": "memory://", "DEEPCOMPRESS_WORKERS": "2"}, b"DEEPCOMPRESS_STATE_URL"),
        ({"DEEPCOMPRESS_DRAIN_DELAY": "5"}, b"DEEPCOMPRESS_DRAIN_SECONDS"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, environment: dict[str, str], complaint: bytes) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "deepcompress_service", "serve"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=START_S,
    )
    assert found.returncode == 2
    assert complaint in found.stderr


def test_options_reach_every_worker_and_not_the_environment(tmp_path: Path) -> None:
    store = tmp_path / "of-the-option.sqlite3"
    options = ("--workers", "2", "--state-url", f"sqlite:///{store}", "--verifier-workers", "1")
    with serving(tmp_path, *options, DEEPCOMPRESS_STATE_URL="redis://127.0.0.1:1") as (process, url):
        with Client(url, retry=Retry(max_elapsed_s=START_S)) as client:
            for run in ("a", "b", "c", "d"):
                client.run(run).info()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        environments = [Path(f"/proc/{child}/environ").read_bytes() for child in children]
    assert len(environments) >= 2
    assert not any(
        b"ACTIVITY_FOLDER" in environment or store.name.encode() in environment for environment in environments
    )
    assert store.exists()
