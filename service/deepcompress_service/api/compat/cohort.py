"""NeMo Gym's cohort mode: a call is held until the rollouts of its group have arrived, and the group is shaped.

The rules are those of NeMo Gym's own `genrm_compare` server: one slot for each rollout, one digest for each slot, a
watermark for attempts, tombstones for groups that are over. Three differ:

- A group whose time is up is released with the rollouts that have arrived.
- If the caller names only the task, other content after completion begins the task's next group, since tasks come
  again every epoch.
- The state is not in this process but in the rendezvous, beside the difficulty state: the rollouts of a group may
  arrive at different workers and replicas, and a restart loses none.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import orjson

from deepcompress_client.wire import MAX_COUNT, RunConfig, ShapeGroup, ShapeRequest, StrategyConfig, Verdict

from ...difficulty.errors import StoreUnavailable, UnknownRun
from ...difficulty.model import RunState
from ...rendezvous import Arrival, Cohort, Collecting, Refused, Released
from ...scoring.batch import AddTask
from ...scoring.plan import make_plan
from ...scoring.records import stored_rollout
from ..context import Context
from ..errors import ApiError, invalid, refused_rollout

TASK, ROLLOUT = "_ng_task_index", "_ng_rollout_index"
GROUP, ATTEMPT = "_ng_group_id", "_ng_group_attempt"

GRACE_S = 60.0
"""Seconds beyond a group's time, for the store to recover and the group to be shaped."""
PAUSE_S = 0.5
"""Seconds between two attempts while the store cannot be used."""

T = TypeVar("T")

log = logging.getLogger("deepcompress.nemo_gym")


@dataclass(frozen=True, slots=True)
class RewardedRollout:
    """A rollout's part of its shaped group: the components of its reward, and its verdict."""

    components: dict[str, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RolloutIdentity:
    """The group, task and index of a rollout, read from its row."""

    group: str
    task: str
    index: int
    attempt: int
    has_group_id: bool
    """True if the caller names each dispatch of a task: other content under one name is then a mistake, not the next
    epoch."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any], size: int) -> RolloutIdentity:
        """Return the identity of a row's rollout. `size` is the number of rollouts in its group.

        Raises:
            ApiError: 422, if a field is missing or not valid.
        """
        index, attempt = row.get(ROLLOUT), row.get(ATTEMPT, 0)
        group, task = row.get(GROUP), row.get(TASK)
        name = task if group is None else group
        if not _is_index(index) or not _is_index(attempt) or not (_is_index(name) or isinstance(name, str)):
            raise invalid(ROLLOUT, f"a cohort needs {ROLLOUT}, and {GROUP} or {TASK}")
        if not 0 <= index < size:
            raise invalid(ROLLOUT, f"must be between 0 and {size - 1}")
        if not 0 <= attempt <= MAX_COUNT:
            raise invalid(ATTEMPT, f"must be between 0 and {MAX_COUNT}")
        if not 0 < len(str(name)) <= 256 or not str(name).isprintable():
            raise invalid(GROUP, "must be a number or 1 to 256 printable characters")
        # The group 7 and the task 7 differ.
        kind = "task" if group is None else "group"
        problem = task if _is_index(task) or isinstance(task, str) else name
        return cls(f"{kind}:{name}", str(problem), index, attempt, group is not None)


def _is_index(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class VerifiedRollout:
    """A rollout with its verdict, in the form that the rendezvous keeps."""

    identity: RolloutIdentity
    size: int
    header: bytes
    digest: bytes
    payload: bytes

    @classmethod
    def from_row(
        cls,
        row: Mapping[str, Any],
        response: Mapping[str, Any],
        verdict: Verdict,
        *,
        gold: str | list[str],
        tokens: int,
        truncated: bool,
        size: int,
    ) -> VerifiedRollout:
        """Return a row's rollout with its identity and its verdict.

        Raises:
            ApiError: 422, if a field of its identity is missing or not valid.
        """
        identity = RolloutIdentity.from_row(row, size)
        if not identity.has_group_id and not (isinstance(response.get("id"), str) and response["id"]):
            raise invalid(
                "response.id",
                f"is needed if {TASK} alone names the group: it distinguishes repeats from the next epoch",
            )
        rollout = {"correct": verdict.correct, "status": verdict.status, "tokens": tokens, "truncated": truncated}
        prompt = row.get("responses_create_params")
        question = prompt.get("input") if isinstance(prompt, dict) else prompt
        return cls(
            identity=identity,
            size=size,
            header=_digest([question, gold, size]),
            # With the response's id: a repeat has the same id; equal text in a later epoch has another.
            digest=_digest([response, tokens]),
            payload=orjson.dumps({"rollout": rollout, "reason": verdict.reason, "answer": verdict.answer}),
        )


async def meet(
    context: Context,
    run: str,
    rollout: VerifiedRollout,
    timeout_s: float,
    groups_per_step: int | None,
    add_task: AddTask,
    share: str,
) -> RewardedRollout:
    """Wait for the rollout's group, shape it, and return the rollout's part. `share`: see `WaitingRoom.refusal`.

    The group is complete, or `timeout_s` seconds have passed since its first rollout. A run that does not exist is
    created if `groups_per_step` is given.

    Raises:
        ApiError: 409 if the run has no `groups_per_step` or does not exist, or the rollout does not fit its group;
        503 if it cannot
            wait.
        DifficultyError: The store refused a call, or could not be used until the time was up.
    """
    until = asyncio.get_running_loop().time() + timeout_s + GRACE_S
    state = await _through_outages(lambda: _run(context, run, groups_per_step), until)
    if state.config.groups_per_step is None:
        raise ApiError(
            409,
            "groups-per-step-required",
            f"create the run {run} with groups_per_step: without it, each group would be a step",
        )
    identity = rollout.identity
    arrival = Arrival(
        cohort=Cohort(run, state.epoch, None, f"nemo-gym:{identity.group}"),
        slot=identity.index,
        size=rollout.size,
        attempt=identity.attempt,
        header=rollout.header,
        digest=rollout.digest,
        payload=rollout.payload,
        timeout_s=timeout_s,
        renewal="attempt" if identity.has_group_id else "content",
    )
    remaining = until - asyncio.get_running_loop().time()
    result = await context.waiting.meet(arrival, remaining, patient=True, share=share)
    if isinstance(result, Refused):
        raise refused_rollout(result, "cohort-conflict")
    if isinstance(result, Collecting):
        raise ApiError(503, "group-incomplete", "send the same request again to wait further", retry_after=1)
    return await _shape(context, run, state.epoch, identity, result, until, add_task)


async def _run(context: Context, run: str, groups_per_step: int | None) -> RunState:
    """Return the run's state; create the run if it does not exist and `groups_per_step` is given.

    Raises:
        ApiError: 409 if the run does not exist, and there is no `groups_per_step`.
    """
    try:
        return await context.store.get_run(run)
    except UnknownRun:
        if groups_per_step is None:
            raise ApiError(
                409,
                "groups-per-step-required",
                f"there is no run {run!r}: add groups_per_step=N to the address, the groups of one training step, or "
                "create the run with it",
            ) from None
    # Groups come one by one, so rewards refer to the step before.
    strategy = StrategyConfig.model_validate({"name": "deepcompress", "reference": "previous"})
    config = RunConfig(strategy=strategy, groups_per_step=groups_per_step)
    plan = make_plan(config, context.settings.problem_weight, context.pipeline.remote_names)
    log.warning("run %s: created by a NeMo Gym rollout, with groups_per_step %d", run, groups_per_step)
    return await context.store.put_run(run, plan.difficulty, plan.text)


async def _shape(
    context: Context,
    run: str,
    epoch: int,
    identity: RolloutIdentity,
    released: Released,
    until: float,
    add_task: AddTask,
) -> RewardedRollout:
    """Shape a released group. Each of its calls does; the group counts once, since their requests are equal."""
    arrived = {slot: orjson.loads(payload) for slot, payload in released.slots}
    order = sorted(arrived)
    rollouts = [stored_rollout(arrived[slot]["rollout"]) for slot in order]
    body = ShapeRequest(
        run=run,
        epoch=epoch,
        request_id=f"nemo-gym:{identity.group}:{identity.attempt}:{released.round}",
        groups=[ShapeGroup(problem_id=identity.task, rollouts=rollouts)],
    )
    group = (await _through_outages(lambda: context.pipeline.shape(body, add_task), until)).groups[0]
    position, one = order.index(identity.index), arrived[identity.index]
    return RewardedRollout(
        components={name: values[position] for name, values in vars(group.components).items()}
        | {f"scores.{name}": values[position] for name, values in (group.scores or {}).items()},
        verdict=Verdict(
            id=None,
            correct=one["rollout"]["correct"],
            status=one["rollout"]["status"],
            answer=one["answer"],
            decided_by="",
            reason=one["reason"],
        ),
    )


async def _through_outages(work: Callable[[], Awaitable[T]], until: float) -> T:
    """Repeat the work while the store cannot be used, until the event loop's time `until`.

    NeMo Gym's callers wait without a limit and treat an error as the end of the rollout.

    Raises:
        StoreUnavailable: The store cannot be used, and the time is up.
    """
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if asyncio.get_running_loop().time() + PAUSE_S >= until:
                raise
        await asyncio.sleep(PAUSE_S)


def _digest(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
