"""`POST /v1/rollouts`: one rollout, answered when its group is complete. For callers that can send nothing else.

The rollout is verified at once; then it waits in a rendezvous, with neither its text nor a place among the
requests at work. Whoever finds the group released shapes it: shaping knows a group by its identity, so that
it counts once however many of its rollouts, on however many replicas, do so.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from deepcompress_client.wire import (
    RolloutAnswer,
    RolloutRequest,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
)
from deepcompress_verify import Check, Verdict

from ..difficulty.errors import RunConflict
from ..difficulty.refusals import epoch_mismatch
from ..rendezvous import Arrival, Cohort, Collecting, Refused
from .auth import require_run
from .body import documented
from .context import Context, In, grant_of, in_turn, unless_abandoned
from .errors import ApiError, invalid
from .translate import golds, verdict_row

router = APIRouter(prefix="/v1")

EXAMPLE = {
    "run": "docs-rollouts",
    "step": 0,
    "problem_id": "p7",
    "group_size": 1,
    "rollout_index": 0,
    "gold": "\\frac{3}{4}",
    "response": "Half and a quarter: \\boxed{0.75}",
    "tokens": 9,
}

_REFUSALS = {
    "conflict": "another rollout with this index arrived before: send an index of its own, or a higher attempt",
    "mismatch": "this group is collecting for another problem, gold or group_size: send a group_id of its own",
    "superseded": "a higher attempt at this group has begun",
    "late": "the group was released without this rollout",
    "gone": "the group is not known any more",
}


@router.post(
    "/rollouts",
    response_model=RolloutAnswer,
    openapi_extra=documented(RolloutRequest, EXAMPLE),
    tags=["verbs"],
    summary="Score one rollout when its group is complete (opt-in)",
)
async def rollout(request: Request, context: In) -> Response:
    """Held open until the group's other rollouts have arrived, at this replica or another. Safe to send again:
    the same rollout joins its own slot."""
    with context.door.enter(request):
        body = await context.body(request, RolloutRequest)
        require_run(grant_of(request), body.run)
        request.state.facts = {"run": body.run, "step": body.step, "phase": body.phase}
        context.rewards.check_gold("gold", body.gold)
        if body.rollout_index >= body.group_size:
            raise invalid("rollout_index", f"is from 0 to group_size - 1, which is {body.group_size - 1}")
        arrival, verdict = await in_turn(request, context, body.run, partial(_verify, context, body))
        group_size, place = body.group_size, body.rollout_index
        alone = _shape_request(body, [_shape_rollout(body, verdict)], arrival)
        del body
    if arrival is None:
        return _answer(await context.rewards.shape(alone), group_size, place, 0, verdict)
    if context.waiting.full:
        raise ApiError(503, "overloaded", "too many rollouts wait for their groups", retry_after=1)
    stand = await unless_abandoned(request, context.waiting.meet(arrival, context.settings.rollout_wait_seconds))
    if isinstance(stand, Refused):
        raise ApiError(409, f"rollout-{stand.why}", _REFUSALS[stand.why])
    if isinstance(stand, Collecting):
        raise ApiError(
            503,
            "group-incomplete",
            f"{stand.arrived} of {group_size} rollouts have arrived; the same request again waits on",
            retry_after=1,
        )
    kept = {slot: orjson.loads(payload) for slot, payload in stand.slots}
    rollouts = [ShapeRollout.model_validate(one["rollout"]) for _, one in sorted(kept.items())]
    together = alone.model_copy(
        update={"groups": [alone.groups[0].model_copy(update={"rollouts": rollouts})], "epoch": arrival.cohort.epoch}
    )
    shaped = await context.rewards.shape(together)
    return _answer(shaped, group_size, place, sorted(kept).index(place), Verdict(**kept[place]["verdict"]))


async def _verify(context: Context, body: RolloutRequest) -> tuple[Arrival | None, Verdict]:
    """The verdict, and what arrives at the rendezvous (nothing in evaluation)."""
    answer_format = body.answer_format
    epoch = 0
    if body.phase == "train":
        probe = ShapeRollout(correct=False, tokens=body.tokens, thinking=body.thinking, repetitive=body.repetitive)
        asked = _shape_request(body, [probe], None)
        plan, met = await context.rewards.prepare(asked)
        if met is None:
            # The group's other rollouts must meet the same epoch, whichever of them creates the run.
            try:
                met = (await context.store.put_run(body.run, plan.difficulty, plan.text)).epoch
            except RunConflict:
                # Another request gave the run its configuration since we looked.
                plan, met = await context.rewards.prepare(asked)
                if met is None:
                    raise
        answer_format = answer_format or plan.config.answer_format
        if body.epoch not in (None, met):
            raise epoch_mismatch(met, body.epoch)
        epoch = met
    elif answer_format is None:
        answer_format = (await context.rewards.readable_plan(body.run)).config.answer_format
    check = Check(golds(body.gold), body.response, answer_format, body.truncated)
    verdict = await context.rewards.verify_one(check, body.run)
    if body.phase == "eval":
        return None, verdict
    content = orjson.dumps([body.response, body.tokens, body.truncated, body.thinking, body.repetitive])
    header = orjson.dumps([body.problem_id, golds(body.gold), body.group_size])
    kept = {"rollout": _shape_rollout(body, verdict).model_dump(), "verdict": _facts(verdict)}
    arrival = Arrival(
        cohort=Cohort(body.run, epoch, body.step, body.group_id or body.problem_id),
        slot=body.rollout_index,
        size=body.group_size,
        attempt=body.attempt,
        header=hashlib.sha256(header).digest()[:16],
        digest=hashlib.sha256(content).digest()[:16],
        payload=orjson.dumps(kept),
        timeout_s=body.timeout_s,
    )
    return arrival, verdict


def _shape_rollout(body: RolloutRequest, verdict: Verdict) -> ShapeRollout:
    return ShapeRollout(
        correct=verdict.correct,
        tokens=body.tokens,
        truncated=body.truncated,
        status=verdict.status,
        thinking=body.thinking,
        repetitive=body.repetitive,
    )


def _shape_request(body: RolloutRequest, rollouts: list[ShapeRollout], arrival: Arrival | None) -> ShapeRequest:
    group_id = body.group_id or body.problem_id
    # A run without steps knows a group's request by this name.
    request_id = f"rollouts:{group_id}"[:512] if body.step is None else None
    return ShapeRequest(
        run=body.run,
        epoch=body.epoch if arrival is None else arrival.cohort.epoch,
        step=body.step,
        phase=body.phase,
        request_id=request_id,
        groups=[ShapeGroup(problem_id=body.problem_id, group_id=group_id, rollouts=rollouts)],
    )


def _facts(verdict: Verdict) -> dict[str, Any]:
    row = verdict_row("", verdict)
    del row["id"]
    return row


def _answer(shaped: dict[str, Any], group_size: int, index: int, place: int, verdict: Verdict) -> Response:
    group = shaped["groups"][0]
    arrived = len(group["rewards"])
    answer = {
        "run": shaped["run"],
        "epoch": shaped["epoch"],
        "step": shaped["step"],
        "phase": shaped["phase"],
        "problem_id": group["problem_id"],
        "group_id": group["group_id"],
        "rollout_index": index,
        "arrived": arrived,
        "complete": arrived == group_size,
        "reward": group["rewards"][place],
        "outcome": group["components"]["outcome"][place],
        "length": group["components"]["length"][place],
        "overlong": group["components"]["overlong"][place],
        "correct": group["correct"][place],
        "trainable": group["trainable"][place],
        "pass_ratio": group["pass_ratio"],
        "level": group["level"],
        "beta": group["beta"],
        "difficulty": group["difficulty"],
        "verdict": verdict_row(str(index), verdict),
        "stale": group["stale"],
    }
    return Response(orjson.dumps(answer), media_type="application/json")
