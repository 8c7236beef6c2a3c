"""Convert what a caller passes (plain dicts, wire models, or objects with the wire's fields) to wire models.

Counts that come from numpy or torch become plain numbers, since the wire models are strict about types.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from pydantic import BaseModel

from ._core import checked
from .wire import (
    AnswerFormat,
    Phase,
    ScoreGroup,
    ScoreRequest,
    ScoreRollout,
    ShapeGroup,
    ShapeRequest,
    ShapeRollout,
    VerifyItem,
    VerifyRequest,
)

StepLike = int | Literal["observed"] | None
"""A step number, ``"observed"`` for the step at which the groups were observed, or None for stepless runs."""


class BatchFields(TypedDict):
    """The fields of a shape or score request that a caller of a run chooses for each batch."""

    step: StepLike
    generation: int | None
    phase: Phase
    request_id: str | None


class RunBatchFields(BatchFields):
    """`BatchFields` with the run, its epoch, and the identity of its state where it is known."""

    run: str | None
    epoch: int | None
    incarnation: NotRequired[str | None]
    version: NotRequired[int | None]


def verify_request(
    items: Iterable[Any],
    answer_format: AnswerFormat | None,
    *,
    run: str | None = None,
    epoch: int | None = None,
    step: int | None = None,
    phase: Phase | None = None,
) -> VerifyRequest:
    """Return a verify request. The keyword arguments apply to every item that has no such field itself."""
    same = {"run": run, "epoch": epoch, "step": step, "phase": phase}
    shared = {name: value for name, value in same.items() if value is not None}
    rows = [{**shared, **_fields(item, VerifyItem)} for item in items]
    return checked(VerifyRequest, {"items": rows, "answer_format": answer_format})


def shape_request(groups: Iterable[Any], **batch: Unpack[RunBatchFields]) -> ShapeRequest:
    """Return a shape request for groups whose rollouts have ``correct`` (and ``status``, if verify gave it)."""
    rows = [_group(group, ShapeGroup, ShapeRollout) for group in groups]
    return checked(ShapeRequest, {**_batch(**batch), "groups": rows})


def score_request(
    groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Unpack[RunBatchFields]
) -> ScoreRequest:
    """Return a score request for groups that have ``gold`` and whose rollouts have ``response``."""
    rows = [_group(group, ScoreGroup, ScoreRollout) for group in groups]
    return checked(ScoreRequest, {**_batch(**batch), "groups": rows, "answer_format": answer_format})


def _batch(
    *,
    run: str | None,
    epoch: int | None,
    step: StepLike,
    generation: int | None,
    phase: Phase,
    request_id: str | None,
    incarnation: str | None = None,
    version: int | None = None,
) -> dict[str, Any]:
    if step is None and request_id is None and phase == "train":
        # One id per call, not per attempt: without a step, the service recognises a repeat by it.
        request_id = uuid.uuid4().hex
    return {
        "run": run,
        "epoch": epoch,
        "incarnation": incarnation,
        "version": version,
        "step": _scalar(step),
        "generation": _scalar(generation),
        "phase": phase,
        "request_id": request_id,
    }


def _group(group: object, group_model: type[BaseModel], rollout_model: type[BaseModel]) -> dict[str, Any]:
    fields = _fields(group, group_model)
    if "rollouts" in fields:
        fields["rollouts"] = [_fields(rollout, rollout_model) for rollout in fields["rollouts"]]
    return fields


def _fields(value: object, model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of one group, rollout or item.

    Unknown keys of a mapping are kept, so that validation names them. Of an object only the wire's fields are read.
    """
    if isinstance(value, Mapping):
        return {name: _scalar(part) for name, part in value.items()}
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    return {name: _scalar(getattr(value, name)) for name in model.model_fields if hasattr(value, name)}


def _scalar(value: object) -> object:
    """Return a numpy or torch scalar as a Python number, and any other value unchanged."""
    if type(value) in (str, int, bool, float, list, dict, type(None)):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
