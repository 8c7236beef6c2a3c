"""Recent activity of all worker processes of one `serve`, joined.

Each worker writes its own activity, which is bounded, to small files in a folder that `serve` made for its workers,
and reads the files of the others. With one worker there is no folder. Replicas on other machines are not included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from array import array
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from ..shaping.signal import SignalSums
from .course import StepSums, join_courses
from .recent import (
    BETA_BINS,
    MAX_POINTS,
    MAX_VERDICTS,
    MAX_WARNINGS,
    Activity,
    RunActivity,
    SeenRollout,
    SeenVerdict,
    SeenWarning,
)
from .sources import joined_names, renamed

_SUFFIX = ".json"


class SharedActivity:
    """Recent activity of this process, joined with that of the other workers.

    `folder` is shared by the workers of one `serve`; None for a single process.
    """

    def __init__(self, activity: Activity, folder: Path | None) -> None:
        self._activity = activity
        self._folder = folder
        self._own_file = f"{os.getpid()}{_SUFFIX}"
        self._written: dict[str, tuple[object, ...]] = {}

    async def of(self, run: str) -> RunActivity | None:
        """Return the recent activity of one run; "" for verdicts without a run."""
        mine = self._activity.of(run)
        if self._folder is None:
            return mine
        return join([mine, *await asyncio.to_thread(self._others, run)])

    async def publish(self) -> None:
        """Write what has changed since the last call, for the other workers.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._folder is None:
            return
        changed = []
        current = {activity.run for activity in self._activity.runs()}
        for activity in self._activity.runs():
            mark = (activity.at, activity.rollouts, activity.step)
            if self._written.get(activity.run) != mark:
                self._written[activity.run] = mark
                changed.append((activity.run, orjson.dumps(_row(activity), default=list)))
        gone = [run for run in self._written if run not in current]
        for run in gone:
            del self._written[run]
        if changed or gone:
            await asyncio.to_thread(self._write, changed, gone)

    def _write(self, changed: list[tuple[str, bytes]], gone: list[str]) -> None:
        for run, data in changed:
            folder = self._run_folder(run)
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f".{self._own_file}"
            unfinished.write_bytes(data)
            unfinished.replace(folder / self._own_file)
        for run in gone:
            (self._run_folder(run) / self._own_file).unlink(missing_ok=True)

    def _others(self, run: str) -> list[RunActivity | None]:
        others: list[RunActivity | None] = []
        for file in self._run_folder(run).glob(f"[0-9]*{_SUFFIX}"):
            if file.name == self._own_file:
                continue
            # Files of exited workers stay valid; a file may be removed while we iterate.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                others.append(_parse(orjson.loads(file.read_bytes())))
        return others

    def _run_folder(self, run: str) -> Path:
        assert self._folder is not None
        # A prefix, since `.` and `..` are run names too.
        return self._folder / f"run-{run}"


def join(activities: list[RunActivity | None]) -> RunActivity | None:
    """Join several processes' activity of one run: counts of the newest step are added, verdicts are merged."""
    known = [activity for activity in activities if activity is not None]
    if len(known) <= 1:
        return known[0] if known else None
    newest = max(((w.epoch, w.step) for w in known if w.epoch is not None and w.step is not None), default=None)
    joined = RunActivity(known[0].run, max(activity.at for activity in known))
    for activity in known:
        for status, verdicts in activity.verdicts.items():
            latest = sorted([*joined.verdicts.get(status, ()), *verdicts], key=lambda v: v.at)[-MAX_VERDICTS:]
            joined.verdicts[status] = deque(latest, maxlen=MAX_VERDICTS)
    if newest is None:
        return joined
    joined.sources = joined_names([activity.sources for activity in known])
    joined.course = join_courses(_renamed_course(activity, joined.sources) for activity in known)
    joined.epoch, joined.step = newest
    for activity in known:
        if activity.epoch == joined.epoch:
            _add_warnings(joined.seen_warnings, activity.seen_warnings)
    current = [activity for activity in known if (activity.epoch, activity.step) == newest]
    for activity in current:
        joined.rollouts += activity.rollouts
        joined.seen_points += activity.seen_points
        joined.warnings.update(activity.warnings)
        joined.betas = [joined.betas[i] + activity.betas[i] for i in range(BETA_BINS)]
        for name, total in activity.sums.items():
            joined.sums[name] = joined.sums.get(name, 0.0) + total
        # Each process has a uniform sample of its rollouts: take from each in proportion to their number.
        share = MAX_POINTS * activity.seen_points // max(1, sum(w.seen_points for w in current))
        joined.points += activity.points[:: -(-len(activity.points) // max(1, share)) or 1]
    return joined


def _renamed_course(activity: RunActivity, sources: list[str]) -> dict[int, StepSums]:
    """Return the sums of the steps with those by data source in the order of `sources`."""
    if activity.sources == sources:
        return activity.course
    return {
        step: replace(sums, sources=renamed(sums.sources, activity.sources, sources))
        for step, sums in activity.course.items()
    }


def _add_warnings(joined: dict[str, SeenWarning], more: dict[str, SeenWarning]) -> None:
    for slug, one in more.items():
        seen = joined.get(slug)
        if seen is None:
            if len(joined) < MAX_WARNINGS:
                joined[slug] = SeenWarning(one.text, one.first_step, one.last_step)
            continue
        if one.last_step >= seen.last_step:
            seen.text, seen.last_step = one.text, one.last_step
        seen.first_step = min(seen.first_step, one.first_step)


def _row(activity: RunActivity) -> dict[str, Any]:
    row = {name: getattr(activity, name) for name in _PLAIN}
    row["points"] = activity.points
    row["course"] = list(activity.course.values())
    row["seen_warnings"] = activity.seen_warnings
    row["verdicts"] = {status: list(verdicts) for status, verdicts in activity.verdicts.items()}
    return row


_PLAIN = ("run", "at", "epoch", "step", "rollouts", "sums", "warnings", "betas", "seen_points", "sources")


def _parse(row: dict[str, Any]) -> RunActivity:
    activity = RunActivity(**{name: row[name] for name in _PLAIN})
    activity.points = [SeenRollout(**point) for point in row["points"]]
    activity.course = {
        sums["step"]: StepSums(
            **{**sums, "signal": SignalSums(**sums["signal"]), "sources": array("d", sums["sources"])}
        )
        for sums in row["course"]
    }
    activity.seen_warnings = {slug: SeenWarning(**one) for slug, one in row["seen_warnings"].items()}
    for status, verdicts in row["verdicts"].items():
        activity.verdicts[status] = deque((SeenVerdict(**one) for one in verdicts), maxlen=MAX_VERDICTS)
    return activity
