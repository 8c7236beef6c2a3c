"""Gauges of runs for Prometheus, read out of the store when they are asked for.

Whichever process or replica is asked answers the same, as far as the store knows it; take one by
`max by (run) (...)`. What the store does not keep (reward components, traps) is what the processes of this
machine saw. Bounded: the runs that moved last, up to MAX_RUNS of them, and none that rested for IDLE_S.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..activity.last_change import LastChangeTracker, most_recent
from ..activity.shared import SharedActivity
from ..difficulty.errors import DifficultyError
from ..difficulty.model import RunState, StepStatistics
from ..difficulty.store import DifficultyStore

MAX_RUNS = 50
IDLE_S = 3600.0
LOOK_EVERY_S = 5.0
"""However often it is scraped, the store is asked this often at most."""

Row = tuple[tuple[str, ...], float]
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "deepcompress_run_level": ("The run's level", ("run",)),
    "deepcompress_run_batch_pass_ratio": ("Mean group pass ratio of the newest step", ("run",)),
    "deepcompress_run_step": ("The newest step", ("run",)),
    "deepcompress_run_epoch": ("How often the run was rewound, restored, imported or deleted", ("run",)),
    "deepcompress_run_problems": ("Problems seen", ("run",)),
    "deepcompress_run_share": ("Share of simple and hard groups in the last closed step", ("run", "difficulty")),
    "deepcompress_run_mean_tokens": ("Mean length of rollouts in the last closed step", ("run", "of")),
    "deepcompress_run_truncated_share": ("Share of truncated rollouts in the last closed step", ("run",)),
    "deepcompress_run_stale_groups": ("Groups that came too late for the last closed step", ("run",)),
    "deepcompress_run_reward": ("Mean reward component over the newest step, as seen here", ("run", "component")),
    "deepcompress_run_trap": ("1 where the newest step met the trap, as seen here", ("run", "trap")),
}


class RunMetrics:
    """The gauges of runs, kept for LOOK_EVERY_S."""

    def __init__(
        self, store: DifficultyStore, windows: SharedActivity, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._windows = windows
        self._clock = clock
        self._last_changes = LastChangeTracker(clock)
        self._at = float("-inf")
        self._rows: dict[str, list[Row]] = {}
        self._runs = 0
        self._up = False

    async def families(self, allows: Callable[[str], bool]) -> list[Metric]:
        """The gauges of the runs that the asker may see, the number of runs, and whether the store answers."""
        if self._clock() - self._at >= LOOK_EVERY_S:
            await self._look()
            self._at = self._clock()
        families: list[Metric] = [
            GaugeMetricFamily("deepcompress_store_up", "1 where the state store answers", value=float(self._up)),
            GaugeMetricFamily("deepcompress_runs", "Runs in the store", value=float(self._runs)),
        ]
        for name, (text, labels) in _GAUGES.items():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in self._rows.get(name, ()):
                if allows(values[0]):
                    family.add_metric(values, number)
            families.append(family)
        return families

    async def _look(self) -> None:
        try:
            states = await self._store.list_runs()
            changed = self._last_changes.update(states)
            rows: dict[str, list[Row]] = {}
            for state in self._shown(states, changed):
                for name, values, number in await self._run(state):
                    rows.setdefault(name, []).append((values, number))
        except DifficultyError:
            # The last rows would look like a run that stands still: better none, and store_up says why.
            self._up, self._rows = False, {}
            return
        self._up, self._rows, self._runs = True, rows, len(states)

    def _shown(self, states: Iterable[RunState], changed: dict[str, float | None]) -> list[RunState]:
        moving = [
            s for s in states if s.kind is not None and self._last_changes.idle_seconds(changed[s.run]) <= IDLE_S
        ]
        return most_recent(moving, changed)[:MAX_RUNS]

    async def _run(self, state: RunState) -> list[tuple[str, tuple[str, ...], float]]:
        run = state.run
        found: list[tuple[str, tuple[str, ...], float]] = [
            ("deepcompress_run_level", (run,), state.level),
            ("deepcompress_run_epoch", (run,), float(state.epoch)),
            ("deepcompress_run_problems", (run,), float(state.problems)),
        ]
        if state.batch_pass_ratio is not None:
            found.append(("deepcompress_run_batch_pass_ratio", (run,), state.batch_pass_ratio))
        steps = await self._store.history(run, limit=2)
        if steps:
            found.append(("deepcompress_run_step", (run,), float(steps[-1].step)))
            closed = [step for step in steps if step.closed]
            found.extend(_of_step(run, closed[-1] if closed else steps[-1]))
        window = await self._windows.of(run)
        if window is not None and window.rollouts:
            for component, total in window.sums.items():
                found.append(("deepcompress_run_reward", (run, component), total / window.rollouts))
            for trap in window.traps:
                found.append(("deepcompress_run_trap", (run, trap), 1.0))
        return found


def _of_step(run: str, step: StepStatistics) -> list[tuple[str, tuple[str, ...], float]]:
    found: list[tuple[str, tuple[str, ...], float]] = [
        ("deepcompress_run_stale_groups", (run,), float(step.stale_groups))
    ]

    def ratio(name: str, labels: tuple[str, ...], total: int, count: int) -> None:
        if count:
            found.append((name, (run, *labels), total / count))

    ratio("deepcompress_run_share", ("simple",), step.simple, step.groups)
    ratio("deepcompress_run_share", ("hard",), step.hard, step.groups)
    ratio("deepcompress_run_truncated_share", (), step.truncated, step.rollouts)
    tokens = "deepcompress_run_mean_tokens"
    ratio(tokens, ("all",), step.tokens_sum, step.tokens_count)
    ratio(tokens, ("right",), step.correct_tokens_sum, step.correct_tokens_count)
    wrong = step.tokens_count - step.correct_tokens_count
    ratio(tokens, ("wrong",), step.tokens_sum - step.correct_tokens_sum, wrong)
    ratio(tokens, ("simple",), step.simple_tokens_sum, step.simple_tokens_count)
    ratio(tokens, ("hard",), step.hard_tokens_sum, step.hard_tokens_count)
    return found
