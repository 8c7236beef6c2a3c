"""Waiting for a cohort: polls the store, and wakes at once if the group completes in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..difficulty.errors import StoreUnavailable
from .model import Arrival, Collecting, Refused, Released, Rendezvous

FIRST_LOOK_S = 0.02
LONGEST_PAUSE_S = 0.5

Stand = Collecting | Released | Refused


class WaitingRoom:
    """Those who wait in this process, by the round of their cohort."""

    def __init__(self, store: Rendezvous, most: int) -> None:
        self.store = store
        self._most = most
        self._bells: dict[tuple[str, int], tuple[asyncio.Event, int]] = {}
        self.waiting = 0
        self.stopping = False
        """True once the process stops: every wait ends."""

    @property
    def full(self) -> bool:
        """True if no further rollout may wait."""
        return self.waiting >= self._most

    async def meet(self, arrival: Arrival, wait_s: float, *, patient: bool = False) -> Stand:
        """Arrive, and wait up to `wait_s` for the group. Whoever gives up leaves the slot filled. ``patient``: a
        store that is away is waited for as well, as long; else it is a `StoreUnavailable` at once.
        """
        end = asyncio.get_running_loop().time() + wait_s
        self.waiting += 1
        try:
            stand = await self._ask(lambda: self.store.arrive(arrival), end, patient)
            if isinstance(stand, Collecting):
                stand = await self._wait(arrival, stand, end, patient)
            if isinstance(stand, Released) and (bell := self._bells.get((arrival.cohort.key, stand.round))):
                bell[0].set()
            return stand
        finally:
            self.waiting -= 1

    async def _wait(self, arrival: Arrival, stand: Collecting, end: float, patient: bool) -> Stand:
        clock = asyncio.get_running_loop().time
        cohort, round = arrival.cohort, stand.round
        # Of the round, not of the cohort: a bell that rang for the last round would never let one rest.
        bell = self._enter((cohort.key, round))
        pause = FIRST_LOOK_S
        current: Stand = stand
        try:
            while isinstance(current, Collecting) and clock() < end and not self.stopping:
                nap = max(0.001, min(pause, current.remaining_s, end - clock()))
                try:
                    await asyncio.wait_for(bell.wait(), nap)
                except TimeoutError:
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                current = await self._ask(
                    lambda: self.store.look(cohort, round, arrival.attempt, arrival.slot), end, patient
                )
            return current
        finally:
            self._leave((cohort.key, round))

    @staticmethod
    async def _ask(ask: Callable[[], Awaitable[Stand]], end: float, patient: bool) -> Stand:
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                if not patient or asyncio.get_running_loop().time() + LONGEST_PAUSE_S >= end:
                    raise
            await asyncio.sleep(LONGEST_PAUSE_S)

    def _enter(self, key: tuple[str, int]) -> asyncio.Event:
        bell, count = self._bells.get(key, (asyncio.Event(), 0))
        self._bells[key] = (bell, count + 1)
        return bell

    def _leave(self, key: tuple[str, int]) -> None:
        bell, count = self._bells[key]
        if count == 1:
            del self._bells[key]
        else:
            self._bells[key] = (bell, count - 1)
