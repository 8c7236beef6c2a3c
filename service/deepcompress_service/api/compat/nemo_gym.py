"""NeMo Gym's resources server: /verify, /seed_session, /close_session, /aggregate_metrics, /reverify_mode.

NeMo Gym calls the paths at the root of a host and port, so a reverse proxy puts the prefix (and the query) in
front; docs/integrations/nemo_gym.md has the lines. Without ``?run=`` the reward is the outcome; with ``?run=NAME&
cohort=N`` calls are held until the N rollouts of their group are there (`cohort`), and shaped.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from deepcompress_client.wire import RunName, ShapeRequest

from ..auth import require_run
from ..body import documented
from ..context import Context, In, grant_of
from ..errors import Problem, invalid
from .cohort import Cohort, Cohorts, Slot
from .common import UNTRAINABLE, Format, OutcomeRange, gold_of, json_answer, outcome, verdicts

router = APIRouter(prefix="/nemo_gym")

TASK, ROLLOUT = "_ng_task_index", "_ng_rollout_index"
GROUP, ATTEMPT = "_ng_group_id", "_ng_group_attempt"


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
    context: In,
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
    with context.door.enter(request):
        if (run is None) != (cohort is None):
            raise invalid("cohort" if cohort is None else "run", "run and cohort are needed together")
        if run is not None:
            await _check_cohorts(request, context, run)
        body = await context.body(request, VerifyBody)
        row = dict(body.model_extra or {})
        item = {
            "gold": gold_of(row.get(gold), gold),
            "response": text_of(body.response),
            "truncated": truncated(body.response),
        }
        (found,) = await verdicts(request, context, [item], answer_format)
    answer: dict[str, Any] = {**row, "response": body.response, "accuracy": outcome(found["correct"], "0_1")}
    components: dict[str, float] = {"outcome": outcome(found["correct"], outcome_range)}
    if run is not None and cohort is not None:
        # Outside the door: a rollout that waits for its siblings holds no place that they need.
        components = await _shaped(request, context, row, item, body.response, found, run, cohort, timeout_s)
    if found["status"] in UNTRAINABLE:
        answer |= masked(found["status"], found["reason"])
    else:
        # NeMo RL insists that the reward is the sum of its components, to the bit.
        answer |= {"reward": sum(components.values()), "mask_sample": False, "reward_components": components}
    answer["extracted_answer"] = found["answer"]
    # The row may hold lone surrogates that a policy wrote; escaped, they are JSON all the same.
    return Response(json.dumps(answer, allow_nan=False), media_type="application/json")


@router.post("/seed_session", summary="NeMo Gym: begin a session")
async def seed_session(context: In) -> Response:
    """Nothing to begin: checking an answer has no session."""
    return json_answer({})


@router.post("/close_session", summary="NeMo Gym: end a session")
async def close_session(context: In) -> Response:
    """Nothing to end."""
    return json_answer({})


@router.get("/reverify_mode", summary="NeMo Gym: whether rollouts may be verified again")
async def reverify_mode(context: In) -> Response:
    """They may, at any time: a verdict depends on the answer alone."""
    return json_answer({"reverify_mode": "stateless"})


@router.post(
    "/aggregate_metrics",
    openapi_extra=documented(AggregateBody, {"verify_responses": [{TASK: 0, "reward": 1.0}]}),
    summary="NeMo Gym: metrics over many rollouts",
)
async def aggregate_metrics(request: Request, context: In) -> Response:
    """Mean, extremes, median and deviation of every numeric field, over all rollouts and by task; masked rollouts
    are left out."""
    with context.door.enter(request):
        rows = (await context.body(request, AggregateBody)).verify_responses
    kept = [row for row in rows if not row.get("mask_sample")]
    tasks: dict[int, list[dict[str, Any]]] = {}
    for row in kept:
        task = row.get(TASK, 0)
        tasks.setdefault(task if isinstance(task, int) else 0, []).append(row)
    overall = profile(kept)
    return json_answer(
        {
            "group_level_metrics": [{**profile(tasks[task]), TASK: task} for task in sorted(tasks)],
            "agent_metrics": overall,
            "key_metrics": {name: value for name, value in overall.items() if name.startswith("mean/")},
        }
    )


# --- cohorts --------------------------------------------------------------------------------------------


async def _check_cohorts(request: Request, context: Context, run: str) -> None:
    require_run(grant_of(request), run)
    if context.settings.workers > 1:
        raise Problem(
            409, "cohort-needs-one-process", "groups are collected in one process: serve them with --workers 1"
        )
    if (await context.store.get_run(run)).config.groups_per_step is None:
        raise Problem(
            409,
            "groups-per-step-required",
            f"create the run {run} with groups_per_step: without steps, each group would be one",
        )


async def _shaped(
    request: Request,
    context: Context,
    row: Mapping[str, Any],
    item: Mapping[str, Any],
    response: Mapping[str, Any],
    found: Mapping[str, Any],
    run: str,
    size: int,
    timeout_s: float,
) -> dict[str, float]:
    """The components of this rollout's reward, once its group is complete."""
    tokens = tokens_of(response)
    if tokens is None:
        raise invalid("response", "has neither generation_token_ids nor usage.output_tokens to count its tokens by")
    index, attempt = row.get(ROLLOUT), row.get(ATTEMPT, 0)
    group, task = row.get(GROUP), row.get(TASK)
    name = task if group is None else group
    if not isinstance(index, int) or not isinstance(attempt, int) or not isinstance(name, int | str):
        raise invalid(ROLLOUT, f"a cohort needs {ROLLOUT}, and {GROUP} or {TASK}")
    problem = str(name if task is None else task)

    async def shape(rollouts: list[dict[str, Any]], cohort: Cohort) -> list[dict[str, float]]:
        body = ShapeRequest.model_validate(
            {
                "run": run,
                # The same group is the same request, whoever completes it and however often.
                "request_id": f"ng-{name}-{cohort.attempt}-{cohort.dispatch}-{_digest(rollouts).hex()}",
                "groups": [{"problem_id": problem, "rollouts": rollouts}],
            }
        )
        answer = (await context.rewards.shape(body))["groups"][0]
        parts = answer["components"]
        return [
            {
                "outcome": outcome_part,
                "overlong": overlong_part,
                "length": total - outcome_part - overlong_part,
            }
            for total, outcome_part, overlong_part in zip(
                answer["rewards"], parts["outcome"], parts["overlong"], strict=True
            )
        ]

    rollout = {
        "correct": found["correct"],
        "status": found["status"],
        "tokens": tokens,
        "truncated": item["truncated"],
    }
    slot = Slot(_digest([item["response"], tokens]), rollout)
    prompt = row.get("responses_create_params")
    asked = prompt.get("input") if isinstance(prompt, dict) else prompt
    components: dict[str, float] = await _cohorts(request).wait(
        (run, str(name)),
        index=index,
        slot=slot,
        size=size,
        attempt=attempt,
        prompt=_digest([asked, item["gold"]]),
        timeout_s=timeout_s,
        named=group is not None,
        shape=shape,
    )
    return components


def _cohorts(request: Request) -> Cohorts:
    state = request.app.state
    if not hasattr(state, "nemo_gym_cohorts"):
        state.nemo_gym_cohorts = Cohorts()
    cohorts: Cohorts = state.nemo_gym_cohorts
    return cohorts


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


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
