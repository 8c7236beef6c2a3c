"""The protocol `json` of a remote checker, version 1, and its bounds (docs/remote-checkers.md).

-> {"version": 1, "gold": ["..."], "answer": "...", "question": "..." | null, "row": {...} | null,
    "data_source": "..." | null, "response": "..."}     response only with send_response
<- {"correct": true | false | null, "reason": "..."}    reason is optional
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

VERSION = 1
MAX_ANSWER_BYTES = 262_144
"""Largest body of an endpoint's answer. A larger one is not read further."""
MAX_REASON_CHARS = 256

Outcome = Literal[
    "correct",
    "wrong",
    "abstained",
    "too-long",
    "timeout",
    "unreachable",
    "disconnected",
    "status",
    "malformed",
    "paused",
    "budget",
]
"""The outcome of a check: decided by the endpoint (the first two), declined by it (`abstained`), or not made."""
FAILURES: frozenset[Outcome] = frozenset({"timeout", "unreachable", "disconnected", "status", "malformed"})
"""Outcomes that are the endpoint's fault."""


@dataclass(frozen=True, slots=True)
class RemoteCheck:
    """One answer for a remote checker."""

    gold: tuple[str, ...]
    answer: str
    response: str | None = None
    """The whole response; None if the endpoint does not get it."""
    question: str | None = None
    row: Mapping[str, Any] | None = None
    data_source: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """The result of one remote check."""

    outcome: Outcome
    reason: str
    """One line of explanation for a person, of printable characters."""

    @property
    def correct(self) -> bool | None:
        """True or False if the endpoint decided; None if the answer is unchecked."""
        return {"correct": True, "wrong": False}.get(self.outcome)


class MalformedError(ValueError):
    """An answer of an endpoint that does not follow the protocol."""


def encode_check(check: RemoteCheck) -> bytes:
    """Return the body of a request."""
    body = {
        "version": VERSION,
        "gold": check.gold,
        "answer": check.answer,
        "question": check.question,
        "row": check.row,
        "data_source": check.data_source,
    }
    if check.response is not None:
        body["response"] = check.response
    return orjson.dumps(body)


def decode_answer(body: bytes) -> RemoteResult:
    """Return the result that an endpoint's answer states.

    Raises:
        MalformedError: The answer does not follow the protocol.
    """
    answer = decode_object(body)
    if "correct" not in answer:
        raise MalformedError("the answer has no field 'correct'")
    correct, reason = answer["correct"], answer.get("reason")
    if not (correct is None or isinstance(correct, bool)):
        raise MalformedError("'correct' is not true, false or null")
    if not (reason is None or isinstance(reason, str)):
        raise MalformedError("'reason' is not a text")
    text = one_line(reason or "")
    if correct is None:
        return RemoteResult("abstained", text or "the endpoint did not decide")
    return RemoteResult("correct" if correct else "wrong", text or "decided by the endpoint")


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        MalformedError: It is not a JSON object in UTF-8.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedError("the answer is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise MalformedError("the answer is not a JSON object")
    return value


def one_line(text: str) -> str:
    """Return a text from outside as one bounded line without control and format characters."""
    line = " ".join(text[: 4 * MAX_REASON_CHARS].split())
    return "".join(c for c in line if unicodedata.category(c)[0] != "C")[:MAX_REASON_CHARS]
