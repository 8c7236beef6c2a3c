"""Waiting for a cohort: looks at the store now and then, and at once when the group completes in this process."""

from __future__ import annotations

import asyncio

from .model import Arrival, Collecting, Refused, Released, Rendezvous

FIRST_LOOK_S = 0.02
LONGEST_PAUSE_S = 0.5


class WaitingRoom:
    """Those who wait in this process, by cohort."""

    def __init__(self, store: Rendezvous, most: int) -> None:
        self.store = store
        self._most = most
        self._bells: dict[str, tuple[asyncio.Event, int]] = {}
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether another one would be too many."""
        return self.waiting >= self._most

    async def meet(self, arrival: Arrival, wait_s: float) -> Collecting | Released | Refused:
        """Arrive, and wait up to `wait_s` for the group. Whoever gives up leaves the slot filled."""
        stand = await self.store.arrive(arrival)
        key = arrival.cohort.key
        if isinstance(stand, Released):
            self._ring(key)
        if not isinstance(stand, Collecting):
            return stand
        bell = self._enter(key)
        try:
            return await self._wait(arrival, stand, bell, wait_s)
        finally:
            self._leave(key)

    async def _wait(
        self, arrival: Arrival, stand: Collecting, bell: asyncio.Event, wait_s: float
    ) -> Collecting | Released | Refused:
        clock = asyncio.get_running_loop().time
        end = clock() + wait_s
        pause = FIRST_LOOK_S
        current: Collecting | Released | Refused = stand
        while isinstance(current, Collecting) and clock() < end:
            nap = max(0.001, min(pause, current.remaining_s, end - clock()))
            try:
                await asyncio.wait_for(bell.wait(), nap)
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE_S)
            current = await self.store.look(arrival.cohort, arrival.attempt, arrival.slot)
        if isinstance(current, Released):
            self._ring(arrival.cohort.key)
        return current

    def _ring(self, key: str) -> None:
        if key in self._bells:
            self._bells[key][0].set()

    def _enter(self, key: str) -> asyncio.Event:
        bell, count = self._bells.get(key, (asyncio.Event(), 0))
        self._bells[key] = (bell, count + 1)
        self.waiting += 1
        return bell

    def _leave(self, key: str) -> None:
        bell, count = self._bells[key]
        self.waiting -= 1
        if count == 1:
            del self._bells[key]
        else:
            self._bells[key] = (bell, count - 1)
