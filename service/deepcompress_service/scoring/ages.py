"""Ages of groups: the versions of the policy since their oldest tokens (docs/design.md, 5.11)."""

from __future__ import annotations

from collections.abc import Sequence

from deepcompress_client.wire import ScoreGroup, ShapeGroup

from ..activity.recent import NO_AGE, GroupAge
from .batch import BatchGroup, BatchRequest
from .errors import InvalidRequestError
from .plan import RunPlan


def check_asynchronous(request: BatchRequest, plan: RunPlan) -> None:
    """Check that a training request of an asynchronous run has the names and the versions of its groups.

    Raises:
        InvalidRequestError: A group_id or a policy_version is missing.
    """
    groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
    if plan.config.max_age is not None and request.policy_version is None:
        raise InvalidRequestError(
            "policy_version", "the run has a max_age: send the trainer's version", "missing-policy-version"
        )
    for index, group in enumerate(groups):
        if group.group_id is None and request.step is not None:
            raise InvalidRequestError(
                f"groups.{index}.group_id",
                "the groups of an asynchronous run are identified by group_id alone: send one of its own",
                "missing-group-id",
            )
        if plan.config.max_age is None:
            continue
        for rollout_index, rollout in enumerate(group.rollouts):
            if rollout.policy_version is None:
                raise InvalidRequestError(
                    f"groups.{index}.rollouts.{rollout_index}.policy_version",
                    "the run has a max_age: send the oldest version that wrote tokens of the rollout",
                    "missing-policy-version",
                )


def group_age(trainer: int, group: ShapeGroup | ScoreGroup) -> int | None:
    """Return the trainer's version less the oldest of the group's rollouts, at least 0; None if one has none."""
    known = [rollout.policy_version for rollout in group.rollouts if rollout.policy_version is not None]
    return max(0, trainer - min(known)) if len(known) == len(group.rollouts) else None


def seen_age(group: BatchGroup) -> GroupAge:
    """Return the age of a group as the dashboard shows it."""
    if group.age is None:
        return NO_AGE
    return GroupAge(group.age, group.too_old, [rollout.policy_version for rollout in group.sent.rollouts])
