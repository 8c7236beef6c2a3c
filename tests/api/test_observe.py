"""`POST /v1/observe`: verdicts that were made elsewhere, with the semantics of observations."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from .conftest import shape_body


def body(run: str, step: int, *groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"run": run, "step": step, "groups": list(groups), **more}


def seen(problem_id: str, correct: list[bool], tokens: list[int], **more: Any) -> dict[str, Any]:
    rollouts = [{"correct": ok, "tokens": n} for ok, n in zip(correct, tokens, strict=True)]
    return {"problem_id": problem_id, "rollouts": rollouts, **more}


def test_observed_groups_count_when_their_step_closes_once(service: TestClient, run: str) -> None:
    sent = body(run, 1, seen("easy", [True] * 4, [10, 20, 30, 40]), seen("hard", [False] * 4, [50] * 4))
    first = service.post("/v1/observe", json=sent)
    assert first.status_code == 200, first.text
    assert first.json() == {
        "run": run,
        "step": 1,
        "groups": [{"problem_id": name, "group_id": name, "recorded": [True] * 4} for name in ("easy", "hard")],
    }
    assert service.post("/v1/observe", json=sent).json() == first.json(), "a repeat has no further effect"
    service.post("/v1/shape", json=shape_body(run, 1, ("mixed", [True, False], [5, 6])))
    service.post("/v1/shape", json=shape_body(run, 2, ("mixed", [True, False], [5, 6])))
    step = service.get(f"/v1/runs/{run}/history").json()["steps"][0]
    assert (step["groups"], step["observed_groups"], step["batch_pass_ratio"]) == (3, 2, 0.5)
    easy = service.get(f"/v1/runs/{run}/problems/easy").json()
    assert (easy["attempts"], easy["passes"], easy["shortest_correct_tokens"]) == (4, 4, 10)
    assert easy["length_quantiles"]["p50"] == pytest.approx(21, rel=0.1)
    assert "length_quantiles" not in service.get(f"/v1/runs/{run}/problems/hard").json()


def test_a_closed_step_a_shaped_group_and_other_content_are_not_recorded(service: TestClient, run: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 2, ("p", [True, False], [5, 6])))

    def recorded(*args: Any, **more: Any) -> list[bool]:
        answer = service.post("/v1/observe", json=body(run, *args, **more))
        assert answer.status_code == 200, answer.text
        return [one for group in answer.json()["groups"] for one in group["recorded"]]

    assert recorded(1, seen("q", [True], [5])) == [False]
    assert recorded(2, seen("p", [True], [5])) == [False]
    assert recorded(2, seen("q", [True, False], [5, 6])) == [True, True]
    assert recorded(2, seen("q", [True, True], [5, 6])) == [True, False], "the first observation is kept"
    assert recorded(2, seen("r", [True], [5], group_id="q")) == [False]
    assert recorded(2, seen("s", [True], [5]), epoch=7) == [False]


def test_unchecked_rollouts_and_unreadable_golds(service: TestClient, run: str) -> None:
    unchecked = {"problem_id": "u", "rollouts": [{"correct": False, "status": "unchecked"}, {"correct": True}]}
    unreadable = {"problem_id": "g", "rollouts": [{"correct": False, "status": "gold_unreadable"}]}
    answer = service.post("/v1/observe", json=body(run, 1, unchecked, unreadable)).json()
    assert [group["recorded"] for group in answer["groups"]] == [[False, True], [True]]
    service.post("/v1/shape", json=shape_body(run, 2, ("p", [True], [5])))
    assert service.get(f"/v1/runs/{run}/problems/u").json()["attempts"] == 1
    assert service.get(f"/v1/runs/{run}/problems/g").status_code == 404


@pytest.mark.parametrize(
    "groups",
    [
        [seen("p", [True], [1]), seen("q", [True], [1], group_id="p")],
        [{"problem_id": "p", "rollouts": [{"correct": True}, {"correct": True, "rollout_id": "0"}]}],
        [{"problem_id": "p", "rollouts": []}],
        [{"rollouts": [{"correct": True}]}],
    ],
)
def test_requests_that_are_refused_record_nothing(service: TestClient, run: str, groups: list[Any]) -> None:
    assert service.post("/v1/observe", json=body(run, 1, *groups)).status_code == 422
    service.post("/v1/shape", json=shape_body(run, 2, ("z", [True], [5])))
    assert [step["step"] for step in service.get(f"/v1/runs/{run}/history").json()["steps"]] == [2]


def test_the_identity_of_the_state_is_compared_as_in_other_training_requests(service: TestClient, run: str) -> None:
    answer = service.post("/v1/shape", json=shape_body(run, 1, ("p", [True, False], [5, 6]))).json()
    seen_state = {name: answer[name] for name in ("incarnation", "epoch", "version")}

    def observed(step: int, **sent: Any) -> tuple[int, str]:
        answer = service.post("/v1/observe", json=body(run, step, seen("q", [True], [5]), **sent))
        return answer.status_code, answer.json().get("type", "").rpartition(":")[2]

    assert observed(2, **seen_state) == (200, "")
    assert observed(2, **{**seen_state, "incarnation": "0" * 16}) == (409, "run-lost")
    assert observed(2, **{**seen_state, "version": answer["version"] + 1}) == (409, "run-rolled-back")
    assert observed(2, **{**seen_state, "epoch": 1}) == (409, "run-rolled-back")
    assert observed(2, version=1) == (422, "invalid-request")
    assert observed(2, version=1, epoch=0) == (422, "invalid-request")
    assert observed(2, incarnation="not one") == (422, "invalid-request")
    service.post(f"/v1/runs/{run}/rewind", json={"next_step": 2})
    assert observed(2, **seen_state) == (409, "epoch-mismatch")
    service.delete(f"/v1/runs/{run}")
    assert observed(2, **seen_state) == (409, "run-lost")
    assert service.get(f"/v1/runs/{run}").status_code == 404


def test_a_refused_observation_changes_nothing(service: TestClient, run: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 1, ("p", [True, False], [5, 6])))
    sent = body(run, 2, seen("q", [True], [5]), incarnation="0" * 16)
    assert service.post("/v1/observe", json=sent).status_code == 409
    service.post("/v1/shape", json=shape_body(run, 2, ("p", [True, False], [5, 6])))
    service.post("/v1/shape", json=shape_body(run, 3, ("p", [True, False], [5, 6])))
    assert service.get(f"/v1/runs/{run}/problems/q").status_code == 404
