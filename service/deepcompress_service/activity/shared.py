"""Recent activity of all worker processes of one `serve`, joined.

Each worker writes its own activity, which is bounded, to small files in a folder that `serve` made for its workers,
and reads the files of the others. With one worker there is no folder. Replicas on other machines are not included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from .recent import BETA_BINS, MAX_POINTS, MAX_VERDICTS, Activity, RunActivity, SeenRollout, SeenVerdict

_SUFFIX = ".json"


class SharedActivity:
    """Recent activity of this process, joined with that of the other workers."""

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
        recent = {window.run for window in self._activity.runs()}
        for window in self._activity.runs():
            mark = (window.at, window.rollouts, window.step)
            if self._written.get(window.run) != mark:
                self._written[window.run] = mark
                changed.append((window.run, orjson.dumps(_row(window))))
        gone = [run for run in self._written if run not in recent]
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
                others.append(_window(orjson.loads(file.read_bytes())))
        return others

    def _run_folder(self, run: str) -> Path:
        assert self._folder is not None
        # A prefix, since `.` and `..` are run names too.
        return self._folder / f"run-{run}"


def join(windows: list[RunActivity | None]) -> RunActivity | None:
    """Join several processes' activity of one run: counts of the newest step are added, verdicts are merged."""
    known = [window for window in windows if window is not None]
    if len(known) <= 1:
        return known[0] if known else None
    newest = max(((w.epoch, w.step) for w in known if w.epoch is not None and w.step is not None), default=None)
    joined = RunActivity(known[0].run, max(window.at for window in known))
    for window in known:
        for status, verdicts in window.verdicts.items():
            kept = sorted([*joined.verdicts.get(status, ()), *verdicts], key=lambda v: v.at)[-MAX_VERDICTS:]
            joined.verdicts[status] = deque(kept, maxlen=MAX_VERDICTS)
    if newest is None:
        return joined
    joined.epoch, joined.step = newest
    current = [window for window in known if (window.epoch, window.step) == newest]
    for window in current:
        joined.rollouts += window.rollouts
        joined.seen_points += window.seen_points
        joined.traps.update(window.traps)
        joined.betas = [joined.betas[i] + window.betas[i] for i in range(BETA_BINS)]
        for name, total in window.sums.items():
            joined.sums[name] = joined.sums.get(name, 0.0) + total
        # Each process keeps a fair sample of its own; of several, each its share.
        share = MAX_POINTS * window.seen_points // max(1, sum(w.seen_points for w in current))
        joined.points += window.points[:: -(-len(window.points) // max(1, share)) or 1]
    return joined


def _row(window: RunActivity) -> dict[str, Any]:
    row = {name: getattr(window, name) for name in _PLAIN}
    row["points"] = window.points
    row["verdicts"] = {status: list(verdicts) for status, verdicts in window.verdicts.items()}
    return row


_PLAIN = ("run", "at", "epoch", "step", "rollouts", "sums", "traps", "betas", "seen_points")


def _window(row: dict[str, Any]) -> RunActivity:
    window = RunActivity(**{name: row[name] for name in _PLAIN})
    window.points = [SeenRollout(**point) for point in row["points"]]
    for status, verdicts in row["verdicts"].items():
        window.verdicts[status] = deque((SeenVerdict(**one) for one in verdicts), maxlen=MAX_VERDICTS)
    return window
