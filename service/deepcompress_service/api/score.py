"""Routes that verify, shape and score, and the list of strategies."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, BackgroundTasks, Request, Response
from structlog.contextvars import bind_contextvars

from deepcompress_client.wire import (
    ObserveAnswer,
    ObserveRequest,
    ScoreAnswer,
    ScoreRequest,
    ShapeAnswer,
    ShapeRequest,
    VerifyAnswer,
    VerifyRequest,
)

from ..scoring.batch import TURN, beside
from ..scoring.observing import observe as observe_groups
from ..scoring.verify_alone import verify_items
from ..shaping import strategies
from .auth import Grant
from .context import ContextDep, GrantDep, run_scheduled
from .descriptions import documented
from .json_bodies import LARGE_BATCH_BYTES, json_response, read_batch, response_in_pieces

router = APIRouter(prefix="/v1")

VERIFY_EXAMPLE = {
    "items": [
        {"id": "a", "gold": "\\frac{3}{4}", "response": "Half and a quarter: \\boxed{0.75}"},
        {"id": "b", "gold": "42", "response": "So it must be \\boxed{41}."},
    ],
    "answer_format": "boxed",
}
SHAPE_EXAMPLE = {
    "run": "docs-example",
    "step": 1,
    "groups": [
        {
            "problem_id": "p7",
            "rollouts": [
                {"correct": True, "tokens": 800},
                {"correct": True, "tokens": 1200},
                {"correct": True, "tokens": 1000},
                {"correct": False, "tokens": 2000, "truncated": True},
            ],
        }
    ],
}
OBSERVE_EXAMPLE = {
    "run": "docs-example",
    "step": 3,
    "groups": [
        {"problem_id": "p9", "rollouts": [{"correct": True, "tokens": 700}, {"correct": True, "tokens": 900}]}
    ],
}
SCORE_EXAMPLE = {
    "run": "docs-example",
    "step": 2,
    "groups": [
        {
            "problem_id": "p7",
            "gold": "\\frac{3}{4}",
            "rollouts": [
                {"response": "Half and a quarter: \\boxed{0.75}", "tokens": 9},
                {"response": "Half of a quarter: \\boxed{1/8}", "tokens": 10},
            ],
        }
    ],
}


def _check_run(grant: Grant, body: ShapeRequest | ScoreRequest) -> None:
    """Check that the key is for the body's run, and bind the request's fields to its log lines."""
    if grant.runs and body.run is not None:
        grant.require_run(body.run)
    bind_contextvars(run=body.run, step=body.step, phase=body.phase, groups=len(body.groups))


def _runs(body: VerifyRequest) -> list[str]:
    """Return the runs that the items name, in the order of their first item."""
    return list(dict.fromkeys(item.run for item in body.items if item.run is not None))


@router.post(
    "/verify",
    response_model=VerifyAnswer,
    openapi_extra=documented(VerifyRequest, VERIFY_EXAMPLE),
    tags=["scoring"],
    summary="Check answers: text to verdicts",
)
async def verify(request: Request, context: ContextDep, grant: GrantDep, tasks: BackgroundTasks) -> Response:
    """Check each item's response against its gold.

    Changes no state, except that items with a `rollout_id` in training are observed, so that groups that the trainer
    filters out still count in the level.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, VerifyRequest)
        runs = await beside(len(body.items) > TURN, partial(_runs, body))
        for run in runs:
            grant.require_run(run)
        first = next(iter(runs), None)
        bind_contextvars(run=first, items=len(body.items))
        work = partial(verify_items, context.pipeline, body, tasks.add_task)
        answer = await run_scheduled(request, context, first, reservation, work)
        large = reservation.weight > LARGE_BATCH_BYTES
        return await response_in_pieces(answer, "verdicts") if large else json_response(answer)


@router.post(
    "/shape",
    response_model=ShapeAnswer,
    openapi_extra=documented(ShapeRequest, SHAPE_EXAMPLE),
    tags=["scoring"],
    summary="Shape rewards: verdicts and lengths to rewards",
)
async def shape(request: Request, context: ContextDep, grant: GrantDep, tasks: BackgroundTasks) -> Response:
    """Count the groups in the run's difficulty state, once, and return their rewards.

    The same request again gets the same answer.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, ShapeRequest)
        _check_run(grant, body)
        work = partial(context.pipeline.shape, body, tasks.add_task)
        answer = await run_scheduled(request, context, body.run, reservation, work)
        large = reservation.weight > LARGE_BATCH_BYTES
        return await response_in_pieces(answer, "groups") if large else json_response(answer)


@router.post(
    "/score",
    response_model=ScoreAnswer,
    openapi_extra=documented(ScoreRequest, SCORE_EXAMPLE),
    tags=["scoring"],
    summary="Score whole groups: verify, then shape",
)
async def score(request: Request, context: ContextDep, grant: GrantDep, tasks: BackgroundTasks) -> Response:
    """Return verdicts and rewards in one call, for callers that have whole groups."""
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, ScoreRequest)
        _check_run(grant, body)
        work = partial(context.pipeline.score, body, tasks.add_task)
        answer = await run_scheduled(request, context, body.run, reservation, work)
        large = reservation.weight > LARGE_BATCH_BYTES
        return await response_in_pieces(answer, "groups") if large else json_response(answer)


@router.post(
    "/observe",
    response_model=ObserveAnswer,
    openapi_extra=documented(ObserveRequest, OBSERVE_EXAMPLE),
    tags=["scoring"],
    summary="Observe verdicts that were made elsewhere",
)
async def observe(request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Record verdicts without text, for trainers that verify elsewhere.

    Groups that are never shaped then count when their step closes. The same request again gets the same answer.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, ObserveRequest)
        grant.require_run(body.run)
        bind_contextvars(run=body.run, step=body.step, groups=len(body.groups))
        work = partial(observe_groups, context.pipeline, body)
        answer = await run_scheduled(request, context, body.run, reservation, work)
        large = reservation.weight > LARGE_BATCH_BYTES
        return await response_in_pieces(answer, "groups") if large else json_response(answer)


@router.get("/strategies", tags=["scoring"], summary="The strategies, their needs and their parameters")
async def list_strategies(_context: ContextDep) -> Response:
    """List every strategy: its name, needs, range, source, certainty and parameters."""
    return json_response({"strategies": strategies()})
