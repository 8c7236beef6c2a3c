"""Asynchronous runs over HTTP: ages of groups, too old ones, observations without a step (docs/design.md, 5.11)."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient


def start(service: TestClient, run: str, **config: Any) -> None:
    answer = service.put(f"/v1/runs/{run}", json={"asynchronous": True, **config})
    assert answer.status_code == 201, answer.text


def shaped(group_id: str, correct: list[bool], versions: list[int | None], **more: Any) -> dict[str, Any]:
    rollouts = [
        {"correct": ok, "tokens": 10 * (i + 1), **({} if version is None else {"policy_version": version})}
        for i, (ok, version) in enumerate(zip(correct, versions, strict=True))
    ]
    return {"problem_id": f"problem {group_id}", "group_id": group_id, "rollouts": rollouts, **more}


def post(service: TestClient, run: str, step: int, *groups: Any, **more: Any) -> dict[str, Any]:
    answer = service.post("/v1/shape", json={"run": run, "step": step, "groups": list(groups), **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refusal(service: TestClient, path: str, body: dict[str, Any]) -> tuple[int, str, str]:
    answer = service.post(path, json=body)
    problem = answer.json()
    return answer.status_code, problem["type"].rsplit(":", 1)[-1], problem["errors"][0]["field"]


def test_a_group_has_the_age_of_its_oldest_rollout(service: TestClient, run: str) -> None:
    start(service, run, max_age=3)
    groups = [shaped("a", [True, False], [7, 5]), shaped("b", [True, False], [4, 8]), shaped("c", [True], [9])]
    answer = post(service, run, 8, *groups, policy_version=8)
    assert [(one["age"], one["too_old"]) for one in answer["groups"]] == [(3, False), (4, True), (0, False)]
    assert any(one.startswith("too-old-groups: 1 of 3") for one in answer["warnings"])
    assert answer["batch_pass_ratio"] == 0.75, "of the two groups that count"
    assert [one["stale"] for one in answer["groups"]] == [False] * 3
    assert all(one["rewards"] for one in answer["groups"])
    (step,) = service.get(f"/v1/runs/{run}/history").json()["steps"]
    assert (step["groups"], step["too_old_groups"], step["largest_age"]) == (2, 1, 4)
    assert step["mean_age"] == pytest.approx(7 / 3)
    assert service.get(f"/v1/runs/{run}/problems/problem b").status_code == 404


def test_a_repeat_has_the_recorded_age_at_any_later_version(service: TestClient, run: str) -> None:
    start(service, run, max_age=1)
    first = post(service, run, 1, shaped("a", [True, False], [1, 1]), policy_version=1)["groups"][0]
    again = post(service, run, 9, shaped("a", [True, False], [1, 1]), policy_version=9)["groups"][0]
    assert again.pop("replayed")
    assert not first.pop("replayed")
    assert again == first
    assert (first["age"], first["too_old"]) == (0, False)


def test_scored_groups_have_ages_and_keep_their_verdicts(service: TestClient, run: str) -> None:
    start(service, run, max_age=0)
    rollouts = [{"response": f"\\boxed{{{n}}}", "tokens": n, "policy_version": 2} for n in (1, 2)]
    body = {
        "run": run,
        "step": 3,
        "policy_version": 4,
        "groups": [{"problem_id": "p", "group_id": "g", "gold": "1", "rollouts": rollouts}],
    }
    first, again = (service.post("/v1/score", json=body).json()["groups"][0] for _ in range(2))
    assert (first["age"], first["too_old"], first["correct"]) == (2, True, [True, False])
    assert again == {**first, "replayed": True}


def test_runs_that_are_not_asynchronous_have_ages_too_and_no_bound(service: TestClient, run: str) -> None:
    group = post(service, run, 1, shaped("a", [True, False], [1, 2]), policy_version=5)["groups"][0]
    assert group["age"] == 4
    assert "too_old" not in group
    plain = post(service, run, 1, shaped("b", [True, False], [None, None]))["groups"][0]
    assert "age" not in plain
    partly = post(service, run, 1, shaped("c", [True, False], [1, None]), policy_version=5)["groups"][0]
    assert "age" not in partly, "the oldest version is not known"
    assert post(service, run, 1, shaped("d", [True], [9]), policy_version=5)["groups"][0]["age"] == 0
    (step,) = service.get(f"/v1/runs/{run}/history").json()["steps"]
    assert (step["mean_age"], step["largest_age"]) == (2.0, 4)
    assert "too_old_groups" not in step


def test_what_an_asynchronous_run_needs_is_asked_for(service: TestClient, run: str) -> None:
    start(service, run, max_age=3)
    unnamed = shaped("a", [True], [1])
    del unnamed["group_id"]
    body = {"run": run, "step": 1, "policy_version": 1, "groups": [unnamed]}
    assert refusal(service, "/v1/shape", body) == (422, "missing-group-id", "groups.0.group_id")
    body["groups"] = [shaped("a", [True, True], [1, None])]
    field = "groups.0.rollouts.1.policy_version"
    assert refusal(service, "/v1/shape", body) == (422, "missing-policy-version", field)
    del body["policy_version"]
    assert refusal(service, "/v1/shape", body) == (422, "missing-policy-version", "policy_version")
    for wrong in (-1, 2**31, True, 1.0):
        assert service.post("/v1/shape", json=body | {"policy_version": wrong}).status_code == 422
    assert service.get(f"/v1/runs/{run}").json()["kind"] is None, "nothing was counted"


def test_max_age_is_for_asynchronous_runs(service: TestClient, run: str) -> None:
    answer = service.put(f"/v1/runs/{run}", json={"max_age": 3})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "max_age")


def test_the_configuration_of_an_asynchronous_run(service: TestClient, run: str) -> None:
    start(service, run, max_age=2)
    config = service.get(f"/v1/runs/{run}").json()["config"]
    assert (config["asynchronous"], config["max_age"], config["strategy"]["reference"]) == (True, 2, "previous")
    post(service, run, 1, shaped("a", [True], [1]), policy_version=1)
    assert service.put(f"/v1/runs/{run}", json={}).status_code == 200
    assert service.put(f"/v1/runs/{run}", json={"asynchronous": False, "max_age": None}).status_code == 409
    service.put(f"/v1/runs/{run}-plain", json={})
    assert "asynchronous" not in service.get(f"/v1/runs/{run}-plain").json()["config"]


def test_observations_of_an_asynchronous_run_have_no_step(service: TestClient, run: str) -> None:
    start(service, run)
    observed = {"run": run, "groups": [{"problem_id": "p", "group_id": "g", "rollouts": [{"correct": True}]}]}
    answer = service.post("/v1/observe", json=observed).json()
    assert (answer["step"], answer["groups"][0]["recorded"]) == (None, [True])
    item = {"gold": "1", "response": "\\boxed{1}", "run": run, "problem_id": "p", "rollout_id": "1", "group_id": "g"}
    assert service.post("/v1/verify", json={"items": [item]}).json()["verdicts"][0]["recorded"]
    group = {"group_id": "g", "rollouts": [{"correct": True, "tokens": 5}, {"correct": False, "tokens": 6}]}
    assert post(service, run, 4, group)["groups"][0]["problem_id"] == "p"
    assert not service.post("/v1/verify", json={"items": [item]}).json()["verdicts"][0]["recorded"], "it is shaped"


def test_other_runs_need_the_step_of_an_observation(service: TestClient, run: str) -> None:
    item = {"gold": "1", "response": "\\boxed{1}", "run": run, "problem_id": "p", "rollout_id": "1"}
    assert refusal(service, "/v1/verify", {"items": [item]})[::2] == (422, "items.0.step")
    observed = {"run": run, "groups": [{"problem_id": "p", "rollouts": [{"correct": True}]}]}
    assert refusal(service, "/v1/observe", observed)[::2] == (422, "step")


def test_groups_are_discarded_on_request(service: TestClient, run: str) -> None:
    start(service, run)
    for name in ("g", "h"):
        rollouts = [{"correct": True}]
        groups = [{"problem_id": "p", "group_id": name, "rollouts": rollouts}]
        service.post("/v1/observe", json={"run": run, "groups": groups})
    path = f"/v1/runs/{run}/discard"
    assert service.post(path, json={"group_ids": ["g", "x"]}).json() == {"run": run, "discarded": 1}
    assert service.post(path, json={"group_ids": ["g", "x"]}).json()["discarded"] == 0
    assert service.post(path, json={"group_ids": []}).status_code == 422
    assert service.post(path, json={"group_ids": ["h"], "epoch": 9}).status_code == 409
    assert service.post("/v1/runs/no-such-run/discard", json={"group_ids": ["h"]}).status_code == 404
    post(service, run, 1, shaped("a", [True], [1]))
    (step,) = service.get(f"/v1/runs/{run}/history").json()["steps"]
    assert step["discarded_groups"] == 1
    service.put(f"/v1/runs/{run}-plain", json={})
    assert service.post(f"/v1/runs/{run}-plain/discard", json={"group_ids": ["h"]}).status_code == 422


def test_single_rollouts_have_the_age_of_their_group(service: TestClient, run: str) -> None:
    start(service, run, max_age=2)
    body = {
        "run": run,
        "step": 1,
        "problem_id": "p",
        "group_id": "g",
        "group_size": 1,
        "rollout_index": 0,
        "gold": "1",
        "response": "\\boxed{1}",
        "tokens": 3,
    }
    assert refusal(service, "/v1/rollouts", body) == (422, "missing-policy-version", "trainer_version")
    body["trainer_version"] = 9
    assert refusal(service, "/v1/rollouts", body) == (422, "missing-policy-version", "policy_version")
    body["policy_version"] = 6
    for version in (9, 20):
        answer = service.post("/v1/rollouts", json={**body, "trainer_version": version}).json()
        assert (answer["age"], answer["too_old"]) == (3, True), "a repeat has the recorded age"
    plain = service.post("/v1/rollouts", json={**body, "run": f"{run}-plain"}).json()
    assert plain["age"] == 3
    assert "too_old" not in plain
    del body["trainer_version"]
    unknown = service.post("/v1/rollouts", json={**body, "run": f"{run}-plain", "group_id": "h"}).json()
    assert "age" not in unknown
