"""A request with the results of the stages, and the turns in which the work of a large one is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from deepcompress_client.wire import ScoreGroup, ScoreRequest, ShapeGroup, ShapeRequest, Signal
from deepcompress_verify import Verdict

from ..difficulty.model import GroupCommit
from ..shaping import Group, ShapedGroup
from ..shaping.signal import SignalSums
from .plan import RunPlan

AddTask = Callable[..., None]
"""Schedules a coroutine function, given with its arguments, for after the answer was sent (FastAPI's `add_task`)."""
BatchRequest = ShapeRequest | ScoreRequest
TURN = 4_096
"""Rollouts that are worked on before other requests take their turn: at most about 10 ms of work of one stage."""
RELEASED = 512
"""Values of a list that are freed in one turn: groups, for example."""

T = TypeVar("T")


async def in_turns(turns: Sequence[slice]) -> AsyncIterator[slice]:
    """Yield each slice. Other requests take their turn before each one but the first."""
    for number, turn in enumerate(turns):
        if number:
            await asyncio.sleep(0)
        yield turn


async def beside(large: bool, work: Callable[[], T]) -> T:
    """Return the result of work on a request: of a large one in a thread."""
    return await asyncio.to_thread(work) if large else work()


async def release(values: list[Any]) -> None:
    """Empty a list. Other requests take their turns meanwhile: freeing a large list at once is a single call."""
    while len(values) > RELEASED:
        del values[-RELEASED:]
        await asyncio.sleep(0)
    values.clear()


@dataclass(slots=True)
class BatchGroup:
    """One group of a request and the results of the stages. Sequences have one entry for each rollout."""

    sent: ShapeGroup | ScoreGroup
    correct: tuple[bool, ...] = ()
    statuses: tuple[str | None, ...] = ()
    verdicts: Sequence[Verdict] | None = None
    """None if the caller sent verdicts (shape)."""
    digest: bytes = b""
    age: int | None = None
    """The trainer's policy version less the group's oldest one, as recorded; None if it is not known."""
    too_old: bool = False
    tallies: GroupCommit | None = None
    """The group's part of the commit; None in evaluation."""


@dataclass(slots=True)
class Batch:
    """One shape or score request, with the results of the stages."""

    request: BatchRequest
    plan: RunPlan
    epoch: int | None
    """The run's epoch on arrival; None for a run that does not exist yet, and in evaluation."""
    groups: list[BatchGroup]
    warnings: list[tuple[str, str]]
    """(slug, text) of each warning of the stages before the rewards."""
    final: bool
    """True if the plan is the run's for this epoch: it was trained before, so its configuration cannot change."""
    turns: list[slice]
    """Slices of the groups (`turns_of`)."""
    large: bool
    """True if the work is done in several turns."""

    @property
    def whole(self) -> bool:
        """True if the rewards of a large batch depend on all of its groups, so that they are computed at once."""
        return self.large and "batch" in self.plan.reward.needs

    @property
    def parts(self) -> list[slice]:
        """Slices of the groups whose rewards are computed together."""
        return [slice(0, len(self.groups))] if self.whole else self.turns


@dataclass(slots=True)
class Rewards:
    """The result of the stage shape. One entry for each group, in the order sent."""

    groups: list[Group]
    shaped: list[ShapedGroup]
    shadows: list[dict[str, ShapedGroup]] | None
    warnings: list[tuple[str, str]]
    """Known problems that the groups show, as (slug, text)."""
    signal: Signal | None = None
    sums: SignalSums | None = None
    """The sums of the signal's figures; None if the answer needs none."""
