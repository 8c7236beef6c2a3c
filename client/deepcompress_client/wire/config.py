"""The configuration of a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from .base import (
    MAX_COUNT,
    MAX_SCORES,
    MAX_TOKENS,
    AnswerFormat,
    Checker,
    Count,
    FiniteNumber,
    Name,
    PolicyVersion,
    Request,
    ScoreName,
)

PRESET_PATTERN = r"^[a-z][a-z0-9-]{0,31}(@[1-9][0-9]{0,3})?$"
OPTIONS = ("gate", "guard", "target", "advantage", "scores")
"""Fields of a configuration that are options of every strategy, off unless sent."""
PRESET_FIELDS = ("strategy", "outcome", "length_weight", *OPTIONS)
"""Fields of a configuration that a preset may set."""


class Schedule(Request):
    """A number by closed steps, on straight lines between ``[closed_steps, value]`` points, constant outside them."""

    schedule: Annotated[list[tuple[Count, FiniteNumber]], Field(min_length=1, max_length=1024)]


def _or_schedule(kind: Any) -> WrapValidator:  # noqa: ANN401 - a type form
    """Return a validator of a number of that kind or of a schedule, with the errors of the one that was sent."""
    number: TypeAdapter[object] = TypeAdapter(kind, config=ConfigDict(defer_build=True))

    def read(value: object, _: ValidatorFunctionWrapHandler) -> object:
        if isinstance(value, dict | Schedule):
            return Schedule.model_validate(value)
        return number.validate_python(value)

    return WrapValidator(read)


_Share = Annotated[FiniteNumber, Field(ge=0, le=1)]
_NonNegative = Annotated[FiniteNumber, Field(ge=0)]
_TokenCount = Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)]
_Rollouts = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
NumberOrSchedule = Annotated[FiniteNumber | Schedule, _or_schedule(FiniteNumber)]
ShareOrSchedule = Annotated[_Share | Schedule, _or_schedule(_Share)]
NonNegativeOrSchedule = Annotated[_NonNegative | Schedule, _or_schedule(_NonNegative)]
TokensOrSchedule = Annotated[_TokenCount | Schedule, _or_schedule(_TokenCount)]
RolloutsOrSchedule = Annotated[_Rollouts | Schedule, _or_schedule(_Rollouts)]


class StrategyConfig(BaseModel):
    """A strategy's name and parameters. Its numbers may be schedules, except those that the run's state depends on.

    The service's registry has the parameters of each name (``GET /v1/strategies``), fills in the defaults and refuses
    unknown parameters.
    """

    model_config = ConfigDict(extra="allow", defer_build=True)
    name: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "deepcompress"


class Outcome(Request):
    """The outcome rewards. A value that is left out is the strategy's published one."""

    # Factories, since OpenAPI would publish a plain default, which is right for some strategies only.
    correct: FiniteNumber = Field(default_factory=lambda: 1.0)
    wrong: FiniteNumber = Field(default_factory=lambda: -1.0)


class Overlong(Request):
    """The DAPO soft overlong term: 0 to ``max_tokens - buffer_tokens``, then linear to ``-factor`` at ``max_tokens``.

    ``variant`` selects the term beyond ``max_tokens``. Source: arXiv 2503.14476, eq. 13.
    """

    max_tokens: TokensOrSchedule
    buffer_tokens: TokensOrSchedule
    factor: NonNegativeOrSchedule = 1.0
    variant: Literal["floored", "verl", "openrlhf", "skyrl"] = "floored"


class Gate(Request):
    """A length reward only in groups whose pass ratio reaches ``min_pass_ratio``.

    ``of: problem`` compares the lesser of the group's and the problem's stored pass ratio. ``min_stored``: a least
    stored pass ratio beside ``min_pass_ratio``. ``top_share``: also only if the group is among that share of the
    request's groups with the greatest pass ratios (arXiv 2505.18086).
    """

    min_pass_ratio: ShareOrSchedule = 1.0
    of: Literal["group", "problem"] = "group"
    min_stored: ShareOrSchedule | None = None
    top_share: ShareOrSchedule | None = None


class Guard(Request):
    """No length reward while accuracy is below the stored one by more than ``margin`` and ``z`` standard errors."""

    margin: ShareOrSchedule = 0.02
    z: NonNegativeOrSchedule = 2.0
    of: Literal["run", "problem"] = "run"
    min_rollouts: RolloutsOrSchedule = 16


class Target(Request):
    """A length term against T = ``slack`` times a quantile of the problem's stored correct lengths.

    It takes the place of the strategy's length term. ``excess``: -clip((l - T) / T, 0, 1) on correct rollouts;
    ``limit``: a correct rollout over T is paid as a wrong one. ``bonus`` is added for rollouts within T in groups
    whose rollouts are all correct, with ``bonus_while: spread`` only while the median of the lengths is over T.
    ``current`` counts the group's own correct lengths as stored ones.
    """

    quantile: ShareOrSchedule = 0.1
    slack: NonNegativeOrSchedule = 1.1
    min_rollouts: RolloutsOrSchedule = 16
    bonus: NonNegativeOrSchedule = 0.0
    bonus_while: Literal["always", "spread"] = "always"
    current: StrictBool = False
    form: Literal["excess", "limit"] = "excess"


class Advantage(Request):
    """The advantages in the answer: centred in the group, scaled by its std or not, components together or apart.

    ``scale: outcome``, with ``decouple``, divides the outcome alone: the length term and scores keep their size.
    ``whiten: batch`` then gives them mean 0 and std 1 over the step's tokens; the step is sent in one request.
    """

    centre: Literal["group"] = "group"
    scale: Literal["group", "outcome", "none"] = "group"
    decouple: StrictBool = False
    whiten: Literal["none", "batch"] = "none"


class ScoreConfig(Request):
    """The weight of one of the caller's scores."""

    weight: NumberOrSchedule = 1.0
    only_if_correct: StrictBool = False


class RunConfig(Request):
    """The configuration of a run. It is set when the run is created and does not change."""

    strategy: StrategyConfig = Field(default_factory=StrategyConfig)
    outcome: Outcome = Field(
        default_factory=Outcome,
        description="rewards of a correct and of a wrong answer; by default those published with the strategy",
    )
    length_weight: NumberOrSchedule = 1.0
    overlong: Overlong | None = None
    shadow: list[StrategyConfig] = Field(
        default_factory=list, max_length=16, description="strategies computed beside the one that trains"
    )
    answer_format: AnswerFormat = "boxed"
    keep_steps: Annotated[StrictInt, Field(ge=1, le=100_000)] = 64
    groups_per_step: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] | None = None
    checkers: Annotated[dict[Name, Checker], Field(max_length=1024)] | None = Field(
        None, description="the checker of each data_source; math for the others"
    )
    fallback_checker: Name | None = Field(
        None, description="the remote checker that decides what the rules leave open (docs/remote-checkers.md)"
    )
    asynchronous: StrictBool = Field(
        False, description="groups come out of order and late: they are identified by their group_id alone"
    )
    max_age: PolicyVersion | None = Field(
        None, description="asynchronous runs: groups of a greater age are too_old and change no level"
    )
    gate: Gate | None = Field(None, description="a length reward only where the pass ratio is high enough")
    guard: Guard | None = Field(None, description="no length reward while accuracy is below the stored one")
    target: Target | None = Field(None, description="lengths counted against the problem's own stored ones")
    advantage: Advantage | None = Field(None, description="advantages in the answer")
    scores: Annotated[dict[ScoreName, ScoreConfig], Field(max_length=MAX_SCORES)] | None = Field(
        None, description="weights of the caller's own scores; every training rollout then has them"
    )
    preset: Annotated[str, StringConstraints(pattern=PRESET_PATTERN)] | None = Field(
        None,
        description="NAME or NAME@VERSION of a bundle of settings; a field that is sent replaces the preset's value",
    )
