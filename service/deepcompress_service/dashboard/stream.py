"""Server-sent events for the page: the changes since the last events of the stream, once a second.

Each stream begins with the full state, so a viewer can reconnect to any process or replica without a position.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import orjson

from ..activity.recent import RunActivity
from ..difficulty.errors import DifficultyError, UnknownRun
from .board import Board, RunBoard, RunSnapshot
from .run_list import RunQuery


def event(name: str, data: object) -> bytes:
    """Return one event. JSON from orjson has no line breaks, so the data is one line."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


class RunStream:
    """Events for one viewer of a run."""

    def __init__(self, board: RunBoard) -> None:
        self._board = board
        self._sent: RunSnapshot | None = None
        self._row: bytes = b""
        self._betas: object = None
        self._activity_mark: object = None
        self._course: dict[int, tuple[int, int, float]] = {}
        self._verdicts: set[str] = set()

    async def events(self, activity: RunActivity | None) -> AsyncIterator[bytes]:
        """Yield events for all changes since the last call. An error of the store is an event `trouble`."""
        async for name, data in self.lines(activity):
            yield event(name, data)
        if self._sent is not None:
            try:
                betas = await self._board.betas()
            except DifficultyError as error:
                yield event("trouble", {"store": error.slug})
            else:
                if betas is not self._betas:
                    self._betas = betas
                    yield event("betas", betas)
        for part in self._activity_events(activity):
            yield part

    async def lines(self, activity: RunActivity | None) -> AsyncIterator[tuple[str, Any]]:
        """Yield (event, data) for the changes of what is drawn over steps: the run, its steps, and their sums."""
        try:
            snapshot = await self._board.snapshot()
        except UnknownRun:
            if self._sent is not None or self._activity_mark is None:
                yield "gone", {}
            self._sent = None
            self._row = b""
        except DifficultyError as error:
            yield "trouble", {"store": error.slug}
        else:
            row = orjson.dumps(snapshot.row)
            if row != self._row:
                self._row = row
                yield "run", snapshot.row
            changed = self._changed_steps(snapshot)
            if changed or self._sent is None or self._sent.epoch != snapshot.epoch:
                replace = self._sent is None or self._sent.epoch != snapshot.epoch
                yield "steps", {"replace": replace, "steps": changed}
            self._sent = snapshot
        if activity is not None:
            marks = {sums.step: (sums.epoch, sums.rollouts, sums.last_at) for sums in activity.course.values()}
            course = [
                sums.row(activity.sources)
                for step, sums in sorted(activity.course.items())
                if self._course.get(step) != marks[step]
            ]
            gone = [step for step in self._course if step not in marks]
            if course or gone:
                self._course = marks
                yield "course", {"steps": course, "gone": gone}

    def _changed_steps(self, snapshot: RunSnapshot) -> list[dict[str, Any]]:
        sent = self._sent.steps if self._sent is not None and self._sent.epoch == snapshot.epoch else {}
        # Rows that did not change are the same objects or compare equal.
        return [row for step, row in sorted(snapshot.steps.items()) if sent.get(step) != row]

    def _activity_events(self, activity: RunActivity | None) -> Iterable[bytes]:
        if activity is None:
            if self._activity_mark is None:
                self._activity_mark = ()
                yield event("activity", None)
            return
        mark = (activity.epoch, activity.step, activity.rollouts, len(activity.warnings))
        if mark != self._activity_mark:
            self._activity_mark = mark
            yield event("activity", activity_row(activity))
        verdicts = activity.latest()
        new = [verdict for verdict in verdicts if verdict.id not in self._verdicts]
        if new:
            self._verdicts = {verdict.id for verdict in verdicts}
            yield event("verdicts", new)


class CompareStream:
    """Events for one viewer of several runs: `of`, with the run, and the name and data of an event of `RunStream`."""

    def __init__(self, boards: Mapping[str, RunBoard]) -> None:
        self._streams = {run: RunStream(board) for run, board in boards.items()}

    async def events(self, activities: Mapping[str, RunActivity | None]) -> AsyncIterator[bytes]:
        """Yield events for all changes since the last call. `activities` has every run of the stream."""
        for run, stream in self._streams.items():
            async for name, data in stream.lines(activities[run]):
                yield event("of", {"run": run, "name": name, "data": data})


class CardStream:
    """Events for one viewer of the list of runs. `allows` returns True for the runs of the viewer's key."""

    def __init__(self, board: Board, allows: Callable[[str], bool], query: RunQuery) -> None:
        self._board = board
        self._allows = allows
        self._query = query
        self._sent: bytes = b""
        self._verdicts: set[str] = set()

    async def events(self, unnamed: RunActivity | None) -> AsyncIterator[bytes]:
        """Yield the page of the list if one of its runs has changed, and new verdicts of requests without a run.

        An error of the store is an event `trouble`.
        """
        try:
            found, cards = await self._board.cards(self._query, self._allows)
        except DifficultyError as error:
            yield event("trouble", {"store": error.slug})
        else:
            page = {
                "runs": cards,
                "page": found.page,
                "pages": found.pages,
                "matching": found.matching,
                "total": found.total,
            }
            data = orjson.dumps(page)
            if data != self._sent:
                self._sent = data
                yield event("runs", page)
        if unnamed is not None and self._allows(""):
            verdicts = unnamed.latest()
            new = [verdict for verdict in verdicts if verdict.id not in self._verdicts]
            if new:
                self._verdicts = {verdict.id for verdict in verdicts}
                yield event("verdicts", new)


def activity_row(activity: RunActivity) -> dict[str, Any]:
    """Return the data of the current step for the page, without verdicts."""
    count = activity.rollouts
    return {
        "epoch": activity.epoch,
        "step": activity.step,
        "rollouts": count,
        "components": {name: total / count for name, total in activity.sums.items()} if count else {},
        "warnings": [{"slug": slug, "text": text} for slug, text in activity.warnings.items()],
        "earlier_warnings": [
            {"slug": slug, "text": one.text, "first_step": one.first_step, "last_step": one.last_step}
            for slug, one in activity.seen_warnings.items()
            if slug not in activity.warnings
        ],
        "betas": activity.betas,
        "points": [
            [p.tokens, p.reward, p.correct, p.difficulty, p.problem_id, p.length, p.policy_version, p.age, p.too_old]
            for p in activity.points
        ],
        "seen_points": activity.seen_points,
    }
