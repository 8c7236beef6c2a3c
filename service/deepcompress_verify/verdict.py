"""Input and output of verification: `Check` and `Verdict`, and the names of statuses and answer formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

MAX_SHOWN_CHARS = 256
"""Characters of an answer that a verdict repeats."""

AnswerFormat = Literal["boxed", "one_boxed", "final_answer", "bare"]
"""The rule that finds the answer in a response."""
ANSWER_FORMATS: tuple[AnswerFormat, ...] = get_args(AnswerFormat)

Status = Literal["correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided", "unchecked"]
"""The outcome of a check. `unchecked` is the service's: a remote check that did not happen."""
STATUSES: tuple[Status, ...] = get_args(Status)
"""The same names as a tuple. `deepcompress_client.wire` declares both lists as well; a test keeps them equal."""


@dataclass(frozen=True, slots=True)
class Check:
    """One response to compare with its gold."""

    gold: tuple[str, ...]
    """The gold answer, or alternatives of which any one suffices."""
    response: str
    """The text of the response."""
    answer_format: AnswerFormat = "boxed"
    truncated: bool = False
    """The response was cut at the token limit. If its <think> is not closed, the status is `no_answer`
    (docs/design.md, 4)."""
    checker: str | Mapping[str, object] | None = None
    """The checker: a name, or {"name": ..., parameters}; None is `math` (docs/checkers.md)."""
    options: tuple[str, ...] = ()
    """The choices of a multiple-choice row, in order."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check. It depends on the check alone, never on load or on earlier checks."""

    correct: bool
    status: Status
    answer: str | None
    """The extracted answer, or None if there is none."""
    decided_by: str
    """The rule or tier that decided: 'extraction', 'string', 'rational', 'interval', ..., 'limit', 'worker'."""
    reason: str
    """One line of explanation for a person."""
    cpu_ms: float = 0.0
    """CPU time of the comparison in milliseconds."""


def truncate_answer(answer: str) -> str:
    """Return the answer as a verdict repeats it: cut after `MAX_SHOWN_CHARS` characters."""
    return answer if len(answer) <= MAX_SHOWN_CHARS else answer[:MAX_SHOWN_CHARS] + "…"
