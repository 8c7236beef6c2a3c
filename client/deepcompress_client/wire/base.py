"""The bases of every request and every answer, and the kinds of values of their fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, dataclass_transform

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

A = TypeVar("A", bound="Answer")


class Request(BaseModel):
    """Base of the requests and their parts: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Answer:
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


def _leave_out(answer: Answer) -> None:
    """Delete the optional attributes that are None: orjson writes the instance's own attributes.

    Reading one that is absent gives the class's default, None.
    """
    attributes = answer.__dict__
    for name in answer.left_out_if_none:
        if attributes[name] is None:
            del attributes[name]


def _plain(value: object) -> object:
    if isinstance(value, Answer):
        return value.to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


@dataclass_transform(kw_only_default=True)
def answer(cls: type[A]) -> type[A]:
    """Make a dataclass of an answer."""
    own = [name for name in cls.__annotations__ if vars(cls).get(name, ...) is None]
    cls.left_out_if_none = (*cls.left_out_if_none, *own)
    if cls.left_out_if_none:
        cls.__post_init__ = _leave_out  # type: ignore[attr-defined]
    return dataclass(kw_only=True)(cls)


# --- kinds of values ----------------------------------------------------------------------------------------

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
MAX_GROUP_ROLLOUTS = 16_384
"""Most rollouts of one group, so that no single group keeps other requests waiting."""


def _repaired(value: object) -> object:
    """Return text with U+FFFD for lone surrogates, so that no response can fail a request (docs/design.md, 6).

    A value of another type is returned as it is.
    """
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "".join(_repaired_parts(value))
    return value


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
    if isinstance(value, list):
        if not value:
            raise PydanticCustomError("gold_empty", "give at least one gold answer")
        if not all(isinstance(one, str) for one in value):
            # One message, not one per element: a request must not be able to cause a million messages.
            raise PydanticCustomError("gold_type", "give gold answers as text")
        value = [_repaired(one) for one in value]
    elif isinstance(value, str):
        value = _repaired(value)  # a lone surrogate makes its own gold unreadable, and fails no request
    return handler(value)


NAME_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
"""The valid names of runs and checkpoints."""
RunName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, strict=True)]
CheckpointName = RunName
Name = Annotated[str, StringConstraints(min_length=1, max_length=512, strict=True)]
Tokens = Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)]
PolicyVersion = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
"""A number that the trainer raises with each update of the weights (docs/design.md, 5.11)."""
MAX_COUNT = 2**53 - 1
"""Largest step, epoch and other count: every store and every JSON reader represents integers up to it exactly."""
Count = Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]
Step = Count
Incarnation = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$", strict=True)]
"""The random id of a run's state (docs/design.md, 5.10)."""
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
# Before pydantic sees it: pydantic refuses lone surrogates in a subclass of str, as numpy.str_ is.
ModelText = Annotated[str, BeforeValidator(_repaired)]
"""Text that a policy wrote. Any string is valid here."""
Gold = Annotated[str | list[str], WrapValidator(_one_or_more)]


MAX_SCORES = 16
"""Most scores of a rollout."""
ScoreName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$", strict=True)]
Score = Annotated[FiniteNumber, Field(ge=-1e6, le=1e6)]
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
