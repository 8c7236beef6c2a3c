"""Requests and answers of ``POST /v1/observe``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import FailFast, Field, StrictBool

from .base import MAX_GROUP_ROLLOUTS, Answer, Count, Incarnation, Name, Request, RunName, Status, Step, Tokens, answer


class ObservedRollout(Request):
    """A rollout that was verified elsewhere and may never be shaped."""

    rollout_id: Name | None = Field(None, description="defaults to the rollout's position in the group")
    correct: StrictBool
    tokens: Tokens | None = Field(None, description="length in tokens")
    truncated: StrictBool = False
    status: Status | None = Field(None, description="the verdict's status, if the checker has one")


class ObservedGroup(Request):
    """Rollouts of one problem that are observed."""

    problem_id: Name
    group_id: Name | None = Field(None, description="name of the group within its step; by default the problem_id")
    rollouts: Annotated[list[ObservedRollout], FailFast()] = Field(min_length=1, max_length=MAX_GROUP_ROLLOUTS)


class ObserveRequest(Request):
    """The body of ``POST /v1/observe``: verdicts without text, for trainers that verify elsewhere."""

    run: RunName
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(
        None, description="the run's incarnation, from an answer; if the store has another one: 409"
    )
    version: Count | None = Field(
        None,
        description="the greatest version of the answers; if the store's is less: 409. Needs epoch and incarnation",
    )
    step: Step | None = Field(None, description="required, except in asynchronous runs, which have none here")
    generation: Count | None = Field(None, description="which generation batch of the step, for step_level: last")
    groups: Annotated[list[ObservedGroup], FailFast()] = Field(min_length=1)


@answer
class GroupObserved(Answer):
    """The rollouts of one group that are recorded."""

    problem_id: str
    group_id: str
    recorded: Annotated[Sequence[bool], Field(description="[rollouts] true: recorded with this content")]


@answer
class ObserveAnswer(Answer):
    """The answer to an observe request: its groups, in the order sent."""

    run: str
    step: int | None
    groups: Sequence[GroupObserved]
