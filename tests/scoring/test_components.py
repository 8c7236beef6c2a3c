"""Components over HTTP: they add up to the reward to the last bit, and `why` gives the reason for a missing length
reward."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from deepcompress_client.wire import OPTIONS, RunConfig, Why
from deepcompress_service.app import create_app
from deepcompress_service.scoring.plan import make_plan
from deepcompress_service.settings import Settings
from deepcompress_service.shaping import strategies, types

NAMES = [info.name for info in strategies()]


@pytest.fixture(scope="module")
def service() -> Iterator[TestClient]:
    with TestClient(create_app(Settings(state_url="memory://", verifier_workers=1))) as client:
        yield client


def groups(draw: Random) -> list[dict[str, Any]]:
    made = []
    for problem in range(4):
        share, most = draw.choice((0.0, 0.4, 0.8, 1.0)), draw.choice((3, 3000, 20_000))
        rollouts = [
            {
                "correct": draw.random() < share,
                "tokens": draw.randrange(0, most),
                "truncated": draw.random() < 0.1,
                "thinking": draw.random() < 0.5,
                "repetitive": draw.random() < 0.2,
            }
            for _ in range(draw.randrange(1, 7))
        ]
        references = {"reference_accuracy": draw.random(), "reference_tokens": 900.5, "target_tokens": 1200}
        made.append({"problem_id": f"p{problem}", "rollouts": rollouts, **references})
    return made


def check(group: dict[str, Any], rewards: list[float], weight: float) -> None:
    parts = group["components"]
    columns = zip(parts["outcome"], parts["length"], parts["overlong"], strict=True)
    assert rewards == [(outcome + length) + overlong for outcome, length, overlong in columns]
    assert parts["length"] == [weight * term for term in group["length_term"]]
    assert ("why" in group) == (not any(parts["length"]))


@pytest.mark.parametrize("name", NAMES)
def test_components_add_up_to_the_last_bit(service: TestClient, name: str) -> None:
    draw = Random(name)
    for weight in (0.3, -1.7, 1e-9):
        for variant in ("floored", "verl", "openrlhf", "skyrl"):
            run = f"{name}-{weight}-{variant}"
            overlong = {"max_tokens": 9000, "buffer_tokens": 4000, "factor": 0.7, "variant": variant}
            config = {"strategy": {"name": name}, "length_weight": weight, "overlong": overlong}
            service.put(f"/v1/runs/{run}", json=config).raise_for_status()
            for step in range(3):
                body = {"run": run, "step": step, "groups": groups(draw)}
                answer = service.post("/v1/shape", json=body)
                assert answer.status_code == 200, answer.text
                for group in answer.json()["groups"]:
                    check(group, group["rewards"], weight)


def rollouts(*rows: tuple[bool, int], **more: Any) -> list[dict[str, Any]]:
    return [{"correct": correct, "tokens": tokens, **more} for correct, tokens in rows]


DEEPCOMPRESS: dict[str, Any] = {"strategy": {"name": "deepcompress"}}
MIXED = rollouts((True, 10), (True, 20), (False, 30))

WHY: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "evaluation": (DEEPCOMPRESS, MIXED, {"phase": "eval"}),
    "no-weight": ({"length_weight": 0}, MIXED, {}),
    "schedule": ({"length_weight": {"schedule": [[0, 0], [1, 1.5]]}}, MIXED, {}),
    "gated": ({"gate": {"min_pass_ratio": 1}}, MIXED, {}),
    "no-target": ({"target": {}}, MIXED, {}),
    "untrainable": (DEEPCOMPRESS, rollouts((False, 10), (False, 20), status="gold_unreadable"), {}),
    "none-correct": (DEEPCOMPRESS, rollouts((False, 10), (False, 20)), {}),
    "equal-lengths": ({"strategy": {"name": "kimi_k1.5"}}, rollouts((True, 10), (True, 10), (False, 10)), {}),
    "all-correct": (DEEPCOMPRESS, rollouts((True, 10), (True, 20)), {}),
    "even": ({"strategy": {"name": "deepcompress", "beta": 0, "alpha": 0}}, MIXED, {}),
    "strategy": ({"strategy": {"name": "outcome"}}, MIXED, {}),
}
"""Configuration, rollouts and request that give each reason."""


def test_every_reason_is_in_the_table() -> None:
    assert get_args(types.Why) == get_args(Why)
    by_record = {"guarded", "within-target"}
    assert set(WHY) | by_record == set(get_args(Why))


@pytest.mark.parametrize("why", WHY)
def test_why_a_group_has_no_length_reward(service: TestClient, why: str) -> None:
    config, sent, more = WHY[why]
    run = f"why-{why}"
    service.put(f"/v1/runs/{run}", json=config).raise_for_status()
    body = {"run": run, "step": 0, "groups": [{"problem_id": "p", "rollouts": sent}], **more}
    answer = service.post("/v1/shape", json=body)
    assert answer.status_code == 200, answer.text
    (group,) = answer.json()["groups"]
    assert group["why"] == why
    assert group["components"]["length"] == [0.0] * len(sent)


def test_a_group_with_a_length_reward_has_no_why(service: TestClient) -> None:
    body = {"run": "paid", "step": 0, "groups": [{"problem_id": "p", "rollouts": MIXED}]}
    answer = service.post("/v1/shape", json=body)
    (group,) = answer.json()["groups"]
    assert "why" not in group
    assert any(group["components"]["length"])


def test_a_problem_that_slips_is_guarded_by_its_record(service: TestClient) -> None:
    config = {"strategy": {"name": "kimi_k1.5"}, "guard": {"of": "problem", "min_rollouts": 16}}
    service.put("/v1/runs/guarded", json=config).raise_for_status()
    whys = []
    for step, passes in enumerate([16, 16, 8]):
        sent = rollouts(*((i < passes, 10 + i) for i in range(16)))
        body = {"run": "guarded", "step": step, "groups": [{"problem_id": "p", "rollouts": sent}]}
        (group,) = service.post("/v1/shape", json=body).json()["groups"]
        whys.append(group.get("why"))
    assert whys == [None, None, "guarded"]


def test_scores_are_weighted_and_add_up(service: TestClient) -> None:
    config = {
        **DEEPCOMPRESS,
        "scores": {"format": {"weight": 0.1}, "aside": {"weight": 0.7, "only_if_correct": True}},
    }
    service.put("/v1/runs/scored", json=config).raise_for_status()
    sent = [{**row, "scores": {"format": 0.3, "aside": 1.1}} for row in MIXED]
    body: dict[str, Any] = {"run": "scored", "step": 0, "groups": [{"problem_id": "p", "rollouts": sent}]}
    (group,) = service.post("/v1/shape", json=body).json()["groups"]
    assert group["scores"] == {"aside": [0.7 * 1.1, 0.7 * 1.1, 0.0], "format": [0.1 * 0.3] * 3}
    parts = zip(*group["components"].values(), *group["scores"].values(), strict=True)
    assert [(((o + n) + v) + a) + f for o, n, v, a, f in parts] == group["rewards"]
    again = [{**row, "scores": {"aside": 1.1, "format": 0.3}} for row in MIXED]
    (repeated,) = service.post("/v1/shape", json={**body, "groups": [{"problem_id": "p", "rollouts": again}]}).json()[
        "groups"
    ]
    assert repeated == {**group, "replayed": True}


@pytest.mark.parametrize(
    ("sent", "field", "slug"),
    [
        ({"format": 1}, "groups.0.rollouts.0.scores.aside", "missing-input"),
        (None, "groups.0.rollouts.0.scores.aside", "missing-input"),
        ({"format": 1, "aside": 1, "other": 1}, "groups.0.rollouts.0.scores.other", "unknown-score"),
        ({"format": 1, "aside": float("1e7")}, "groups.0.rollouts.0.scores.aside", "invalid-request"),
        ({"format": 1, "aside": "1"}, "groups.0.rollouts.0.scores.aside", "invalid-request"),
        ({"format": 1, "a side": 1}, "groups.0.rollouts.0.scores.a side", "invalid-request"),
    ],
)
def test_refused_scores(service: TestClient, sent: Any, field: str, slug: str) -> None:
    config = {**DEEPCOMPRESS, "scores": {"format": {}, "aside": {}}}
    service.put("/v1/runs/refused", json=config).raise_for_status()
    rows = [{**row, "scores": sent} for row in MIXED]
    body = {"run": "refused", "step": 0, "groups": [{"problem_id": "p", "rollouts": rows}]}
    answer = service.post("/v1/shape", json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert field in json.dumps(problem), problem
    assert problem["type"].endswith(slug), problem


OPTIONED: dict[str, Any] = {
    "strategy": {"name": "thinkprune", "limit": {"schedule": [[0, 4000], [100, 2000]]}},
    "length_weight": {"schedule": [[0, 1], [50, 0.5]]},
    "overlong": {"max_tokens": {"schedule": [[0, 9000]]}, "buffer_tokens": 100},
    "gate": {"min_pass_ratio": 0.9, "of": "problem"},
    "guard": {},
    "target": {"bonus": 0.3},
    "advantage": {"decouple": True},
    "scores": {"format": {"weight": 0.1}},
}


def test_a_configuration_with_options_is_stored_and_compared_by_meaning(service: TestClient) -> None:
    created = service.put("/v1/runs/optioned", json=OPTIONED)
    assert created.status_code == 201, created.text
    stored = created.json()["config"]
    assert stored["length_weight"] == OPTIONED["length_weight"]
    assert stored["gate"] == {"min_pass_ratio": 0.9, "of": "problem", "min_stored": None, "top_share": None}
    assert stored["guard"] == {"margin": 0.02, "z": 2.0, "of": "run", "min_rollouts": 16}
    rows = [{**row, "scores": {"format": 1}} for row in MIXED]
    body = {"run": "optioned", "step": 0, "groups": [{"problem_id": "p", "rollouts": rows}]}
    service.post("/v1/shape", json=body).raise_for_status()
    assert service.put("/v1/runs/optioned", json=OPTIONED).status_code == 200
    assert service.put("/v1/runs/optioned", json=stored).status_code == 200
    assert service.put("/v1/runs/optioned", json={"gate": {"min_pass_ratio": 0.9}}).status_code == 200
    for other in ({"gate": None}, {"length_weight": 1.0}, {"scores": {"format": {"weight": 0.2}}}):
        assert service.put("/v1/runs/optioned", json=other).status_code == 409, other


def test_a_configuration_without_options_has_the_text_of_earlier_versions() -> None:
    names = set(json.loads(make_plan(RunConfig(), 0.3).text))
    assert names.isdisjoint(OPTIONS)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"length_weight": "1"}, "length_weight"),
        ({"length_weight": {"schedule": [[0, "1"]]}}, "length_weight.schedule.0.1"),
        ({"overlong": {"max_tokens": 0, "buffer_tokens": 1}}, "overlong.max_tokens"),
        ({"gate": {"min_pass_ratio": 2}}, "gate.min_pass_ratio"),
        ({"target": {"slack": {"schedule": [[3, 1], [2, 1]]}}}, "target.slack.schedule.1"),
        ({"advantage": {"whiten": True}}, "advantage.whiten"),
        ({"scores": {"": {}}}, "scores"),
        ({"strategy": {"name": "diet"}, "advantage": {}}, "advantage"),
    ],
)
def test_refused_options_name_the_field(service: TestClient, config: dict[str, Any], field: str) -> None:
    answer = service.put("/v1/runs/no", json=config)
    assert answer.status_code == 422
    assert field in json.dumps(answer.json())


def test_figures_are_in_the_answer_where_the_request_asks(service: TestClient) -> None:
    service.put("/v1/runs/figures", json={"strategy": {"name": "kimi_k1.5"}}).raise_for_status()
    body: dict[str, Any] = {"run": "figures", "step": 0, "groups": [{"problem_id": "p", "rollouts": MIXED}]}
    plain = service.post("/v1/shape", json=body).json()
    asked = service.post("/v1/shape", json={**body, "signal": True}).json()
    assert "signal" not in plain
    assert (asked["signal"]["groups"], asked["signal"]["effective_groups"]) == (1, 1)
    assert 0 < asked["signal"]["length_share"] < 1
    assert asked["groups"] == [{**plain["groups"][0], "replayed": True}]
