"""Every error of the service as problem details (RFC 9457), with a `type` that never changes.

No error repeats text of a request: text that a policy wrote stays out of logs and answers.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from deepcompress_client.errors import PROBLEM_PREFIX
from deepcompress_verify import PoolBusyError, PoolClosedError, PoolFailedError

from ..admission.limits import AdmissionError
from ..difficulty import errors as difficulty
from ..observability import metrics
from ..rendezvous import Refused
from ..scoring import errors as scoring
from ..scoring.errors import describe_validation
from ..shaping import StrategyError

log = logging.getLogger("deepcompress.api")

STATUS_OF = {
    "unknown-run": 404,
    "unknown-problem": 404,
    "unknown-checkpoint": 404,
    "run-conflict": 409,
    "group-conflict": 409,
    "step-too-old": 409,
    "epoch-mismatch": 409,
    "run-lost": 409,
    "run-rolled-back": 409,
    "step-kind-mismatch": 409,
    "unknown-dataset": 404,
    "sample-conflict": 409,
    "step-closed": 409,
    "too-many-samples": 409,
    "too-many-runs": 403,
    "no-dataset": 409,
    "bad-dataset": 422,
    "unknown-data-source": 422,
    "invalid-policy": 422,
    "not-observed": 422,
    "bad-export": 422,
    "bad-cursor": 422,
    "store-unavailable": 503,
    "store-too-new": 503,
}
"""HTTP status of an error of the store, by its slug."""

_REFUSED_ROLLOUTS = {
    "conflict": "another rollout with this index arrived before: send an index of its own, or a higher attempt",
    "mismatch": "this group began with another problem, gold or size: send a group id of its own",
    "superseded": "a higher attempt at this group has begun",
    "late": "the group was released without this rollout",
    "gone": "the group is no longer stored",
}
"""Details of the errors of a rollout that does not fit its group, by `Refused.why`."""

_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid request",
    429: "Too many requests",
    499: "Client closed request",
    500: "Internal error",
    503: "Unavailable",
}


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457); `type` never changes",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            }
        },
    }
}
"""The form of errors, for the OpenAPI description."""


class ApiError(Exception):
    """An error that is answered to the caller. `slug` never changes; `detail` gives the cause and the remedy."""

    def __init__(
        self, status: int, slug: str, detail: str, *, retry_after: float | None = None, **extra: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def response(self) -> Response:
        """Return the error as ``application/problem+json``."""
        body = {
            "type": PROBLEM_PREFIX + self.slug,
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="deepcompress", Bearer'
        try:
            content = orjson.dumps(body)
        except TypeError:  # the detail quotes a lone surrogate, which orjson refuses
            content = json.dumps(body).encode()
        return Response(content, self.status, headers=headers, media_type="application/problem+json")


def invalid(field: str, detail: str, slug: str = "invalid-request") -> ApiError:
    """Return a 422 that names the field."""
    return ApiError(422, slug, f"{field}: {detail}" if field else detail, errors=[{"field": field, "detail": detail}])


def too_large(subject: str, limit: int) -> ApiError:
    """Return a 413 that names its subject and the limit."""
    return ApiError(413, "too-large", f"{subject} is over the limit of {limit}", limit=limit)


def abandoned() -> ApiError:
    """Return the error of a client that disconnected. It is not sent, but counted and logged."""
    return ApiError(499, "abandoned", "the client disconnected")


def from_validation(error: ValidationError) -> ApiError:
    """Return a 422 that names the fields, without their contents."""
    detail, fields = describe_validation(error)
    return ApiError(422, "invalid-request", detail, errors=fields)


def from_scoring(error: scoring.RequestError) -> ApiError:
    """Return the error of a request that the pipeline refused."""
    match error:
        case scoring.InvalidRequestError():
            return ApiError(422, error.slug, error.detail, errors=error.errors)
        case scoring.TooLargeError():
            return ApiError(413, error.slug, error.detail, limit=error.limit)
        case scoring.NewerConfigurationError():
            return ApiError(503, error.slug, error.detail, retry_after=1)
        case _:
            return ApiError(409, error.slug, error.detail)


def from_admission(error: AdmissionError) -> ApiError:
    """Return the error of a request that comes while there is too much work."""
    return ApiError(503 if error.slug == "overloaded" else 429, error.slug, error.detail, retry_after=1)


def from_difficulty(error: difficulty.DifficultyError) -> ApiError:
    """Return the error of a request that the store refused."""
    status = STATUS_OF.get(error.slug, 500)
    retry_after = 1.0 if status == 503 else None
    facts = {key: value for key, value in error.facts.items() if isinstance(value, str | int | float | None)}
    return ApiError(status, error.slug, error.detail, retry_after=retry_after, **facts)


def refused_rollout(refused: Refused, slug: str) -> ApiError:
    """Return the 409 of a rollout that does not fit its group."""
    return ApiError(409, slug, _REFUSED_ROLLOUTS[refused.why])


def install(app: FastAPI) -> None:
    """Install handlers that answer every exception with problem details."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(AdmissionError)
    async def _admission(_: Request, error: AdmissionError) -> Response:
        return from_admission(error).response()

    @app.exception_handler(difficulty.DifficultyError)
    async def _difficulty(_: Request, error: difficulty.DifficultyError) -> Response:
        return from_difficulty(error).response()

    @app.exception_handler(scoring.RequestError)
    async def _scoring(_: Request, error: scoring.RequestError) -> Response:
        return from_scoring(error).response()

    @app.exception_handler(PoolBusyError)
    async def _busy(_: Request, _error: PoolBusyError) -> Response:
        metrics.REJECTED.labels("verifier-queue-full").inc()
        detail = "too many answers wait to be checked: send the same request again later"
        return ApiError(503, "overloaded", detail, retry_after=1).response()

    @app.exception_handler(PoolClosedError)
    async def _closed(_: Request, _error: PoolClosedError) -> Response:
        return ApiError(
            503,
            "stopping",
            "the service is being stopped: send the same request again, to another replica if there is one",
            retry_after=1,
        ).response()

    @app.exception_handler(PoolFailedError)
    async def _failed(_: Request, error: PoolFailedError) -> Response:
        log.error("the verification pool failed: %s", error)
        detail = "the verification workers cannot be started: send the same request again later"
        return ApiError(503, "verifier-failed", detail, retry_after=5).response()

    @app.exception_handler(StrategyError)
    async def _strategy(_: Request, error: StrategyError) -> Response:
        # The groups are counted: once the strategy is fixed, the same request is a replay and gets its rewards.
        log.error("a strategy failed: %s", error.message)
        return ApiError(500, "strategy-failed", f"{error.field}: {error.message}").response()

    @app.exception_handler(ValidationError)
    async def _validation(_: Request, error: ValidationError) -> Response:
        return from_validation(error).response()

    @app.exception_handler(RequestValidationError)
    async def _query(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return invalid(field, str(first["msg"])).response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, f"http-{error.status_code}")
        return ApiError(error.status_code, slug, str(error.detail)).response()

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        # Only the type is named: a message may quote the text that caused it.
        log.error("unexpected %s on %s", type(error).__name__, request.scope["path"], exc_info=error)
        return ApiError(500, "internal-error", "an error of the service itself: its log has the details").response()
