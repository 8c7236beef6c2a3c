"""The identity of a run's state (docs/design.md, 5.10): a store that lost or rewound its data is noticed.

The incarnation is a random id, drawn when a run is created or imported. Rewinds, and restores of the run's own
checkpoints, keep it. The version counts the commits of one (incarnation, epoch) that counted or recorded a new group.
"""

from __future__ import annotations

import secrets

from . import refusals
from .codec import RunRecord
from .model import Commit, CommitOutcome


def new_incarnation() -> str:
    """Return a random id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def check_identity(request: Commit, epoch: int, run_record: RunRecord | None) -> None:
    """Check that the store still has the state that the caller saw. `epoch` is the run's; its record may be None.

    Raises:
        RunLost: The run does not exist, or is another one of the same name.
        RunRolledBack: The run's state is older than the one that the caller saw.
        EpochMismatch: The run was rewound, restored, imported or deleted.
    """
    sent, run = request.incarnation, request.run
    if sent is not None and run_record is None:
        raise refusals.run_lost(run, sent)
    if sent is not None and run_record is not None and sent != run_record.incarnation:
        if not run_record.incarnation:  # state from before incarnations existed
            raise refusals.run_rolled_back(run, request.version or 0, 0)
        raise refusals.run_lost(run, sent)
    if request.epoch is not None and run_record is None and request.epoch >= epoch:
        raise refusals.run_lost(run, None)
    for believed in (request.epoch, request.expected_epoch):
        if believed is not None and believed != epoch:
            if sent is not None and believed > epoch:
                raise refusals.run_rolled_back(run, believed, epoch, "epoch")
            raise refusals.epoch_mismatch(epoch, believed)
    if request.version is not None and run_record is not None and run_record.version < request.version:
        raise refusals.run_rolled_back(run, request.version, run_record.version)


def count_commit(run_record: RunRecord, outcome: CommitOutcome) -> CommitOutcome:
    """Count a commit in the run's version, unless it only replayed groups; return the outcome with the identity.

    Drawn here: the incarnation of a run that has none, since it is new or of an older version of the service.
    """
    if not all(group.replayed for group in outcome.groups):
        run_record.incarnation = run_record.incarnation or new_incarnation()
        run_record.version += 1
        if outcome.created:
            run_record.created_step = outcome.step
    outcome.incarnation = run_record.incarnation
    outcome.version = run_record.version
    outcome.created_step = run_record.created_step
    return outcome
