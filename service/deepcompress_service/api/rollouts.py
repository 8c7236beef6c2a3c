"""`POST /v1/rollouts`: one rollout, answered when its group is complete. For callers that can send nothing else.

The rollout is verified at once; then it waits in a rendezvous, with neither its text nor a place among the
requests at work. Whoever finds the group released shapes it: shaping knows a group by its identity, so that
it counts once however many of its rollouts, on however many replicas, do so.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import partial

import orjson
from fastapi import APIRouter, BackgroundTasks, Request, Response
from structlog.contextvars import bind_contextvars

from deepcompress_client.wire import (
    ROLLOUT_FIELDS,
    RolloutAnswer,
    RolloutRequest,
    ShapeAnswer,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
    Status,
)
from deepcompress_verify import Check, Verdict

from ..difficulty.errors import RunConflict
from ..difficulty.refusals import epoch_mismatch
from ..rendezvous import Arrival, Cohort, Collecting, Refused
from ..scoring.pipeline import Later, verdict_answer
from ..scoring.records import gold_alternatives, stored_rollout, stored_verdict
from .auth import require_run
from .body import documented, json_response
from .context import Context, ContextDep, GrantDep, cancel_on_disconnect, run_scheduled
from .errors import ApiError, invalid

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
    tags=["scoring"],
    summary="Score one rollout when its group is complete (opt-in)",
)
async def rollout(request: Request, context: ContextDep, grant: GrantDep, tasks: BackgroundTasks) -> Response:
    """Held open until the group's other rollouts have arrived, at this replica or another. Safe to send again:
    the same rollout joins its own slot."""
    with context.inflight.admit(request) as reservation:
        body = await context.body(request, reservation, RolloutRequest)
        require_run(grant, body.run)
        bind_contextvars(run=body.run, step=body.step, phase=body.phase)
        context.pipeline.check_gold("gold", body.gold)
        if body.rollout_index >= body.group_size:
            raise invalid("rollout_index", f"is from 0 to group_size - 1, which is {body.group_size - 1}")
        work = partial(_verify, context, body, tasks.add_task)
        arrival, verdict = await run_scheduled(request, context, body.run, reservation, work)
        group_size, index = body.group_size, body.rollout_index
        alone = _shape_request(body, [_shape_rollout(body, verdict.correct, verdict.status)], arrival)
        del body
    if arrival is None:
        return _answer(await context.pipeline.shape(alone, tasks.add_task), group_size, index, 0, verdict)
    if context.waiting.full:
        raise ApiError(503, "overloaded", "too many rollouts wait for their groups", retry_after=1)
    meeting = context.waiting.meet(arrival, context.settings.rollout_wait_seconds)
    stand = await cancel_on_disconnect(request, meeting)
    if isinstance(stand, Refused):
        raise ApiError(409, f"rollout-{stand.why}", _REFUSALS[stand.why])
    if isinstance(stand, Collecting):
        raise ApiError(
            503,
            "group-incomplete",
            f"{stand.arrived} of {group_size} rollouts have arrived; the same request again waits on",
            retry_after=1,
        )
    arrived = {slot: orjson.loads(payload) for slot, payload in stand.slots}
    rollouts = [stored_rollout(one["rollout"]) for _, one in sorted(arrived.items())]
    own_verdict = stored_verdict(arrived[index]["verdict"])
    together = alone.model_copy(
        update={"groups": [alone.groups[0].model_copy(update={"rollouts": rollouts})], "epoch": arrival.cohort.epoch}
    )
    shaped = await context.pipeline.shape(together, tasks.add_task)
    return _answer(shaped, group_size, index, sorted(arrived).index(index), own_verdict)


async def _verify(context: Context, body: RolloutRequest, later: Later) -> tuple[Arrival | None, Verdict]:
    """The verdict, and what arrives at the rendezvous (nothing in evaluation)."""
    answer_format = body.answer_format
    epoch = 0
    if body.phase == "train":
        probe = _shape_request(body, [_shape_rollout(body, correct=False, status=None)], None)
        batch = await context.pipeline.prepare(probe)
        if batch.epoch is None:
            # The group's other rollouts must meet the same epoch, whichever of them creates the run.
            try:
                batch.epoch = (await context.store.put_run(body.run, batch.plan.difficulty, batch.plan.text)).epoch
            except RunConflict:
                # Another request gave the run its configuration since we looked.
                batch = await context.pipeline.prepare(probe)
                if batch.epoch is None:
                    raise
        answer_format = answer_format or batch.plan.config.answer_format
        if body.epoch not in (None, batch.epoch):
            raise epoch_mismatch(batch.epoch, body.epoch)
        epoch = batch.epoch
    elif answer_format is None:
        answer_format = (await context.pipeline.readable_plan(body.run)).config.answer_format
    gold = gold_alternatives(body.gold)
    (verdict,) = await context.pipeline.verdicts(
        [Check(gold, body.response, answer_format, body.truncated)], body.run, later
    )
    if body.phase == "eval":
        return None, verdict
    header = orjson.dumps([body.problem_id, gold, body.group_size])
    rollout = _shape_rollout(body, verdict.correct, verdict.status).model_dump(exclude_none=True)
    arrival = Arrival(
        cohort=Cohort(body.run, epoch, body.step, body.group_id or body.problem_id),
        slot=body.rollout_index,
        size=body.group_size,
        attempt=body.attempt,
        header=hashlib.sha256(header).digest()[:16],
        digest=hashlib.sha256(orjson.dumps(_content(body))).digest()[:16],
        payload=orjson.dumps({"rollout": rollout, "verdict": asdict(verdict)}),
        timeout_s=body.timeout_s,
    )
    return arrival, verdict


def _shape_rollout(body: RolloutRequest, correct: bool, status: Status | None) -> ShapeRollout:
    return ShapeRollout(correct=correct, status=status, **{name: getattr(body, name) for name in ROLLOUT_FIELDS})


def _content(body: RolloutRequest) -> list[object]:
    """Return what a repeat of this rollout has in common with it: a field that is added later, only if it is sent."""
    first = ("tokens", "truncated", "thinking", "repetitive")
    later = {name: getattr(body, name) for name in ROLLOUT_FIELDS if name not in first}
    sent = {name: value for name, value in later.items() if value is not None}
    return [body.response, *(getattr(body, name) for name in first), *([sent] if sent else [])]


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


def _answer(shaped: ShapeAnswer, group_size: int, index: int, position: int, verdict: Verdict) -> Response:
    """Return the share of the rollout `index`, which is at `position` in the shaped group."""
    group = shaped.groups[0]
    assert shaped.run is not None
    answer = RolloutAnswer(
        run=shaped.run,
        epoch=shaped.epoch,
        step=shaped.step,
        phase=shaped.phase,
        problem_id=group.problem_id,
        group_id=group.group_id,
        rollout_index=index,
        arrived=len(group.rewards),
        complete=len(group.rewards) == group_size,
        reward=group.rewards[position],
        **{name: values[position] for name, values in vars(group.components).items()},
        correct=group.correct[position],
        trainable=group.trainable[position],
        pass_ratio=group.pass_ratio,
        level=group.level,
        beta=group.beta,
        difficulty=group.difficulty,
        verdict=verdict_answer(str(index), verdict),
        stale=group.stale,
        why=group.why,
    )
    return json_response(answer)
