"""`POST /v1/rollouts`: one rollout, answered when its group is complete. For callers that can send nothing else.

The rollout is verified at once. Then it waits in a rendezvous: its text is dropped, and its slot and its reservation
are free for other requests. Each of the group's requests, on any replica, shapes the released group. The group counts
once, since shaping identifies a group by its name and content.
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
    ROW_FIELDS,
    RolloutAnswer,
    RolloutRequest,
    ShapeAnswer,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
    Status,
)
from deepcompress_verify import Verdict

from ..difficulty.engine import check_identity
from ..difficulty.errors import RunConflict, UnknownRun
from ..difficulty.refusals import epoch_mismatch, run_lost
from ..rendezvous import Arrival, Cohort, Collecting, Refused
from ..scoring.batch import AddTask
from ..scoring.errors import InvalidRequestError
from ..scoring.records import stored_rollout, stored_verdict
from ..scoring.request_checks import check_row, make_checks, reads_config
from ..scoring.rewards import verdict_answers
from ..scoring.warnings import run_created
from .context import Context, ContextDep, GrantDep, cancel_on_disconnect, check_waiting_room, run_scheduled
from .descriptions import documented
from .errors import ApiError, invalid, refused_rollout
from .json_bodies import json_response, read_batch

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


@router.post(
    "/rollouts",
    response_model=RolloutAnswer,
    openapi_extra=documented(RolloutRequest, EXAMPLE),
    tags=["scoring"],
    summary="Score one rollout when its group is complete (opt-in)",
)
async def rollout(request: Request, context: ContextDep, grant: GrantDep, tasks: BackgroundTasks) -> Response:
    """Hold the request until the group's other rollouts have arrived, at this replica or another.

    It is safe to send the same rollout again: it continues to wait.
    """
    with context.inflight.admit(request, grant.share) as reservation:
        body = await read_batch(request, context.settings, context.arrivals, reservation, RolloutRequest)
        grant.require_run(body.run)
        bind_contextvars(run=body.run, step=body.step, phase=body.phase)
        check_row("", body, context.settings.max_gold_chars, context.pipeline.remote_names)
        if body.rollout_index >= body.group_size:
            raise invalid("rollout_index", f"must be between 0 and group_size - 1, which is {body.group_size - 1}")
        work = partial(_verify, context, body, tasks.add_task)
        arrival, verdict, created = await run_scheduled(request, context, body.run, reservation, work)
        group_size, index = body.group_size, body.rollout_index
        single = _shape_request(body, [_shape_rollout(body, verdict.correct, verdict.status)], arrival)
        del body
    if arrival is None:
        return _answer(await context.pipeline.shape(single, tasks.add_task), group_size, index, 0, verdict)
    check_waiting_room(context, grant)
    meeting = context.waiting.meet(arrival, context.settings.rollout_wait_seconds, share=grant.share)
    result = await cancel_on_disconnect(request, meeting)
    if isinstance(result, Refused):
        raise refused_rollout(result, f"rollout-{result.why}")
    if isinstance(result, Collecting):
        raise ApiError(
            503,
            "group-incomplete",
            f"{result.arrived} of {group_size} rollouts have arrived: send the same request again to wait further",
            retry_after=1,
        )
    arrived = {slot: orjson.loads(payload) for slot, payload in result.slots}
    rollouts = [stored_rollout(one["rollout"]) for _, one in sorted(arrived.items())]
    # Before the group counts: a verdict of a newer version is refused.
    own_verdict = stored_verdict(arrived[index]["verdict"])
    group = single.groups[0].model_copy(update={"rollouts": rollouts})
    group_request = single.model_copy(update={"groups": [group], "epoch": arrival.cohort.epoch})
    shaped = await context.pipeline.shape(group_request, tasks.add_task)
    if created:
        shaped.warnings = [run_created(shaped.step), *shaped.warnings]
    return _answer(shaped, group_size, index, sorted(arrived).index(index), own_verdict)


async def _verify(context: Context, body: RolloutRequest, add_task: AddTask) -> tuple[Arrival | None, Verdict, bool]:
    """Verify the rollout; return its arrival at the rendezvous (None in evaluation), its verdict, and whether it
    created the run.

    Raises:
        ApiError, InvalidRequestError: The pipeline refused the request.
        DifficultyError: The store refused it: another state of the run, or another configuration.
    """
    epoch, created = 0, False
    if body.phase == "train":
        probe = _shape_request(body, [_shape_rollout(body, correct=False, status=None)], None)
        try:
            batch = await context.pipeline.prepare(probe)
        except InvalidRequestError as error:
            raise _own_field(error) from None
        if batch.epoch is None and (body.epoch is not None or body.incarnation is not None):
            raise run_lost(body.run, body.incarnation)
        if body.incarnation is not None:
            # The commit checks it again: here a rollout is refused before it waits for its group in vain.
            try:
                found = await context.store.get_run(body.run)
            except UnknownRun:
                raise run_lost(body.run, body.incarnation) from None
            check_identity(body, found.epoch, found)
        if batch.epoch is None:
            # The group's other rollouts must have the same epoch, whichever of them creates the run.
            try:
                state = await context.store.put_run(body.run, batch.plan.difficulty, batch.plan.text)
                batch.epoch, created = state.epoch, state.created
            except RunConflict:
                # Another request gave the run its configuration in between.
                batch = await context.pipeline.prepare(probe)
                if batch.epoch is None:
                    raise
        config = batch.plan.config
        if body.epoch not in (None, batch.epoch):
            raise epoch_mismatch(batch.epoch, body.epoch)
        epoch = batch.epoch
    elif reads_config(body, body, context.pipeline.remote_names):
        config = (await context.pipeline.readable_plan(body.run)).config
    else:
        config = context.pipeline.default_plan.config
    checks = make_checks(body, [body], body, config, context.pipeline.remote_names)
    (verdict,) = await context.pipeline.verdicts(checks, body.run, add_task)
    if body.phase == "eval":
        return None, verdict, False
    header = orjson.dumps([body.problem_id, checks[0].gold, body.group_size])
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
    return arrival, verdict, created


def _own_field(error: InvalidRequestError) -> InvalidRequestError:
    """Return the error with the name that a missing version has in this request."""
    if error.slug != "missing-policy-version":
        return error
    field = "trainer_version" if error.errors[0]["field"] == "policy_version" else "policy_version"
    return InvalidRequestError(field, error.errors[0]["detail"], error.slug)


def _shape_rollout(body: RolloutRequest, correct: bool, status: Status | None) -> ShapeRollout:
    return ShapeRollout(correct=correct, status=status, **{name: getattr(body, name) for name in ROLLOUT_FIELDS})


def _content(body: RolloutRequest) -> list[object]:
    """Return the content that identifies a rollout; repeats have the same.

    Fields that were added after the first version are in it only if they are sent, so that no digest changes.
    """
    first = ("tokens", "truncated", "thinking", "repetitive")
    # The answer format was a field of the first version, and no part of the content.
    later = (*ROLLOUT_FIELDS, *(name for name in ROW_FIELDS if name != "answer_format"))
    added = {name: getattr(body, name) for name in later if name not in first}
    sent = {name: value for name, value in added.items() if value is not None}
    return [body.response, *(getattr(body, name) for name in first), *([sent] if sent else [])]


def _shape_request(body: RolloutRequest, rollouts: list[ShapeRollout], arrival: Arrival | None) -> ShapeRequest:
    group_id = body.group_id or body.problem_id
    # In a run without steps this name identifies the group's request.
    request_id = f"rollouts:{group_id}"[:512] if body.step is None else None
    return ShapeRequest(
        run=body.run,
        epoch=body.epoch if arrival is None else arrival.cohort.epoch,
        incarnation=body.incarnation,
        version=body.version,
        step=body.step,
        phase=body.phase,
        request_id=request_id,
        policy_version=body.trainer_version,
        groups=[
            ShapeGroup(problem_id=body.problem_id, group_id=group_id, data_source=body.data_source, rollouts=rollouts)
        ],
    )


def _answer(shaped: ShapeAnswer, group_size: int, index: int, position: int, verdict: Verdict) -> Response:
    """Return the answer for the rollout `index`, which is at `position` in the shaped group."""
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
        verdict=verdict_answers([str(index)], [verdict])[0],
        stale=group.stale,
        incarnation=shaped.incarnation,
        version=shaped.version,
        warnings=list(shaped.warnings) or None,
        scores=None if group.scores is None else {name: values[position] for name, values in group.scores.items()},
        why=group.why,
        age=group.age,
        too_old=group.too_old,
    )
    return json_response(answer)
