"""Driving a store from plain synchronous tests, and short ways to write requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from deepcompress_service.difficulty.codec import pack_bins
from deepcompress_service.difficulty.dataset import DatasetProblem, DatasetSummary
from deepcompress_service.difficulty.model import (
    Commit,
    CommitOutcome,
    DifficultyConfig,
    GroupCommit,
    Observation,
    RunState,
)
from deepcompress_service.difficulty.store import DifficultyStore, open_store


class Driver:
    """A store on an event loop of its own; its methods wait for the answer."""

    def __init__(self, url: str, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        if not url.startswith("memory:"):
            options.setdefault("timeout_s", 60.0)  # what a store does is tested here, on machines however busy
        self.store: DifficultyStore = open_store(url, **options)
        self.wait(self.store.open())

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        return lambda *args, **kwargs: self.wait(method(*args, **kwargs))

    def export(self, run: str) -> list[str]:
        async def collect(lines: AsyncIterator[str]) -> list[str]:
            return [line async for line in lines]

        return list(self.wait(collect(self.store.export_run(run))))

    def import_run(self, run: str, lines: Iterable[str]) -> RunState:
        async def send() -> AsyncIterator[str]:
            for line in lines:
                yield line

        state = self.wait(self.store.import_run(run, send()))
        assert isinstance(state, RunState)
        return state

    def put_dataset(self, run: str, problems: Sequence[DatasetProblem], seed: bytes = bytes(16)) -> DatasetSummary:
        """Register a data set, two problems at a time. The digest is left out: the model has none."""

        async def batches() -> AsyncIterator[Sequence[DatasetProblem]]:
            for start in range(0, len(problems), 2):
                yield problems[start : start + 2]

        return self.wait_for(self.store.put_dataset(run, batches(), seed=seed))

    def dataset(self, run: str) -> DatasetSummary:
        return self.wait_for(self.store.dataset(run))

    def wait_for(self, coroutine: Coroutine[Any, Any, DatasetSummary]) -> DatasetSummary:
        found: DatasetSummary = replace(self.wait(coroutine), digest="")
        return found

    def together(self, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
        async def gather() -> list[Any]:
            return list(await asyncio.gather(*coroutines, return_exceptions=True))

        return list(self.wait(gather()))

    def close(self) -> None:
        self.wait(self.store.close())
        self.loop.close()


def group(
    problem_id: str | None,
    passes: int,
    size: int = 4,
    *,
    group_id: str | None = None,
    tokens: int | None = 100,
    counts: bool = True,
    content: str = "",
    truncated: int = 0,
    bins: bytes = b"",
    data_source: str | None = None,
) -> GroupCommit:
    """A group whose rollouts all have `tokens` tokens; its digest and payload say what it is."""
    group_id = group_id or problem_id or "?"
    said = f"{group_id}/{passes}/{size}/{tokens}/{content}".encode()
    return GroupCommit(
        group_id=group_id,
        problem_id=problem_id,
        digest=(said + bytes(16))[:16],
        payload=b"verdicts of " + said,
        size=size,
        passes=passes,
        counts=counts,
        truncated=truncated,
        tokens_known=tokens is not None,
        tokens_sum=(tokens or 0) * size,
        correct_tokens_sum=(tokens or 0) * passes,
        correct_tokens_min=tokens if passes else None,
        lengths=pack_bins(bins),
        data_source=data_source,
    )


class Run:
    """One run of a store, by name."""

    def __init__(self, driver: Driver, name: str, config: DifficultyConfig) -> None:
        self.driver, self.name, self.config = driver, name, config

    def commit(self, step: Any, *groups: GroupCommit, **more: Any) -> CommitOutcome:
        outcome = self.driver.commit(
            Commit(self.name, groups, step=step, config=self.config, config_text=repr(self.config), **more)
        )
        assert isinstance(outcome, CommitOutcome)
        return outcome

    def observe(self, step: int | None, group_id: str, rollout_id: str, correct: bool, **more: Any) -> bool:
        more.setdefault("problem_id", group_id)
        seen = Observation(self.name, step, group_id=group_id, rollout_id=rollout_id, correct=correct, **more)
        return bool(self.driver.observe([seen])[0])

    @property
    def state(self) -> RunState:
        state = self.driver.get_run(self.name)
        assert isinstance(state, RunState)
        return state

    @property
    def levels(self) -> dict[int, float]:
        return {step.step: step.level for step in self.driver.history(self.name)}


def states_of(run: Run) -> object:
    problems, _ = run.driver.problems(run.name, limit=1000)
    return run.levels, problems, run.state.level, run.state.problems
