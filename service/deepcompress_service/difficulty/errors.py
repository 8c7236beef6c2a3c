"""Errors of the stores. Each has a stable slug, which the API puts into ``type`` of the problem details."""

from __future__ import annotations


class DifficultyError(Exception):
    """Base class: the request was refused and nothing was changed. ``detail`` names what the caller can do."""

    slug = "difficulty-error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class UnknownRun(DifficultyError):
    """The run does not exist."""

    slug = "unknown-run"


class UnknownProblem(DifficultyError):
    """The run has no such problem."""

    slug = "unknown-problem"


class UnknownCheckpoint(DifficultyError):
    """The run has no such checkpoint."""

    slug = "unknown-checkpoint"


class RunConflict(DifficultyError):
    """A PUT with another configuration on a run that has state."""

    slug = "run-conflict"


class GroupConflict(DifficultyError):
    """The same group with other content."""

    slug = "group-conflict"


class StepTooOld(DifficultyError):
    """Records of that step are gone; the detail names the ways out."""

    slug = "step-too-old"


class EpochMismatch(DifficultyError):
    """The run was rewound, restored, imported or deleted since the caller read its epoch."""

    slug = "epoch-mismatch"


class RunLost(DifficultyError):
    """The run that the caller trained does not exist: the store lost it, or it was deleted or replaced."""

    slug = "run-lost"


class RunRolledBack(DifficultyError):
    """The run's state is older than the one that the caller saw: the store went back to an earlier state."""

    slug = "run-rolled-back"


class StepKindMismatch(DifficultyError):
    """A stepped request on a stepless run, or the other way round."""

    slug = "step-kind-mismatch"


class NotObserved(DifficultyError):
    """``"step": "observed"`` or a missing problem_id, for groups not observed (at exactly one open step)."""

    slug = "not-observed"


class BadDataset(DifficultyError):
    """A data set that cannot be registered: a problem is in it twice, or it is too large."""

    slug = "bad-dataset"


class UnknownDataset(DifficultyError):
    """The run has no data set."""

    slug = "unknown-dataset"


class NoDataset(DifficultyError):
    """A sample of a run for which no data set is registered."""

    slug = "no-dataset"


class SampleConflict(DifficultyError):
    """A sample for a step that was sampled with another number, policy or data source."""

    slug = "sample-conflict"


class StepClosed(DifficultyError):
    """A sample for a step that is closed and was never sampled."""

    slug = "step-closed"


class TooManySamples(DifficultyError):
    """More steps were sampled ahead than the run keeps."""

    slug = "too-many-samples"


class UnknownDataSource(DifficultyError):
    """The data set has no such data source."""

    slug = "unknown-data-source"


class InvalidPolicy(DifficultyError):
    """A policy that this run cannot follow."""

    slug = "invalid-policy"


class TooManyRuns(DifficultyError):
    """A run cannot be created: the store has as many as the service allows."""

    slug = "too-many-runs"


class StoreUnavailable(DifficultyError):
    """The store cannot be reached or did not answer in time. Nothing was acknowledged; try again.

    ``detail`` is for callers. ``reason`` adds what only operators may see: paths, addresses, texts of exceptions.
    """

    slug = "store-unavailable"

    def __init__(self, detail: str, *, reason: str | None = None, **facts: object) -> None:
        super().__init__(detail, **facts)
        self.reason = reason or detail

    def __str__(self) -> str:
        return self.reason


class StoreTooNew(DifficultyError):
    """The store, or the run, was written by a newer version of this service."""

    slug = "store-too-new"


UNUSABLE = (StoreUnavailable, StoreTooNew)
"""The store's fault, not the request's: whoever can do without the store does."""
