"""The identity of a run's state (docs/design.md, 5.10): a store that lost or rewound its data is noticed.

The incarnation is a random id, drawn when a run is created or imported. Rewinds, and restores of the run's own
checkpoints, keep it. The version counts the commits of one (incarnation, epoch) that counted or recorded a new group.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from . import refusals
from .codec import RunRecord
from .model import RunState


def new_incarnation() -> str:
    """Return a random id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


class SentIdentity(Protocol):
    """The part of a training request that identifies the state which the caller saw."""

    @property
    def run(self) -> str: ...  # noqa: D102 - named as on the wire
    @property
    def epoch(self) -> int | None: ...  # noqa: D102
    @property
    def incarnation(self) -> str | None: ...  # noqa: D102
    @property
    def version(self) -> int | None: ...  # noqa: D102


def check_identity(
    request: SentIdentity, epoch: int, found: RunRecord | RunState | None, expected_epoch: int | None = None
) -> None:
    """Check that the store still has the state that the caller saw.

    `epoch` and `found` are the run's; `found` is None if it does not exist. `expected_epoch` is the run's epoch on
    arrival, if it was read.

    Raises:
        RunLost: The run does not exist, or is another one of the same name.
        RunRolledBack: The run's state is older than the one that the caller saw.
        EpochMismatch: The run was rewound, restored, imported or deleted.
    """
    sent, run = request.incarnation, request.run
    if sent is not None and found is None:
        raise refusals.run_lost(run, sent)
    if sent is not None and found is not None and sent != found.incarnation:
        if not found.incarnation:  # state from before incarnations existed
            raise refusals.run_rolled_back(run, request.version or 0, 0)
        raise refusals.run_lost(run, sent)
    if request.epoch is not None and found is None and request.epoch >= epoch:
        raise refusals.run_lost(run, None)
    for believed in (request.epoch, expected_epoch):
        if believed is not None and believed != epoch:
            if sent is not None and believed > epoch:
                raise refusals.run_rolled_back(run, believed, epoch, "epoch")
            raise refusals.epoch_mismatch(epoch, believed)
    if request.version is not None and found is not None and found.version < request.version:
        raise refusals.run_rolled_back(run, request.version, found.version)
