"""Samples of one prompt that run concurrently in one event loop and wait for each other in memory.

No socket is held while they wait, and no limit of the framework on concurrent calls applies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ..wire import GroupRewards


@dataclass(eq=False)
class Siblings:
    """The samples of one prompt that are generated at the same time."""

    shared: object
    """The object that identifies the siblings; referenced here so that its id is not reused."""
    problem: str
    """`problem_name` of the first sibling's prompt and gold."""
    joined: int = 0
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    rewards: asyncio.Future[GroupRewards] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


Score = Callable[[list[dict[str, Any]]], Awaitable[GroupRewards]]


class Barrier:
    """Joins the samples of one prompt.

    Frameworks start all samples of a prompt at once and hand each the same object (its data, its sampling
    parameters). That object identifies siblings: all samples that have joined with it when the first sample is done.
    The number of samples need not be given.
    """

    def __init__(self) -> None:
        self._groups: dict[int, Siblings] = {}

    async def join(self, shared: object, problem: str) -> Siblings:
        """Register as a sibling; return after all siblings had the chance to register.

        Raises:
            ValueError: the siblings have another problem.
        """
        siblings = self._groups.setdefault(id(shared), Siblings(shared, problem))
        if siblings.problem != problem:
            error = ValueError("samples of different problems share one object: they are not one group")
            self.fail(siblings, error)
            raise error
        siblings.joined += 1
        await asyncio.sleep(0)
        return siblings

    async def reward(self, siblings: Siblings, rollout: dict[str, Any], score: Score) -> tuple[GroupRewards, int]:
        """Wait for the siblings; return the group's rewards and this rollout's index in the group.

        The last sibling scores the group for all. `fail` releases the group of a sample that never finishes.
        """
        index = len(siblings.rollouts)
        siblings.rollouts.append(rollout)
        if len(siblings.rollouts) == siblings.joined and not siblings.rewards.done():
            self._groups.pop(id(siblings.shared), None)
            siblings.rewards.set_result(await score(siblings.rollouts))
        return await asyncio.shield(siblings.rewards), index

    def fail(self, siblings: Siblings, error: BaseException) -> None:
        """Fail the whole group because one member failed.

        The others neither wait for it nor are rewarded without it.
        """
        self._groups.pop(id(siblings.shared), None)
        if not siblings.rewards.done():
            siblings.rewards.set_exception(RuntimeError(f"a sample of this group failed: {error!r}"))
            siblings.rewards.exception()  # mark it as retrieved: asyncio logs errors that no task awaits
