"""Requests and answers of ``POST /v1/shape``, and the fields that it shares with score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, StrictBool, StrictInt

from .base import (
    MAX_COUNT,
    MAX_GROUP_ROLLOUTS,
    MAX_SCORES,
    MAX_TOKENS,
    Answer,
    Count,
    Difficulty,
    FiniteNumber,
    Incarnation,
    Name,
    Phase,
    PolicyVersion,
    Request,
    RunName,
    Score,
    ScoreName,
    Status,
    Step,
    Tokens,
    Why,
    answer,
)


class RolloutFields(Request):
    """The fields of a rollout beside its text and its verdict; each is declared only here.

    The group's digest, the input of the strategies, the rows that wait at a rendezvous and the client's splitting of
    large batches are derived from this list (``ROLLOUT_FIELDS``).
    """

    tokens: Tokens | None = Field(
        None, description="length in tokens that the policy wrote, never in characters; of all its turns"
    )
    truncated: StrictBool = Field(False, description="true if the generation limit cut it off")
    thinking: StrictBool | None = Field(
        None, description="true if it reasoned before it answered, for strategies that need it"
    )
    repetitive: StrictBool | None = Field(None, description="true if it repeats itself, for strategies that need it")
    context_tokens: Tokens | None = Field(
        None, description="tokens that the policy read and did not write: the prompt's, and those of tools"
    )
    turns: Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)] | None = Field(
        None, description="replies of the policy in this rollout"
    )
    scores: Annotated[dict[ScoreName, Score], Field(max_length=MAX_SCORES)] | None = Field(
        None, description="the caller's own scores by name; the run's configuration has their weights"
    )
    policy_version: PolicyVersion | None = Field(
        None, description="the oldest version of the policy that wrote tokens of this rollout"
    )


ROLLOUT_FIELDS = tuple(RolloutFields.model_fields)
"""Names of the per-rollout fields, in the order declared."""


class ShapeRollout(RolloutFields):
    """A rollout whose verdict the caller has."""

    correct: StrictBool
    status: Status | None = Field(None, description="the verdict's status, if verify gave one")


class GroupFields(Request):
    """The fields that the groups of shape and score share."""

    problem_id: Name | None = Field(None, description="may be left out for observed groups only")
    group_id: Name | None = Field(None, description="name of the group within its step; by default the problem_id")
    group_size: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] | None = Field(
        None, description="if given, must equal the number of rollouts"
    )
    reference_accuracy: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        None, description="a reference policy's accuracy on this problem, for strategies that need it"
    )
    reference_tokens: Annotated[FiniteNumber, Field(gt=0)] | None = Field(
        None, description="a reference policy's mean length on this problem, in tokens, for strategies that need it"
    )
    target_tokens: Annotated[FiniteNumber, Field(gt=0)] | None = Field(
        None, description="the token target given to the policy, for strategies that need it"
    )


GROUP_FIELDS = tuple(
    name for name in GroupFields.model_fields if name not in ("problem_id", "group_id", "group_size")
)
"""Names of the per-group fields beside identity and rollouts, in the order declared."""


class ShapeGroup(GroupFields):
    """A group whose rollouts have been verified."""

    data_source: Name | None = Field(
        None, description="name of the row's data set: a label for statistics, which changes no reward"
    )
    rollouts: Annotated[list[ShapeRollout], FailFast()] = Field(min_length=1, max_length=MAX_GROUP_ROLLOUTS)


class BatchFields(Request):
    """The fields that shape and score requests share: the run, the step and the phase."""

    run: RunName | None = Field(None, description="required in training")
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(
        None, description="the run's incarnation, from an answer; if the store has another one: 409"
    )
    version: Count | None = Field(
        None,
        description="the greatest version of the answers; if the store's is less: 409. Needs epoch and incarnation",
    )
    step: Step | Literal["observed"] | None = Field(
        None, description="number of the training step; null for stepless runs"
    )
    generation: Count | None = Field(None, description="which generation batch of the step, for step_level: last")
    phase: Phase = "train"
    request_id: Name | None = Field(None, description="required if there is no step")
    policy_version: PolicyVersion | None = Field(
        None, description="the trainer's present version of the policy: groups have an age; no part of the content"
    )
    signal: StrictBool = Field(False, description="true: the answer has figures of the length term's effect")


class ShapeRequest(BatchFields):
    """The body of ``POST /v1/shape``."""

    groups: Annotated[list[ShapeGroup], FailFast()] = Field(min_length=1)


@answer
class RewardComponents(Answer):
    """The parts of each reward, already weighted: ``(outcome + length) + overlong`` is the reward, to the last bit.

    The caller's scores, where the run has them, are added to that by name (`GroupRewards.scores`).
    Each has one number per rollout, [rollouts], in the order sent.
    """

    outcome: Sequence[float]
    length: Sequence[float]
    overlong: Sequence[float]


REWARD_COMPONENTS = tuple(field.name for field in fields(RewardComponents))
"""Names of the reward's components, in the order in which they are added."""


@answer
class GroupRewards(Answer):
    """The rewards of one group. Sequences have one value per rollout, [rollouts], in the order sent."""

    problem_id: str
    group_id: str
    pass_ratio: float
    """The group pass ratio."""
    level: float | None
    """The reference level, null if the rewards depend on none."""
    beta: float | None
    """The group pass ratio minus the reference level, null if the rewards depend on neither."""
    difficulty: Difficulty | None
    rewards: Sequence[float]
    components: RewardComponents
    correct: Sequence[bool]
    trainable: Sequence[bool]
    length_term: Annotated[
        Sequence[float] | None, Field(description="the strategy's length term, before length_weight")
    ] = None
    why: Annotated[
        Why | None, Field(description="the reason why no rollout of the group has a length reward, if none has")
    ] = None
    scores: Annotated[
        dict[str, Sequence[float]] | None,
        Field(description="the caller's scores, weighted: added to the sum of the components, names ascending"),
    ] = None
    mask: Annotated[Sequence[bool] | None, Field(description="for strategies that select rollouts")] = None
    weights: Annotated[Sequence[float] | None, Field(description="for strategies that weight advantages")] = None
    advantages: Annotated[
        Sequence[float] | None,
        Field(description="where the configuration has `advantage`, or the strategy gives ready advantages"),
    ] = None
    shadow: Annotated[dict[str, Any] | None, Field(description="rewards of the shadow strategies, by name")] = None
    replayed: bool = False
    stale: bool = False
    age: Annotated[
        int | None, Field(description="the trainer's policy version less the group's oldest, if both were sent")
    ] = None
    too_old: Annotated[
        bool | None, Field(description="in asynchronous runs: true if the age is over max_age: it changes no level")
    ] = None


@answer
class Signal(Answer):
    """Figures of the length term's effect in one request. Null: nothing to compute it from."""

    groups: int
    effective_groups: Annotated[int, Field(description="groups with an advantage that is not 0")]
    length_share: Annotated[float | None, Field(description="the length term's share of the advantage's variance")]
    length_share_mixed: Annotated[
        float | None, Field(description="length_share over groups with right and wrong rollouts")
    ]
    length_share_all_correct: Annotated[
        float | None, Field(description="length_share over groups that are all correct")
    ]
    correct_pushed_down: Annotated[
        float | None, Field(description="share of the correct rollouts whose advantage is below 0")
    ]
    length_correctness: Annotated[float | None, Field(description="correlation of length and correctness in groups")]
    hard_tokens: Annotated[float | None, Field(description="mean length in groups with a pass ratio below 0.5")]
    easy_tokens: Annotated[float | None, Field(description="mean length in the other groups")]
    expected_drift: Annotated[float | None, Field(description="below 0: the update makes answers shorter")]


@answer
class BatchAnswer(Answer):
    """The fields that the answers to shape and score share."""

    run: str | None
    epoch: int | None
    step: int | None
    phase: Phase
    level: float | None
    batch_pass_ratio: float
    warnings: Sequence[str]
    signal: Annotated[Signal | None, Field(description="if the request has signal: true, in training")] = None
    incarnation: Annotated[str | None, Field(description="random id of the run's state")] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None


@answer
class ShapeAnswer(BatchAnswer):
    """The answer to a shape request: the groups in the order sent."""

    groups: Sequence[GroupRewards]
