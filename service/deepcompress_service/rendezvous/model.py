"""Terms of the rendezvous as dataclasses, and the protocol of its stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

TOMBSTONE_S = 3600
"""Seconds for which a released cohort is remembered: a late retry is answered, a late sibling refused."""

Renewal = Literal["never", "attempt", "content"]
"""The event that begins a group's next round, after a release: none; a higher attempt; or, for callers whose
group names come again (a task's, every epoch), other content in a slot as well."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The identity of a group that collects: a rewound run's groups are others, since its epoch is."""

    run: str
    epoch: int
    step: int | None
    group_id: str

    @property
    def key(self) -> str:
        """One string a cohort; the run first, as the hash tag of a Redis Cluster."""
        step = "" if self.step is None else str(self.step)
        return f"dc-meet:{{{self.run}}}:{self.epoch}:{step}:{self.group_id}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One rollout that arrives for its slot."""

    cohort: Cohort
    slot: int
    size: int
    """Rollouts that the group is complete with."""
    attempt: int
    """A higher attempt at the group supersedes the lower ones."""
    header: bytes
    """Digest of what all rollouts of the group must agree on (problem, gold, size)."""
    digest: bytes
    """16 bytes over what the caller sent: the same again is a retry, other content is a conflict."""
    payload: bytes
    timeout_s: float
    """Seconds from the round's first arrival until it is released with what it has."""
    renewal: Renewal = "never"


@dataclass(frozen=True, slots=True)
class Collecting:
    """Not complete yet."""

    remaining_s: float
    arrived: int
    round: int = field(compare=False)
    """Which of the group's rounds this is: the millisecond in which it began, unique for its cohort."""


@dataclass(frozen=True, slots=True)
class Released:
    """The group, for good: slot and payload of each rollout, by slot."""

    slots: tuple[tuple[int, bytes], ...]
    round: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an arrival does not count.

    * conflict:    its slot is taken by other content
    * mismatch:    its group collects for another problem, gold or size
    * superseded:  a higher attempt at the group has begun
    * late:        the group was released without it
    * gone:        nothing is known of the cohort (any more)
    """

    why: Literal["conflict", "mismatch", "superseded", "late", "gone"]


class Rendezvous(Protocol):
    """Storage of cohorts. Each method is one atomic operation; errors are those of `difficulty.errors`."""

    async def open(self) -> None:
        """Prepare the store."""

    async def close(self) -> None:
        """Close all connections."""

    async def arrive(self, arrival: Arrival) -> Collecting | Released | Refused:
        """Fill the slot, or find it filled with the same."""

    async def look(self, cohort: Cohort, round: int, attempt: int, slot: int) -> Collecting | Released | Refused:
        """Return the state of the round for a caller that waits for it; release it if its deadline has passed."""
