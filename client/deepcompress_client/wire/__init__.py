"""The wire format: every message between a caller and the service. Requests are pydantic models, answers dataclasses.

The service imports these types too, so the contract is defined once. Field names are fixed by docs/design.md, 4, and
are never renamed; fields may be added. The service refuses unknown fields of a request (``extra="forbid"``), so that
a misspelt field is an error and not a silent default. The client ignores unknown fields of an answer, so that an
older client can read the answers of a newer service.

Lengths are in tokens, rates and ratios are between 0 and 1. The terms (problem, rollout, group, batch, run, level,
beta, ...) are defined in docs/glossary.md.
"""

from __future__ import annotations

from .config import (
    Advantage,
    Gate,
    Guard,
    Outcome,
    Overlong,
    RunConfig,
    Schedule,
    ScoreConfig,
    StrategyConfig,
    Target,
)
from .curriculum import DatasetInfo, DatasetProblem, Policy, SampleAnswer, SampledProblem, SampleRequest
from .observe import GroupObserved, ObserveAnswer, ObservedGroup, ObservedRollout, ObserveRequest
from .rollouts import RolloutAnswer, RolloutRequest
from .runs import (
    HistoryEntry,
    LengthQuantiles,
    Problem,
    ProblemPage,
    RunHistory,
    RunInfo,
    RunSources,
    SourceEntry,
    SourceStatistics,
)
from .score import ScoreAnswer, ScoredGroup, ScoreGroup, ScoreRequest, ScoreRollout
from .shape import (
    GROUP_FIELDS,
    REWARD_COMPONENTS,
    ROLLOUT_FIELDS,
    GroupRewards,
    RewardComponents,
    RolloutFields,
    ShapeAnswer,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
    Signal,
)
from .values import (
    MAX_COUNT,
    MAX_GROUPS,
    MAX_TOKENS,
    NAME_PATTERN,
    AnswerFormat,
    Checker,
    CheckpointName,
    Difficulty,
    ModelText,
    Phase,
    RunName,
    Status,
    Step,
    Why,
)
from .verify import ROW_FIELDS, RowFields, Verdict, VerifyAnswer, VerifyItem, VerifyRequest

__all__ = [
    "GROUP_FIELDS",
    "MAX_COUNT",
    "MAX_GROUPS",
    "MAX_TOKENS",
    "NAME_PATTERN",
    "REWARD_COMPONENTS",
    "ROLLOUT_FIELDS",
    "ROW_FIELDS",
    "Advantage",
    "AnswerFormat",
    "Checker",
    "CheckpointName",
    "DatasetInfo",
    "DatasetProblem",
    "Difficulty",
    "Gate",
    "GroupObserved",
    "GroupRewards",
    "Guard",
    "HistoryEntry",
    "LengthQuantiles",
    "ModelText",
    "ObserveAnswer",
    "ObserveRequest",
    "ObservedGroup",
    "ObservedRollout",
    "Outcome",
    "Overlong",
    "Phase",
    "Policy",
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
    "RunName",
    "RunSources",
    "SampleAnswer",
    "SampleRequest",
    "SampledProblem",
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
    "SourceEntry",
    "SourceStatistics",
    "Status",
    "Step",
    "StrategyConfig",
    "Target",
    "Verdict",
    "VerifyAnswer",
    "VerifyItem",
    "VerifyRequest",
    "Why",
]
