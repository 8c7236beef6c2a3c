"""Server-sent events for the page: what changed since this viewer was last told, once a second.

A stream starts with everything and goes on with differences, so that a viewer that comes back, to this
process or to another replica, needs to say nothing about what it has seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import orjson

from ..activity.recent import RunActivity
from ..difficulty.errors import DifficultyError, UnknownRun
from .board import Board, RunBoard, RunSnapshot


def event(name: str, data: Any) -> bytes:
    """One event. JSON of orjson has no line breaks, so its one data line cannot be broken out of."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


class RunStream:
    """What one viewer of a run was told."""

    def __init__(self, board: RunBoard) -> None:
        self._board = board
        self._told: RunSnapshot | None = None
        self._row: bytes = b""
        self._betas: object = None
        self._mark: object = None
        self._verdicts: set[str] = set()

    async def events(self, window: RunActivity | None) -> AsyncIterator[bytes]:
        """What is new. A store that cannot be reached is told as such, and the rest goes on."""
        try:
            snapshot = await self._board.snapshot()
            betas = await self._board.betas()
        except UnknownRun:
            if self._told is not None or self._mark is None:
                yield event("gone", {})
            self._told = None
        except DifficultyError as error:
            yield event("trouble", {"store": error.slug})
        else:
            row = orjson.dumps(snapshot.row)
            if row != self._row:
                self._row = row
                yield event("run", snapshot.row)
            changed = self._changed_steps(snapshot)
            if changed or self._told is None or self._told.epoch != snapshot.epoch:
                replace = self._told is None or self._told.epoch != snapshot.epoch
                yield event("steps", {"replace": replace, "steps": changed})
            self._told = snapshot
            if betas is not self._betas:
                self._betas = betas
                yield event("betas", betas)
        for part in self._activity(window):
            yield part

    def _changed_steps(self, snapshot: RunSnapshot) -> list[dict[str, Any]]:
        told = self._told.steps if self._told is not None and self._told.epoch == snapshot.epoch else {}
        # Rows that did not change are the same objects or compare equal.
        return [row for step, row in sorted(snapshot.steps.items()) if told.get(step) != row]

    def _activity(self, window: RunActivity | None) -> Iterable[bytes]:
        if window is None:
            if self._mark is None:
                self._mark = ()
                yield event("window", None)
            return
        mark = (window.epoch, window.step, window.rollouts, len(window.traps))
        if mark != self._mark:
            self._mark = mark
            yield event("window", window_row(window))
        verdicts = window.latest()
        fresh = [verdict for verdict in verdicts if verdict.id not in self._verdicts]
        if fresh:
            self._verdicts = {verdict.id for verdict in verdicts}
            yield event("verdicts", fresh)


class CardStream:
    """What one viewer of all runs was told. `allows` says which runs the viewer's key may see."""

    def __init__(self, board: Board, allows: Callable[[str], bool]) -> None:
        self._board = board
        self._allows = allows
        self._told: bytes = b""
        self._verdicts: set[str] = set()

    async def events(self, unnamed: RunActivity | None) -> AsyncIterator[bytes]:
        """The cards where one of them changed, and new verdicts of callers that named no run."""
        try:
            cards = [card for card in await self._board.cards() if self._allows(card["run"])]
        except DifficultyError as error:
            yield event("trouble", {"store": error.slug})
        else:
            data = orjson.dumps(cards)
            if data != self._told:
                self._told = data
                yield event("runs", cards)
        if unnamed is not None and self._allows(""):
            verdicts = unnamed.latest()
            fresh = [verdict for verdict in verdicts if verdict.id not in self._verdicts]
            if fresh:
                self._verdicts = {verdict.id for verdict in verdicts}
                yield event("verdicts", fresh)


def window_row(window: RunActivity) -> dict[str, Any]:
    """The window on the current step, but for its verdicts."""
    count = window.rollouts
    return {
        "epoch": window.epoch,
        "step": window.step,
        "rollouts": count,
        "components": {name: total / count for name, total in window.sums.items()} if count else {},
        "traps": [{"slug": slug, "text": text} for slug, text in window.traps.items()],
        "betas": window.betas,
        "points": [[p.tokens, p.reward, p.correct, p.difficulty, p.problem_id] for p in window.points],
        "seen_points": window.seen_points,
    }
