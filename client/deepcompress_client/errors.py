"""The exceptions of the client.

DeepCompressError                 base of all
├── TransportError                no answer: refused, reset, timed out (after the retries)
└── ServiceError                  the service answered with problem details (RFC 9457)
    ├── InvalidRequest            422, 400: the request is wrong; sending it again will not help
    ├── NotFound                  404: no such run, problem or checkpoint
    ├── Conflict                  409: the request conflicts with the run's state
    │   ├── RunInUse              raised by the client: a new training has the name of an old one
    │   ├── RunLost               the service has no such run any more: its store lost it, or it was replaced
    │   ├── RunRolledBack         the service's state of the run is older than the one this client saw
    │   ├── EpochMismatch         the run was rewound, restored, imported or deleted meanwhile
    │   ├── StepTooOld            the step's records are gone; the message has the remedies
    │   └── GroupConflict         this group was recorded before with other content
    ├── TooLarge                  413: over a limit that the caller controls
    ├── Unauthorized              401, 403: the API key
    └── Unavailable               429, 502-504: overloaded, or the store is out of reach (after the retries)
"""

from __future__ import annotations

from typing import Any

PROBLEM_PREFIX = "urn:deepcompress:problem:"
"""Prefix of every problem ``type``; the rest is a slug that never changes."""


class DeepCompressError(Exception):
    """Base of all exceptions of this client."""


class TransportError(DeepCompressError):
    """There was no answer, after all retries."""


class ServiceError(DeepCompressError):
    """The service answered with an error. ``slug`` is stable, ``detail`` is a message for people."""

    def __init__(self, status: int, slug: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(f"{slug}: {detail}" if detail else slug)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.problem: dict[str, Any] = problem or {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Trainers send errors between processes; the default pickle format does not fit this constructor.
        return _restored, (type(self), self.args, self.__dict__)


class InvalidRequest(ServiceError):
    """The request is wrong; sending it again will not help."""


class NotFound(ServiceError):
    """There is no such run, problem or checkpoint."""


class Conflict(ServiceError):
    """The request conflicts with the run's state; nothing was changed."""


class RunInUse(Conflict):
    """A run of that name has been trained with, and the caller did not give the next step."""

    def __init__(self, run: str, step: int | None, remedy: str = "") -> None:
        where = "" if step is None else f", up to step {step}"
        super().__init__(
            409,
            "run-in-use",
            f"run {run!r} has been trained with{where}: "
            + (
                remedy
                or "pass next_step=0 to delete its state and start it again, next_step=N to resume it before step N, "
                "or join=True in the other processes of one training"
            ),
        )


class EpochMismatch(Conflict):
    """The run was rewound, restored, imported or deleted since this caller learned its epoch."""


class RunLost(Conflict):
    """The service has no such run any more: its store lost it, or the run was deleted or replaced.

    The message has the ways to restore it.
    """


class RunRolledBack(Conflict):
    """The service's state of the run is older than the one this client saw.

    The message has the ways to restore it.
    """


class StepTooOld(Conflict):
    """The records of that step are gone; the message has the remedies."""


class GroupConflict(Conflict):
    """A group of that name was recorded at that step with other content."""


class TooLarge(ServiceError):
    """The request is over a limit that the caller controls."""


class Unauthorized(ServiceError):
    """The API key is missing, wrong, or not allowed to do this."""


class Unavailable(ServiceError):
    """The service is overloaded, or its state store is unavailable."""

    retry_after: float | None = None
    """Seconds of the Retry-After header, if there was one."""


def _restored(kind: type[ServiceError], args: tuple[Any, ...], state: dict[str, Any]) -> ServiceError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


_BY_SLUG: dict[str, type[ServiceError]] = {
    "epoch-mismatch": EpochMismatch,
    "run-lost": RunLost,
    "run-rolled-back": RunRolledBack,
    "step-too-old": StepTooOld,
    "group-conflict": GroupConflict,
}
_BY_STATUS: dict[int, type[ServiceError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidRequest,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_from_problem(status: int, problem: dict[str, Any]) -> ServiceError:
    """Return the typed error for an ``application/problem+json`` body."""
    slug = str(problem.get("type", "")).removeprefix(PROBLEM_PREFIX) or f"http-{status}"
    kind = _BY_SLUG.get(slug) or _BY_STATUS.get(status, ServiceError)
    return kind(status, slug, str(problem.get("detail") or problem.get("title") or ""), problem)
