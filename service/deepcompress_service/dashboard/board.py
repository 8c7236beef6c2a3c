"""Snapshots of the store for the dashboard, shared by all viewers of one process.

Regardless of the number of viewers, each viewed run is read at most once a second, and only the steps that may have
changed. Nothing is written.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..activity.last_change import LastChangeTracker
from ..activity.recent import BETA_BINS, beta_bin
from ..api.run_rows import run_row, source_row, step_row
from ..difficulty.model import RunState, SourceSums, StepStatistics
from ..difficulty.store import DifficultyStore
from .run_list import PAGE_RUNS, RunPage, RunQuery, select

T = TypeVar("T")

EVERY = 1.0
"""Seconds for which a snapshot is used for all viewers."""
MAX_STEPS = 2000
"""Most steps of a run that are sent: the newest ones."""
MAX_SPLIT = 500
"""Steps of these that are sent by data source, too."""
LIST_SHARE = 10
"""Reads of the list of all runs take at most one part in this many of the time: many runs are read less often."""
SPARK_STEPS = 60
"""Steps in the small chart of a run in the list."""
MAX_SPARKS = 40 * PAGE_RUNS
"""Most small charts in memory: the last shown ones."""
MAX_BOARDS = 16
"""Runs whose snapshots stay in memory when no stream shows them: the most recently viewed ones. The snapshot of a
run of MAX_STEPS steps takes about a megabyte."""
BETAS_EVERY = 10.0
"""Shortest time in seconds between two counts of a run's betas."""
MAX_BETAS = 20_000
"""Most problems whose beta is counted: the first ones by name."""
BETAS_AT_ONCE = 1000
"""Problems in one read of the store. It blocks the event loop for about ten milliseconds."""


class TimedCache(Generic[T]):
    """A value that is loaded at most once in `every` seconds, also with concurrent callers."""

    def __init__(self, load: Callable[[], Awaitable[T]], every: float) -> None:
        self._load = load
        self.every = every
        self._at = float("-inf")
        self._value: T | None = None
        self._lock = asyncio.Lock()

    async def get(self) -> T:
        """Return the value; load it first if it is older than `every` seconds. Errors of the load are raised."""
        async with self._lock:
            if self._value is None or time.monotonic() - self._at >= self.every:
                self._value = await self._load()
                self._at = time.monotonic()
            return self._value


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """State of a run in the store: its row, and its steps by number."""

    row: dict[str, Any]
    epoch: int
    steps: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Betas:
    """Distribution of the problems' last betas: number of problems per bin, [BETA_BINS]."""

    bins: list[int]
    problems: int
    complete: bool
    """False if the run has more problems than were counted."""


@dataclass(slots=True)
class _Spark:
    mark: tuple[object, ...]
    level: list[float] = field(default_factory=list)
    pass_ratio: list[float | None] = field(default_factory=list)
    tokens: list[float | None] = field(default_factory=list)


class RunBoard:
    """Snapshots of one run."""

    def __init__(self, store: DifficultyStore, run: str) -> None:
        self._store = store
        self._run = run
        self._before: RunSnapshot | None = None
        self._snapshot = TimedCache(self._load, EVERY)
        self._betas = TimedCache(self._count_betas, BETAS_EVERY)

    async def snapshot(self) -> RunSnapshot:
        """Return the state of the run, at most EVERY seconds old.

        Raises:
            DifficultyError: the store failed, or there is no such run.
        """
        return await self._snapshot.get()

    async def betas(self) -> Betas:
        """Return the distribution of the problems' last betas, at most BETAS_EVERY seconds old.

        A run with many problems is counted less often.

        Raises:
            DifficultyError: the store failed, or there is no such run.
        """
        return await self._betas.get()

    async def _load(self) -> RunSnapshot:
        state = await self._store.get_run(self._run)
        known = self._before.steps if self._before is not None and self._before.epoch == state.epoch else None
        steps: dict[int, dict[str, Any]] | None = None
        if known:
            newest = await self._store.history(self._run, limit=8)
            # Eight steps reach back to the known ones, unless the run has made more steps since.
            if newest and newest[0].step in known:
                steps = {**known, **await self._rows(newest)}
        if steps is None:
            steps = await self._rows(await self._store.history(self._run, limit=MAX_STEPS))
        for old in sorted(steps)[:-MAX_STEPS]:
            del steps[old]
        self._before = RunSnapshot({**run_row(state), "used": state.used}, state.epoch, steps)
        return self._before

    async def _rows(self, steps: Sequence[StepStatistics]) -> dict[int, dict[str, Any]]:
        rows = {step.step: step_row(step) for step in steps}
        split = await self._store.source_history(self._run, since=steps[0].step, limit=MAX_SPLIT) if steps else {}
        for step, sums in split.items():
            if step in rows:
                rows[step]["sources"] = {name: _figures(one) for name, one in sums.items()}
        return rows

    async def _count_betas(self) -> Betas:
        began = time.monotonic()
        bins = [0] * BETA_BINS
        seen = 0
        cursor: str | None = None
        for _ in range(0, MAX_BETAS, BETAS_AT_ONCE):
            page, cursor = await self._store.problems(self._run, limit=BETAS_AT_ONCE, cursor=cursor)
            for problem in page:
                if problem.last_beta is not None:
                    bins[beta_bin(problem.last_beta)] += 1
                    seen += 1
            if cursor is None:
                break
        # Use at most a fiftieth of the time for counting.
        self._betas.every = max(BETAS_EVERY, 50 * (time.monotonic() - began))
        return Betas(bins, seen, cursor is None)


class Board:
    """Snapshots of the list of runs, and of each viewed run."""

    def __init__(self, store: DifficultyStore) -> None:
        self._store = store
        self._runs: OrderedDict[str, RunBoard] = OrderedDict()
        self._sparks: OrderedDict[str, _Spark] = OrderedDict()
        self._last_changes = LastChangeTracker()
        self._states = TimedCache(self._load, EVERY)

    def run(self, run: str) -> RunBoard:
        """Return the board of one run. The least recently viewed boards beyond MAX_BOARDS are dropped."""
        board = self._runs.get(run)
        if board is None:
            board = self._runs[run] = RunBoard(self._store, run)
        self._runs.move_to_end(run)
        while len(self._runs) > MAX_BOARDS:
            self._runs.popitem(last=False)
        return board

    async def cards(self, query: RunQuery, allows: Callable[[str], bool]) -> tuple[RunPage, list[dict[str, Any]]]:
        """Return one page of the runs that `allows` accepts, each with its last SPARK_STEPS steps.

        Raises:
            DifficultyError: the store failed.
        """
        states, changed = await self._states.get()
        found = select(states, changed, query, allows)
        cards = []
        for state in found.states:
            spark = await self._spark(state)
            card = run_row(state)
            card.pop("config")
            card["strategy"] = _strategy(state)
            card["changed"] = changed.get(state.run)
            card["levels"], card["pass_ratios"], card["tokens"] = spark.level, spark.pass_ratio, spark.tokens
            cards.append(card)
        while len(self._sparks) > MAX_SPARKS:
            self._sparks.popitem(last=False)
        return found, cards

    async def _load(self) -> tuple[list[RunState], dict[str, float | None]]:
        began = time.monotonic()
        states = await self._store.list_runs()
        seen = self._last_changes.update(states)
        # The store's times hold over restarts; the comparison covers runs whose last use it does not have.
        changed = {state.run: seen.get(state.run) if state.used is None else state.used for state in states}
        self._states.every = max(EVERY, LIST_SHARE * (time.monotonic() - began))
        return states, changed

    async def _spark(self, state: RunState) -> _Spark:
        mark = (state.epoch, state.step, state.level, state.batch_pass_ratio)
        spark = self._sparks.get(state.run)
        if spark is None or spark.mark != mark:
            steps = await self._store.history(state.run, limit=SPARK_STEPS) if state.kind else []
            lengths = [step_row(step)["mean_tokens"] for step in steps]
            spark = _Spark(mark, [s.level for s in steps], [s.batch_pass_ratio for s in steps], lengths)
            self._sparks[state.run] = spark
        self._sparks.move_to_end(state.run)
        return spark


def _figures(one: SourceSums) -> tuple[float | None, ...]:
    """Return what the page draws of a data source in a step: groups, pass ratio, mean tokens, truncated share."""
    row = source_row(one, None)
    return row["groups"], row["pass_ratio"], row["mean_tokens"], one.truncated / one.rollouts


def _strategy(state: RunState) -> str:
    strategy = run_row(state)["config"].get("strategy", {})
    return str(strategy.get("name", "deepcompress"))
