"""NeMo Gym's cohort mode: a call is held until the rollouts of its group are there, and the group is shaped.

The rules are those of NeMo Gym's own `genrm_compare` server: a slot a rollout, a digest a slot, a watermark for
attempts, tombstones for what is over. Three differ. A group is released with what it has when its time is up. Where
the caller names only the task, other content after completion begins the task's next group, since tasks come again
every epoch. And the state is not this process's but the rendezvous', beside the difficulty state: the rollouts of a
group may come to different workers and replicas, and a service that restarts finds the group as it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import orjson

from deepcompress_client.wire import MAX_COUNT, ShapeGroup, ShapeRequest, Verdict

from ...difficulty.errors import StoreUnavailable
from ...rendezvous import Arrival, Cohort, Collecting, Refused, Released
from ...scoring.pipeline import Later
from ...scoring.records import stored_rollout
from ..context import Context
from ..errors import ApiError, invalid

TASK, ROLLOUT = "_ng_task_index", "_ng_rollout_index"
GROUP, ATTEMPT = "_ng_group_id", "_ng_group_attempt"

GRACE_S = 60.0
"""Beyond a group's time: for the store to come back, and the group to be shaped."""
PAUSE_S = 0.5
_REFUSALS = {
    "conflict": "this rollout of the group was sent before with other content",
    "mismatch": "this group was begun with another prompt, gold answer or size",
    "superseded": "a higher attempt at this group has begun",
    "late": "this group was released without this rollout, which came too late",
    "gone": "the group is not known any more",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shaped:
    """A rollout's share of its group: the components of its reward, and the verdict it was shaped with."""

    components: dict[str, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rollout belongs, as its row says."""

    name: str
    task: str
    index: int
    attempt: int
    named: bool
    """The caller names each dispatch of a task, so other content under the same name is a mistake and not the next
    epoch."""

    @classmethod
    def of(cls, row: Mapping[str, Any], size: int) -> Place:
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
        # A group named 7 is not task 7's.
        kind = "task" if group is None else "group"
        problem = task if _is_index(task) or isinstance(task, str) else name
        return cls(f"{kind}:{name}", str(problem), index, attempt, group is not None)


def _is_index(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Ready:
    """A verified rollout that is ready to meet its group."""

    place: Place
    size: int
    header: bytes
    digest: bytes
    payload: bytes

    @classmethod
    def of(
        cls,
        row: Mapping[str, Any],
        response: Mapping[str, Any],
        verdict: Verdict,
        *,
        gold: Any,
        tokens: int,
        truncated: bool,
        size: int,
    ) -> Ready:
        """Return the rollout of a row, with its place in its group and its verdict."""
        place = Place.of(row, size)
        if not place.named and not (isinstance(response.get("id"), str) and response["id"]):
            raise invalid(
                "response.id",
                f"is needed where a group is known by {TASK} alone: it tells repeats from the next epoch",
            )
        rollout = {"correct": verdict.correct, "status": verdict.status, "tokens": tokens, "truncated": truncated}
        prompt = row.get("responses_create_params")
        asked = prompt.get("input") if isinstance(prompt, dict) else prompt
        return cls(
            place=place,
            size=size,
            header=_digest([asked, gold, size]),
            # All of the response, its id with it: a repeat is the same; the same words in a later epoch are not.
            digest=_digest([response, tokens]),
            payload=orjson.dumps({"rollout": rollout, "reason": verdict.reason, "answer": verdict.answer}),
        )


async def meet(context: Context, run: str, ready: Ready, timeout_s: float, later: Later) -> Shaped:
    """This rollout's share of its group, once that is complete or `timeout_s` has passed since its first rollout."""
    until = asyncio.get_running_loop().time() + timeout_s + GRACE_S
    state = await _through_outages(lambda: context.store.get_run(run), until)
    if state.config.groups_per_step is None:
        raise ApiError(
            409,
            "groups-per-step-required",
            f"create the run {run} with groups_per_step: without steps, each group would be one",
        )
    place = ready.place
    arrival = Arrival(
        cohort=Cohort(run, state.epoch, None, f"nemo-gym:{place.name}"),
        slot=place.index,
        size=ready.size,
        attempt=place.attempt,
        header=ready.header,
        digest=ready.digest,
        payload=ready.payload,
        timeout_s=timeout_s,
        renewal="attempt" if place.named else "content",
    )
    if context.waiting.full:
        raise ApiError(503, "overloaded", "too many rollouts wait for their groups", retry_after=5)
    left = until - asyncio.get_running_loop().time()
    stand = await context.waiting.meet(arrival, left, patient=True)
    if isinstance(stand, Refused):
        raise ApiError(409, "cohort-conflict", _REFUSALS[stand.why])
    if isinstance(stand, Collecting):
        raise ApiError(503, "group-incomplete", "the same request again waits on", retry_after=1)
    return await _shape(context, run, state.epoch, place, stand, until, later)


async def _shape(
    context: Context, run: str, epoch: int, place: Place, stand: Released, until: float, later: Later
) -> Shaped:
    """Whoever finds the group released shapes it; it counts once, however many do, since it is one request."""
    kept = {slot: orjson.loads(payload) for slot, payload in stand.slots}
    order = sorted(kept)
    rollouts = [stored_rollout(kept[slot]["rollout"]) for slot in order]
    body = ShapeRequest(
        run=run,
        epoch=epoch,
        request_id=f"nemo-gym:{place.name}:{place.attempt}:{stand.round}",
        groups=[ShapeGroup(problem_id=place.task, rollouts=rollouts)],
    )
    group = (await _through_outages(lambda: context.pipeline.shape(body, later), until)).groups[0]
    position, one = order.index(place.index), kept[place.index]
    return Shaped(
        components={name: values[position] for name, values in vars(group.components).items()},
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
    """NeMo Gym's callers wait without a limit, and take an error for the end of the rollout: so a store that is
    away for a while is waited for here."""
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if asyncio.get_running_loop().time() + PAUSE_S >= until:
                raise
        await asyncio.sleep(PAUSE_S)


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
