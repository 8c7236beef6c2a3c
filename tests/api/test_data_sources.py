"""By data source: the figures of `GET /v1/runs/{run}/data-sources` are those of the history, split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from deepcompress_client.wire import RunHistory
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from ..difficulty.servers import RedisServer, needs_redis

ROWS = [("gsm8k", "p1", 3), ("gsm8k", "p2", 0), ("aime", "p3", 1)]


def group(source: str | None, problem_id: str, passes: int, step: int) -> dict[str, Any]:
    rollouts = [{"correct": k < passes, "tokens": 10 * step + 7 * k, "truncated": k == 3} for k in range(4)]
    return {"problem_id": problem_id, "data_source": source, "rollouts": rollouts}


def shape(service: TestClient, run: str, step: int, *groups: dict[str, Any]) -> dict[str, Any]:
    answer = service.post("/v1/shape", json={"run": run, "step": step, "groups": list(groups)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sources(service: TestClient, run: str, query: str = "") -> list[dict[str, Any]]:
    answer = service.get(f"/v1/runs/{run}/data-sources{query}")
    assert answer.status_code == 200, answer.text
    steps: list[dict[str, Any]] = answer.json()["steps"]
    return steps


def test_the_parts_add_up_to_the_history(service: TestClient, run: str) -> None:
    rewards: dict[str, list[float]] = {}
    for step in (1, 2, 3):
        answer = shape(service, run, step, *(group(source, name, n, step) for source, name, n in ROWS))
        if step == 2:
            for (source, _, _), one in zip(ROWS, answer["groups"], strict=True):
                rewards.setdefault(source, []).extend(one["rewards"])
    history = service.get(f"/v1/runs/{run}/history").json()["steps"]
    split = sources(service, run)
    assert [row["step"] for row in split] == [1, 2, 3]
    for row, whole in zip(split, history, strict=True):
        parts = row["data_sources"].values()
        for name in ("groups", "rollouts", "correct", "truncated"):
            assert sum(part[name] for part in parts) == whole[name]
        tokens = sum(part["mean_tokens"] * part["rollouts"] for part in parts)
        assert tokens == pytest.approx(whole["mean_tokens"] * whole["rollouts"])
        ratio = sum(part["pass_ratio"] * part["groups"] for part in parts)
        assert ratio == pytest.approx(whole["batch_pass_ratio"] * whole["groups"])
    assert split[1]["data_sources"]["gsm8k"]["mean_reward"] == pytest.approx(sum(rewards["gsm8k"]) / 8)
    assert [row["step"] for row in sources(service, run, "?limit=1")] == [3]
    assert [row["step"] for row in sources(service, run, "?since=2")] == [2, 3]


def test_the_history_has_them_where_they_are_asked_for(service: TestClient, run: str) -> None:
    shape(service, run, 1, group(None, "p1", 2, 1))
    shape(service, run, 2, group("gsm8k", "p1", 2, 2))
    plain, split = (service.get(f"/v1/runs/{run}/history{query}").json() for query in ("", "?data_sources=true"))
    assert all("data_sources" not in row for row in (*plain["steps"], split["steps"][0]))
    assert split["steps"][1]["data_sources"] == sources(service, run)[0]["data_sources"]
    read = TypeAdapter(RunHistory).validate_python(split).steps[1].data_sources
    assert read is not None and read["gsm8k"].mean_tokens_correct == 23.5


@pytest.mark.parametrize("store", ["sqlite", pytest.param("redis", marks=needs_redis)])
def test_replicas_have_the_same_figures_and_a_restart_keeps_them(store: str, tmp_path: Path, run: str) -> None:
    """Only the mean reward is that of the server itself."""
    redis = RedisServer(tmp_path / "redis") if store == "redis" else None
    url = f"sqlite:///{tmp_path}/state.sqlite3"
    if redis is not None:
        redis.start()
        url = redis.url
    settings = Settings(state_url=url, verifier_workers=1)

    def figures(service: TestClient) -> tuple[list[dict[str, Any]], list[dict[str, float | None]]]:
        steps = [row["data_sources"] for row in sources(service, run)]
        rewards = [{name: one.pop("mean_reward") for name, one in row.items()} for row in steps]
        return steps, rewards

    try:
        with TestClient(create_app(settings)) as one, TestClient(create_app(settings)) as two:
            for step in (1, 2):
                shape(one, run, step, *(group(source, name, n, step) for source, name, n in ROWS[:2]))
                shape(two, run, step, *(group(source, name, n, step) for source, name, n in ROWS[1:]))
            first, second = figures(one), figures(two)
        assert first[0] == second[0]
        assert [(row["gsm8k"]["groups"], row["aime"]["groups"]) for row in first[0]] == [(2, 1), (2, 1)]
        assert first[1][1]["aime"] is None and second[1][1]["gsm8k"] is None
        if redis is not None:
            redis.kill()
            redis.start()
        with TestClient(create_app(settings)) as again:
            assert figures(again) == (first[0], [{"gsm8k": None, "aime": None}] * 2)
    finally:
        if redis is not None:
            redis.kill()


def test_repeats_and_stale_groups_count_nothing(service: TestClient, run: str) -> None:
    for step in (1, 2, 2, 1):
        shape(service, run, step, *(group(source, name, n, step) for source, name, n in ROWS))
    before = sources(service, run)
    assert [row["data_sources"]["gsm8k"]["groups"] for row in before] == [2, 2]
    late = shape(service, run, 1, group("gsm8k", "late", 4, 1))
    assert late["groups"][0]["stale"] is True
    assert sources(service, run) == before


def test_the_name_is_a_label_and_no_part_of_the_content(service: TestClient, run: str) -> None:
    """As an answer format: a repeat under another name is a repeat."""
    first = shape(service, run, 1, group("gsm8k", "p", 2, 1))
    again = shape(service, run, 1, group("aime", "p", 2, 1))
    assert again["groups"][0].pop("replayed") is True and first["groups"][0].pop("replayed") is False
    assert again["groups"] == first["groups"]
    assert list(sources(service, run)[0]["data_sources"]) == ["gsm8k"]


def test_groups_without_a_name_are_left_out_and_a_rewind_forgets(service: TestClient, run: str) -> None:
    shape(service, run, 1, group(None, "p1", 2, 1))
    shape(service, run, 2, group(None, "p1", 2, 2), group("gsm8k", "p2", 2, 2))
    shape(service, run, 3, group("gsm8k", "p2", 2, 3))
    assert [(row["step"], row["data_sources"]["gsm8k"]["groups"]) for row in sources(service, run)] == [
        (2, 1),
        (3, 1),
    ]
    service.post(f"/v1/runs/{run}/rewind", json={"next_step": 3})
    assert [row["step"] for row in sources(service, run)] == [2]
    shape(service, run, 3, group("aime", "p2", 2, 3))
    assert [list(row["data_sources"]) for row in sources(service, run)] == [["gsm8k"], ["aime"]]


def test_scored_groups_and_single_rollouts_are_counted_too(service: TestClient, run: str) -> None:
    rollouts = [{"response": "\\boxed{1}", "tokens": 5}, {"response": "\\boxed{2}", "tokens": 9}]
    unreadable = {"problem_id": "u", "gold": "\\frac{1}{", "data_source": "broken", "rollouts": rollouts}
    scored = {"problem_id": "s", "gold": "1", "data_source": "gsm8k", "rollouts": rollouts}
    answer = service.post("/v1/score", json={"run": run, "step": 1, "groups": [scored, unreadable]})
    assert answer.status_code == 200, answer.text
    single = {
        "run": run,
        "step": 1,
        "problem_id": "r",
        "group_size": 1,
        "rollout_index": 0,
        "gold": "1",
        "response": "\\boxed{1}",
        "tokens": 7,
        "data_source": "aime",
    }
    for _ in range(2):
        answer = service.post("/v1/rollouts", json=single)
        assert answer.status_code == 200, answer.text
    (row,) = sources(service, run)
    assert {name: (one["groups"], one["correct"]) for name, one in row["data_sources"].items()} == {
        "gsm8k": (1, 1),
        "aime": (1, 1),
    }


def test_an_unknown_run_and_evaluation(service: TestClient, run: str) -> None:
    assert service.get(f"/v1/runs/{run}/data-sources").status_code == 404
    body = {"run": run, "step": 1, "phase": "eval", "groups": [group("gsm8k", "p", 2, 1)]}
    assert service.post("/v1/shape", json=body).status_code == 200
    shape(service, run, 1, group(None, "p", 2, 1))
    assert sources(service, run) == []
