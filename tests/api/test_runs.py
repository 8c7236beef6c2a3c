"""Runs over HTTP: configuration, state, and the errors of both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.difficulty.errors import UnknownRun
from deepcompress_service.scoring.plan import plan_from_text

from .conftest import shape_body
from .test_endpoints import problem

MIXED = ("a/b", [True, False], [10, 20])


def test_put_compares_after_defaults_are_filled_in(service: TestClient, run: str) -> None:
    first = service.put(f"/v1/runs/{run}", json={})
    assert first.status_code == 201 and first.json()["created"] is True
    assert first.json()["config"]["strategy"]["alpha"] == 0.2
    same = service.put(f"/v1/runs/{run}", json={"strategy": {"name": "deepcompress", "alpha": 0.2, "ema": 0.99}})
    assert same.status_code == 200 and same.json()["created"] is False


def test_another_configuration_is_a_conflict_only_once_there_is_state(service: TestClient, run: str) -> None:
    service.put(f"/v1/runs/{run}", json={})
    other: dict[str, Any] = {"strategy": {"name": "deepcompress", "alpha": 0.5}}
    assert service.put(f"/v1/runs/{run}", json=other).status_code == 200
    service.post("/v1/shape", json=shape_body(run, 0, MIXED))
    assert service.put(f"/v1/runs/{run}", json=other).status_code == 200
    other["strategy"]["alpha"] = 0.2
    problem(service.put(f"/v1/runs/{run}", json=other), 409, "run-conflict")


FROZEN = """{"answer_format":"boxed", "groups_per_step":null, "keep_steps":64, "length_weight":1.0,
"outcome":{"correct":1.0, "wrong":-1.0}, "overlong":null, "shadow":[{"anneal_steps":100, "ema":0.99,
"initial_level":1.0, "label":"diet", "name":"diet", "outcome":{"correct":1.0, "wrong":0.0},
"reference":"current", "step_level":"all", "weight":0.5}], "strategy":{"alpha":0.5, "beta":null,
"ema":0.99, "eps":0.0, "initial_level":1.0, "min_std_tokens":0.0, "mode":"release",
"name":"deepcompress", "reference":"current", "step_level":"all", "unsolved":"none"}}"""
"""The configuration that the version of November 2026 stored for `{"strategy": {"alpha": 0.5}, "shadow": [{"name":
"diet"}]}`."""


def _stored(service: TestClient, run: str, text: str, *, trained: bool = True) -> None:
    """The run, as if another version of the service had made it."""
    plan = plan_from_text(FROZEN, 0.3)
    store = service.app.state.context.store  # type: ignore[attr-defined]
    service.portal.call(store.put_run, run, plan.difficulty, text)  # type: ignore[union-attr]
    if trained:
        service.post("/v1/shape", json=shape_body(run, 0, MIXED)).raise_for_status()


def _changed(**more: object) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(FROZEN)
    return config | more


def _lacking(*path: str) -> str:
    config = inside = _changed()
    for name in path[:-1]:
        inside = inside[name]
    del inside[path[-1]]
    return json.dumps(config)


OURS = {"strategy": {"name": "deepcompress", "alpha": 0.5}, "shadow": [{"name": "diet"}]}


@pytest.mark.parametrize(
    "text",
    [
        FROZEN,
        _lacking("groups_per_step"),
        _lacking("strategy", "mode"),
        _lacking("answer_format"),
        json.dumps(_changed(of_tomorrow=None)),
        json.dumps(_changed(strategy={**_changed()["strategy"], "gentle": None})),
    ],
)
def test_a_run_of_another_version_is_compared_by_meaning(service: TestClient, run: str, text: str) -> None:
    _stored(service, run, text)
    for sent in (OURS, json.loads(FROZEN)):
        same = service.put(f"/v1/runs/{run}", json=sent)
        assert (same.status_code, same.json().get("created")) == (200, False), same.text
    assert service.get(f"/v1/runs/{run}").json()["config"] == json.loads(text)
    service.post("/v1/shape", json=shape_body(run, 1, MIXED)).raise_for_status()
    problem(service.put(f"/v1/runs/{run}", json=_changed(keep_steps=65)), 409, "run-conflict")


def test_only_named_fields_are_compared(service: TestClient, run: str) -> None:
    _stored(service, run, FROZEN)
    named: list[dict[str, Any]] = [
        {},
        {"strategy": {}},
        {"strategy": {"ema": 0.99}},
        {"keep_steps": 64},
        {"outcome": {"correct": 1}},
        {"shadow": [{"name": "diet"}]},
    ]
    for sent in named:
        assert service.put(f"/v1/runs/{run}", json=sent).status_code == 200, sent
    others: list[dict[str, Any]] = [
        {"strategy": {"alpha": 0.2}},
        {"strategy": {"name": "diet"}},
        {"outcome": {"wrong": 0}},
        {"shadow": []},
        {"answer_format": "bare"},
        {"overlong": {"max_tokens": 10, "buffer_tokens": 5}},
    ]
    for sent in others:
        problem(service.put(f"/v1/runs/{run}", json=sent), 409, "run-conflict")
    problem(service.put(f"/v1/runs/{run}", json={"strategy": {"alhpa": 1}}), 422, "invalid-config")


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {"of_tomorrow": 1},
        {"outcome": {"correct": 1, "wrong": -1, "unsure": 0}},
        {"strategy": {"name": "deepcompress", "gentle": True}},
        {"shadow": [{"name": "diet", "gentle": True}]},
    ],
)
def test_what_a_newer_version_stored_is_left_to_it(
    service: TestClient, run: str, more: dict[str, object], trained: bool
) -> None:
    _stored(service, run, json.dumps(_changed(**more)), trained=False)
    sent = service.put(f"/v1/runs/{run}", json=OURS) if not trained else None
    answer = sent or service.post("/v1/shape", json=shape_body(run, 0, MIXED))
    problem(answer, 503, "newer-configuration")
    assert answer.headers["retry-after"]
    assert service.get(f"/v1/runs/{run}").json()["config"] == _changed(**more)


@pytest.mark.parametrize(
    "config",
    [
        {"strategy": {"name": "no-such"}},
        {"strategy": {"name": "deepcompress", "alhpa": 1}},
        {"strategy": {"name": "deepcompress", "alpha": "much"}},
        {"strategy": {"name": "deepcompress", "ema": 1.5}},
        {"strategy": {"name": "deepcompress", "mode": "loud"}},
        {"outcome": {"correct": 1, "wong": 0}},
        {"keep_steps": 0},
        {"overlong": {"max_tokens": 10}},
    ],
)
def test_a_bad_configuration_names_its_field(service: TestClient, run: str, config: dict[str, object]) -> None:
    answer = service.put(f"/v1/runs/{run[:100]}", json=config)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"]


def test_problem_ids_may_contain_slashes(service: TestClient, run: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 0, MIXED))
    row = service.get(f"/v1/runs/{run}/problems/a/b").json()
    assert row["problem_id"] == "a/b"
    assert (row["attempts"], row["passes"]) == (2, 1)
    assert row["shortest_correct_tokens"] == 10
    problem(service.get(f"/v1/runs/{run}/problems/c"), 404, "unknown-problem")


def test_history_has_the_signal_of_the_steps_that_were_counted_here(service: TestClient, run: str) -> None:
    service.put(f"/v1/runs/{run}", json={"strategy": {"name": "kimi_k1.5"}}).raise_for_status()
    body = {**shape_body(run, 0, MIXED, ("solved", [True, True], [10, 30])), "signal": True}
    answered = service.post("/v1/shape", json=body).json()["signal"]
    steps = service.get(f"/v1/runs/{run}/history?signal=true").json()["steps"]
    assert [step["signal"] for step in steps] == [answered]
    assert answered["groups"] == 2 and answered["expected_drift"] is not None
    service.post("/v1/shape", json=body).raise_for_status()  # a repeat counts nothing
    assert service.get(f"/v1/runs/{run}/history?signal=true").json()["steps"][0]["signal"] == answered
    # Without it, a history is the same from every server.
    assert "signal" not in service.get(f"/v1/runs/{run}/history").json()["steps"][0]


@pytest.mark.parametrize("config", [{}, {"advantage": {"decouple": True}}])
def test_the_signal_is_counted_for_requests_that_do_not_ask_for_it(
    service: TestClient, run: str, config: dict[str, Any]
) -> None:
    service.put(f"/v1/runs/{run}", json={"strategy": {"name": "kimi_k1.5"}, **config}).raise_for_status()
    groups = [MIXED, ("solved", [True, True], [10, 30]), ("partly", [True, True, False], [10, 30, 50])]
    asking, plain, parts = ({**shape_body(run, step, *groups)} for step in range(3))
    for body in (asking, plain, parts):
        body["groups"][2]["rollouts"][2]["status"] = "unchecked"
    answered = service.post("/v1/shape", json={**asking, "signal": True}).json()["signal"]
    assert "signal" not in service.post("/v1/shape", json=plain).json()
    service.post("/v1/shape", json={**parts, "groups": parts["groups"][:2]}).raise_for_status()
    service.post("/v1/shape", json=parts).raise_for_status()  # two of its groups are repeats
    steps = service.get(f"/v1/runs/{run}/history?signal=true").json()["steps"]
    assert answered["groups"] == 3 and answered["expected_drift"] is not None
    assert [step["signal"] for step in steps] == [answered, answered, pytest.approx(answered)]


def test_history_has_the_level_of_every_step(service: TestClient, run: str) -> None:
    for step in range(3):
        service.post("/v1/shape", json=shape_body(run, step, ("p", [True, False], [10, 30])))
    steps = service.get(f"/v1/runs/{run}/history").json()["steps"]
    assert [row["step"] for row in steps] == [0, 1, 2]
    level = 1.0
    for row in steps:
        level = 0.99 * level + (1 - 0.99) * 0.5
        assert row["level"] == level
        assert row["batch_pass_ratio"] == 0.5
        assert row["mean_tokens"] == 20.0 and row["mean_tokens_correct"] == 10.0 and row["mean_tokens_wrong"] == 30.0
    assert [row["closed"] for row in steps] == [True, True, False]


def test_the_epoch_guards_a_run_that_was_deleted(service: TestClient, run: str) -> None:
    epoch = service.post("/v1/shape", json=shape_body(run, 5, MIXED)).json()["epoch"]
    service.delete(f"/v1/runs/{run}")
    problem(service.get(f"/v1/runs/{run}"), 404, "unknown-run")
    late = service.post("/v1/shape", json=shape_body(run, 5, MIXED, epoch=epoch))
    problem(late, 409, "epoch-mismatch")


def test_stepped_and_stepless_do_not_mix(service: TestClient, run: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 0, MIXED))
    problem(service.post("/v1/shape", json=shape_body(run, None, MIXED, request_id="r1")), 409, "step-kind-mismatch")


def test_a_stepless_repeat_is_known_by_its_request_id(service: TestClient, run: str) -> None:
    body = shape_body(run, None, MIXED, request_id="r1")
    first = service.post("/v1/shape", json=body).json()
    again = service.post("/v1/shape", json=body).json()
    assert again["groups"][0]["replayed"] is True
    assert again["groups"][0]["rewards"] == first["groups"][0]["rewards"]
    assert service.get(f"/v1/runs/{run}/problems/a/b").json()["attempts"] == 2


def test_listing(service: TestClient, run: str) -> None:
    service.put(f"/v1/runs/{run}", json={})
    assert run in [row["run"] for row in service.get("/v1/runs").json()["runs"]]
    page = service.get(f"/v1/runs/{run}/problems").json()
    assert page == {"run": run, "problems": [], "next": None}


def test_strategies_are_listed(service: TestClient) -> None:
    rows = service.get("/v1/strategies").json()["strategies"]
    assert "deepcompress" in [row["name"] for row in rows]


def test_health(service: TestClient) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json()["ready"] is True
    page = service.get("/metrics").text
    assert "deepcompress_requests_total" in page


HUGE = [2**53, 2**64, 10**400]


@pytest.mark.parametrize("number", HUGE)
def test_integers_that_not_every_store_keeps_whole_are_refused(service: TestClient, run: str, number: int) -> None:
    service.post("/v1/shape", json=shape_body(run, 0, MIXED)).raise_for_status()
    item = {"gold": "1", "response": "\\boxed{1}", "run": run, "step": 1, "problem_id": "p", "rollout_id": "r"}
    single = {"run": run, "step": 1, "problem_id": "p", "group_size": 2, "rollout_index": 0}
    single |= {"gold": "1", "response": ""}
    asked: list[tuple[str, str, dict[str, object]]] = [
        ("POST", "/v1/shape", shape_body(run, 1, MIXED, generation=number)),
        ("POST", "/v1/shape", shape_body(run, 1, MIXED, epoch=number)),
        ("POST", "/v1/shape", shape_body(run, number, MIXED)),
        ("POST", "/v1/verify", {"items": [{**item, "generation": number}]}),
        ("POST", "/v1/verify", {"items": [{**item, "epoch": number}]}),
        ("POST", "/v1/rollouts", {**single, "attempt": number}),
        ("POST", "/v1/rollouts", {**single, "rollout_index": number}),
        ("PUT", f"/v1/runs/{run}-other", {"groups_per_step": number}),
        ("POST", f"/v1/runs/{run}/rewind", {"next_step": number}),
    ]
    for method, path, body in asked:
        problem(service.request(method, path, json=body), 422, "invalid-request")
    problem(service.get(f"/v1/runs/{run}/history", params={"since": number}), 422, "invalid-request")
    assert service.get("/v1/runs").status_code == 200


def test_a_checkpoint_is_restored_by_a_name_that_one_can_have(service: TestClient, run: str) -> None:
    service.put(f"/v1/runs/{run}", json={})
    for name in ("\ud800", "", "a/b", "x" * 200):
        body = json.dumps({"checkpoint": name}).encode()
        problem(service.post(f"/v1/runs/{run}/restore", content=body), 422, "invalid-request")


@pytest.mark.parametrize("text", ["not json", "[]", '{"strategy": {"name": "of-tomorrow"}}', '{"keep_steps": 0}'])
def test_an_import_whose_configuration_will_not_do_changes_nothing(service: TestClient, run: str, text: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 0, MIXED)).raise_for_status()
    exported = service.get(f"/v1/runs/{run}/export").text
    header, *rest = exported.splitlines()
    fields = json.loads(header)
    fields["meta"]["config_text"] = text
    answer = service.put(f"/v1/runs/{run}/import", content="\n".join([json.dumps(fields), *rest]))
    problem(answer, 409, "config-not-supported")
    assert service.get(f"/v1/runs/{run}/export").text == exported
    assert service.get("/v1/runs").status_code == 200


def test_a_run_deleted_between_the_look_and_the_write_gets_the_configuration_sent(
    service: TestClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.put(f"/v1/runs/{run}", json={"keep_steps": 7})
    service.post("/v1/shape", json=shape_body(run, 1, ("p", [True, False], [10, 20])))
    store = service.app.state.context.store  # type: ignore[attr-defined]
    get_run = store.get_run

    async def get_then_delete(name: str) -> Any:
        state = await get_run(name)
        await store.delete_run(name)
        return state

    monkeypatch.setattr(store, "get_run", get_then_delete)
    answer = service.put(f"/v1/runs/{run}", json={})
    monkeypatch.undo()
    assert answer.status_code == 201
    assert answer.json()["config"]["keep_steps"] == 64
    assert service.get(f"/v1/runs/{run}").json()["config"]["keep_steps"] == 64


def test_a_rollout_that_loses_the_race_to_create_its_run_uses_the_configuration_that_won(
    service: TestClient, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.put(f"/v1/runs/{run}", json={"answer_format": "final_answer"})
    service.post("/v1/shape", json=shape_body(run, 1, ("p", [True, False], [10, 20])))
    store = service.app.state.context.store  # type: ignore[attr-defined]
    get_run = store.get_run
    looks = []

    async def unknown_at_first(name: str) -> Any:
        looks.append(name)
        if len(looks) == 1:
            raise UnknownRun(name)
        return await get_run(name)

    monkeypatch.setattr(store, "get_run", unknown_at_first)
    rollout = {
        "run": run,
        "step": 2,
        "problem_id": "q",
        "group_size": 1,
        "rollout_index": 0,
        "gold": "7",
        "response": "The answer is 7",
        "tokens": 5,
    }
    answer = service.post("/v1/rollouts", json=rollout)
    assert answer.status_code == 200, answer.text
    assert len(looks) > 1
    assert answer.json()["correct"] is True


def test_a_run_in_pieces_is_taken_against_the_level_before_the_step(service: TestClient, run: str) -> None:
    created = service.put(
        f"/v1/runs/{run}", json={"groups_per_step": 2, "shadow": [{"name": "deepcompress", "alpha": 0.5}]}
    ).json()
    assert created["config"]["strategy"]["reference"] == "previous"
    assert created["config"]["shadow"][0]["reference"] == "previous"
    again = service.put(
        f"/v1/runs/{run}", json={"groups_per_step": 2, "shadow": [{"name": "deepcompress", "alpha": 0.5}]}
    )
    assert (again.status_code, again.json()["created"]) == (200, False)
    first = service.post("/v1/shape", json=shape_body(run, None, MIXED, request_id="r1")).json()["groups"][0]
    assert first["beta"] == first["pass_ratio"] - 1.0
    for same in ({"groups_per_step": 2}, {"strategy": {"reference": "previous"}}):
        assert service.put(f"/v1/runs/{run}", json=same).status_code == 200
    problem(service.put(f"/v1/runs/{run}", json={"strategy": {"reference": "current"}}), 409, "run-conflict")


def test_a_reference_that_is_named_stays_and_so_does_a_stored_one(service: TestClient, run: str) -> None:
    named = {"groups_per_step": 2, "strategy": {"reference": "current"}}
    assert service.put(f"/v1/runs/{run}", json=named).json()["config"]["strategy"]["reference"] == "current"
    assert service.put(f"/v1/runs/{run}-stepped", json={}).json()["config"]["strategy"]["reference"] == "current"
    older = json.dumps(_changed(groups_per_step=2))
    assert json.loads(older)["strategy"]["reference"] == "current"
    _stored(service, f"{run}-older", older)
    kept = service.put(f"/v1/runs/{run}-older", json={"groups_per_step": 2})
    assert (kept.status_code, kept.json()["config"]["strategy"]["reference"]) == (200, "current")
