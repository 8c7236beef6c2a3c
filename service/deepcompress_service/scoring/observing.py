"""Observations of a request without text: verdicts that the caller made (docs/design.md, 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from deepcompress_client.wire import GroupObserved, ObserveAnswer, ObserveRequest

from ..difficulty.model import Observation
from ..shaping.lengths import bin_of
from .errors import InvalidRequestError


def observations_of(request: ObserveRequest) -> list[Observation]:
    """Return the rollouts of a request as observations, in the order sent, without the unchecked ones.

    Raises:
        InvalidRequestError: Two groups, or two rollouts of a group, have one name.
    """
    found: list[Observation] = []
    groups: set[str] = set()
    for index, group in enumerate(request.groups):
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
            found.append(
                Observation(
                    run=request.run,
                    step=request.step,
                    problem_id=group.problem_id,
                    group_id=group_id,
                    rollout_id=rollout_id,
                    correct=rollout.correct,
                    counts=rollout.status != "gold_unreadable",
                    tokens=rollout.tokens,
                    truncated=rollout.truncated,
                    epoch=request.epoch,
                    generation=request.generation,
                    length_bin=None if rollout.tokens is None else bin_of(rollout.tokens),
                )
            )
    return found


def observe_answer(request: ObserveRequest, recorded: Sequence[bool]) -> ObserveAnswer:
    """Return the answer; `recorded` has one entry for each of `observations_of`. Unchecked rollouts: false."""
    answers = iter(recorded)
    return ObserveAnswer(
        run=request.run,
        step=request.step,
        groups=[
            GroupObserved(
                problem_id=group.problem_id,
                group_id=group.group_id or group.problem_id,
                recorded=[one.status != "unchecked" and next(answers) for one in group.rollouts],
            )
            for group in request.groups
        ],
    )
