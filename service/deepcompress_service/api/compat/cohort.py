"""Groups whose rollouts are sent one by one by callers that wait: each call is held until its group is complete.

The rules are those of NeMo Gym's own `genrm_compare` server: a slot a rollout, a digest a slot, a watermark for
attempts, tombstones for what is over. Two differ: a group is released with what it has when its time is up, and
where the caller names only the task, other content after completion begins the task's next group (tasks come again
every epoch, and then have the same name).

State lives in this process, so the service must be one process: `Cohorts` is not for several workers.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import Problem, invalid

MAX_WAITING = 16_384
"""Most rollouts that wait at once; beyond it a call is refused with Retry-After."""
MAX_FINISHED = 4096
RESULT_TTL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One rollout: what the group is shaped from, and the digest by which its repeats are known."""

    digest: bytes
    rollout: dict[str, Any]


@dataclass(eq=False)
class Cohort:
    """One group while it is collected, and afterwards, for repeats."""

    size: int
    attempt: int
    dispatch: int
    prompt: bytes
    slots: dict[int, Slot] = field(default_factory=dict)
    result: asyncio.Future[dict[int, Any]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    timer: asyncio.TimerHandle | None = None
    released: bool = False
    finished_at: float | None = None


Shape = Callable[[list[dict[str, Any]], Cohort], Awaitable[list[Any]]]
"""Shapes the rollouts of a cohort, in slot order: one result each."""


def conflict(detail: str) -> Problem:
    return Problem(409, "cohort-conflict", detail)


class Cohorts:
    """The groups of one running app."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[str, ...], Cohort] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def wait(
        self,
        key: tuple[str, ...],
        *,
        index: int,
        slot: Slot,
        size: int,
        attempt: int,
        prompt: bytes,
        timeout_s: float,
        named: bool,
        shape: Shape,
    ) -> Any:
        """This rollout's result, once its group is complete. ``named``: the caller names each dispatch of a
        task, so other content under the same name is a mistake and not the next epoch."""
        if not 0 <= index < size:
            raise invalid("_ng_rollout_index", f"must be between 0 and {size - 1}")
        if self._waiting >= MAX_WAITING:
            raise Problem(503, "overloaded", "too many rollouts wait for their groups", retry_after=5)
        cohort = self._join(key, index, slot, size, attempt, prompt, named, timeout_s, shape)
        self._waiting += 1
        try:
            # A caller that hangs up leaves its slot filled: the others are not robbed of it.
            results = await asyncio.shield(cohort.result)
        finally:
            self._waiting -= 1
        if index not in results:
            raise conflict("this group was released without this rollout, which came too late")
        return results[index]

    def _join(
        self,
        key: tuple[str, ...],
        index: int,
        slot: Slot,
        size: int,
        attempt: int,
        prompt: bytes,
        named: bool,
        timeout_s: float,
        shape: Shape,
    ) -> Cohort:
        self._forget_old()
        cohort = self._by_key.get(key)
        if cohort is not None and attempt < cohort.attempt:
            raise conflict(f"attempt {attempt} of this group was superseded by attempt {cohort.attempt}")
        if cohort is not None and attempt > cohort.attempt:
            if not cohort.result.done():
                cohort.released = True
                cohort.result.set_exception(conflict(f"superseded by attempt {attempt}"))
                cohort.result.exception()  # seen, where nobody waits
            cohort = None
        if cohort is not None and cohort.released and not self._repeats(cohort, index, slot) and not named:
            cohort = self._begin(key, size, attempt, cohort.dispatch + 1, prompt, timeout_s, shape)
        if cohort is None:
            cohort = self._begin(key, size, attempt, 0, prompt, timeout_s, shape)
        if cohort.prompt != prompt or cohort.size != size:
            raise conflict("this group was begun with another prompt, gold answer or size")
        held = cohort.slots.get(index)
        if held is None and cohort.released:
            raise conflict("this group is over")
        if held is not None and held.digest != slot.digest:
            raise conflict(f"rollout {index} of this group was sent before with other content")
        cohort.slots[index] = slot
        if len(cohort.slots) == size:
            self._release(cohort, shape)
        return cohort

    @staticmethod
    def _repeats(cohort: Cohort, index: int, slot: Slot) -> bool:
        held = cohort.slots.get(index)
        return held is not None and held.digest == slot.digest

    def _begin(
        self,
        key: tuple[str, ...],
        size: int,
        attempt: int,
        dispatch: int,
        prompt: bytes,
        timeout_s: float,
        shape: Shape,
    ) -> Cohort:
        cohort = Cohort(size, attempt, dispatch, prompt)
        self._by_key[key] = cohort
        self._by_key.move_to_end(key)
        cohort.timer = asyncio.get_running_loop().call_later(timeout_s, self._release, cohort, shape)
        return cohort

    def _release(self, cohort: Cohort, shape: Shape) -> None:
        """The group is complete, or its time is up: shape what is there, whoever still waits."""
        if cohort.released:
            return
        cohort.released = True
        if cohort.timer is not None:
            cohort.timer.cancel()
        task = asyncio.ensure_future(self._evaluate(cohort, shape))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _evaluate(self, cohort: Cohort, shape: Shape) -> None:
        order = sorted(cohort.slots)
        try:
            results = await shape([cohort.slots[index].rollout for index in order], cohort)
        except Exception as error:
            # A failed group can be sent again: its slots are still known, and a repeat evaluates anew.
            if not cohort.result.done():
                cohort.result.set_exception(error)
                cohort.result.exception()
            self._by_key = OrderedDict((key, one) for key, one in self._by_key.items() if one is not cohort)
            return
        cohort.finished_at = time.monotonic()
        if not cohort.result.done():
            cohort.result.set_result(dict(zip(order, results, strict=True)))

    def _forget_old(self) -> None:
        now = time.monotonic()
        finished = [(key, one) for key, one in self._by_key.items() if one.finished_at is not None]
        surplus = len(finished) - MAX_FINISHED
        for place, (key, one) in enumerate(finished):
            assert one.finished_at is not None
            if place < surplus or now - one.finished_at > RESULT_TTL_S:
                del self._by_key[key]
