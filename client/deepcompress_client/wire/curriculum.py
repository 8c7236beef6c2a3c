"""A run's data set, and the samples drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, StrictInt, StringConstraints

from .base import (
    MAX_COUNT,
    MAX_TOKENS,
    Answer,
    Count,
    FiniteNumber,
    Incarnation,
    Name,
    Request,
    RowObject,
    Step,
    answer,
)


class DatasetProblem(Request):
    """A line of ``PUT /v1/runs/{run}/dataset``: a problem, and what an offline profile measured of it."""

    problem_id: Name
    data_source: Name | None = None
    pass_ratio: Annotated[FiniteNumber, Field(ge=0, le=1)] | None = Field(
        None, description="share of correct rollouts in the profile"
    )
    rollouts: Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="the number of rollouts that pass_ratio was measured on"
    )
    tokens: Annotated[FiniteNumber, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="mean length of the profile's rollouts"
    )


@answer
class DatasetInfo(Answer):
    """The data set of a run."""

    run: str
    epoch: int
    problems: Annotated[int, Field(description="number of problems")]
    data_sources: Annotated[
        dict[str, int], Field(description="problems by data source, without those that have none")
    ]
    digest: Annotated[str, Field(description="digest of the content, in any order of the problems")]
    incarnation: Annotated[str | None, Field(description="random id of the run's state")] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None


Policy = Annotated[str, StringConstraints(min_length=1, max_length=128, strict=True)] | RowObject
"""A policy's name, or `{"name": ...}` with its parameters (docs/curriculum.md)."""


class SampleRequest(Request):
    """The body of ``POST /v1/runs/{run}/sample``."""

    step: Step
    n: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] = Field(description="number of problems")
    policy: Policy = Field("uniform", description='its name, or {"name": ..., parameters}')
    data_source: Name | None = Field(None, description="draw from this data source alone")
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(
        None, description="the run's incarnation, from an answer; if the store has another one: 409"
    )
    version: Count | None = Field(
        None,
        description="the greatest version of the answers; if the store's is less: 409. Needs epoch and incarnation",
    )


@answer
class SampledProblem(Answer):
    """A problem of a sample."""

    problem_id: str
    data_source: Annotated[str | None, Field(description="the problem's data source, as registered")]


@answer
class SampleAnswer(Answer):
    """The problems of a step, in the order in which they were drawn."""

    run: str
    epoch: int
    step: int
    as_of: Annotated[int | None, Field(description="the last closed step, whose pass ratios were used")]
    policy: Annotated[dict[str, Any], Field(description="the policy with all of its parameters")]
    problems: Sequence[SampledProblem]
    warnings: Sequence[str]
    incarnation: Annotated[str | None, Field(description="random id of the run's state")] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None
