"""TRL's asynchronous trainer itself: its loop, queue, scoring process, HTTP client and weight transfer, on the CPU.

Scripted are vLLM (its server samples from the tiny model with the weights that it gets, which go over TCP in place of
NCCL) and the FlashAttention kernel. What the trainer got is held against a reference computation.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from deepcompress_client import Client
from deepcompress_client.integrations._versions import parse

from ..ports import free_port
from ..waiting import eventually
from . import live, reference
from .pages import ROOT

trl = pytest.importorskip("trl", reason="needs TRL: python tests/integrations/run_real.py trl")
if parse(trl.__version__) < (1, 16):
    pytest.skip("needs TRL 1.16 or later, as scripted_vllm.py has its parts", allow_module_level=True)

pytestmark = pytest.mark.timeout(1200)

SCRIPT = Path(__file__).with_name("trl_async_training.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
STEPS, SAVED, GROUPS = 24, 8, 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Service]:
    folder = tmp_path_factory.mktemp("trl-async")
    with live.redis(folder / "redis") as state_url, live.serving(folder / "service", state_url) as running:
        yield running


@contextmanager
def vllm() -> Iterator[str]:
    """A scripted vLLM in a process of its own; its URL."""
    port = free_port()
    command = [sys.executable, "-m", "tests.integrations.scripted_vllm", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT)
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert process.poll() is None
        try:
            return bool(counts(url, "/health") == {})
        except OSError:
            return False

    try:
        eventually(healthy, "the scripted vLLM did not come up", 300)
        yield url
    finally:
        process.kill()
        process.wait()


def counts(url: str, path: str = "/counts") -> dict[str, Any]:
    with urlopen(url + path, timeout=10) as answer:
        return dict(json.load(answer))


def start(
    folder: Path, service: str, server: str, run: str, *options: str, name: str = "out", processes: int = 1
) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        launch += ["--master-port", str(free_port())]
    given = ["--out", str(folder / name), "--url", service, "--vllm", server, "--name", run, *options]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*launch, str(SCRIPT), *given], env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )


def finish(process: subprocess.Popen[bytes], folder: Path, name: str = "out") -> dict[str, Any]:
    """Wait for the training; what it wrote down."""
    try:
        assert process.wait(900) == 0, (folder / f"{name}.log").read_text()[-6000:]
    finally:
        end(process)
    return dict(json.loads((folder / f"{name}.0.json").read_text()))


def end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a training, as the end of its container does."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def calls_of(folder: Path, name: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.calls").read_text().splitlines()]


def check(calls: list[dict[str, Any]], url: str, run: str) -> None:
    """Each group got its reference rewards against the level of the step before, and the history is that of the
    groups, in the order in which the process scored them.
    """
    steps = Client(url).run(run, join=True).history().steps
    level = 1.0
    for number in range(0, len(calls), GROUPS):
        groups = []
        for call in calls[number : number + GROUPS]:
            boxed = [re.findall(r"\\boxed\{(\d)\}", text)[-1:] for text in call["completions"]]
            group = [(found == [gold], n) for found, gold, n in zip(boxed, call["gold"], call["tokens"], strict=True)]
            assert call["rewards"] == pytest.approx(reference.rewards(group, level), abs=1e-9)
            groups.append(group)
        step = steps[number // GROUPS]
        assert (step.step, step.groups, step.stale_groups) == (number // GROUPS, len(groups), 0)
        if len(groups) == GROUPS:
            level = reference.next_level(level, groups)
            assert step.level == pytest.approx(level, abs=1e-12)
    assert sum(step.groups for step in steps) == len(calls)


def test_an_asynchronous_training_gets_its_rewards_over_http(service: live.Service, tmp_path: Path) -> None:
    with vllm() as server:
        result = finish(start(tmp_path, service.url, server, "whole", "--steps", str(STEPS)), tmp_path)
        seen = counts(server)
    calls = calls_of(tmp_path)
    check(calls, service.url, "whole")
    assert result["steps"] == STEPS
    assert len(result["groups"]) >= STEPS * GROUPS
    assert any(call["rewards"][0] != -1.0 for call in calls)

    # TRL's own parts ran: each step's weights reached the server, and its samples are of these weights.
    assert seen["/update_weights"] == seen["/pause"] == seen["/resume"] == 1 + STEPS
    assert seen["weights"] == result["weights"]
    assert seen["/v1/completions"] >= 4 * len(calls)
    logs = [entry for entry in result["logs"] if "ratio" in entry]
    assert len(logs) == STEPS
    assert logs[0]["sample/staleness_max"] == 0
    assert logs[0]["ratio"] == pytest.approx(1.0, abs=1e-4)
    assert any(entry["sample/staleness_max"] > 0 for entry in logs), "it trained on groups of older policies"
    assert {entry["reward"] for entry in logs} != {-1.0}


def test_an_asynchronous_training_of_two_processes(service: live.Service, tmp_path: Path) -> None:
    with vllm() as server:
        result = finish(start(tmp_path, service.url, server, "two", "--steps", "4", processes=2), tmp_path)
    assert result["steps"] == 4
    check(calls_of(tmp_path), service.url, "two")


def test_an_asynchronous_training_is_killed_and_resumed(service: live.Service, tmp_path: Path) -> None:
    """Its scoring process survives it, and goes on: the groups of that process count no longer after the resume."""
    saved = tmp_path / "checkpoints" / f"checkpoint-{SAVED}"
    run = Client(service.url).run
    with vllm() as server:
        first = start(tmp_path, service.url, server, "killed", "--steps", "400", name="first")
        try:
            eventually((saved / "trainer_state.json").exists, "no checkpoint", 600)
            eventually(lambda: len(calls_of(tmp_path, "first")) > GROUPS * (SAVED + 4), "no further steps", 600)
            first.kill()
            first.wait()
            before = run("killed", join=True).info()
            options = ["--steps", str(STEPS), "--resume", str(saved)]
            result = finish(
                start(tmp_path, service.url, server, "killed", *options, name="second"), tmp_path, "second"
            )
            time.sleep(1)
        finally:
            end(first)
    kept = GROUPS * json.loads((saved / "deepcompress.json").read_text())["next_step"]
    assert kept >= GROUPS * (SAVED - 1)
    assert run("killed", join=True).epoch > before.epoch
    check([*calls_of(tmp_path, "first")[:kept], *calls_of(tmp_path, "second")], service.url, "killed")
    assert result["steps"] == STEPS
    names = {one["name"] for one in run("killed", join=True).checkpoints()}
    assert f"step-{kept // GROUPS}" in names
