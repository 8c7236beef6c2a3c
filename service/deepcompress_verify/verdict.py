"""The words of verification as frozen dataclasses: what is asked (`Check`) and what is answered (`Verdict`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_SHOWN_CHARS = 256
"""Characters of an answer that a verdict repeats."""

AnswerFormat = Literal["boxed", "one_boxed", "final_answer", "bare"]
Status = Literal["correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided"]


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison to make."""

    gold: tuple[str, ...]
    """The gold answer, or alternatives of which any one suffices."""
    response: str
    answer_format: AnswerFormat = "boxed"
    truncated: bool = False
    """The response was cut. One that never closed its <think> is then no_answer (docs/design.md, 4)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking gave. A function of the check alone, never of load or of what was checked before."""

    correct: bool
    status: Status
    answer: str | None
    """The extracted answer as text, None where none was found."""
    decided_by: str
    """The rule or tier that decided: 'extraction', 'string', 'rational', 'interval', ..., 'limit', 'worker'."""
    reason: str
    """One line for a person: what was read and why it is (not) equal."""
    cpu_ms: float = 0.0


def shown(answer: str) -> str:
    """Return the answer as a verdict repeats it: cut after `MAX_SHOWN_CHARS` characters."""
    return answer if len(answer) <= MAX_SHOWN_CHARS else answer[:MAX_SHOWN_CHARS] + "…"
