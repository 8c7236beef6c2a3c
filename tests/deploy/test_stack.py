"""The whole stack, started by hand from the deployment's own files: Redis, two replicas, nginx before them.

Both replicas are restarted one after the other while four clients train through the proxy. Nothing is lost,
nothing counts twice, and no client so much as notices.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import Any

import httpx
import pytest

from .conftest import Parts, free_port, program, wait_until

GROUPS = 12
STEPS_AT_LEAST = 12


class Trainer(threading.Thread):
    """Sends its shard of every step of a run and waits for the others before the next. Never sends twice."""

    def __init__(self, address: str, run: str, shard: int, turn: threading.Barrier, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.run_name, self.shard = address, run, shard
        self.turn, self.stop = turn, stop
        self.failures: list[str] = []
        self.sent: dict[int, list[int]] = {}
        """Per step, how many of each group's four rollouts were right."""
        self.replayed = 0

    def run(self) -> None:
        choice = random.Random(f"{self.run_name}/{self.shard}")
        step = 0
        with httpx.Client(base_url=self.address, timeout=60) as client:
            while True:
                # One of the run's shards decides for all whether this was the last step.
                if self.turn.wait(120) == 0 and self.stop.is_set():
                    self.turn.abort()
                try:
                    self.turn.wait(120)
                except threading.BrokenBarrierError:
                    return
                step += 1
                right = [choice.randrange(5) for _ in range(GROUPS)]
                self.sent[step] = right
                answer = client.post("/v1/score", json=self._body(step, right))
                if answer.status_code != 200:
                    self.failures.append(f"step {step}: {answer.status_code} {answer.text[:300]}")
                else:
                    self.replayed += sum(group["replayed"] for group in answer.json()["groups"])

    def _body(self, step: int, right: list[int]) -> dict[str, Any]:
        groups = []
        for number, count in enumerate(right):
            rollouts = [
                {"response": f"\\boxed{{{7 if place < count else 8}}}", "tokens": 100 + place} for place in range(4)
            ]
            groups.append({"problem_id": f"{self.shard}/{number}", "gold": "7", "rollouts": rollouts})
        return {"run": self.run_name, "step": step, "groups": groups}


def levels(shards: list[Trainer]) -> dict[int, float]:
    """The level after each step by the paper's recurrence, over all that the clients sent."""
    level, found = 1.0, {}
    for step in sorted(shards[0].sent):
        passed = [count for shard in shards for count in shard.sent[step]]
        level = 0.99 * level + (1 - 0.99) * (sum(passed) / (4 * len(passed)))
        found[step] = level
    return found


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_rolling_restart_under_load_loses_and_doubles_nothing(parts: Parts) -> None:
    program("nginx")
    state = parts.redis()
    ports = [free_port(), free_port()]
    replicas = [parts.service(port, state, drain_seconds="1.5") for port in ports]
    proxy = parts.nginx(ports)

    stop = threading.Event()
    runs: dict[str, list[Trainer]] = {}
    for run, shards in (("shared", 2), ("own-a", 1), ("own-b", 1)):
        turn = threading.Barrier(shards)
        runs[run] = [Trainer(proxy, run, shard, turn, stop) for shard in range(shards)]
    trainers = [trainer for shards in runs.values() for trainer in shards]
    for trainer in trainers:
        trainer.start()
    wait_until(lambda: all(len(trainer.sent) >= 3 for trainer in trainers), what="load")

    for index, port in enumerate(ports):
        replicas[index].send_signal(signal.SIGTERM)

        def not_ready(port: int = port) -> bool:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 503

        # Readiness drops before the door closes.
        wait_until(not_ready, seconds=5, what="the end of readiness")
        assert replicas[index].wait(40) in (0, -signal.SIGTERM)
        before = [len(trainer.sent) for trainer in trainers]
        wait_until(
            lambda before=before: all(len(t.sent) > n for t, n in zip(trainers, before, strict=True)),  # type: ignore[misc]
            what="progress on the other replica alone",
        )
        parts.service(port, state, drain_seconds="1.5")
    wait_until(lambda: all(len(t.sent) >= STEPS_AT_LEAST for t in trainers), what="enough steps")
    # The restarted replicas take part again.
    for port in ports:
        took = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'deepcompress_requests_total{code="200",route="/v1/score"}' in took
    stop.set()
    for trainer in trainers:
        trainer.join(60)
        assert not trainer.is_alive()

    assert [failure for trainer in trainers for failure in trainer.failures] == []
    for run, shards in runs.items():
        history = httpx.get(f"{proxy}/v1/runs/{run}/history").json()["steps"]
        assert [step["step"] for step in history] == sorted(shards[0].sent)
        expected = levels(shards)
        for step in history:
            right = [count for shard in shards for count in shard.sent[step["step"]]]
            assert step["groups"] == GROUPS * len(shards)
            assert step["rollouts"] == 4 * GROUPS * len(shards)
            assert step["correct"] == sum(right)
            assert step["stale_groups"] == 0
            assert step["level"] == pytest.approx(expected[step["step"]], abs=1e-12)
        problems = httpx.get(f"{proxy}/v1/runs/{run}/problems", params={"limit": 1000}).json()["problems"]
        assert sum(problem["attempts"] for problem in problems) == 4 * GROUPS * len(shards) * len(history)


def test_streams_pass_through_the_proxy_as_they_come(parts: Parts) -> None:
    program("nginx")
    folder = parts.folder / "streams"
    folder.mkdir()
    inner = Parts(folder)
    try:
        ports = [free_port(), free_port()]
        state = inner.redis()
        for port in ports:
            inner.service(port, state)
        proxy = inner.nginx(ports)
        began = time.monotonic()
        with httpx.stream("GET", f"{proxy}/dashboard/events", timeout=30) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("event: health"):
                    break
        assert time.monotonic() - began < 20
        assert httpx.get(f"{proxy}/metrics").status_code == 404
        named = httpx.get(f"{proxy}/v1/runs", headers={"X-Request-ID": "mine-1"})
        assert named.headers["x-request-id"] == "mine-1"
        assert httpx.get(f"{proxy}/v1/runs").headers["x-request-id"]
        assert "default-src 'none'" in httpx.get(proxy).headers["content-security-policy"]
    finally:
        inner.close()
