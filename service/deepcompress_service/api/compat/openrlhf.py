"""OpenRLHF's remote reward model: ``--reward.remote_url http://HOST:8321/compat/openrlhf/get_reward``.

The payload has no group, no step, no tokens and no evaluation flag, so the reward is the outcome. OpenRLHF tries
five times, 180 s each, and then continues without a reward; errors of this endpoint come at once, with Retry-After.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import BaseModel, Field

from deepcompress_client.wire import ModelText

from ...settings import OutcomeRange
from ..context import ContextDep, GrantDep
from ..descriptions import documented
from ..errors import invalid
from ..json_bodies import json_response, read_batch
from .common import UNTRAINABLE, Format, gold_of, outcome, verdicts

router = APIRouter(prefix="/openrlhf")

_ENDS = re.compile(r"(?:<\|[^|<>]{1,40}\|>|</s>|<eos>|\s)+\Z")
"""Special tokens at the end of a query: OpenRLHF does not remove them."""


class GetReward(BaseModel):
    """The request of OpenRLHF; ``query`` is prompt and response in one text."""

    query: list[ModelText] = Field(min_length=1)
    prompts: list[ModelText]
    labels: list[Any]


EXAMPLE = {
    "query": ["What is 6 times 7? So it is \\boxed{42}<|im_end|>"],
    "prompts": ["What is 6 times 7? "],
    "labels": ["42"],
}


@router.post("/get_reward", openapi_extra=documented(GetReward, EXAMPLE), summary="OpenRLHF: remote reward model")
async def get_reward(
    request: Request,
    tasks: BackgroundTasks,
    context: ContextDep,
    grant: GrantDep,
    outcome_range: Annotated[
        OutcomeRange,
        Query(description="the range of `rewards`; evaluation, which averages them, needs 0_1"),
    ] = "pm1",
    answer_format: Format = None,
) -> Response:
    """Return `rewards` in the requested range, and `scores` of 1 or 0, which dynamic filtering reads.

    A rollout that must not be trained on is answered as wrong with `extra_logs.untrainable` 1: the protocol cannot
    leave a rollout out.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, GetReward)
        for field in ("prompts", "labels"):
            if len(getattr(body, field)) != len(body.query):
                raise invalid(field, f"has {len(getattr(body, field))} entries for {len(body.query)} queries")
        responses = [_response(query, prompt) for query, prompt in zip(body.query, body.prompts, strict=True)]
        items = [
            {"gold": gold_of(label, f"labels.{index}"), "response": response}
            for index, (label, (response, _)) in enumerate(zip(body.labels, responses, strict=True))
        ]
        rows = await verdicts(request, context, reservation, tasks, items, answer_format)
    scores = [outcome(row.correct, "0_1") for row in rows]
    return json_response(
        {
            "rewards": [outcome(row.correct, outcome_range) for row in rows],
            "scores": scores,
            "extra_logs": {
                "acc": scores,
                "untrainable": [float(row.status in UNTRAINABLE) for row in rows],
                "prompt_not_found": [float(not split) for _, split in responses],
            },
        }
    )


def _response(query: str, prompt: str) -> tuple[str, bool]:
    """Return the text after the prompt, and True if the query has the prompt.

    Without it (a tokenizer may change text) the query is returned: its last answer is the response's, if there is
    one.
    """
    start = query.find(prompt)
    response = query[start + len(prompt) :] if start >= 0 else query
    return _trimmed(response), start >= 0


def _trimmed(text: str) -> str:
    tail = text[-256:]  # the expression runs on a bounded text
    return text[: len(text) - len(tail)] + _ENDS.sub("", tail)
