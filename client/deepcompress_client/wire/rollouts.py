"""Requests and answers of ``POST /v1/rollouts``: single rollouts that wait for their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StrictInt

from .base import (
    Answer,
    Count,
    Difficulty,
    Gold,
    Incarnation,
    ModelText,
    Name,
    Phase,
    PolicyVersion,
    RunName,
    Step,
    Why,
    answer,
)
from .shape import RolloutFields
from .verify import RowFields, Verdict


class RolloutRequest(RolloutFields, RowFields):
    """The body of ``POST /v1/rollouts``: one rollout, for callers that cannot send groups.

    It is answered when its group is complete. When the group's deadline has passed, it is answered with the rollouts
    that have arrived.
    """

    run: RunName
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(
        None, description="the run's incarnation, from an answer; if the store has another one: 409"
    )
    version: Count | None = Field(
        None,
        description="the greatest version of the answers; if the store's is less: 409. Needs epoch and incarnation",
    )
    step: Step | None = Field(None, description="number of the training step; null for stepless runs")
    phase: Phase = "train"
    problem_id: Name
    group_id: Name | None = Field(None, description="name of the group within its step; by default the problem_id")
    group_size: Annotated[StrictInt, Field(ge=1, le=4096)] = Field(description="rollouts that complete the group")
    rollout_index: Count = Field(description="index of this rollout in its group, from 0 to group_size - 1")
    attempt: Count = Field(
        0, description="a higher attempt at a group that is not complete supersedes the lower ones"
    )
    gold: Gold
    response: ModelText
    trainer_version: PolicyVersion | None = Field(
        None, description="the trainer's present version of the policy: the group has an age; no part of the content"
    )
    timeout_s: Annotated[float, Field(strict=True, gt=0, le=3600)] = Field(
        600.0, description="seconds from the group's first rollout until it is released incomplete"
    )


@answer
class RolloutAnswer(Answer):
    """The reward of one rollout within its group."""

    run: str
    epoch: int | None
    step: int | None
    phase: Phase
    problem_id: str
    group_id: str
    rollout_index: int
    arrived: Annotated[int, Field(description="rollouts in the group when it was released")]
    complete: Annotated[bool, Field(description="false if the deadline released it with fewer than group_size")]
    reward: float
    outcome: float
    length: float
    overlong: float
    correct: bool
    trainable: bool
    pass_ratio: float
    level: float | None
    beta: float | None
    difficulty: Difficulty | None
    verdict: Verdict
    stale: bool = False
    incarnation: Annotated[str | None, Field(description="random id of the run's state")] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None
    warnings: Annotated[Sequence[str] | None, Field(description="as in the answer to a shape request")] = None
    scores: Annotated[dict[str, float] | None, Field(description="the caller's scores, weighted")] = None
    why: Annotated[
        Why | None, Field(description="the reason why no rollout of the group has a length reward, if none has")
    ] = None
    age: Annotated[
        int | None, Field(description="the trainer's policy version less the group's oldest, if both were sent")
    ] = None
    too_old: Annotated[
        bool | None, Field(description="in asynchronous runs: true if the age is over max_age: it changes no level")
    ] = None
