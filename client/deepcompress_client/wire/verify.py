"""Requests and answers of ``POST /v1/verify``, and the fields that select a row's checker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import FailFast, Field, StrictBool

from .base import (
    Answer,
    AnswerFormat,
    Checker,
    Count,
    Gold,
    ModelText,
    Name,
    Options,
    Phase,
    Request,
    RowObject,
    RunName,
    Status,
    Step,
    Tokens,
    answer,
)


class RowFields(Request):
    """The fields of a row that select how its answers are checked."""

    answer_format: AnswerFormat | None = Field(
        None, description="the rule that finds the answer; by default that of the request"
    )
    checker: Checker | None = Field(
        None, description="the checker; by default the request's, else the run's for the data_source, else math"
    )
    data_source: Name | None = Field(None, description="name of the row's data set: selects the run's checker")
    options: Options | None = Field(None, description="the choices of a multiple-choice row, in order")
    question: ModelText | None = Field(None, description="the text of the problem; reaches remote checkers only")
    row: RowObject | None = Field(
        None, description="an object of the row, such as tests to run; reaches remote checkers only"
    )


ROW_FIELDS = tuple(RowFields.model_fields)
"""Names of the row fields, in the order declared."""


class VerifyItem(RowFields):
    """One rollout to check. With identity (``run`` and ``rollout_id``) it is also observed (docs/design.md, 5.5)."""

    id: Name | None = Field(None, description="echoed in the verdict; the item's position when left out")
    gold: Gold = Field(description="the gold answer, or alternatives of which any one suffices")
    response: ModelText = Field(description="the text of the rollout")
    run: RunName | None = Field(None, description="the run whose answer format applies and that observes the item")
    epoch: Count | None = None
    step: Step | None = None
    generation: Count | None = None
    phase: Phase = "train"
    problem_id: Name | None = None
    group_id: Name | None = None
    rollout_id: Name | None = None
    tokens: Tokens | None = Field(None, description="length in tokens, for observed items")
    truncated: StrictBool = False


class VerifyRequest(Request):
    """The body of ``POST /v1/verify``. `answer_format` takes the place of the run's."""

    items: Annotated[list[VerifyItem], FailFast()] = Field(min_length=1)
    answer_format: AnswerFormat | None = None
    checker: Checker | None = None


@answer
class Verdict(Answer):
    """The result of checking one rollout."""

    id: str | None = None
    correct: bool
    status: Status
    answer: Annotated[str | None, Field(description="the extracted answer, null if there is none")]
    decided_by: Annotated[str, Field(description="the rule or tier that decided")]
    reason: Annotated[str, Field(description="the reason, in one line")]
    cpu_ms: Annotated[float, Field(description="CPU milliseconds spent on this comparison")] = 0.0
    recorded: Annotated[bool | None, Field(description="for items with identity: true if it was observed")] = None


@answer
class VerifyAnswer(Answer):
    """The answer to a verify request: one verdict per item, in the order sent."""

    verdicts: Sequence[Verdict]
