"""Every error of the service as problem details (RFC 9457), with a `type` that never changes.

Text of a request never comes back in an error: what a policy wrote stays out of logs and answers.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from deepcompress_client.errors import PROBLEM_PREFIX
from deepcompress_verify import PoolBusyError, PoolClosedError

from ..difficulty import errors as difficulty
from ..observability import metrics
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
    "step-kind-mismatch": 409,
    "not-observed": 422,
    "bad-export": 422,
    "bad-cursor": 422,
    "store-unavailable": 503,
    "store-too-new": 503,
}
"""HTTP status of a store's refusal, by its slug."""

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
"""How errors look, for the OpenAPI description."""


class ApiError(Exception):
    """An error on its way to the caller. `slug` is stable; `detail` says what to do."""

    def __init__(
        self, status: int, slug: str, detail: str, *, retry_after: float | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def response(self) -> Response:
        """As ``application/problem+json``."""
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
        return Response(orjson.dumps(body), self.status, headers=headers, media_type="application/problem+json")


def invalid(field: str, detail: str, slug: str = "invalid-request") -> ApiError:
    """A 422 that names the field."""
    return ApiError(422, slug, f"{field}: {detail}" if field else detail, errors=[{"field": field, "detail": detail}])


def abandoned() -> ApiError:
    """Return the error of a client that disconnected. It is never read, but counted and logged."""
    return ApiError(499, "abandoned", "the client disconnected")


def from_validation(error: ValidationError) -> ApiError:
    """Return a 422 that names the fields, without their contents."""
    detail, fields = describe_validation(error)
    return ApiError(422, "invalid-request", detail, errors=fields)


def from_scoring(error: scoring.RequestError) -> ApiError:
    """Return the error of a request that the pipeline refused."""
    match error:
        case scoring.InvalidRequest():
            return ApiError(422, error.slug, error.detail, errors=error.errors)
        case scoring.TooLarge():
            return ApiError(413, error.slug, error.detail, limit=error.limit)
        case scoring.NewerConfiguration():
            return ApiError(503, error.slug, error.detail, retry_after=1)
        case _:
            return ApiError(409, error.slug, error.detail)


def from_difficulty(error: difficulty.DifficultyError) -> ApiError:
    """The problem for a store's refusal."""
    status = STATUS_OF.get(error.slug, 500)
    retry_after = 1.0 if status == 503 else None
    facts = {key: value for key, value in error.facts.items() if isinstance(value, str | int | float | None)}
    return ApiError(status, error.slug, error.detail, retry_after=retry_after, **facts)


def install(app: FastAPI) -> None:
    """Make every error that leaves the app a problem."""

    @app.exception_handler(ApiError)
    async def _problem(_: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(difficulty.DifficultyError)
    async def _difficulty(_: Request, error: difficulty.DifficultyError) -> Response:
        return from_difficulty(error).response()

    @app.exception_handler(scoring.RequestError)
    async def _scoring(_: Request, error: scoring.RequestError) -> Response:
        return from_scoring(error).response()

    @app.exception_handler(PoolBusyError)
    async def _busy(_: Request, error: PoolBusyError) -> Response:
        metrics.REJECTED.labels("verifier-queue-full").inc()
        detail = "too many answers wait to be checked; the same request later will do"
        return ApiError(503, "overloaded", detail, retry_after=1).response()

    @app.exception_handler(PoolClosedError)
    async def _closed(_: Request, error: PoolClosedError) -> Response:
        return ApiError(
            503, "stopping", "the service is being stopped; another replica will do", retry_after=1
        ).response()

    @app.exception_handler(StrategyError)
    async def _strategy(_: Request, error: StrategyError) -> Response:
        # The groups are counted; the same request after the strategy is mended is a replay, and gets its rewards.
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
        # The type alone: a message may quote the text that caused it.
        log.error("unexpected %s on %s", type(error).__name__, request.url.path, exc_info=error)
        return ApiError(500, "internal-error", "an error of the service itself; its log says more").response()
