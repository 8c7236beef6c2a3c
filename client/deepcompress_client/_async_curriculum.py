"""The methods of a run that are about its data: its history, its problems, its data set, and samples of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ._core import Operation, T
from ._datasets import DatasetState, spooled
from .wire import DatasetInfo, Problem, RunHistory, RunSources, SampleAnswer


class AsyncCurriculum(DatasetState):
    """The methods of `AsyncRun` that are about its data."""

    async def _execute(self, operation: Operation[T]) -> T:
        """Run an operation; `AsyncRun` does it with its client."""
        raise NotImplementedError

    async def history(
        self,
        *,
        since: int | None = None,
        limit: int | None = None,
        signal: bool = False,
        data_sources: bool = False,
    ) -> RunHistory:
        """Return the level and the statistics of every step; ``limit`` keeps the newest.

        ``signal`` adds the figures of the length term's effect, to steps that the server that answers counted;
        ``data_sources`` adds the figures of each step by data source.
        """
        return await self._execute(self._history(since, limit, signal=signal, data_sources=data_sources))

    async def problems(
        self,
        *,
        difficulty: Literal["simple", "hard"] | None = None,
        sort: Literal["problem_id", "pass_ratio", "-pass_ratio"] | None = None,
        search: str | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Problem]:
        """Yield every problem of the run, fetched page by page."""
        cursor: str | None = None
        while True:
            page = await self._execute(
                self._problem_page(cursor, difficulty=difficulty, sort=sort, search=search, limit=page_size)
            )
            for problem in page.problems:
                yield problem
            if (cursor := page.next) is None:
                return

    async def problem(self, problem_id: str) -> Problem:
        """Return one problem of the run."""
        return await self._execute(self._problem(problem_id))

    async def data_sources(self, *, since: int | None = None, limit: int | None = None) -> RunSources:
        """Return the statistics of every step that has a data source, by data source; ``limit`` keeps the newest."""
        return await self._execute(self._data_sources(since, limit))

    async def register(self, dataset: str | Path | Iterable[Any]) -> DatasetInfo:
        """Register the problems that `sample` draws from; the data set that was registered before is replaced.

        ``dataset`` is a file of `deepcompress profile`, or an iterable of problem ids or of dicts with
        ``problem_id`` and, where known, ``data_source``, ``pass_ratio``, ``rollouts`` and ``tokens``. It is sent in
        chunks, so a million problems need little memory.

        Raises:
            InvalidRequest: a problem is not valid, or the file is not a data set.
        """
        with spooled(dataset) as file:
            return await self._execute(self._register(file))

    async def dataset(self) -> DatasetInfo:
        """Return the number of problems of the data set, also by data source.

        Raises:
            NotFound: the run has none.
        """
        return await self._execute(self._dataset())

    async def sample(
        self,
        step: int,
        n: int,
        policy: str | Mapping[str, Any] = "uniform",
        *,
        data_source: str | None = None,
    ) -> SampleAnswer:
        """Return ``n`` problems to train on in ``step``, drawn by the policy from the pass ratios of closed steps.

        The same call again, by any process, returns the same problems. ``policy`` is a name or
        ``{"name": ..., parameter: ...}`` (docs/curriculum.md).

        Raises:
            Conflict: the step was sampled with another ``n``, policy or data source, or is closed.
        """
        return await self._execute(self._sample(step, n, policy, data_source))
