"""NeMo Gym's resources server: /verify, /seed_session, /close_session, /aggregate_metrics, /reverify_mode.

NeMo Gym calls the paths at the root of a host and port, so a reverse proxy puts the prefix (and the query) in
front; docs/integrations/nemo_gym.md has the lines. Without ``?run=`` the reward is the outcome; with ``?run=NAME&
cohort=N`` calls are held until the N rollouts of their group are there (`cohort`), and shaped.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from deepcompress_client.wire import RunName

from ..auth import require_run
from ..body import documented, json_response
from ..context import ContextDep, GrantDep, cancel_on_disconnect
from ..errors import invalid
from .cohort import TASK, Ready, Shaped, meet
from .common import UNTRAINABLE, Format, OutcomeRange, gold_of, outcome, verdicts

router = APIRouter(prefix="/nemo_gym")


class VerifyBody(BaseModel):
    """A row of the data set, and the model's response to it (an OpenAI Responses object)."""

    model_config = ConfigDict(extra="allow")
    response: dict[str, Any]


class AggregateBody(BaseModel):
    verify_responses: list[dict[str, Any]]


EXAMPLE = {
    "responses_create_params": {"input": [{"role": "user", "content": "What is 6 times 7?"}]},
    "expected_answer": "42",
    "response": {
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "\\boxed{42}"}]}
        ]
    },
}

GoldField = Annotated[str, Query(description="the row's field with the gold answer", max_length=128)]


@router.post("/verify", openapi_extra=documented(VerifyBody, EXAMPLE), summary="NeMo Gym: verify a rollout")
async def verify(
    request: Request,
    tasks: BackgroundTasks,
    context: ContextDep,
    grant: GrantDep,
    gold: GoldField = "expected_answer",
    outcome_range: Annotated[OutcomeRange, Query(description="of the reward, without a cohort")] = "0_1",
    answer_format: Format = None,
    run: Annotated[RunName | None, Query(description="with cohort: the run that the groups count in")] = None,
    cohort: Annotated[int | None, Query(ge=1, le=4096, description="rollouts of a group")] = None,
    timeout_s: Annotated[
        float, Query(gt=0, le=7200, description="after which a group is released with what it has")
    ] = 1800.0,
) -> Response:
    """The row again, with `reward` and what it is made of. What must not be trained on has `mask_sample`.

    With `run` and `cohort` the call is held until its group is there, known by `_ng_group_id`, else by
    `_ng_task_index`, and its place in it by `_ng_rollout_index`. The run must have `groups_per_step`."""
    with context.inflight.admit(request) as reservation:
        if (run is None) != (cohort is None):
            raise invalid("cohort" if cohort is None else "run", "run and cohort are needed together")
        if run is not None:
            require_run(grant, run)
        body = await context.body(request, reservation, VerifyBody)
        row = {**(body.model_extra or {}), "response": body.response}
        answer = gold_of(row.get(gold), gold)
        cut = truncated(body.response)
        item = {"gold": answer, "response": text_of(body.response), "truncated": cut}
        (verdict,) = await verdicts(request, context, reservation, tasks, [item], answer_format)
        if run is None or cohort is None:
            components = {"outcome": outcome(verdict.correct, outcome_range)}
            return _answer(row, Shaped(components, verdict))
        tokens = tokens_of(body.response)
        if tokens is None:
            detail = "has neither generation_token_ids nor usage.output_tokens to count its tokens by"
            raise invalid("response", detail)
        ready = Ready.of(row, body.response, verdict, gold=answer, tokens=tokens, truncated=cut, size=cohort)
        del body, item
    # Outside the door: a rollout that waits for its siblings holds no place that they need.
    with context.nemo_gym_rows.keep(row) as kept:
        shaped = await cancel_on_disconnect(request, meet(context, run, ready, timeout_s, tasks.add_task))
        return _answer(kept(), shaped)


def _answer(row: dict[str, Any], shaped: Shaped) -> Response:
    row |= {"accuracy": outcome(shaped.verdict.correct, "0_1"), "extracted_answer": shaped.verdict.answer}
    if shaped.verdict.status in UNTRAINABLE:
        row |= masked(shaped.verdict.status, shaped.verdict.reason)
    else:
        # NeMo RL insists that the reward is the sum of its components, to the bit.
        total = sum(shaped.components.values())
        row |= {"reward": total, "mask_sample": False, "reward_components": shaped.components}
    # The row may hold lone surrogates that a policy wrote; escaped, they are JSON all the same.
    return Response(json.dumps(row, allow_nan=False), media_type="application/json")


@router.post("/seed_session", summary="NeMo Gym: begin a session")
async def seed_session(context: ContextDep) -> Response:
    """Nothing to begin: checking an answer has no session."""
    return json_response({})


@router.post("/close_session", summary="NeMo Gym: end a session")
async def close_session(context: ContextDep) -> Response:
    """Nothing to end."""
    return json_response({})


@router.get("/reverify_mode", summary="NeMo Gym: whether rollouts may be verified again")
async def reverify_mode(context: ContextDep) -> Response:
    """They may, at any time: a verdict depends on the answer alone."""
    return json_response({"reverify_mode": "stateless"})


@router.post(
    "/aggregate_metrics",
    openapi_extra=documented(AggregateBody, {"verify_responses": [{TASK: 0, "reward": 1.0}]}),
    summary="NeMo Gym: metrics over many rollouts",
)
async def aggregate_metrics(request: Request, context: ContextDep) -> Response:
    """Mean, extremes, median and deviation of every numeric field, over all rollouts and by task; masked rollouts
    are left out."""
    with context.inflight.admit(request) as reservation:
        rows = (await context.body(request, reservation, AggregateBody)).verify_responses
    kept = [row for row in rows if not row.get("mask_sample")]
    tasks: dict[int, list[dict[str, Any]]] = {}
    for row in kept:
        task = row.get(TASK, 0)
        tasks.setdefault(task if isinstance(task, int) else 0, []).append(row)
    overall = profile(kept)
    return json_response(
        {
            "group_level_metrics": [{**profile(tasks[task]), TASK: task} for task in sorted(tasks)],
            "agent_metrics": overall,
            "key_metrics": {name: value for name, value in overall.items() if name.startswith("mean/")},
        }
    )


# --- reading and writing --------------------------------------------------------------------------------


def text_of(response: Mapping[str, Any]) -> str:
    """What the model said in its last message; reasoning items are not part of it."""
    output = response.get("output")
    messages = [
        item
        for item in (output if isinstance(output, list) else ())
        if isinstance(item, dict) and item.get("type") == "message"
    ]
    if not messages:
        return ""
    content = messages[-1].get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def tokens_of(response: Mapping[str, Any]) -> int | None:
    """Length in tokens: the token ids that training servers send along, else the engine's own count."""
    output = response.get("output")
    ids = [
        item["generation_token_ids"]
        for item in (output if isinstance(output, list) else ())
        if isinstance(item, dict) and isinstance(item.get("generation_token_ids"), list)
    ]
    if ids:
        return sum(map(len, ids))
    usage = response.get("usage")
    count = usage.get("output_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def truncated(response: Mapping[str, Any]) -> bool:
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return response.get("status") == "incomplete" or reason == "max_output_tokens"


def masked(kind: str, reason: str) -> dict[str, Any]:
    """NeMo Gym's own words for a rollout without a reward."""
    return {
        "reward": 0.0,
        "mask_sample": True,
        "failure_kind": kind,
        "failure_reason": reason,
        "reward_components": {"outcome": 0.0},
    }


_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "max": max,
    "min": min,
    "median": statistics.median,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
}


def profile(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The statistics of every numeric field, by name ``mean/reward``."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and not name.startswith("_ng_") and math.isfinite(value):
                columns.setdefault(name, []).append(float(value))
    return {f"{kind}/{name}": of(values) for name, values in columns.items() for kind, of in _STATISTICS.items()}
