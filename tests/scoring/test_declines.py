"""The warning of an accuracy that falls with the lengths, in the answers of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.difficulty.errors import DifficultyError
from deepcompress_service.difficulty.model import StepStatistics
from deepcompress_service.scoring.warnings import KNOWN_COURSES, Declines, closed_steps
from deepcompress_service.settings import Settings
from deepcompress_service.shaping.decline import ClosedSteps, decline_warnings


@pytest.fixture(scope="module")
def service() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as client:
        yield client


STEP = StepStatistics(0, 0.9, 0.9, (), 4, 64, 60, 2, 2, tokens_sum=6400, tokens_count=64)


class History:
    """A store's history: 40 steps at 94 % of 100 tokens, then 20 at 78 % of 50."""

    def __init__(self) -> None:
        self.reads = 0
        self.broken = False

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        self.reads += 1
        if self.broken:
            raise DifficultyError("unavailable")
        before = [replace(STEP, step=step, correct=60 + step % 2) for step in range(40)]
        after = [replace(STEP, step=step, correct=50 + step % 2, tokens_sum=3200) for step in range(40, 60)]
        return [*before, *after, replace(STEP, step=60, closed=False)]


def test_the_history_is_read_once_a_step_and_the_warning_is_of_its_epoch() -> None:
    store = History()
    declines = Declines(store)  # type: ignore[arg-type]

    async def scenario() -> None:
        assert declines.warnings("r", 0) == []
        await declines.update("r", 0, None)
        assert store.reads == 0
        for _ in range(3):
            await declines.update("r", 0, 60)
        assert store.reads == 1
        ((slug, text),) = declines.warnings("r", 0)
        assert slug == "accuracy-fell" and "since step" in text
        assert declines.warnings("r", 1) == [] and declines.warnings("other", 0) == []
        store.broken = True
        await declines.update("r", 0, 61)  # the last known warning stays
        assert [slug for slug, _ in declines.warnings("r", 0)] == ["accuracy-fell"]

    asyncio.run(scenario())


class Growing:
    """A store whose run closes a step with each read; it gives the steps from `since` on, as stores do."""

    def __init__(self) -> None:
        self.since: list[int | None] = []
        late = {"correct": 50, "tokens_sum": 3200}
        rows = [replace(STEP, step=step, **(late if step >= 40 else {})) for step in range(70)]
        self.rows = [replace(row, correct=row.correct + row.step % 3) for row in rows]

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        self.since.append(since)
        opened = len(self.since)
        await asyncio.sleep(0)
        now = [*self.rows[:opened], replace(self.rows[opened], closed=False)]
        return [row for row in now if row.step >= (since or 0)][-(limit or len(now)) :]


def test_each_closed_step_is_read_once_and_the_warnings_are_those_of_the_whole_history() -> None:
    store = Growing()
    declines = Declines(store)  # type: ignore[arg-type]

    async def scenario() -> None:
        for step in range(1, 69):
            await declines.update("r", 0, step)
            assert declines.warnings("r", 0) == decline_warnings(ClosedSteps(closed_steps(store.rows[:step])))
        assert declines.warnings("r", 0) != []
        assert store.since == list(range(68))

    asyncio.run(scenario())


def test_requests_that_read_at_once_count_no_step_twice() -> None:
    store = Growing()
    declines = Declines(store)  # type: ignore[arg-type]

    async def scenario() -> None:
        for step in range(1, 69, 2):
            await asyncio.gather(declines.update("r", 0, step), declines.update("r", 0, step + 1))
            assert declines.warnings("r", 0) == decline_warnings(ClosedSteps(closed_steps(store.rows[: step + 1])))

    asyncio.run(scenario())


def test_steps_that_the_commits_give_are_not_read() -> None:
    store = Growing()
    declines = Declines(store)  # type: ignore[arg-type]

    async def scenario() -> None:
        for step in range(69):
            await declines.update("r", 0, step, step - 2 if step else -1, store.rows[max(0, step - 1) : step])
            assert declines.warnings("r", 0) == decline_warnings(ClosedSteps(closed_steps(store.rows[:step])))

    asyncio.run(scenario())
    assert declines.warnings("r", 0) != [] and store.since == []


def test_a_step_that_another_process_closed_is_read() -> None:
    store = History()
    declines = Declines(store)  # type: ignore[arg-type]

    async def scenario() -> None:
        await declines.update("r", 0, 0, -1, [])
        await declines.update("r", 0, 60, 0, [replace(STEP, step=59, correct=50, tokens_sum=3200)])

    asyncio.run(scenario())
    assert store.reads == 1
    assert [slug for slug, _ in declines.warnings("r", 0)] == ["accuracy-fell"]


def test_memory_is_bounded() -> None:
    declines = Declines(History())  # type: ignore[arg-type]

    async def scenario() -> None:
        for number in range(KNOWN_COURSES + 10):
            await declines.update(f"r{number}", 0, 1)

    asyncio.run(scenario())
    assert declines.warnings("r0", 0) == [] and declines.warnings(f"r{KNOWN_COURSES + 9}", 0) != []


def test_open_steps_and_those_without_lengths_are_left_out() -> None:
    rows = [STEP, replace(STEP, tokens_count=0), replace(STEP, rollouts=0), replace(STEP, closed=False)]
    assert [(one.accuracy, one.tokens) for one in closed_steps(rows)] == [(60 / 64, 100)]


def shape(service: TestClient, run: str, step: int, correct: int, tokens: int) -> list[str]:
    rollouts = [{"correct": k < correct, "tokens": tokens + k % 2} for k in range(16)]
    groups = [{"problem_id": f"p{step % 7}-{g}", "rollouts": rollouts} for g in range(2)]
    body: dict[str, Any] = {"run": run, "step": step, "groups": groups}
    warnings: list[str] = service.post("/v1/shape", json=body).raise_for_status().json()["warnings"]
    return warnings


@pytest.mark.parametrize("falls", [True, False])
def test_answers_have_the_warning_over_http(service: TestClient, falls: bool) -> None:
    run = f"declining-{falls}"
    service.put(f"/v1/runs/{run}", json={}).raise_for_status()
    last: list[str] = []
    for step in range(50):
        late = falls and step >= 30
        last = shape(service, run, step, 10 if late else 15 - step % 2, 50 if late else 100)
    assert any(one.startswith("accuracy-fell") for one in last) == falls
