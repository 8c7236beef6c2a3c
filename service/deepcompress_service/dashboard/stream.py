"""Server-sent events for the page: the changes since the last events of the stream, once a second.

Each stream begins with the full state, so a viewer can reconnect to any process or replica without a position.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from ..activity.recent import RunActivity
from ..difficulty.errors import DifficultyError, UnknownRun
from .board import Board, RunBoard, RunSnapshot


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
        self._verdicts: set[str] = set()

    async def events(self, activity: RunActivity | None) -> AsyncIterator[bytes]:
        """Yield events for all changes since the last call. An error of the store is an event `trouble`."""
        try:
            snapshot = await self._board.snapshot()
            betas = await self._board.betas()
        except UnknownRun:
            if self._sent is not None or self._activity_mark is None:
                yield event("gone", {})
            self._sent = None
        except DifficultyError as error:
            yield event("trouble", {"store": error.slug})
        else:
            row = orjson.dumps(snapshot.row)
            if row != self._row:
                self._row = row
                yield event("run", snapshot.row)
            changed = self._changed_steps(snapshot)
            if changed or self._sent is None or self._sent.epoch != snapshot.epoch:
                replace = self._sent is None or self._sent.epoch != snapshot.epoch
                yield event("steps", {"replace": replace, "steps": changed})
            self._sent = snapshot
            if betas is not self._betas:
                self._betas = betas
                yield event("betas", betas)
        for part in self._activity_events(activity):
            yield part

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


class CardStream:
    """Events for one viewer of the list of runs. `allows` returns True for the runs of the viewer's key."""

    def __init__(self, board: Board, allows: Callable[[str], bool]) -> None:
        self._board = board
        self._allows = allows
        self._sent: bytes = b""
        self._verdicts: set[str] = set()

    async def events(self, unnamed: RunActivity | None) -> AsyncIterator[bytes]:
        """Yield the list of runs if one of them has changed, and new verdicts of requests without a run.

        An error of the store is an event `trouble`.
        """
        try:
            cards = [card for card in await self._board.cards() if self._allows(card["run"])]
        except DifficultyError as error:
            yield event("trouble", {"store": error.slug})
        else:
            data = orjson.dumps(cards)
            if data != self._sent:
                self._sent = data
                yield event("runs", cards)
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
        "betas": activity.betas,
        "points": [[p.tokens, p.reward, p.correct, p.difficulty, p.problem_id] for p in activity.points],
        "seen_points": activity.seen_points,
    }
