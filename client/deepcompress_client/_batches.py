"""Convert what a caller passes (plain dicts, wire models, or objects with the wire's fields) to wire models.

Counts that come from numpy or torch become plain numbers, since the wire models are strict about types.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from pydantic import BaseModel

from ._core import checked
from ._rows import checked_gold, invalid, scalar
from .wire import (
    AnswerFormat,
    ObservedGroup,
    ObservedRollout,
    ObserveRequest,
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
    policy_version: NotRequired[int | None]


def chosen(
    step: StepLike, phase: Phase, generation: int | None, request_id: str | None, policy_version: int | None
) -> BatchFields:
    """Return the fields that a caller of a run chooses for each batch."""
    fields: BatchFields = {"step": step, "phase": phase, "generation": generation, "request_id": request_id}
    return fields if policy_version is None else {**fields, "policy_version": policy_version}


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
    items = _sequence(items, "items", "item", "pass a list of dicts, or use verify_one(gold, response)")
    same = {"run": run, "epoch": epoch, "step": step, "phase": phase}
    shared = {name: value for name, value in same.items() if value is not None}
    rows = [{**shared, **fields_of(item, VerifyItem, f"items[{index}]")} for index, item in enumerate(items)]
    return checked(VerifyRequest, {"items": rows, "answer_format": answer_format})


def shape_request(groups: Iterable[Any], **batch: Unpack[RunBatchFields]) -> ShapeRequest:
    """Return a shape request for groups whose rollouts have ``correct`` (and ``status``, if verify gave it)."""
    rows = _groups(groups, ShapeGroup, ShapeRollout)
    return checked(ShapeRequest, {**_batch(**batch), "groups": rows})


def observe_request(
    groups: Iterable[Any], *, step: int | None, generation: int | None, **identity: str | int | None
) -> ObserveRequest:
    """Return an observe request for groups whose rollouts have ``correct``; `identity` is that of the run."""
    rows = _groups(groups, ObservedGroup, ObservedRollout)
    fields = {**identity, "step": _step(step), "generation": scalar(generation), "groups": rows}
    return checked(ObserveRequest, fields)


def score_request(
    groups: Iterable[Any], answer_format: AnswerFormat | None, **batch: Unpack[RunBatchFields]
) -> ScoreRequest:
    """Return a score request for groups that have ``gold`` and whose rollouts have ``response``."""
    rows = _groups(groups, ScoreGroup, ScoreRollout)
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
    policy_version: int | None = None,
) -> dict[str, Any]:
    if step is None and request_id is None and phase == "train":
        # One id per call, not per attempt: without a step, the service recognises a repeat by it.
        request_id = uuid.uuid4().hex
    return {
        "run": run,
        "epoch": epoch,
        "incarnation": incarnation,
        "version": version,
        "step": _step(step),
        "generation": scalar(generation),
        "phase": phase,
        "request_id": request_id,
        "policy_version": scalar(policy_version),
    }


def _step(step: StepLike) -> object:
    """Return the step as a plain value.

    Raises:
        InvalidRequest: it is of another type than a step.
    """
    value = scalar(step)
    is_step = isinstance(value, int) and not isinstance(value, bool)
    if not is_step and value is not None and not (isinstance(value, str) and value == "observed"):
        raise invalid("step", f"pass the trainer's step as an integer, not a {type(value).__name__}")
    return value


def _groups(
    groups: Iterable[Any], group_model: type[BaseModel], rollout_model: type[BaseModel]
) -> list[dict[str, Any]]:
    rows = []
    for index, group in enumerate(_sequence(groups, "groups", "group", "pass a list: groups=[{...}]")):
        where = f"groups[{index}]"
        fields = fields_of(group, group_model, where)
        if "rollouts" in fields:
            rollouts = _sequence(
                fields["rollouts"], f"{where}.rollouts", "rollout", "pass a list with one dict per rollout"
            )
            fields["rollouts"] = [
                fields_of(rollout, rollout_model, f"{where}.rollouts[{number}]")
                for number, rollout in enumerate(rollouts)
            ]
        rows.append(fields)
    return rows


def _sequence(value: Iterable[Any], where: str, one: str, fix: str) -> Iterable[Any]:
    """Return the value if it can be a list of groups, rollouts or items.

    Raises:
        InvalidRequest: it is a single one, a text, or nothing that can be iterated over.
    """
    if isinstance(value, Mapping):
        raise invalid(where, f"this is one {one} or a dict of them; {fix}")
    if isinstance(value, str | bytes | BaseModel) or not isinstance(value, Iterable):
        raise invalid(where, f"this is one {type(value).__name__}; {fix}")
    return value


def fields_of(value: object, model: type[BaseModel], where: str) -> dict[str, Any]:
    """Return the fields of one group, rollout or item; `where` is its place, for errors.

    Unknown keys of a mapping are kept, so that validation names them. Of an object only the wire's fields are read.

    Raises:
        InvalidRequest: it has no fields, or a value has a type for which there is a plain remedy.
    """
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    if isinstance(value, Mapping):
        fields = {str(name): scalar(part) for name, part in value.items()}
    elif value is None or isinstance(value, str | bytes | int | float | list | tuple | set):
        needed = ", ".join(name for name, field in model.model_fields.items() if field.is_required())
        raise invalid(where, f"this is a {type(value).__name__}; pass a dict with {needed}")
    else:
        fields = {name: scalar(getattr(value, name)) for name in model.model_fields if hasattr(value, name)}
    if "gold" in fields:
        fields["gold"] = checked_gold(fields["gold"], f"{where}.gold")
    if "tokens" in fields:
        _check_tokens(fields["tokens"], f"{where}.tokens")
    return fields


def _check_tokens(value: object, where: str) -> None:
    """Check that a length is no list of tokens and no fraction.

    Raises:
        InvalidRequest: it is one.
    """
    if isinstance(value, float):
        raise invalid(where, "pass the length as an integer: int(tokens), not a float")
    if not isinstance(value, int | str) and (isinstance(value, Sequence) or hasattr(value, "shape")):
        raise invalid(where, "pass the number of tokens, len(ids), not the tokens themselves")
