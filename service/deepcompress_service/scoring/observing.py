"""Observations: rollouts that count although their group may never be shaped (docs/design.md, 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from deepcompress_client.wire import (
    GroupObserved,
    ObserveAnswer,
    ObservedGroup,
    ObservedRollout,
    ObserveRequest,
    VerifyItem,
)

from ..difficulty.engine import check_identity
from ..difficulty.errors import UNUSABLE, UnknownRun
from ..difficulty.model import Observation
from ..difficulty.refusals import run_lost
from ..shaping.lengths import bin_of
from .batch import in_turns, release
from .errors import InvalidRequestError
from .pipeline import Pipeline, turns_of
from .request_checks import check_version, limit


async def observe(pipeline: Pipeline, request: ObserveRequest) -> ObserveAnswer:
    """Record verdicts that the caller made as observations.

    The identity of the run's state is compared before: a store that loses its data between the two is noticed by the
    next training request.

    Raises:
        TooLargeError, InvalidRequestError: The request is too large, or has one name twice.
        RunLost, RunRolledBack, EpochMismatch: The store does not have the state that the caller saw.
        DifficultyError: The store cannot be used; nothing was recorded, or the answer was lost.
    """
    check_version(request)
    limit("the number of groups", len(request.groups), pipeline.settings.max_groups)
    limit("the number of rollouts", sum(len(group.rollouts) for group in request.groups), pipeline.settings.max_items)
    if request.step is None and not await takes_observations_without_step(pipeline, request.run):
        raise InvalidRequestError("step", "send the step: only observations of an asynchronous run have none")
    turns = turns_of([len(group.rollouts) for group in request.groups])
    observations = await observations_of(request, turns)
    if request.incarnation is not None:
        try:
            state = await pipeline.timed("get_run", pipeline.store.get_run(request.run))
        except UnknownRun:
            raise run_lost(request.run, request.incarnation) from None
        check_identity(request, state.epoch, state)
    recorded = await pipeline.timed("observe", pipeline.store.observe(observations)) if observations else []
    await release(observations)
    return await observe_answer(request, recorded, turns)


async def takes_observations_without_step(pipeline: Pipeline, run: str) -> bool:
    """Return True if the run is asynchronous, or if the store cannot be used, so that nothing is recorded."""
    try:
        return (await pipeline.timed("get_run", pipeline.store.get_run(run))).config.asynchronous
    except UnknownRun:
        return False
    except UNUSABLE:
        return True


async def observations_of(request: ObserveRequest, turns: Sequence[slice]) -> list[Observation]:
    """Return the rollouts of a request as observations, in the order sent, without the unchecked ones.

    Raises:
        InvalidRequestError: Two groups, or two rollouts of a group, have one name.
    """
    found: list[Observation] = []
    groups: set[str] = set()
    async for turn in in_turns(turns):
        for index, group in enumerate(request.groups[turn], turn.start):
            group_id = group.group_id or group.problem_id
            if group_id in groups:
                raise InvalidRequestError(f"groups.{index}.group_id", "two groups of the request have this name")
            groups.add(group_id)
            rollouts: set[str] = set()
            for position, rollout in enumerate(group.rollouts):
                rollout_id = str(position) if rollout.rollout_id is None else rollout.rollout_id
                if rollout_id in rollouts:
                    field = f"groups.{index}.rollouts.{position}.rollout_id"
                    raise InvalidRequestError(field, "two rollouts of the group have this name")
                rollouts.add(rollout_id)
                if rollout.status == "unchecked":
                    continue
                found.append(observation(request, group, rollout, rollout_id, rollout.correct, rollout.status))
    return found


def observation(
    request: ObserveRequest | VerifyItem,
    group: ObservedGroup | VerifyItem,
    rollout: ObservedRollout | VerifyItem,
    rollout_id: str,
    correct: bool,
    status: str | None,
) -> Observation:
    """Return the observation of a rollout. An item of a verify request is request, group and rollout in one."""
    assert request.run is not None and group.problem_id is not None
    return Observation(
        run=request.run,
        step=request.step,
        problem_id=group.problem_id,
        group_id=group.group_id or group.problem_id,
        rollout_id=rollout_id,
        correct=correct,
        counts=status != "gold_unreadable",
        tokens=rollout.tokens,
        truncated=rollout.truncated,
        epoch=request.epoch,
        generation=request.generation,
        length_bin=None if rollout.tokens is None else bin_of(rollout.tokens),
    )


async def observe_answer(request: ObserveRequest, recorded: Sequence[bool], turns: Sequence[slice]) -> ObserveAnswer:
    """Return the answer; `recorded` has one entry for each of `observations_of`. Unchecked rollouts: false."""
    answers = iter(recorded)
    rows: list[GroupObserved] = []
    async for turn in in_turns(turns):
        rows += [
            GroupObserved(
                problem_id=group.problem_id,
                group_id=group.group_id or group.problem_id,
                recorded=[one.status != "unchecked" and next(answers) for one in group.rollouts],
            )
            for group in request.groups[turn]
        ]
    return ObserveAnswer(run=request.run, step=request.step, groups=rows)
