"""A batch over the limits is sent in parts, and the answer is the same as of one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_client import errors, wire
from deepcompress_client._core import pack
from deepcompress_client._flows import to_shape

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
    asked = {"run": "r", "step": 3, "epoch": 2}
    expected = client(handler=whole).score(GROUPS, **asked)
    found = client(handler=parts, **limits).score(GROUPS, **asked)
    assert found == expected
    assert whole.paths() == ["POST /v1/score"]
    assert parts.paths()[-1] == "POST /v1/shape"
    assert set(parts.paths()[:-1]) == {"POST /v1/verify"}
    assert len(parts.requests) > 2


def test_the_status_goes_along_so_that_what_is_trainable_is_known(client: Callable[..., Any]) -> None:
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


def test_what_a_rollout_says_of_itself_goes_along_to_the_shape() -> None:
    """Every field that score and shape share, those that are added later too."""
    shared = wire.ScoreRollout.model_fields.keys() & wire.ShapeRollout.model_fields.keys()
    examples = {bool: True, int: 7}
    said = {
        name: next(
            value for kind, value in examples.items() if kind.__name__ in str(wire.ScoreRollout.model_fields[name])
        )
        for name in shared
    }
    request = wire.ScoreRequest.model_validate(
        {"groups": [{"problem_id": "p", "gold": "7", "rollouts": [{"response": "7", **said}]}]}
    )
    verdict = wire.Verdict(correct=True, status="correct", answer="7", decided_by="", reason="", cpu_ms=0.0)
    (group,) = to_shape(request, [verdict]).groups
    assert {name: getattr(group.rollouts[0], name) for name in shared} == said
