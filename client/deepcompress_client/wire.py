"""The wire format: every message between a caller and the service. Requests are pydantic models, answers dataclasses.

The service imports these types too, so the contract is defined once. Field names are fixed by docs/design.md, 4, and
are never renamed; fields may be added. The service refuses unknown fields of a request (``extra="forbid"``), so that
a misspelt field is an error and not a silent default. The client ignores unknown fields of an answer, so that an
older client can read the answers of a newer service.

Lengths are in tokens, rates and ratios are between 0 and 1. The terms (problem, rollout, group, batch, run, level,
beta, ...) are defined in docs/glossary.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar, dataclass_transform

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "GROUP_FIELDS",
    "MAX_GROUPS",
    "MAX_TOKENS",
    "REWARD_COMPONENTS",
    "ROLLOUT_FIELDS",
    "ROW_FIELDS",
    "Advantage",
    "AnswerFormat",
    "Checker",
    "Difficulty",
    "Gate",
    "GroupRewards",
    "Guard",
    "HistoryEntry",
    "Outcome",
    "Overlong",
    "Phase",
    "Problem",
    "ProblemPage",
    "RewardComponents",
    "RolloutAnswer",
    "RolloutFields",
    "RolloutRequest",
    "RowFields",
    "RunConfig",
    "RunHistory",
    "RunInfo",
    "Schedule",
    "ScoreAnswer",
    "ScoreConfig",
    "ScoreGroup",
    "ScoreRequest",
    "ScoreRollout",
    "ScoredGroup",
    "ShapeAnswer",
    "ShapeGroup",
    "ShapeRequest",
    "ShapeRollout",
    "Signal",
    "Status",
    "StrategyConfig",
    "Target",
    "Verdict",
    "VerifyAnswer",
    "VerifyItem",
    "VerifyRequest",
    "Why",
]

A = TypeVar("A", bound="_Answer")

AnswerFormat = Literal["boxed", "one_boxed", "final_answer", "bare"]
Status = Literal["correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided", "unchecked"]
Phase = Literal["train", "eval"]
Difficulty = Literal["simple", "hard", "even"]
Why = Literal[
    "evaluation",
    "no-weight",
    "schedule",
    "untrainable",
    "none-correct",
    "guarded",
    "gated",
    "no-target",
    "within-target",
    "equal-lengths",
    "all-correct",
    "even",
    "strategy",
]
"""The reason why a group has no length reward (docs/design.md, 4)."""

MAX_TOKENS = 2**31 - 1
"""Largest length of a rollout, in tokens."""
MAX_GROUPS = 16_384
"""Most groups in one shape request. A whole step fits, since a shape request is never split."""


def _repair_text(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    """Return text with U+FFFD for lone surrogates, so that no response can fail a request (docs/design.md, 6)."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            value = "".join(_repaired_parts(value))
        return str(value)
    text: str = handler(value)
    return text


def _repaired_parts(text: str) -> Iterator[str]:
    """Yield the text in parts with U+FFFD for lone surrogates; in parts, since each takes long to replace."""
    start = 0
    while start < len(text):
        end = start + 65_536
        if "\ud800" <= text[end - 1 : end] < "\udc00" <= text[end : end + 1] <= "\udfff":
            end += 1  # a pair stays together
        yield text[start:end].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        start = end


def _one_or_more(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, list) and not value:
        raise PydanticCustomError("gold_empty", "give at least one gold answer")
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        # One message, not one per element: a request must not be able to cause a million messages.
        raise PydanticCustomError("gold_type", "give gold answers as text")
    return handler(value)


NAME_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
"""The valid names of runs and checkpoints."""
RunName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, strict=True)]
CheckpointName = RunName
Name = Annotated[str, StringConstraints(min_length=1, max_length=512, strict=True)]
Tokens = Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)]
MAX_COUNT = 2**53 - 1
"""Largest step, epoch and other count: every store and every JSON reader represents integers up to it exactly."""
Count = Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]
Step = Count
Incarnation = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$", strict=True)]
"""The random id of a run's state (docs/design.md, 5.10)."""
_FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
ModelText = Annotated[str, WrapValidator(_repair_text)]
"""Text that a policy wrote. Any string is valid here."""
Gold = Annotated[str | list[str], WrapValidator(_one_or_more)]


MAX_SCORES = 16
"""Most scores of a rollout."""
ScoreName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$", strict=True)]
Score = Annotated[_FiniteNumber, Field(ge=-1e6, le=1e6)]
MAX_OPTIONS = 26
"""Most choices of a row."""
Options = Annotated[list[ModelText], Field(min_length=1, max_length=MAX_OPTIONS)]
MAX_ROW_BYTES = 65_536
"""Largest `row`, as JSON in UTF-8."""
MAX_ROW_DEPTH = 64


def _plain_json(value: object) -> object:
    """Return decoded JSON that can be written as JSON again, on every system, within `MAX_ROW_BYTES`."""
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError):
        raise PydanticCustomError("plain_json", "give a JSON object of texts and finite numbers") from None
    if size > MAX_ROW_BYTES or not _is_portable(value, MAX_ROW_DEPTH):
        limits = f"at most {MAX_ROW_BYTES} bytes of JSON, {MAX_ROW_DEPTH} levels deep, with integers of 64 bits"
        raise PydanticCustomError("plain_json", "give {limits}", {"limits": limits})
    return value


def _is_portable(value: object, levels: int) -> bool:
    """Return True if decoded JSON has at most `levels` levels, and no integer of more than 64 bits."""
    if isinstance(value, dict | list):
        return levels > 0 and all(
            _is_portable(part, levels - 1) for part in (value.values() if isinstance(value, dict) else value)
        )
    return not isinstance(value, int) or -(2**63) <= value < 2**63


RowObject = Annotated[dict[str, Any], AfterValidator(_plain_json)]
Checker = Annotated[str, StringConstraints(min_length=1, max_length=128, strict=True)] | RowObject
"""A checker's name, or `{"name": ...}` with its parameters (docs/checkers.md)."""


class _Request(BaseModel):
    """Base of the requests and their parts: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class _Answer:
    """Base of the answers: dataclasses, which the service builds and orjson writes, and the client reads.

    A field whose default is None is left out of the JSON when it is None; every other field is always there.
    """

    left_out_if_none: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as the JSON object that the service sends."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """Return the answer as a line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


def _leave_out(answer: _Answer) -> None:
    """Delete the optional attributes that are None: orjson writes the instance's own attributes.

    Reading one that is absent gives the class's default, None.
    """
    attributes = answer.__dict__
    for name in answer.left_out_if_none:
        if attributes[name] is None:
            del attributes[name]


def _plain(value: object) -> object:
    if isinstance(value, _Answer):
        return value.to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


@dataclass_transform(kw_only_default=True)
def _answer(cls: type[A]) -> type[A]:
    """Make a dataclass of an answer."""
    own = [name for name in cls.__annotations__ if vars(cls).get(name, ...) is None]
    cls.left_out_if_none = (*cls.left_out_if_none, *own)
    if cls.left_out_if_none:
        cls.__post_init__ = _leave_out  # type: ignore[attr-defined]
    return dataclass(kw_only=True)(cls)


# --- verify ---------------------------------------------------------------------------------------------


class RowFields(_Request):
    """The fields of a row that select how its answers are checked."""

    answer_format: AnswerFormat | None = Field(None, description="the request's when left out")
    checker: Checker | None = Field(
        None, description="the request's when left out, else the run's for the data_source, else math"
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


class VerifyRequest(_Request):
    """The body of ``POST /v1/verify``. `answer_format` takes the place of the run's."""

    items: Annotated[list[VerifyItem], FailFast()] = Field(min_length=1)
    answer_format: AnswerFormat | None = None
    checker: Checker | None = None


@_answer
class Verdict(_Answer):
    """The result of checking one rollout."""

    id: str | None = None
    correct: bool
    status: Status
    answer: Annotated[str | None, Field(description="the extracted answer, null if there is none")]
    decided_by: Annotated[str, Field(description="the rule or tier that decided")]
    reason: Annotated[str, Field(description="the reason, in one line")]
    cpu_ms: Annotated[float, Field(description="CPU milliseconds spent on this comparison")] = 0.0
    recorded: Annotated[bool | None, Field(description="for items with identity: true if it was observed")] = None


@_answer
class VerifyAnswer(_Answer):
    """The answer to a verify request: one verdict per item, in the order sent."""

    verdicts: Sequence[Verdict]


# --- shape ----------------------------------------------------------------------------------------------


class RolloutFields(_Request):
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


ROLLOUT_FIELDS = tuple(RolloutFields.model_fields)
"""Names of the per-rollout fields, in the order declared."""


class ShapeRollout(RolloutFields):
    """A rollout whose verdict the caller has."""

    correct: StrictBool
    status: Status | None = Field(None, description="the verdict's status, if verify gave one")


class _Group(_Request):
    """The fields that the groups of shape and score share."""

    problem_id: Name | None = Field(None, description="may be left out for observed groups only")
    group_id: Name | None = Field(None, description="defaults to problem_id")
    group_size: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] | None = Field(
        None, description="if given, must equal the number of rollouts"
    )
    reference_accuracy: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        None, description="a reference policy's accuracy on this problem, for strategies that need it"
    )
    reference_tokens: Annotated[_FiniteNumber, Field(gt=0)] | None = Field(
        None, description="a reference policy's mean length on this problem, in tokens, for strategies that need it"
    )
    target_tokens: Annotated[_FiniteNumber, Field(gt=0)] | None = Field(
        None, description="the token target given to the policy, for strategies that need it"
    )


GROUP_FIELDS = tuple(name for name in _Group.model_fields if name not in ("problem_id", "group_id", "group_size"))
"""Names of the per-group fields beside identity and rollouts, in the order declared."""


class ShapeGroup(_Group):
    """A group whose rollouts have been verified."""

    rollouts: Annotated[list[ShapeRollout], FailFast()] = Field(min_length=1)


class ObservedRollout(_Request):
    """A rollout that was verified elsewhere and may never be shaped."""

    rollout_id: Name | None = Field(None, description="defaults to the rollout's position in the group")
    correct: StrictBool
    tokens: Tokens | None = Field(None, description="length in tokens")
    truncated: StrictBool = False
    status: Status | None = Field(None, description="the verdict's status, if the checker has one")


class ObservedGroup(_Request):
    """Rollouts of one problem that are observed."""

    problem_id: Name
    group_id: Name | None = Field(None, description="defaults to problem_id")
    rollouts: Annotated[list[ObservedRollout], FailFast()] = Field(min_length=1)


class ObserveRequest(_Request):
    """The body of ``POST /v1/observe``: verdicts without text, for trainers that verify elsewhere."""

    run: RunName
    epoch: Count | None = None
    step: Step
    generation: Count | None = Field(None, description="which generation batch of the step, for step_level: last")
    groups: Annotated[list[ObservedGroup], FailFast()] = Field(min_length=1)


@_answer
class GroupObserved(_Answer):
    """The rollouts of one group that are recorded."""

    problem_id: str
    group_id: str
    recorded: Annotated[Sequence[bool], Field(description="[rollouts] true: recorded with this content")]


@_answer
class ObserveAnswer(_Answer):
    """The answer to an observe request: its groups, in the order sent."""

    run: str
    step: int
    groups: Sequence[GroupObserved]


class _Batch(_Request):
    """The fields that shape and score requests share: the run, the step and the phase."""

    run: RunName | None = Field(None, description="required in training")
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(None, description="the run's, from an answer: another one is a 409")
    version: Count | None = Field(
        None, description="the greatest of the epoch, from answers: less in the store is a 409; needs both above"
    )
    step: Step | Literal["observed"] | None = Field(None, description="the caller's; null for stepless runs")
    generation: Count | None = Field(None, description="which generation batch of the step, for step_level: last")
    phase: Phase = "train"
    request_id: Name | None = Field(None, description="required if there is no step")
    signal: StrictBool = Field(False, description="true: the answer has figures of the length term's effect")


class ShapeRequest(_Batch):
    """The body of ``POST /v1/shape``."""

    groups: Annotated[list[ShapeGroup], FailFast()] = Field(min_length=1)


@_answer
class RewardComponents(_Answer):
    """The parts of each reward, already weighted: ``(outcome + length) + overlong`` is the reward, to the last bit.

    The caller's scores, where the run has them, are added to that by name (`GroupRewards.scores`).
    Each has one number per rollout, [rollouts], in the order sent.
    """

    outcome: Sequence[float]
    length: Sequence[float]
    overlong: Sequence[float]


REWARD_COMPONENTS = tuple(field.name for field in fields(RewardComponents))
"""Names of the reward's components, in the order in which they are added."""


@_answer
class GroupRewards(_Answer):
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
        Field(description="where the configuration asks for them, or the strategy gives ready advantages"),
    ] = None
    shadow: Annotated[dict[str, Any] | None, Field(description="rewards of the shadow strategies, by name")] = None
    replayed: bool = False
    stale: bool = False


@_answer
class Signal(_Answer):
    """Figures of one request: is the length term working, and at whose expense? Null: nothing to compute it from."""

    groups: int
    effective_groups: Annotated[int, Field(description="groups with an advantage that is not 0")]
    length_share: Annotated[float | None, Field(description="the length term's share of the advantage's variance")]
    length_share_mixed: Annotated[float | None, Field(description="over groups with right and wrong rollouts")]
    length_share_all_correct: Annotated[float | None, Field(description="over groups that are all correct")]
    correct_pushed_down: Annotated[float | None, Field(description="share of correct rollouts, advantage below 0")]
    length_correctness: Annotated[float | None, Field(description="correlation of length and correctness in groups")]
    hard_tokens: Annotated[float | None, Field(description="mean length in groups of a pass ratio below 0.5")]
    easy_tokens: Annotated[float | None, Field(description="mean length in the other groups")]
    expected_drift: Annotated[float | None, Field(description="below 0: the update makes answers shorter")]


@_answer
class _BatchAnswer(_Answer):
    """The fields that the answers to shape and score share."""

    run: str | None
    epoch: int | None
    step: int | None
    phase: Phase
    level: float | None
    batch_pass_ratio: float
    warnings: Sequence[str]
    signal: Annotated[Signal | None, Field(description="where the request asks for it, in training")] = None
    incarnation: Annotated[str | None, Field(description="random id of the run's state")] = None
    version: Annotated[int | None, Field(description="commits of this incarnation and epoch")] = None


@_answer
class ShapeAnswer(_BatchAnswer):
    """The answer to a shape request: the groups in the order sent."""

    groups: Sequence[GroupRewards]


# --- score ----------------------------------------------------------------------------------------------


class ScoreRollout(RolloutFields):
    """A rollout to verify and reward."""

    response: ModelText
    rollout_id: Name | None = None


class ScoreGroup(_Group, RowFields):
    """A group to verify and reward: its gold answer and its rollouts."""

    gold: Gold
    rollouts: Annotated[list[ScoreRollout], FailFast()] = Field(min_length=1)


class ScoreRequest(_Batch):
    """The body of ``POST /v1/score``. `answer_format` takes the place of the run's."""

    groups: Annotated[list[ScoreGroup], FailFast()] = Field(min_length=1)
    answer_format: AnswerFormat | None = None
    checker: Checker | None = None


@_answer
class ScoredGroup(GroupRewards):
    """The rewards of one group, and the verdicts they are computed from."""

    verdicts: Sequence[Verdict]


@_answer
class ScoreAnswer(_BatchAnswer):
    """The answer to a score request: the groups in the order sent."""

    groups: Sequence[ScoredGroup]


# --- single rollouts that wait for their group ------------------------------------------------------------


class RolloutRequest(RolloutFields, RowFields):
    """The body of ``POST /v1/rollouts``: one rollout, for callers that cannot send groups.

    It is answered when its group is complete. When the group's deadline has passed, it is answered with the rollouts
    that have arrived.
    """

    run: RunName
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(None, description="the run's, from an answer: another one is a 409")
    version: Count | None = Field(None, description="as in a shape request")
    step: Step | None = Field(None, description="the caller's; null for stepless runs")
    phase: Phase = "train"
    problem_id: Name
    group_id: Name | None = Field(None, description="defaults to problem_id")
    group_size: Annotated[StrictInt, Field(ge=1, le=4096)] = Field(description="rollouts that complete the group")
    rollout_index: Count = Field(description="index of this rollout in its group, from 0 to group_size - 1")
    attempt: Count = Field(
        0, description="a higher attempt at a group that is not complete supersedes the lower ones"
    )
    gold: Gold
    response: ModelText
    timeout_s: Annotated[float, Field(strict=True, gt=0, le=3600)] = Field(
        600.0, description="seconds from the group's first rollout until it is released incomplete"
    )


@_answer
class RolloutAnswer(_Answer):
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


# --- runs -----------------------------------------------------------------------------------------------


class Schedule(_Request):
    """A number by closed steps, on straight lines between ``[closed_steps, value]`` points, constant outside them."""

    schedule: Annotated[list[tuple[Count, _FiniteNumber]], Field(min_length=1, max_length=1024)]


def _or_schedule(kind: Any) -> WrapValidator:  # noqa: ANN401 - a type form
    """Return a validator of a number of that kind or of a schedule, with the errors of the one that was sent."""
    number: TypeAdapter[object] = TypeAdapter(kind, config=ConfigDict(defer_build=True))

    def read(value: object, _: ValidatorFunctionWrapHandler) -> object:
        if isinstance(value, dict | Schedule):
            return Schedule.model_validate(value)
        return number.validate_python(value)

    return WrapValidator(read)


_Share = Annotated[_FiniteNumber, Field(ge=0, le=1)]
_NonNegative = Annotated[_FiniteNumber, Field(ge=0)]
_TokenCount = Annotated[StrictInt, Field(ge=1, le=MAX_TOKENS)]
_Rollouts = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
NumberOrSchedule = Annotated[_FiniteNumber | Schedule, _or_schedule(_FiniteNumber)]
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


class Outcome(_Request):
    """The outcome rewards. A value that is left out is the strategy's published one."""

    # Factories, since OpenAPI would publish a plain default, which is right for some strategies only.
    correct: _FiniteNumber = Field(default_factory=lambda: 1.0)
    wrong: _FiniteNumber = Field(default_factory=lambda: -1.0)


class Overlong(_Request):
    """The DAPO soft overlong term: 0 to ``max_tokens - buffer_tokens``, then linear to ``-factor`` at ``max_tokens``.

    ``variant`` selects the term beyond ``max_tokens``. Source: arXiv 2503.14476, eq. 13.
    """

    max_tokens: TokensOrSchedule
    buffer_tokens: TokensOrSchedule
    factor: NonNegativeOrSchedule = 1.0
    variant: Literal["floored", "verl", "openrlhf", "skyrl"] = "floored"


class Gate(_Request):
    """A length reward only in groups whose pass ratio reaches ``min_pass_ratio``.

    ``of: problem`` compares the lesser of the group's and the problem's stored pass ratio. ``top_share`` also asks
    that the group is among that share of the request's groups with the greatest pass ratios (arXiv 2505.18086).
    """

    min_pass_ratio: ShareOrSchedule = 1.0
    of: Literal["group", "problem"] = "group"
    top_share: ShareOrSchedule | None = None


class Guard(_Request):
    """No length reward while accuracy is below the stored one by more than ``margin`` and ``z`` standard errors."""

    margin: ShareOrSchedule = 0.02
    z: NonNegativeOrSchedule = 2.0
    of: Literal["run", "problem"] = "run"
    min_rollouts: RolloutsOrSchedule = 16


class Target(_Request):
    """A length term against T = ``slack`` times a quantile of the problem's stored correct lengths.

    It takes the place of the strategy's length term. ``excess``: -clip((l - T) / T, 0, 1) on correct rollouts;
    ``limit``: a correct rollout over T is paid as a wrong one. ``bonus`` is added for rollouts within T in groups
    whose rollouts are all correct.
    """

    quantile: ShareOrSchedule = 0.1
    slack: NonNegativeOrSchedule = 1.1
    min_rollouts: RolloutsOrSchedule = 16
    bonus: NonNegativeOrSchedule = 0.0
    form: Literal["excess", "limit"] = "excess"


class Advantage(_Request):
    """The advantages in the answer: centred in the group, scaled by its std or not, components together or apart.

    ``whiten: batch`` then gives them mean 0 and std 1 over the step's tokens; the step is sent in one request.
    """

    centre: Literal["group"] = "group"
    scale: Literal["group", "none"] = "group"
    decouple: StrictBool = False
    whiten: Literal["none", "batch"] = "none"


class ScoreConfig(_Request):
    """The weight of one of the caller's scores."""

    weight: NumberOrSchedule = 1.0
    only_if_correct: StrictBool = False


class RunConfig(_Request):
    """The configuration of a run. It is set when the run is created and does not change."""

    strategy: StrategyConfig = Field(default_factory=StrategyConfig)
    outcome: Outcome = Field(
        default_factory=Outcome, description="a value that is left out is the strategy's published one"
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
        None, description="the remote checker of what the rules leave open (docs/remote-checkers.md)"
    )
    gate: Gate | None = Field(None, description="a length reward only where the pass ratio is high enough")
    guard: Guard | None = Field(None, description="no length reward while accuracy is below the stored one")
    target: Target | None = Field(None, description="lengths counted against the problem's own stored ones")
    advantage: Advantage | None = Field(None, description="advantages in the answer")
    scores: Annotated[dict[ScoreName, ScoreConfig], Field(max_length=MAX_SCORES)] | None = Field(
        None, description="weights of the caller's own scores; every training rollout then has them"
    )


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


@_answer
class RunInfo(_Answer):
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


@_answer
class HistoryEntry(_Answer):
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


@_answer
class RunHistory(_Answer):
    """The level and the statistics of a run's steps."""

    run: str
    epoch: int
    steps: Sequence[HistoryEntry]


@_answer
class LengthQuantiles(_Answer):
    """Lengths in tokens that 10 %, 50 % and 90 % of a problem's correct rollouts do not exceed.

    They are exact to the width of a bin, 9 %. Older rollouts count less: every 16 visits the counts are halved.
    """

    p10: float
    p50: float
    p90: float


@_answer
class Problem(_Answer):
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


@_answer
class ProblemPage(_Answer):
    """One page of a run's problems."""

    run: str
    problems: Sequence[Problem]
    next: Annotated[str | None, Field(description="cursor of the next page, null on the last")]


# --- the data set and its samples -----------------------------------------------------------------------


class DatasetProblem(_Request):
    """A line of ``PUT /v1/runs/{run}/dataset``: a problem, and what an offline profile measured of it."""

    problem_id: Name
    data_source: Name | None = None
    pass_ratio: Annotated[_FiniteNumber, Field(ge=0, le=1)] | None = Field(
        None, description="share of correct rollouts in the profile"
    )
    rollouts: Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="the number of rollouts that pass_ratio rests on"
    )
    tokens: Annotated[_FiniteNumber, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="length of its correct answers"
    )


@_answer
class DatasetInfo(_Answer):
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


class SampleRequest(_Request):
    """The body of ``POST /v1/runs/{run}/sample``."""

    step: Step
    n: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] = Field(description="number of problems")
    policy: Policy = Field("uniform", description='its name, or {"name": ..., parameters}')
    data_source: Name | None = Field(None, description="draw from this data source alone")
    epoch: Count | None = None
    incarnation: Incarnation | None = Field(None, description="the run's, from an answer: another one is a 409")
    version: Count | None = Field(
        None, description="the greatest of the epoch, from answers: less in the store is a 409; needs both above"
    )


@_answer
class SampledProblem(_Answer):
    """A problem of a sample."""

    problem_id: str
    data_source: Annotated[str | None, Field(description="as it was registered")]


@_answer
class SampleAnswer(_Answer):
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
