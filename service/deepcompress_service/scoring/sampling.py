"""Samples of a run's data set: the request is checked, its policy resolved, and the store draws."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from deepcompress_client.wire import SampleAnswer, SampledProblem, SampleRequest

from ..curriculum import PolicyError, Resolved, resolve
from ..difficulty.bins import RATIOS
from ..difficulty.samples import Retirement
from ..difficulty.samples import SampleRequest as StoreRequest
from .errors import InvalidRequestError
from .pipeline import Pipeline
from .request_checks import check_version, limit


async def sample(pipeline: Pipeline, run: str, request: SampleRequest) -> SampleAnswer:
    """Return the problems of a step: drawn now, or as they were recorded.

    Raises:
        TooLargeError, InvalidRequestError: The request is too large, or its policy cannot be used.
        DifficultyError: The store refused; nothing was changed.
    """
    limit("n", request.n, pipeline.settings.max_sample)
    check_version(request)
    policy, weights = _resolved(request.policy)
    stored = StoreRequest(
        run,
        request.step,
        request.n,
        weights,
        orjson.dumps(policy.description, option=orjson.OPT_SORT_KEYS).decode(),
        None if policy.retirement is None else Retirement(*policy.retirement),
        request.data_source,
        request.epoch,
        request.incarnation,
        request.version,
    )
    outcome = await pipeline.timed("sample", pipeline.store.sample(stored))
    return SampleAnswer(
        run=run,
        epoch=outcome.epoch,
        step=outcome.step,
        as_of=outcome.as_of,
        policy=policy.description,
        problems=[SampledProblem(problem_id=name, data_source=source) for name, source in outcome.problems],
        warnings=[_fewer(len(outcome.problems), request)] if len(outcome.problems) < request.n else [],
        incarnation=outcome.incarnation or None,
        version=outcome.version,
    )


def _resolved(policy: str | Mapping[str, object]) -> tuple[Resolved, tuple[float, ...]]:
    """Return the policy and its weight of each bin of pass ratios, [bins].

    Raises:
        InvalidRequestError: There is no such policy, or a parameter is not valid.
    """
    try:
        resolved = resolve(policy)
        return resolved, resolved.weights(RATIOS)
    except PolicyError as error:
        raise InvalidRequestError(error.field, error.message, "invalid-policy") from None


def _fewer(found: int, request: SampleRequest) -> str:
    return (
        f"fewer-problems: {found} problems instead of {request.n}: the data set has no more that the policy admits"
        + (" in this data_source" if request.data_source else "")
    )
