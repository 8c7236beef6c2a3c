"""The whole service, killed at random moments while four workers send shards to it over HTTP.

    DEEPCOMPRESS_KILLS=200 pytest tests/difficulty/test_service_killed.py

Every shard is sent again until it is acknowledged; afterwards the service's history is, to the bit, that of the
reference model, which counted every group once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from deepcompress_service.curriculum import resolve
from deepcompress_service.difficulty.bins import RATIOS
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.samples import SampleRequest

from ..ports import free_port
from ..waiting import eventually
from .driving import group
from .reference_model import ReferenceModel
from .servers import REDIS_SERVER, RedisServer

KILLS = int(os.environ.get("DEEPCOMPRESS_KILLS", "4"))
SERVE = "from deepcompress_service.cli.entry import main; main()"


class Service:
    def __init__(self, state_url: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-c", SERVE, "serve", "--port", str(self.port), "--state-url", state_url]
        self._log = folder / "service.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--verifier-workers", "1"], stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._is_ready, self._last_lines, 600)

    def _is_ready(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._last_lines()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def _last_lines(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


SOURCES = ("gsm8k", "aime", None)


def shard_of(rng: random.Random, step: int, worker: int) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": f"p{rng.randrange(40)}",
            "group_id": f"{step}-{worker}-{i}",
            "data_source": SOURCES[(step + i) % 3],
            "rollouts": [{"correct": rng.random() < 0.5, "tokens": rng.randrange(4000)} for _ in range(4)],
        }
        for i in range(3)
    ]


DATASET = [DatasetProblem(f"p{i}", f"source {i % 3}", i / 60 if i % 5 else None) for i in range(60)]
POLICY = {"name": "signal", "group_size": 4, "floor": 0.05}
WEIGHTS = resolve(POLICY).weights(RATIOS)


def until_acknowledged(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer of a request, which is sent again after a 503 or without an answer."""
    while True:
        try:
            answer = call()
        except httpx.HTTPError:
            time.sleep(0.05)
            continue
        if answer.status_code == 503:
            time.sleep(0.05)
            continue
        assert answer.status_code in (200, 201), answer.text
        return answer


def register(client: httpx.Client) -> None:
    until_acknowledged(lambda: client.put("/v1/runs/r", json={}))
    rows = [{"problem_id": p.problem_id, "data_source": p.data_source, "pass_ratio": p.pass_ratio} for p in DATASET]
    content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    until_acknowledged(lambda: client.put("/v1/runs/r/dataset", content=content))


def sampled(client: httpx.Client, step: int) -> list[str]:
    body = {"step": step, "n": 20, "policy": POLICY}
    answer = until_acknowledged(lambda: client.post("/v1/runs/r/sample", json=body))
    return [row["problem_id"] for row in answer.json()["problems"]]


def send(client: httpx.Client, step: int, groups: list[dict[str, Any]], lost: list[int]) -> None:
    """Until it is acknowledged."""
    body = {"run": "r", "step": step, "groups": groups}
    told = until_acknowledged(lambda: client.post("/v1/shape", json=body)).json()["groups"]
    assert not any(one["stale"] for one in told)
    lost.append(sum(one["replayed"] for one in told))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_service_killed_at_random_moments(store: str, tmp_path: Path) -> None:
    redis = None
    state_url = f"sqlite:///{tmp_path}/state.sqlite3"
    if store == "redis":
        if REDIS_SERVER is None:
            pytest.skip("needs redis-server (Debian: apt install redis-server)")
        redis = RedisServer(tmp_path / "redis")
        redis.start()
        state_url = redis.url
    service = Service(state_url, tmp_path)
    service.start()
    rng, model, config = random.Random(0), ReferenceModel(), DifficultyConfig()
    over, lost = threading.Event(), []  # type: ignore[var-annotated]

    def kill_again_and_again() -> None:
        moments = random.Random(1)
        try:
            for _ in range(KILLS):
                time.sleep(moments.uniform(0.02, 1.0))
                service.kill()
                service.start()
        finally:
            over.set()

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    step = 0
    try:
        with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(4) as workers:
            register(client)
            model.put_run("r", config, "{}")
            exported = until_acknowledged(lambda: client.get("/v1/runs/r/export")).text.splitlines()[0]
            seed = bytes.fromhex(orjson.loads(exported)["dataset"]["seed"])
            model.put_dataset("r", DATASET, seed)
            while not over.is_set():
                one, other = workers.map(lambda _, step=step: sampled(client, step), range(2))  # type: ignore[misc]
                drawn = model.sample(SampleRequest("r", step, 20, WEIGHTS, "signal"))
                assert one == other == [name for name, _ in drawn.problems]
                shards = [shard_of(rng, step, worker) for worker in range(4)]
                list(workers.map(lambda shard, step=step: send(client, step, shard, lost), shards))  # type: ignore[misc]
                counted = [
                    group(
                        g["problem_id"],
                        sum(r["correct"] for r in g["rollouts"]),
                        group_id=g["group_id"],
                        data_source=g["data_source"],
                    )
                    for shard in shards
                    for g in shard
                ]
                model.commit(Commit("r", tuple(counted), step=step, config=config))
                step += 1
            history = until_acknowledged(lambda: client.get("/v1/runs/r/history")).json()["steps"]
            split = until_acknowledged(lambda: client.get("/v1/runs/r/data-sources")).json()["steps"]
            page = until_acknowledged(lambda: client.get("/v1/runs/r/problems?limit=1000")).json()["problems"]
        expected = model.history("r")
        fields = ("step", "level", "batch_pass_ratio", "groups", "rollouts", "correct", "simple", "hard")
        assert [[row[f] for f in fields] for row in history] == [[getattr(s, f) for f in fields] for s in expected]
        counts = {row["step"]: {name: one["groups"] for name, one in row["data_sources"].items()} for row in split}
        expected_split = model.source_history("r").items()
        assert counts == {number: {name: one.groups for name, one in sums.items()} for number, sums in expected_split}
        told = {p["problem_id"]: (p["attempts"], p["passes"], p["pass_ratio"], p["last_beta"]) for p in page}
        assert told == {p.problem_id: (p.attempts, p.passes, p.pass_ratio, p.last_beta) for p in model.problems("r")}
        print(f"{store}: {KILLS} kills, {step} steps, {len(lost)} shards, {sum(map(bool, lost))} answers lost")
    finally:
        over.set()
        killer.join()
        service.kill()
        if redis is not None:
            redis.kill()
