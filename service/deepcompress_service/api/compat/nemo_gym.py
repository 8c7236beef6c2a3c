"""NeMo Gym's resources server: /verify, /seed_session, /close_session, /aggregate_metrics, /reverify_mode.

NeMo Gym calls the paths at the root of a host and port: the setting `nemo_gym`, or a reverse proxy, adds the prefix
and the query (docs/integrations/nemo_gym.md). Without ``?run=`` the reward is the outcome. With
``?run=NAME&cohort=N`` calls are held until the N rollouts of their group have arrived (`cohort`), and are shaped.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from ...scoring.batch import beside
from ...settings import NemoGymQuery
from ..context import ContextDep, GrantDep, cancel_on_disconnect, check_waiting_room
from ..descriptions import documented
from ..errors import invalid
from ..json_bodies import LARGE_BATCH_BYTES, JsonPieces, json_response, read_batch
from ..packed_rows import json_text, pack, unpack
from ..slices import release
from .cohort import TASK, RewardedRollout, VerifiedRollout, meet
from .common import UNTRAINABLE, gold_of, outcome, verdicts

router = APIRouter(prefix="/nemo_gym")


class VerifyBody(BaseModel):
    """A row of the data set, and the model's response to it (an OpenAI Responses object)."""

    model_config = ConfigDict(extra="allow")
    response: dict[str, Any]


def _objects(rows: list[Any]) -> list[Any]:
    if not all(isinstance(row, dict) for row in rows):
        raise PydanticCustomError("dict_type", "each of them is a JSON object")
    return rows


class AggregateBody(BaseModel):
    """Answers of /verify, as NeMo Gym collected them."""

    # Not `list[dict]`: pydantic copies those in one call, for which all other threads wait.
    verify_responses: Annotated[
        list[Any], AfterValidator(_objects), WithJsonSchema({"type": "array", "items": {"type": "object"}})
    ]


EXAMPLE = {
    "responses_create_params": {"input": [{"role": "user", "content": "What is 6 times 7?"}]},
    "expected_answer": "42",
    "response": {
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "\\boxed{42}"}]}
        ]
    },
}


@router.post("/verify", openapi_extra=documented(VerifyBody, EXAMPLE), summary="NeMo Gym: verify a rollout")
async def verify(
    request: Request,
    tasks: BackgroundTasks,
    context: ContextDep,
    grant: GrantDep,
    query: Annotated[NemoGymQuery, Query()],
) -> Response:
    """Return the row with its `reward` and the reward's components. Rollouts not to be trained on have `mask_sample`.

    With `run` and `cohort` the call is held until its group has arrived. `_ng_group_id`, else `_ng_task_index`, names
    the group, and `_ng_rollout_index` the rollout in it. The run must have `groups_per_step`; with that in the
    query, a run that does not exist is created.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        run, cohort = query.run, query.cohort
        if (run is None) != (cohort is None):
            raise invalid("cohort" if cohort is None else "run", "run and cohort are needed together")
        if run is not None:
            grant.require_run(run)
        body = await read_batch(request, context.settings, context.arrivals, reservation, VerifyBody)
        row = {**(body.model_extra or {}), "response": body.response}
        answer = gold_of(row.get(query.gold), query.gold)
        cut = truncated(body.response)
        item = {"gold": answer, "response": text_of(body.response), "truncated": cut}
        (verdict,) = await verdicts(request, context, reservation, tasks, [item], query.answer_format)
        large = reservation.weight > LARGE_BATCH_BYTES
        if run is None or cohort is None:
            components = {"outcome": outcome(verdict.correct, query.outcome_range)}
            return await beside(large, partial(_answer, row, RewardedRollout(components, verdict), large))
        tokens = tokens_of(body.response)
        if tokens is None:
            detail = "needs generation_token_ids or usage.output_tokens, from which its length in tokens is counted"
            raise invalid("response", detail)
        rollout = VerifiedRollout.from_row(
            row, body.response, verdict, gold=answer, tokens=tokens, truncated=cut, size=cohort
        )
        del body, item
    # After the reservation was released: a rollout that waits must not take the capacity that its group needs.
    check_waiting_room(context, grant)
    packed = await beside(large, partial(pack, row, large))
    with context.nemo_gym_rows.keep(packed, grant.share):
        rewarded = await cancel_on_disconnect(
            request, meet(context, run, rollout, query.timeout_s, query.groups_per_step, tasks.add_task, grant.share)
        )
        return await beside(large, lambda: _answer(unpack(packed), rewarded, large))


def _answer(row: dict[str, Any], rewarded: RewardedRollout, large: bool) -> Response:
    verdict = rewarded.verdict
    row |= {"accuracy": outcome(verdict.correct, "0_1"), "extracted_answer": verdict.answer}
    if verdict.status in UNTRAINABLE:
        row |= masked(verdict.status, verdict.reason)
    else:
        # NeMo RL checks that the reward is the sum of its components, to the last bit.
        total = sum(rewarded.components.values())
        row |= {"reward": total, "mask_sample": False, "reward_components": rewarded.components}
    # The row may have lone surrogates that a policy wrote: `json` escapes them, orjson refuses them.
    return JsonPieces([json_text(row, large).encode()])


@router.post("/seed_session", summary="NeMo Gym: begin a session")
async def seed_session(_context: ContextDep) -> Response:
    """Answer with an empty object: checking an answer needs no session."""
    return json_response({})


@router.post("/close_session", summary="NeMo Gym: end a session")
async def close_session(_context: ContextDep) -> Response:
    """Answer with an empty object: there is no session to end."""
    return json_response({})


@router.get("/reverify_mode", summary="NeMo Gym: if rollouts may be verified again")
async def reverify_mode(_context: ContextDep) -> Response:
    """Answer "stateless": rollouts may be verified again at any time, since a verdict depends only on its inputs."""
    return json_response({"reverify_mode": "stateless"})


@router.post(
    "/aggregate_metrics",
    openapi_extra=documented(AggregateBody, {"verify_responses": [{TASK: 0, "reward": 1.0}]}),
    summary="NeMo Gym: metrics over many rollouts",
)
async def aggregate_metrics(request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Return mean, extremes, median and standard deviation of every numeric field, over all rollouts and by task.

    Masked rollouts are left out.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, AggregateBody)
        # In a thread, which writes the answer and frees the rows as well: they may have a hundred thousand numbers.
        pieces = await asyncio.to_thread(_written, body.verify_responses)
        return JsonPieces(pieces)


def _written(rows: list[dict[str, Any]]) -> list[bytes]:
    """Return the answer as JSON in pieces, and empty the list of rows."""
    pieces = list(_aggregate(rows))
    release(rows)
    return pieces


def _aggregate(rows: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    unmasked = [row for row in rows if not row.get("mask_sample")]
    tasks: dict[int, list[dict[str, Any]]] = {}
    for row in unmasked:
        task = row.get(TASK, 0)
        tasks.setdefault(task if isinstance(task, int) else 0, []).append(row)
    yield b'{"group_level_metrics":['
    # Each row is written on its own: one call for all would keep other threads waiting.
    for number, task in enumerate(sorted(tasks)):
        yield b"," * (number > 0) + orjson.dumps({**profile(tasks[task]), TASK: task})
    overall = profile(unmasked)
    key_metrics = {name: value for name, value in overall.items() if name.startswith("mean/")}
    yield b'],"agent_metrics":' + orjson.dumps(overall) + b',"key_metrics":' + orjson.dumps(key_metrics) + b"}"


# --- reading and writing --------------------------------------------------------------------------------


def text_of(response: Mapping[str, Any]) -> str:
    """Return the text of the last message, without reasoning items."""
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
    """Return the length in tokens: of the token ids that training servers add, else as the engine counted it."""
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
    """Return True if the token limit ended the response."""
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return response.get("status") == "incomplete" or reason == "max_output_tokens"


def masked(kind: str, reason: str) -> dict[str, Any]:
    """Return NeMo Gym's fields of a rollout without a reward."""
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
    """Return the statistics of every numeric field, under names such as ``mean/reward``."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and not name.startswith("_ng_") and math.isfinite(value):
                columns.setdefault(name, []).append(float(value))
    return {f"{kind}/{name}": of(values) for name, values in columns.items() for kind, of in _STATISTICS.items()}
