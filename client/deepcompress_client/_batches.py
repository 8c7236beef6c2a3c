"""From what a caller holds to wire models: plain dicts, wire models, or any objects with the wire's fields.

Counts that come from numpy or torch become plain numbers here, since the wire is strict about types.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal

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


def verify_request(items: Iterable[Any], answer_format: AnswerFormat | None, **same: Any) -> VerifyRequest:
    """Items of any accepted kind; `same` is what all of them share (run, epoch, step, ...), where an item
    does not say it itself.
    """
    shared = {name: value for name, value in same.items() if value is not None}
    rows = [{**shared, **_fields(item, VerifyItem)} for item in items]
    return checked(VerifyRequest, {"items": rows, "answer_format": answer_format})


def shape_request(groups: Iterable[Any], **batch: Any) -> ShapeRequest:
    """Groups whose rollouts carry ``correct`` (and ``status``, where verify gave it)."""
    rows = [_group(group, ShapeGroup, ShapeRollout) for group in groups]
    return checked(ShapeRequest, {**_batch(**batch), "groups": rows})


def score_request(groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Any) -> ScoreRequest:
    """Groups that carry ``gold`` and whose rollouts carry ``response``."""
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
) -> dict[str, Any]:
    if step is None and request_id is None and phase == "train":
        # Made once a call, not once a try: it is what makes a repeat known where there is no step.
        request_id = uuid.uuid4().hex
    return {
        "run": run,
        "epoch": epoch,
        "step": _scalar(step),
        "generation": _scalar(generation),
        "phase": phase,
        "request_id": request_id,
    }


def _group(group: Any, group_model: type[BaseModel], rollout_model: type[BaseModel]) -> dict[str, Any]:
    fields = _fields(group, group_model)
    if "rollouts" in fields:
        fields["rollouts"] = [_fields(rollout, rollout_model) for rollout in fields["rollouts"]]
    return fields


def _fields(value: Any, model: type[BaseModel]) -> dict[str, Any]:
    """The fields of one group, rollout or item. A mapping's unknown keys stay, so that they are refused by
    name; an object is asked for the wire's fields only.
    """
    if isinstance(value, Mapping):
        return {name: _scalar(part) for name, part in value.items()}
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    return {name: _scalar(getattr(value, name)) for name in model.model_fields if hasattr(value, name)}


def _scalar(value: Any) -> Any:
    """A numpy or torch scalar as a Python number; anything else as it is."""
    if type(value) in (str, int, bool, float, list, dict, type(None)):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
