"""Cohorts in Redis, so that a group's rollouts may arrive at any replica: one Lua script, one key a round
of a cohort, and one that names its newest round.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from ..difficulty.stores.redis_link import Link
from ..difficulty.stores.redis_servers import open_link
from ..difficulty.stores.scripts import make_script
from .model import TOMBSTONE_S, Arrival, Cohort, Collecting, Refused, Released

MEET = make_script("meet", (files(__package__) / "meet.lua").read_text("utf-8"))


class RedisRendezvous:
    """See `model.Rendezvous`."""

    def __init__(self, url: str, *, timeout_s: float = 5.0, replicas: int = 0) -> None:
        self._link: Link = open_link(url, timeout_s=timeout_s, replicas=replicas, max_connections=16)

    async def open(self) -> None:
        """Nothing to prepare: the link connects when it is first used."""

    async def close(self) -> None:
        """Implement `Rendezvous.close`."""
        await self._link.close()

    async def arrive(self, arrival: Arrival) -> Collecting | Released | Refused:
        """Implement `Rendezvous.arrive`."""
        reply = await self._link.run(
            MEET,
            arrival.cohort.key,
            "arrive",
            arrival.attempt,
            arrival.slot,
            arrival.size,
            arrival.header,
            arrival.digest,
            arrival.payload,
            round(arrival.timeout_s * 1000),
            TOMBSTONE_S * 1000,
            arrival.renewal,
        )
        return _read(reply)

    async def look(self, cohort: Cohort, round: int, attempt: int, slot: int) -> Collecting | Released | Refused:
        """Implement `Rendezvous.look`."""
        return _read(await self._link.run(MEET, cohort.key, "look", attempt, slot, round))


def _read(reply: list[Any]) -> Collecting | Released | Refused:
    kind = reply[0].decode()
    if kind == "refused":
        return Refused(reply[1].decode())
    if kind == "collecting":
        return Collecting(int(reply[2]) / 1000, int(reply[3]), int(reply[1]))
    slots = sorted((int(reply[i]), bytes(reply[i + 1])) for i in range(2, len(reply), 2))
    return Released(tuple(slots), int(reply[1]))
