"""A request with the results of the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepcompress_client.wire import ScoreGroup, ScoreRequest, ShapeGroup, ShapeRequest, Signal
from deepcompress_verify import Verdict

from ..difficulty.model import GroupCommit
from ..shaping import Group, ShapedGroup
from ..shaping.signal import SignalSums
from .plan import RunPlan

AddTask = Callable[..., None]
"""Schedules a coroutine function, given with its arguments, for after the answer was sent (FastAPI's `add_task`)."""
BatchRequest = ShapeRequest | ScoreRequest
SMALL_BATCH = 256
"""Most rollouts of a batch whose parts follow each other at once: they take a few milliseconds together. The parts of
a larger one take turns with other requests."""

TURN = 4_096
"""Rollouts that are worked on before other requests take their turn."""


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
    rollouts: int
    """Rollouts of all groups."""
    final: bool
    """True if the plan is the run's for this epoch: it was trained before, so its configuration cannot change."""
    pauses: frozenset[int]
    """Indices of the groups before which other requests take their turn: one for every TURN rollouts."""


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
