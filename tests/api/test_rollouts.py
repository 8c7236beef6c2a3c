"""``POST /v1/rollouts`` over a real server: single rollouts get the rewards of their group."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ..waiting import eventually
from .test_server import Server

ANSWERS = ["\\boxed{0.75}", "\\boxed{3/4}", "\\boxed{75\\%}", "\\boxed{2}"]
TOKENS = [800, 1200, 1000, 2000]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two processes: a group's rollouts meet across them."""
    started = Server(tmp_path_factory.mktemp("rollouts"), workers=2, rollout_wait_seconds=5)
    yield started
    started.stop()


def rollout(run: str, index: int, **more: Any) -> dict[str, Any]:
    return {
        "run": run,
        "step": 1,
        "problem_id": "p7",
        "group_size": 4,
        "rollout_index": index,
        "gold": "\\frac{3}{4}",
        "response": ANSWERS[index],
        "tokens": TOKENS[index],
        **more,
    }


def post(server: Server, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/rollouts", json=body, timeout=60)


def met(server: Server, body: dict[str, Any]) -> httpx.Response:
    """The answer of a rollout whose group completes. It is sent again, as clients do, where the group took longer."""

    def answered() -> httpx.Response | None:
        answer = post(server, body)
        return None if answer.status_code == 503 else answer

    return eventually(answered)


def test_each_rollout_gets_what_its_whole_group_would(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        # Each is sent twice, at once: a retry joins its own slot.
        answers = list(pool.map(lambda i: met(server, rollout("met", i % 4)), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    group = {
        "problem_id": "p7",
        "gold": "\\frac{3}{4}",
        "rollouts": [{"response": text, "tokens": n} for text, n in zip(ANSWERS, TOKENS, strict=True)],
    }
    whole = httpx.post(f"{server.url}/v1/score", json={"run": "whole", "step": 1, "groups": [group]}).json()[
        "groups"
    ][0]
    for index in range(4):
        for answer in (answers[index].json(), answers[index + 4].json()):
            assert answer["reward"] == whole["rewards"][index]
            assert answer["verdict"]["status"] == whole["verdicts"][index]["status"]
            assert (answer["arrived"], answer["complete"], answer["beta"]) == (4, True, whole["beta"])
    assert httpx.get(f"{server.url}/v1/runs/met/problems/p7").json()["attempts"] == 4


def test_the_rollouts_of_a_group_have_one_age_whatever_version_each_knows(server: Server) -> None:
    def sent(index: int) -> dict[str, Any]:
        return rollout("aged", index, policy_version=4 + index, trainer_version=6 + index)

    with ThreadPoolExecutor(4) as pool:
        answers = [answer.json() for answer in pool.map(lambda index: met(server, sent(index)), range(4))]
    ages = {answer["age"] for answer in answers}
    assert len(ages) == 1
    assert ages < {2, 3, 4, 5}, "a trainer's version less that of the oldest rollout"
    (step,) = httpx.get(f"{server.url}/v1/runs/aged/history").json()["steps"]
    assert {step["largest_age"]} == ages


def test_the_deadline_releases_a_group_that_stays_incomplete(server: Server) -> None:
    answer = post(server, rollout("deadline", 1, timeout_s=0.4)).json()
    assert (answer["arrived"], answer["complete"], answer["pass_ratio"]) == (1, False, 1.0)
    late = post(server, rollout("deadline", 0, timeout_s=0.4))
    assert late.status_code == 409
    assert late.json()["type"].endswith(":rollout-late")


def test_a_caller_that_cannot_wait_gets_a_retry_after(server: Server) -> None:
    answer = post(server, rollout("patience", 0))
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":group-incomplete")
    assert answer.headers["retry-after"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: met(server, rollout("patience", i)), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4


def test_what_cannot_be_is_refused_before_it_waits(server: Server) -> None:
    assert post(server, rollout("bad", 3, group_size=3)).status_code == 422
    no_tokens = rollout("bad", 0)
    del no_tokens["tokens"]
    refused = post(server, no_tokens)
    assert refused.json()["type"].endswith(":missing-tokens")
    assert post(server, rollout("bad", 0, epoch=7)).json()["type"].endswith(":run-lost")
    assert httpx.put(f"{server.url}/v1/runs/bad", json={}).status_code == 201
    assert post(server, rollout("bad", 0, epoch=7)).json()["type"].endswith(":epoch-mismatch")
    assert post(server, rollout("bad", 0, incarnation="0" * 16)).json()["type"].endswith(":run-lost")
    known = {"epoch": 0, "incarnation": httpx.get(f"{server.url}/v1/runs/bad").json()["incarnation"]}
    ahead = post(server, rollout("bad", 0, **known, version=1))
    assert ahead.json()["type"].endswith(":run-rolled-back")
    assert (
        post(server, rollout("bad", 0, **{**known, "epoch": 1}, version=0))
        .json()["type"]
        .endswith(":run-rolled-back")
    )
    assert post(server, rollout("bad", 0, **known, version=0, group_size=1)).status_code == 200
    assert httpx.delete(f"{server.url}/v1/runs/bad").status_code == 200
    for _ in range(4):  # by both processes, of which one has read the run
        assert post(server, rollout("bad", 1, **known)).json()["type"].endswith(":run-lost")


def test_evaluation_does_not_wait(server: Server) -> None:
    answer = post(server, rollout("evaluated", 3, phase="eval")).json()
    assert (answer["reward"], answer["level"], answer["arrived"]) == (-1.0, None, 1)
    assert httpx.get(f"{server.url}/v1/runs/evaluated").status_code == 404


def test_evaluation_uses_the_answer_format_of_the_run(server: Server) -> None:
    httpx.put(f"{server.url}/v1/runs/said", json={"answer_format": "final_answer"}).raise_for_status()
    body = rollout("said", 0, phase="eval", gold="7", response="The answer is 7")
    assert post(server, body).json()["correct"] is True
    assert post(server, {**body, "answer_format": "boxed"}).json()["correct"] is False


def test_a_rewound_run_collects_anew(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: met(server, rollout("rewound", i)), range(4)))
        httpx.post(f"{server.url}/v1/runs/rewound/rewind", json={"next_step": 1})
        other = [rollout("rewound", i, response=ANSWERS[3 - i]) for i in range(4)]
        answers = list(pool.map(lambda body: met(server, body), other))
    assert [answer.json()["correct"] for answer in answers] == [False, True, True, True]
    assert httpx.get(f"{server.url}/v1/runs/rewound/problems/p7").json()["attempts"] == 4
