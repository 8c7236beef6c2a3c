"""Load on a running stack: trainers that send steps of random results, and the state that must follow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from .conftest import wait_until

GROUPS = 12


class Trainer(threading.Thread):
    """Sends its shard of every step of a run and waits for the others before the next.

    It sends a request again only after a status in `again`; any other failure is recorded.
    """

    def __init__(
        self,
        address: str,
        run: str,
        shard: int,
        turn: threading.Barrier,
        stop: threading.Event,
        again: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(daemon=True)
        self.address, self.run_name, self.shard = address, run, shard
        self.turn, self.stop = turn, stop
        self.again = again
        self.sent_again = 0
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
                while answer.status_code in self.again:
                    self.sent_again += 1
                    time.sleep(float(answer.headers["retry-after"]))
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


class Load:
    """Four trainers: one run of two shards, and two runs of one."""

    def __init__(self, address: str, again: frozenset[int] = frozenset()) -> None:
        self.address = address
        self.stop = threading.Event()
        self.runs: dict[str, list[Trainer]] = {}
        name = f"{time.time_ns():x}"
        for run, shards in ((f"shared-{name}", 2), (f"own-a-{name}", 1), (f"own-b-{name}", 1)):
            turn = threading.Barrier(shards)
            self.runs[run] = [Trainer(address, run, shard, turn, self.stop, again) for shard in range(shards)]
        self.trainers = [trainer for shards in self.runs.values() for trainer in shards]

    def start(self) -> None:
        """Start the trainers, and wait until each has sent three steps."""
        for trainer in self.trainers:
            trainer.start()
        wait_until(lambda: all(len(trainer.sent) >= 3 for trainer in self.trainers), what="load")

    def wait_for_progress(self) -> None:
        """Wait until each trainer has sent another step."""
        before = [len(trainer.sent) for trainer in self.trainers]
        wait_until(
            lambda: all(len(t.sent) > n for t, n in zip(self.trainers, before, strict=True)),
            what="progress",
        )

    def finish(self) -> None:
        """Stop the trainers; check that no request failed and that the state is the one of what was sent."""
        self.stop.set()
        for trainer in self.trainers:
            trainer.join(120)
            assert not trainer.is_alive()
        assert [failure for trainer in self.trainers for failure in trainer.failures] == []
        for run, shards in self.runs.items():
            check_state(self.address, run, shards)


@contextmanager
def load(address: str, again: frozenset[int] = frozenset()) -> Iterator[Load]:
    """Load for the length of a block; at its end the state is checked."""
    running = Load(address, again)
    running.start()
    try:
        yield running
    except BaseException:
        running.stop.set()
        raise
    running.finish()


def check_state(address: str, run: str, shards: list[Trainer]) -> None:
    """Check the history and the problems of a run against what its shards sent."""
    history = httpx.get(f"{address}/v1/runs/{run}/history").json()["steps"]
    assert [step["step"] for step in history] == sorted(shards[0].sent)
    expected = levels(shards)
    for step in history:
        right = [count for shard in shards for count in shard.sent[step["step"]]]
        assert step["groups"] == GROUPS * len(shards)
        assert step["rollouts"] == 4 * GROUPS * len(shards)
        assert step["correct"] == sum(right)
        assert step["stale_groups"] == 0
        assert step["level"] == pytest.approx(expected[step["step"]], abs=1e-12)
    problems = httpx.get(f"{address}/v1/runs/{run}/problems", params={"limit": 1000}).json()["problems"]
    assert sum(problem["attempts"] for problem in problems) == 4 * GROUPS * len(shards) * len(history)
