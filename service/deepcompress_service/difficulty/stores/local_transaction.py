"""The interface between the local stores and their tables: all runs of a store, inside one transaction."""

from __future__ import annotations

from typing import Protocol

from ..errors import StoreUnavailable
from ..model import Checkpoint
from ..run_transaction import StoreTransaction

SCRATCH = "/import/"
"""Prefix of the names under which imports collect their rows. No run's name begins with it."""


class LocalTransaction(StoreTransaction, Protocol):
    """All runs of a store, inside one transaction."""

    def set_epoch(self, run: str, epoch: int) -> None:
        """Store the run's epoch."""

    def runs(self) -> list[str]:
        """Return the names of all runs, ascending."""

    def copy(self, run: str, source: str | None, target: str | None) -> None:
        """Replace one state of a run by a copy of another; each is a checkpoint's name, None for the run's own.

        The run's data set and samples are not copied, and those of the replaced state stay.
        """

    def adopt(self, source: str, run: str) -> None:
        """Replace the run's own state by the one stored under the name `source`."""

    def checkpoints(self, run: str) -> list[Checkpoint]:
        """Return the run's checkpoints in any order."""

    def put_checkpoint(self, run: str, checkpoint: Checkpoint) -> None:
        """Store the description of a checkpoint whose state exists."""

    def drop_checkpoint(self, run: str, name: str) -> None:
        """Delete a checkpoint that exists."""

    def drop(self, run: str) -> None:
        """Delete the run's state and its checkpoints, but not its epoch."""

    def use(self, run: str, now: float) -> None:
        """Record that the run was used at `now` (seconds since 1970)."""

    def last_used(self, run: str) -> float | None:
        """Return when the run was last used (seconds since 1970); None if unknown."""

    def names(self) -> list[str]:
        """Return every name under which more than an epoch is stored."""

    def exchange_indexes(self, run: str, other: str) -> None:
        """Exchange the data sets of two states."""

    def drop_orphans(self, limit: int) -> bool:
        """Delete at most `limit` problems of data sets that no state has; return True if there may be more."""


def check_scratch(transaction: LocalTransaction, scratch: str) -> None:
    """Check that a scratch state was not swept away.

    Raises:
        StoreUnavailable: It was.
    """
    if transaction.last_used(scratch) is None:
        raise StoreUnavailable("the lines sent so far are lost: send them again")
