"""The answers about a run: its state, its history and its problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from .base import Answer, Difficulty, answer
from .config import Advantage, Gate, Guard, Outcome, Overlong, RunConfig, Target
from .shape import Signal


def _known_fields(config: object) -> object:
    """Return a run's configuration without the settings that a newer service added, at any depth."""
    if not isinstance(config, dict):
        return config
    nested: dict[str, type[BaseModel]] = {
        "outcome": Outcome,
        "overlong": Overlong,
        "gate": Gate,
        "guard": Guard,
        "target": Target,
        "advantage": Advantage,
    }
    return {
        name: {key: part for key, part in value.items() if key in nested[name].model_fields}
        if name in nested and isinstance(value, dict)
        else value
        for name, value in config.items()
        if name in RunConfig.model_fields
    }


@answer
class RunInfo(Answer):
    """The state of a run."""

    run: str
    epoch: int
    config: Annotated[RunConfig, BeforeValidator(_known_fields)]
    kind: Annotated[Literal["stepped", "stepless"] | None, Field(description="null until the first training request")]
    step: Annotated[int | None, Field(description="the open step, null without one")]
    level: float
    batch_pass_ratio: float | None
    problems: int
    created: bool = False
    incarnation: Annotated[
        str | None, Field(description="random id of the run's state, null until an older version's run is written to")
    ] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None


@answer
class SourceStatistics(Answer):
    """The groups of one data source in one step. Lengths are in tokens."""

    groups: Annotated[int, Field(description="number of groups that count")]
    rollouts: Annotated[int, Field(description="number of their checked rollouts")]
    correct: Annotated[int, Field(description="number of correct rollouts")]
    truncated: Annotated[int, Field(description="rollouts that were cut off")]
    pass_ratio: Annotated[float, Field(description="mean of the group pass ratios, each rounded to 2^-30")]
    mean_tokens: float | None
    mean_tokens_correct: float | None
    mean_reward: Annotated[
        float | None,
        Field(description="mean of the rewards that this server computed; null for steps that it did not count"),
    ]


@answer
class HistoryEntry(Answer):
    """One step: its level, and the counts and mean lengths of the step's groups. Lengths are in tokens."""

    step: int
    level: float
    batch_pass_ratio: float | None
    groups: int
    rollouts: int
    correct: int
    simple: int
    hard: int
    stale_groups: int = 0
    observed_groups: int = 0
    truncated: int = 0
    mean_tokens: float | None
    mean_tokens_correct: float | None
    mean_tokens_wrong: float | None
    mean_tokens_simple: float | None
    mean_tokens_hard: float | None
    closed: bool = True
    mean_age: Annotated[float | None, Field(description="mean age of the groups whose age is known")] = None
    largest_age: Annotated[int | None, Field(description="greatest age of a group, too old ones included")] = None
    too_old_groups: Annotated[int | None, Field(description="groups over max_age, which change no level")] = None
    discarded_groups: Annotated[
        int | None, Field(description="observed groups that were dropped without being shaped")
    ] = None
    signal: Annotated[Signal | None, Field(description="with signal=true, of steps counted by this server")] = None
    data_sources: Annotated[
        dict[str, SourceStatistics] | None,
        Field(description="with data_sources=true, of steps that have a group with a data source"),
    ] = None


@answer
class RunHistory(Answer):
    """The level and the statistics of a run's steps."""

    run: str
    epoch: int
    steps: Sequence[HistoryEntry]


@answer
class SourceEntry(Answer):
    """One step by data source. Groups without a data source are left out."""

    step: int
    data_sources: Annotated[
        dict[str, SourceStatistics],
        Field(description="figures by data source; `other` has all beyond the first 16 of the run"),
    ]


@answer
class RunSources(Answer):
    """The steps of a run by data source. Steps without a data source are left out."""

    run: str
    epoch: int
    steps: Sequence[SourceEntry]


@answer
class LengthQuantiles(Answer):
    """Lengths in tokens that 10 %, 50 % and 90 % of a problem's correct rollouts do not exceed.

    They are exact to the width of a bin, 9 %. Older rollouts count less: every 16 visits the counts are halved.
    """

    p10: float
    p50: float
    p90: float


@answer
class Problem(Answer):
    """The difficulty state of one problem of a run."""

    problem_id: str
    attempts: Annotated[int, Field(description="rollouts counted")]
    passes: Annotated[int, Field(description="correct rollouts")]
    pass_ratio: Annotated[float | None, Field(description="smoothed over the steps that counted it")]
    last_pass_ratio: float | None
    last_beta: float | None
    difficulty: Difficulty | None
    turns: Annotated[int, Field(description="changes between simple and hard")]
    shortest_correct_tokens: int | None
    mean_correct_tokens: float | None
    last_step: int | None
    length_quantiles: Annotated[
        LengthQuantiles | None, Field(description="of the correct lengths; left out without any")
    ] = None


@answer
class ProblemPage(Answer):
    """One page of a run's problems."""

    run: str
    problems: Sequence[Problem]
    next: Annotated[str | None, Field(description="cursor of the next page, null on the last")]
