"""slime's remote reward model: ``--rm-type remote_rm --rm-url http://HOST:8321/compat/slime/rm``.

The payload is one sample without any identity, so the reward is the outcome. slime holds at most 64 calls at once
and waits 120 s for each; this endpoint never waits for other rollouts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import BaseModel

from deepcompress_client.wire import ModelText

from ...settings import OutcomeRange
from ..context import ContextDep, GrantDep
from ..descriptions import documented
from ..json_bodies import json_response, read_batch
from .common import UNTRAINABLE, Format, gold_of, outcome, verdicts

router = APIRouter(prefix="/slime")


class RemoteReward(BaseModel):
    """The request of slime. The prompt (text or messages) is not used."""

    prompt: Any = None
    response: ModelText
    label: Any = None


EXAMPLE = {"prompt": "What is 6 times 7?", "response": "So it is \\boxed{42}", "label": "42"}


@router.post("/rm", openapi_extra=documented(RemoteReward, EXAMPLE), summary="slime: remote reward model")
async def rm(
    request: Request,
    tasks: BackgroundTasks,
    context: ContextDep,
    grant: GrantDep,
    reply: Annotated[
        Literal["number", "object"],
        Query(description="object: {reward, acc, status, untrainable}, for --reward-key and --eval-reward-key"),
    ] = "number",
    outcome_range: Annotated[
        OutcomeRange | None,
        Query(description="the range of rewards; default: 0_1 for a number, pm1 for an object"),
    ] = None,
    answer_format: Format = None,
) -> Response:
    """Return a number, 1 or 0, which slime's filters and evaluations read; or an object.

    The object has that number as `acc`, and `reward` as 1 or -1.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, RemoteReward)
        item = {"gold": gold_of(body.label, "label"), "response": body.response}
        (row,) = await verdicts(request, context, reservation, tasks, [item], answer_format)
    if reply == "number":
        return json_response(outcome(row.correct, outcome_range or "0_1"))
    return json_response(
        {
            "reward": outcome(row.correct, outcome_range or "pm1"),
            "acc": outcome(row.correct, "0_1"),
            "status": row.status,
            "untrainable": row.status in UNTRAINABLE,
        }
    )
