"""Requests and answers of ``POST /v1/score``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import FailFast, Field

from .base import MAX_GROUP_ROLLOUTS, AnswerFormat, Checker, Gold, ModelText, Name, answer
from .shape import BatchAnswer, BatchFields, GroupFields, GroupRewards, RolloutFields
from .verify import RowFields, Verdict


class ScoreRollout(RolloutFields):
    """A rollout to verify and reward."""

    response: ModelText
    rollout_id: Name | None = None


class ScoreGroup(GroupFields, RowFields):
    """A group to verify and reward: its gold answer and its rollouts."""

    gold: Gold
    rollouts: Annotated[list[ScoreRollout], FailFast()] = Field(min_length=1, max_length=MAX_GROUP_ROLLOUTS)


class ScoreRequest(BatchFields):
    """The body of ``POST /v1/score``. `answer_format` takes the place of the run's."""

    groups: Annotated[list[ScoreGroup], FailFast()] = Field(min_length=1)
    answer_format: AnswerFormat | None = None
    checker: Checker | None = None


@answer
class ScoredGroup(GroupRewards):
    """The rewards of one group, and the verdicts they are computed from."""

    verdicts: Sequence[Verdict]


@answer
class ScoreAnswer(BatchAnswer):
    """The answer to a score request: the groups in the order sent."""

    groups: Sequence[ScoredGroup]
