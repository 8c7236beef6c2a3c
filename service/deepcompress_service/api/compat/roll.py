"""ROLL's reward system: a task is submitted, then ROLL polls for its result.

The response is checked while the task is submitted, and the request id that is returned *is* the result, encoded. So
no state is kept between the two calls: any process or replica can answer the second, after any restart.

The payload names data, step and rollout, but has no token counts, so the reward is the outcome. With ``?run=`` the
verdicts are observed too. ROLL's requests do not differ in validation, so validation needs an address without it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response
from pydantic import BaseModel

from deepcompress_client.integrations._common import encode_status
from deepcompress_client.wire import ModelText, RunName

from ...settings import OutcomeRange
from ..auth import Grant
from ..context import app_context, get_grant
from ..descriptions import documented
from ..errors import invalid
from ..json_bodies import json_response, read_batch
from .common import UNTRAINABLE, Format, gold_of, outcome, verdicts

router = APIRouter(prefix="/roll")


async def _roll_grant(request: Request) -> Grant:
    """Check the key as `get_grant` does; ROLL sends it in a header of its own."""
    own = request.headers.get("xrl-authorization")
    if own is not None and "authorization" not in request.headers:
        key = own if own.lower().startswith("bearer ") else f"Bearer {own}"
        headers = [*request.scope["headers"], (b"authorization", key.encode("latin-1"))]
        return await get_grant(Request({**request.scope, "headers": headers}))
    return await get_grant(request)


RollGrant = Annotated[Grant, Depends(_roll_grant)]


class RewardInfo(BaseModel):
    """ROLL's data for the reward: the gold answer."""

    ground_truth: Any = None


class SubmitTask(BaseModel):
    """The task that ROLL submits; fields that are not needed are ignored."""

    response: ModelText
    reward_info: RewardInfo
    global_step: int | None = None
    data_id: str | int | None = None
    rollout_id: str | int | None = None


class TaskResult(BaseModel):
    """The request id that `submit_task` returned."""

    reward_request_id: str


SUBMIT_EXAMPLE = {
    "priority": 0,
    "project_id": "math",
    "experiment_id": "first",
    "global_step": 3,
    "data_id": "p7",
    "rollout_id": "5d0c",
    "prompt": "What is 6 times 7?",
    "response": "So it is \\boxed{42}",
    "reward_info": {"ground_truth": "42"},
    "reward_manager": ["math"],
    "timeout": 300,
}


@router.post("/submit_task", openapi_extra=documented(SubmitTask, SUBMIT_EXAMPLE), summary="ROLL: submit a task")
async def submit_task(
    request: Request,
    tasks: BackgroundTasks,
    grant: RollGrant,
    run: Annotated[RunName | None, Query(description="observe the verdicts in this run (training only)")] = None,
    outcome_range: OutcomeRange = "0_1",
    answer_format: Format = None,
    untrainable: Annotated[
        Literal["wrong", "marked"],
        Query(
            description="the reward of a rollout that must not be trained on: that of a wrong one, or a number just "
            "below it that GroupShaping recognizes"
        ),
    ] = "wrong",
) -> Response:
    """Check the response at once; the id that is returned contains the result."""
    context = app_context(request)
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, SubmitTask)
        item: dict[str, Any] = {
            "gold": gold_of(body.reward_info.ground_truth, "reward_info.ground_truth"),
            "response": body.response,
        }
        if run is not None:
            for field in ("global_step", "data_id", "rollout_id"):
                if getattr(body, field) is None:
                    raise invalid(field, "is needed to observe the verdict in a run")
            item |= {
                "run": run,
                "step": body.global_step,
                "problem_id": str(body.data_id),
                "rollout_id": str(body.rollout_id),
            }
            grant.require_run(run)
        (row,) = await verdicts(request, context, reservation, tasks, [item], answer_format, run)
    reward = outcome(row.correct, outcome_range)
    if untrainable == "marked":
        reward = encode_status(reward, row.status)
    result = [reward, row.correct, row.status]
    return json_response({"errcode": 0, "reward_request_id": base64.urlsafe_b64encode(orjson.dumps(result)).decode()})


@router.get("/task_result", include_in_schema=False)  # OpenAPI has no GET with a body, which ROLL sends
@router.post(
    "/task_result",
    openapi_extra=documented(TaskResult, {"reward_request_id": "WzEuMCx0cnVlLCJjb3JyZWN0Il0="}),
    summary="ROLL: a task's result",
)
async def task_result(request: Request, grant: RollGrant) -> Response:
    """Return the result of a submitted task, by POST or, as ROLL does, by a GET with a body."""
    body = await app_context(request).small_body(request, grant, TaskResult)
    try:
        reward, correct, status = orjson.loads(base64.urlsafe_b64decode(body.reward_request_id))
        reward, correct, status = float(reward), bool(correct), str(status)
    except (ValueError, TypeError, binascii.Error):
        raise invalid("reward_request_id", "is not an id that submit_task returned") from None
    return json_response(
        {
            "errcode": 0,
            "reward_score": reward,
            "dimention_reward_score": {"acc": float(correct), "untrainable": float(status in UNTRAINABLE)},
        }
    )
