"""A batch over the limits is sent in parts, and the answer is the same as of one request."""

from __future__ import annotations

import contextlib
import json
import types
import typing
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from deepcompress_client import _operations, errors, wire
from deepcompress_client._core import Reply, pack

from .stub import Stub

GROUPS: list[dict[str, Any]] = [
    {
        "problem_id": f"p{p}",
        "gold": "?" if p == 5 else str(p),
        "rollouts": [
            {"response": "x" * (40 * r) + f"it is {p if (p + r) % 3 else 'no'}", "tokens": 10 * r + p}
            for r in range(1 + p % 4)
        ],
    }
    for p in range(12)
]


@given(st.lists(st.integers(0, 50)), st.integers(1, 60), st.integers(1, 7))
def test_packing_keeps_order_leaves_nothing_out_and_respects_both_limits(
    sizes: list[int], most_bytes: int, most_items: int
) -> None:
    cuts = pack(sizes, most_bytes, most_items)
    assert [size for cut in cuts for size in sizes[cut]] == sizes
    for cut in cuts:
        part = sizes[cut]
        assert 1 <= len(part) <= most_items
        assert len(part) == 1 or sum(part) <= most_bytes


@pytest.mark.parametrize(
    "limits",
    [{"max_request_bytes": 700}, {"max_request_bytes": 1}, {"max_request_items": 5}],
    ids=["bytes", "one by one", "count"],
)
def test_a_score_in_parts_equals_a_whole_one(client: Callable[..., Any], limits: dict[str, int]) -> None:
    whole, parts = Stub(), Stub()
    asked = {"run": "r", "step": 3}
    expected = client(handler=whole).score(GROUPS, **asked)
    found = client(handler=parts, **limits).score(GROUPS, **asked)
    assert found == expected
    assert whole.paths() == ["POST /v1/score"]
    assert parts.paths()[-1] == "POST /v1/shape"
    assert set(parts.paths()[:-1]) == {"POST /v1/verify"}
    assert len(parts.requests) > 2


def test_the_status_is_sent_so_that_untrainable_rollouts_are_recognised(client: Callable[..., Any]) -> None:
    answer = client(handler=Stub(), max_request_bytes=1).score(GROUPS, run="r", step=0)
    assert [all(group.trainable) for group in answer.groups] == [p != 5 for p in range(12)]


def test_a_413_makes_the_parts_smaller_until_they_fit(client: Callable[..., Any]) -> None:
    long = [
        {**group, "rollouts": [{**r, "response": "x" * 2000 + r["response"]} for r in group["rollouts"]]}
        for group in GROUPS
    ]
    small = Stub(max_body=5000)
    found = client(handler=small).score(long, run="r", step=3)
    assert found.groups == client(handler=Stub()).score(long, run="r", step=3).groups
    assert small.paths()[0] == "POST /v1/score"


def test_a_shape_is_never_cut(client: Callable[..., Any]) -> None:
    stub = Stub(max_body=200)
    groups = [{"problem_id": f"p{p}", "rollouts": [{"correct": True, "tokens": 5}]} for p in range(9)]
    with pytest.raises(errors.TooLarge):
        client(handler=stub).shape(groups, run="r", step=0)
    assert stub.paths() == ["POST /v1/shape"]


def test_verdicts_of_a_cut_verify_are_named_as_those_of_a_whole_one(client: Callable[..., Any]) -> None:
    items = [{"gold": "7", "response": "7", **({"id": "mine"} if i == 2 else {})} for i in range(5)]
    found = client(handler=Stub(), max_request_items=2).verify(items)
    assert [verdict.id for verdict in found] == ["0", "1", "mine", "3", "4"]


def test_a_response_that_no_request_can_hold_costs_only_itself(client: Callable[..., Any]) -> None:
    stub = Stub(max_body=2000)
    items = [{"gold": "7", "response": "7"}, {"gold": "7", "response": "z" * 5000 + "7"}]
    short, long = client(handler=stub).verify(items)
    assert short.correct
    assert (long.correct, long.status, long.reason) == (False, "unreadable", "too_long")


def test_a_gold_that_no_request_can_hold_is_the_callers_error(client: Callable[..., Any]) -> None:
    with pytest.raises(errors.TooLarge):
        client(handler=Stub(max_body=2000)).verify_one("9" * 5000, "7")


OBSERVED_ONLY = {"rollout_id"}
"""Fields that are not sent when a score is split: without a rollout_id the verify request records nothing."""


def example_of(name: str, annotation: Any) -> Any:
    """A value that a field of this type accepts."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)[-1]
    if typing.get_origin(annotation) is list:
        return [example_of(name, typing.get_args(annotation)[0])]
    if typing.get_origin(annotation) is dict:
        kind = typing.get_args(annotation)[1]
        return {"the": name if kind is Any else example_of(name, kind)}
    return {str: f"the-{name}", int: 1, float: 0.5, bool: True}[annotation]


def filled(model: type[BaseModel], **given: Any) -> dict[str, Any]:
    """Every declared field of a model with a value that is not its default."""
    hints = typing.get_type_hints(model, include_extras=True)
    return given | {name: example_of(name, hints[name]) for name in model.model_fields if name not in given}


def test_no_declared_field_of_a_score_is_dropped_by_splitting(client: Callable[..., Any]) -> None:
    """Every field of the score, those that are added later too, is in a verify request or in the shape request."""
    rollout = filled(wire.ScoreRollout, response="it is 7")
    group = filled(wire.ScoreGroup, gold="7", group_size=1, rollouts=[rollout])
    request = wire.ScoreRequest.model_validate(
        filled(wire.ScoreRequest, groups=[group], incarnation="0123456789abcdef")
    )
    stub = Stub()
    operation = _operations.score(request, client(max_request_bytes=1)._options)
    sent: list[dict[str, Any]] = []
    requests = next(operation)
    with contextlib.suppress(StopIteration):
        while True:
            sent += [json.loads(one.body) for one in requests]
            replies = [stub(httpx.Request("POST", f"http://service{one.path}", content=one.body)) for one in requests]
            requests = operation.send([Reply(reply.status_code, reply.content) for reply in replies])
    *verifies, shape = sent
    (shape_group,) = shape["groups"]
    items = [{**item, **verify} for verify in verifies for item in verify["items"]]
    for source, declared, target in (
        (request, wire.ScoreRequest, shape),
        (request.groups[0], wire.ScoreGroup, shape_group),
        (request.groups[0].rollouts[0], wire.ScoreRollout, shape_group["rollouts"][0]),
    ):
        for name in declared.model_fields.keys() - {"groups", "rollouts"} - OBSERVED_ONLY:
            value = getattr(source, name)
            assert target.get(name) == value or [item.get(name) for item in items] == [value], name


def test_a_field_that_score_and_shape_both_gain_is_sent_to_the_shape() -> None:
    class NewerRollout(wire.ScoreRollout):
        languages: int | None = None

    class NewerGroup(wire.ScoreGroup):
        source: str | None = None
        rollouts: list[NewerRollout]  # type: ignore[assignment]

    class NewerScore(wire.ScoreRequest):
        note: str | None = None
        groups: list[NewerGroup]  # type: ignore[assignment]

    rollout = {"response": "7", "languages": 2}
    group = {"problem_id": "p", "gold": "7", "source": "book", "rollouts": [rollout]}
    request = NewerScore.model_validate({"groups": [group], "note": "first"})
    verdict = wire.Verdict(id="0", correct=True, status="correct", answer=None, decided_by="", reason="")
    older = _operations.to_shape(request, [verdict]).model_dump(exclude_none=True)
    assert older == {
        "phase": "train",
        "signal": False,
        "groups": [
            {
                "problem_id": "p",
                "rollouts": [{"correct": True, "status": "correct", "truncated": False}],
            }
        ],
    }
    assert _operations._shared_fields(request, NewerScore, "groups")["note"] == "first"
    assert _operations._shared_fields(request.groups[0], NewerGroup, "rollouts")["source"] == "book"
    assert _operations._shared_fields(request.groups[0].rollouts[0], NewerRollout)["languages"] == 2


def test_a_field_that_score_and_verify_both_gain_is_sent_to_the_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    class NewerRollout(wire.ScoreRollout):
        language: str | None = None

    class NewerGroup(wire.ScoreGroup):
        rollouts: list[NewerRollout]  # type: ignore[assignment]

    class NewerScore(wire.ScoreRequest):
        groups: list[NewerGroup]  # type: ignore[assignment]

    class NewerItem(wire.VerifyItem):
        language: str | None = None

    monkeypatch.setattr(_operations, "VerifyItem", NewerItem)
    rollout = {"response": "7", "language": "de", "tokens": 3, "rollout_id": "r0"}
    group = {"problem_id": "p", "group_id": "g", "gold": "7", "rollouts": [rollout]}
    request = NewerScore.model_validate({"run": "r", "epoch": 1, "step": 2, "generation": 0, "groups": [group]})
    (item,) = _operations.to_verify(request).items
    assert item.model_dump(exclude_unset=True) == {
        "id": "0",
        "gold": "7",
        "response": "7",
        "run": "r",
        "phase": "train",
        "truncated": False,
        "language": "de",
    }


def test_a_split_score_sends_row_fields_with_items_and_request_fields_once() -> None:
    row: dict[str, Any] = {"checker": "choice", "options": ["Paris", "Rome"], "data_source": "geography"}
    row |= {"answer_format": "bare", "question": "Which?", "row": {"tests": [1]}}
    groups = [
        {"problem_id": "p", "gold": "A", "rollouts": [{"response": "A"}], **row},
        {"problem_id": "q", "gold": "7", "rollouts": [{"response": "7"}]},
    ]
    request = wire.ScoreRequest.model_validate({"run": "r", "step": 1, "answer_format": "boxed", "groups": groups})
    sent = _operations.to_verify(request)
    own = [{name: getattr(item, name) for name in wire.ROW_FIELDS} for item in sent.items]
    assert own == [row, dict.fromkeys(wire.ROW_FIELDS)]
    assert (sent.answer_format, sent.checker) == ("boxed", None)
    assert {item.run for item in sent.items} == {"r"}  # its configuration may select the check
    request = request.model_copy(update={"checker": "math"})
    sent = _operations.to_verify(request)
    assert (sent.checker, {item.run for item in sent.items}) == ("math", {"r"})
