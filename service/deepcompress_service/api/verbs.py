"""Routes of the three verbs, and of the strategies they can use."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from deepcompress_client.wire import (
    ScoreAnswer,
    ScoreRequest,
    ShapeAnswer,
    ShapeRequest,
    VerifyAnswer,
    VerifyRequest,
)

from ..shaping import strategies
from .auth import require_run
from .body import documented
from .context import In, grant_of, in_turn

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


def _check_run(request: Request, body: ShapeRequest | ScoreRequest) -> None:
    """The key must be for the body's run; and what the log line says of the request."""
    if body.run is not None:
        require_run(grant_of(request), body.run)
    request.state.facts = {"run": body.run, "step": body.step, "phase": body.phase, "groups": len(body.groups)}


def _check_items(request: Request, body: VerifyRequest) -> None:
    runs = {item.run for item in body.items if item.run is not None}
    for run in runs:
        require_run(grant_of(request), run)
    request.state.facts = {"run": next(iter(runs), None), "items": len(body.items)}


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


@router.post(
    "/verify",
    response_model=VerifyAnswer,
    openapi_extra=documented(VerifyRequest, VERIFY_EXAMPLE),
    tags=["verbs"],
    summary="Check answers: text to verdicts",
)
async def verify(request: Request, context: In) -> Response:
    """Checks each item's response against its gold. Changes nothing, except that items with a `rollout_id`
    in training are observed, so that groups a trainer filters away still count in the level."""
    with context.door.enter(request):
        body = await context.body(request, VerifyRequest)
        _check_items(request, body)
        turn = next((item.run for item in body.items if item.run), None)
        return _json(await in_turn(request, context, turn, lambda: context.rewards.verify(body)))


@router.post(
    "/shape",
    response_model=ShapeAnswer,
    openapi_extra=documented(ShapeRequest, SHAPE_EXAMPLE),
    tags=["verbs"],
    summary="Shape rewards: verdicts and lengths to rewards",
)
async def shape(request: Request, context: In) -> Response:
    """Counts the groups in the run's difficulty state, once, and answers with their rewards. The same request
    again gets the same answer."""
    with context.door.enter(request):
        body = await context.body(request, ShapeRequest)
        _check_run(request, body)
        return _json(await in_turn(request, context, body.run, lambda: context.rewards.shape(body)))


@router.post(
    "/score",
    response_model=ScoreAnswer,
    openapi_extra=documented(ScoreRequest, SCORE_EXAMPLE),
    tags=["verbs"],
    summary="Score whole groups: verify, then shape",
)
async def score(request: Request, context: In) -> Response:
    """For callers that hold whole groups: verdicts and rewards in one call."""
    with context.door.enter(request):
        body = await context.body(request, ScoreRequest)
        _check_run(request, body)
        return _json(await in_turn(request, context, body.run, lambda: context.rewards.score(body)))


@router.get("/strategies", tags=["verbs"], summary="The strategies, what they need and their parameters")
async def list_strategies(context: In) -> Response:
    """Name, needs, range, source, certainty and parameter schema of every strategy."""
    return _json({"strategies": strategies()})
