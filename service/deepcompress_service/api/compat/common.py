"""Shared parts of the protocols: gold answers, verdicts, and outcome rewards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import BackgroundTasks, Query, Request

from deepcompress_client.wire import AnswerFormat, Verdict, VerifyRequest

from ...admission.limits import Reservation
from ...scoring.verify_alone import verify_items
from ...settings import OutcomeRange
from ..context import Context, run_scheduled
from ..errors import invalid

Format = Annotated[
    AnswerFormat | None, Query(description="the rule that finds the answer; else the server's default")
]

MAX_EXACT = 2**53
"""From here on, numbers in JSON may have been rounded."""

UNTRAINABLE = frozenset({"undecided", "gold_unreadable", "unchecked"})
"""Statuses of rollouts that must not be trained on."""


def outcome(correct: bool, outcome_range: OutcomeRange) -> float:
    """Return the outcome reward of an answer."""
    return 1.0 if correct else (-1.0 if outcome_range == "pm1" else 0.0)


def gold_of(label: object, field: str) -> str | list[str]:
    """Return a gold answer as these protocols send it: text, a number, or a list of alternatives.

    Raises:
        ApiError: 422, which names the field, if there is none.
    """
    if isinstance(label, str):
        return label
    alternatives = label if isinstance(label, list) else [label]
    if not alternatives or not all(_is_text_or_number(one) for one in alternatives):
        raise invalid(field, "is not a gold answer: send text, a number, or a list of these")
    if any(isinstance(one, int | float) and abs(one) >= MAX_EXACT for one in alternatives):
        raise invalid(
            field, "has a number of more than 15 digits, which JSON does not carry exactly: send it as text"
        )
    return [str(one) for one in alternatives] if isinstance(label, list) else str(label)


def _is_text_or_number(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


async def verdicts(
    request: Request,
    context: Context,
    reservation: Reservation,
    tasks: BackgroundTasks,
    items: Sequence[dict[str, Any]],
    answer_format: AnswerFormat | None,
    run: str | None = None,
) -> Sequence[Verdict]:
    """Return one verdict for each item, as `POST /v1/verify` does. The work takes a slot of `run`."""
    body = VerifyRequest.model_validate({"items": items, "answer_format": answer_format})
    work = partial(verify_items, context.pipeline, body, tasks.add_task)
    return (await run_scheduled(request, context, run, reservation, work)).verdicts
