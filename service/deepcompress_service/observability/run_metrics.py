"""Prometheus gauges of runs, read from the store when the metrics are requested.

Every process and replica returns the same values of the store: combine them with `max by (run) (...)`. Rewards and
warnings are not in the store: they are those of the processes of this machine.
At most MAX_RUNS runs are included, the last changed ones, and none that has been idle for IDLE_S seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..activity.last_change import LastChangeTracker, most_recent
from ..activity.recent import RunActivity
from ..activity.shared import SharedActivity
from ..activity.sources import mean_rewards
from ..difficulty.errors import DifficultyError
from ..difficulty.model import RunState, SourceSums, StepStatistics
from ..difficulty.sources import mean_pass_ratio
from ..difficulty.store import DifficultyStore

MAX_RUNS = 50
IDLE_S = 3600.0
REFRESH_S = 5.0
"""Shortest time in seconds between two reads of the store."""

Row = tuple[tuple[str, ...], float]
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "deepcompress_run_level": ("Level of the run", ("run",)),
    "deepcompress_run_batch_pass_ratio": ("Mean group pass ratio of the newest step", ("run",)),
    "deepcompress_run_step": ("Number of the newest step", ("run",)),
    "deepcompress_run_epoch": ("Number of times the run was rewound, restored, imported or deleted", ("run",)),
    "deepcompress_run_problems": ("Problems of the run", ("run",)),
    "deepcompress_run_share": ("Share of simple and hard groups in the last closed step", ("run", "difficulty")),
    "deepcompress_run_mean_tokens": ("Mean length of rollouts in the last closed step", ("run", "of")),
    "deepcompress_run_truncated_share": ("Share of truncated rollouts in the last closed step", ("run",)),
    "deepcompress_run_stale_groups": ("Groups that arrived after the last closed step was closed", ("run",)),
    "deepcompress_run_age": ("Mean and largest age of groups in the last closed step, in versions", ("run", "of")),
    "deepcompress_run_too_old_groups": ("Groups over the run's max_age in the last closed step", ("run",)),
    "deepcompress_run_discarded_groups": (
        "Observed groups that were dropped in the last closed step without being shaped",
        ("run",),
    ),
    "deepcompress_run_reward": ("Mean reward component in the newest step, in this replica", ("run", "component")),
    "deepcompress_run_signal": (
        "Figure of the newest step's advantages, in this replica (docs/strategies.md)",
        ("run", "figure"),
    ),
    "deepcompress_run_source_pass_ratio": (
        "Mean group pass ratio of a data source in the last closed step",
        ("run", "data_source"),
    ),
    "deepcompress_run_source_mean_tokens": (
        "Mean length of rollouts of a data source in the last closed step",
        ("run", "data_source"),
    ),
    "deepcompress_run_source_truncated_share": (
        "Share of truncated rollouts of a data source in the last closed step",
        ("run", "data_source"),
    ),
    "deepcompress_run_source_reward": (
        "Mean reward of a data source in the last closed step, in this replica",
        ("run", "data_source"),
    ),
    "deepcompress_run_trap": ("1 if the newest step has the reward warning, in this replica", ("run", "trap")),
}


class RunMetrics:
    """Gauges of the runs of a store, cached for REFRESH_S seconds."""

    def __init__(
        self, store: DifficultyStore, activity: SharedActivity, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._activity = activity
        self._clock = clock
        self._last_changes = LastChangeTracker(clock)
        self._at = float("-inf")
        self._rows: dict[str, list[Row]] = {}
        self._runs = 0
        self._up = False

    async def families(self, allows: Callable[[str], bool]) -> list[Metric]:
        """Return the gauges of the runs that `allows` accepts, the number of runs, and the state of the store."""
        if self._clock() - self._at >= REFRESH_S:
            await self._refresh()
            self._at = self._clock()
        families: list[Metric] = [
            GaugeMetricFamily("deepcompress_store_up", "1 if the state store is reachable", value=float(self._up)),
            GaugeMetricFamily("deepcompress_runs", "Runs in the store", value=float(self._runs)),
        ]
        for name, (text, labels) in _GAUGES.items():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in self._rows.get(name, ()):
                if allows(values[0]):
                    family.add_metric(values, number)
            families.append(family)
        return families

    async def _refresh(self) -> None:
        try:
            states = await self._store.list_runs()
            changed = self._last_changes.update(states)
            rows: dict[str, list[Row]] = {}
            for state in self._shown(states, changed):
                for name, values, number in await self._run(state):
                    rows.setdefault(name, []).append((values, number))
        except DifficultyError:
            # Old values would look like runs that do not change: return none. deepcompress_store_up is 0.
            self._up, self._rows = False, {}
            return
        self._up, self._rows, self._runs = True, rows, len(states)

    def _shown(self, states: Iterable[RunState], changed: dict[str, float | None]) -> list[RunState]:
        active = [
            s for s in states if s.kind is not None and self._last_changes.idle_seconds(changed[s.run]) <= IDLE_S
        ]
        return most_recent(active, changed)[:MAX_RUNS]

    async def _run(self, state: RunState) -> list[tuple[str, tuple[str, ...], float]]:
        run = state.run
        rows: list[tuple[str, tuple[str, ...], float]] = [
            ("deepcompress_run_level", (run,), state.level),
            ("deepcompress_run_epoch", (run,), float(state.epoch)),
            ("deepcompress_run_problems", (run,), float(state.problems)),
        ]
        if state.batch_pass_ratio is not None:
            rows.append(("deepcompress_run_batch_pass_ratio", (run,), state.batch_pass_ratio))
        steps = await self._store.history(run, limit=2)
        activity = await self._activity.of(run)
        if steps:
            rows.append(("deepcompress_run_step", (run,), float(steps[-1].step)))
            closed = [step for step in steps if step.closed]
            shown = closed[-1] if closed else steps[-1]
            rows.extend(_of_step(run, shown))
            split = await self._store.source_history(run, since=shown.step)
            rows.extend(_of_sources(run, shown.step, split.get(shown.step, {}), activity))
        if activity is not None and activity.rollouts:
            for component, total in activity.sums.items():
                rows.append(("deepcompress_run_reward", (run, component), total / activity.rollouts))
            if activity.step in activity.course:
                figures = asdict(activity.course[activity.step].signal.figures())
                rows += [
                    ("deepcompress_run_signal", (run, name), float(value))
                    for name, value in figures.items()
                    if value is not None
                ]
            for slug in activity.warnings:
                rows.append(("deepcompress_run_trap", (run, slug), 1.0))
        return rows


def _of_sources(
    run: str, step: int, sums: Mapping[str, SourceSums], activity: RunActivity | None
) -> list[tuple[str, tuple[str, ...], float]]:
    """Return the rows of a step by data source. Their number is bounded (`difficulty.sources.MAX_SOURCES`)."""
    rows: list[tuple[str, tuple[str, ...], float]] = []
    for name, one in sums.items():
        labels = (run, name)
        rows.append(("deepcompress_run_source_pass_ratio", labels, mean_pass_ratio(one)))
        rows.append(("deepcompress_run_source_truncated_share", labels, one.truncated / one.rollouts))
        if one.tokens_count:
            rows.append(("deepcompress_run_source_mean_tokens", labels, one.tokens_sum / one.tokens_count))
    if activity is not None and step in activity.course:
        for name, reward in mean_rewards(activity.course[step].sources, activity.sources).items():
            rows.append(("deepcompress_run_source_reward", (run, name), reward))
    return rows


def _of_step(run: str, step: StepStatistics) -> list[tuple[str, tuple[str, ...], float]]:
    rows: list[tuple[str, tuple[str, ...], float]] = [
        ("deepcompress_run_stale_groups", (run,), float(step.stale_groups))
    ]

    def ratio(name: str, labels: tuple[str, ...], total: int, count: int) -> None:
        if count:
            rows.append((name, (run, *labels), total / count))

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
    ratio("deepcompress_run_age", ("mean",), step.age_sum, step.age_count)
    if step.age_count:
        rows.append(("deepcompress_run_age", (run, "largest"), float(step.age_max)))
    for name in ("too_old_groups", "discarded_groups"):
        if count := getattr(step, name):
            rows.append((f"deepcompress_run_{name}", (run,), float(count)))
    return rows
