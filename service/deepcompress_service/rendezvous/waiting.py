"""Waiting for a cohort: polls the store, and wakes at once if the group completes in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from ..difficulty.errors import StoreUnavailable
from .model import Arrival, Collecting, Refused, Released, Rendezvous

FIRST_LOOK_S = 0.02
LONGEST_PAUSE_S = 0.5
LOOKS_PER_S = 500
"""Most polls of the store in a second, of all that wait in this process: with more than 250, each polls less often.
The first of a group that finds it released wakes the others."""

Stand = Collecting | Released | Refused


class WaitingRoom:
    """Those who wait in this process, by the round of their cohort."""

    def __init__(self, store: Rendezvous, most: int) -> None:
        self.store = store
        self._most = most
        self._bells: dict[tuple[str, int], tuple[asyncio.Event, int]] = {}
        self._waiting_of: Counter[str] = Counter()
        """Those of each API key that has a share of the places."""
        self.waiting = 0
        self.stopping = False
        """True once the process stops: every wait ends."""

    def refusal(self, share: str) -> str:
        """Return the slug of the reason why no further rollout may wait, "" if one may.

        `share` names the API key that may take half of the places; "" for a caller that may take all.
        """
        if self.waiting >= self._most:
            return "overloaded"
        return "key-share-used" if share and self._waiting_of[share] >= max(1, self._most // 2) else ""

    async def meet(self, arrival: Arrival, wait_s: float, *, patient: bool = False, share: str = "") -> Stand:
        """Arrive, and wait up to `wait_s` for the group. Whoever gives up leaves the slot filled. ``patient``: a
        store that is away is waited for as well, as long; else it is a `StoreUnavailable` at once. `share` is as for
        `refusal`.
        """
        end = asyncio.get_running_loop().time() + wait_s
        self.waiting += 1
        self._waiting_of[share] += 1
        try:
            stand = await self._ask(lambda: self.store.arrive(arrival), end, patient)
            if isinstance(stand, Collecting):
                stand = await self._wait(arrival, stand, end, patient)
            if isinstance(stand, Released) and (bell := self._bells.get((arrival.cohort.key, stand.round))):
                bell[0].set()
            return stand
        finally:
            self.waiting -= 1
            self._waiting_of[share] -= 1
            if not self._waiting_of[share]:
                del self._waiting_of[share]

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
                    pause = min(2 * pause, max(LONGEST_PAUSE_S, self.waiting / LOOKS_PER_S))
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
