"""Remote checkers in the service: their decisions, the limits of those, and unchecked answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_client.wire import VerifyItem
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

from ..remote.scripted import Exchange, Server, endpoint, same_text
from ..waiting import eventually
from .test_endpoints import problem

WORDS = "the square of every odd number is odd"
HARD = r"\int_0^1 x^{x^{x}} dx"


@contextmanager
def served(folder: Path, server: Server, more: str = "", **settings: Any) -> Iterator[TestClient]:
    """A service with the remote checker `far`."""
    file = folder / "remote.toml"
    file.write_text(f'[far]\nurl = "{server.url}"\nattempts = 1\ntimeout_seconds = 120\n{more}')
    url = f"sqlite:///{folder / 'state.sqlite3'}"
    described = Settings(state_url=url, verifier_workers=1, remote_checkers_file=file, **settings)
    with TestClient(create_app(described), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def far() -> Iterator[Server]:
    with endpoint() as server:
        yield server


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, far: Server) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("remote"), far) as client:
        yield client


@pytest.fixture(autouse=True)
def _usual(far: Server) -> None:
    """Each test begins with the usual script and an empty list of requests."""
    far.script = same_text
    far.requests.clear()


def away(exchange: Exchange) -> None:
    exchange.reply(b"", 500)


def item(gold: str, response: str, **fields: Any) -> dict[str, Any]:
    return {"gold": gold, "response": response, "answer_format": "bare", **fields}


def verdicts(service: TestClient, *items: dict[str, Any], **request: Any) -> list[dict[str, Any]]:
    answer = service.post("/v1/verify", json={"items": list(items), **request})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["verdicts"]
    return found


def score(
    service: TestClient, run: str, texts: list[str], step: int | None = 1, gold: str = "4", **fields: Any
) -> dict[str, Any]:
    rollouts = [{"response": text, "tokens": 10 + n} for n, text in enumerate(texts)]
    group = {"problem_id": "p", "gold": gold, "rollouts": rollouts, "answer_format": "bare", **fields}
    more = {"request_id": "once"} if step is None else {"step": step}
    answer = service.post("/v1/score", json={"run": run, "groups": [group], **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_rows_checker(remote: TestClient, far: Server) -> None:
    rows = verdicts(
        remote,
        item("4", "4", checker="far", question="2+2?", row={"tests": ["a"]}, data_source="sums"),
        item("4", "5", checker={"name": "far"}),
        item("4", "4"),
        {"gold": "4", "response": "no box", "checker": "far"},
    )
    assert [row["status"] for row in rows] == ["correct", "wrong", "correct", "no_answer"]
    assert [row["decided_by"] for row in rows][:3] == ["far", "far", "string"]
    assert rows[0]["reason"] == "compared as text"
    sent = sorted(map(json.loads, far.requests), key=lambda one: one["answer"])  # both are under way at once
    assert len(sent) == 2
    assert {"question": "2+2?", "row": {"tests": ["a"]}, "data_source": "sums"}.items() <= sent[0].items()


def test_the_runs_configuration_routes_to_it(remote: TestClient, run: str, far: Server) -> None:
    assert remote.put(f"/v1/runs/{run}", json={"checkers": {"code": "far"}}).status_code == 201
    rows = verdicts(remote, item("1/2", "0.5", run=run, data_source="code"), item("1/2", "0.5", run=run))
    assert [row["status"] for row in rows] == ["wrong", "correct"]
    assert len(far.requests) == 1


def test_a_fallback_decides_what_the_rules_leave_open_and_nothing_else(
    remote: TestClient, run: str, far: Server
) -> None:
    assert remote.put(f"/v1/runs/{run}", json={"fallback_checker": "far"}).status_code == 201
    far.script = lambda exchange: exchange.reply({"correct": True})
    closed = [
        item("4", "5", run=run),
        item("4", "4", run=run),
        item("even", "odd", run=run),
        item("A", "B", run=run, options=["x", "y"]),
        item("3.14", "3.2", run=run, checker={"name": "number", "absolute": 0.01}),
        item(WORDS, "4", run=run, checker="text"),
        item(WORDS, WORDS, run=run),
        {"gold": WORDS, "response": "no box", "run": run},
    ]
    rows = verdicts(remote, *closed)
    wanted = ["wrong", "correct", "wrong", "wrong", "wrong", "wrong", "correct", "no_answer"]
    assert [row["status"] for row in rows] == wanted
    assert far.requests == []
    left_open = [
        item(HARD, r"\sum_{k=1}^{\infty} \frac{\sin(k^2)}{k^3+\ln(k)}", run=run),
        item(r"\frac{1}{", "1", run=run),
        item(WORDS, "odd numbers have odd squares", run=run),
    ]
    rows = verdicts(remote, *left_open)
    assert [(row["status"], row["decided_by"]) for row in rows] == [("correct", "far")] * 3
    assert len(far.requests) == 3
    # Without a fallback the rules' verdicts stay.
    rows = verdicts(remote, *({**one, "run": f"{run}-other"} for one in left_open))
    assert [row["status"] for row in rows] == ["undecided", "gold_unreadable", "wrong"]


def test_under_a_fallback_a_response_without_answer_does_not_exclude_its_group(
    remote: TestClient, run: str, far: Server
) -> None:
    remote.put(f"/v1/runs/{run}", json={"fallback_checker": "far"})
    far.script = lambda exchange: exchange.reply({"correct": True})
    answer = score(remote, run, [r"\boxed{1}", "no box"], gold=r"\frac{1}{", answer_format="boxed")
    (group,) = answer["groups"]
    assert [row["status"] for row in group["verdicts"]] == ["correct", "no_answer"]
    assert group["trainable"] == [True, True]
    assert group["pass_ratio"] == 0.5


def test_an_answer_after_the_box_must_hold_as_well(remote: TestClient, far: Server) -> None:
    text = r"So \boxed{14}. The final answer is 15."
    (row,) = verdicts(remote, {"gold": "14", "response": text, "answer_format": "boxed", "checker": "far"})
    assert sorted(json.loads(one)["answer"] for one in far.requests) == ["14", "15"]
    assert (row["status"], row["decided_by"]) == ("wrong", "extraction")


def test_unchecked_rollouts_count_nowhere(remote: TestClient, run: str, far: Server) -> None:
    def sometimes(exchange: Exchange) -> None:
        (away if exchange.sent["answer"].startswith("?") else same_text)(exchange)

    far.script = sometimes
    answer = score(remote, run, ["4", "5", "?", "?!"], checker="far")
    (group,) = answer["groups"]
    assert [row["status"] for row in group["verdicts"]] == ["correct", "wrong", "unchecked", "unchecked"]
    assert group["verdicts"][2]["decided_by"] == "far"
    assert group["verdicts"][2]["reason"] == "status: the endpoint answered with status 500"
    assert group["trainable"] == [True, True, False, False]
    assert group["pass_ratio"] == answer["batch_pass_ratio"] == 0.5
    assert group["rewards"][2] == group["rewards"][3] == pytest.approx(sum(group["rewards"][:2]) / 2)
    assert [warning.partition(":")[0] for warning in answer["warnings"]].count("unchecked") == 1
    same = score(remote, f"{run}-without", ["4", "5"], checker="far")
    assert same["level"] == answer["level"]
    assert same["groups"][0]["rewards"] == group["rewards"][:2]
    problems = [remote.get(f"/v1/runs/{name}/problems").json()["problems"] for name in (run, f"{run}-without")]
    assert problems[0] == problems[1]
    assert problems[0][0]["attempts"] == 2


def test_an_unchecked_group_counts_nowhere_and_its_repeat_is_the_same(
    remote: TestClient, run: str, far: Server
) -> None:
    far.script = away
    first = score(remote, run, ["6", "7"], checker="far")
    (group,) = first["groups"]
    assert group["rewards"] == [0.0, 0.0]
    assert group["trainable"] == [False, False]
    assert (group["why"], group["beta"], group["difficulty"]) == ("untrainable", None, None)
    assert first["level"] == 1.0
    assert remote.get(f"/v1/runs/{run}").json()["problems"] == 0
    far.script = same_text
    again = score(remote, run, ["6", "7"], checker="far")["groups"][0]
    assert again["replayed"]
    assert [row["status"] for row in again["verdicts"]] == ["unchecked"] * 2
    assert again["rewards"] == group["rewards"]
    # Under another name it is another group, and checked again.
    other = score(remote, run, ["6", "7"], checker="far", group_id="again")["groups"][0]
    assert [row["status"] for row in other["verdicts"]] == ["wrong", "wrong"]


@pytest.mark.parametrize("step", [1, None])
def test_a_repeat_has_the_stored_verdict_without_a_second_call(
    tmp_path: Path, far: Server, run: str, step: int | None
) -> None:
    config = {"fallback_checker": "far"}
    texts = ["odd numbers have odd squares", "it is even", WORDS]
    far.script = lambda exchange: exchange.reply({"correct": "squares" in exchange.sent["answer"]})
    with served(tmp_path, far) as service:
        assert service.put(f"/v1/runs/{run}", json=config).status_code == 201
        first = score(service, run, texts, step, WORDS)
        named = score(service, f"{run}-named", ["4", "5"], step, checker="far")
    calls = len(far.requests)
    assert calls == 4
    # Another process, with an empty cache, and an endpoint that would decide otherwise.
    far.script = lambda exchange: exchange.reply({"correct": False})
    with served(tmp_path, far) as service:
        again = score(service, run, texts, step, WORDS)
        named_again = score(service, f"{run}-named", ["4", "5"], step, checker="far")
    assert len(far.requests) == calls
    for before, after_ in ((first, again), (named, named_again)):
        assert after_["groups"][0]["replayed"]
        for field in ("verdicts", "rewards", "correct", "trainable"):
            assert after_["groups"][0][field] == before["groups"][0][field]
    assert [row["decided_by"] for row in first["groups"][0]["verdicts"]] == ["far", "far", "string"]


def test_unchecked_observations_are_not_recorded_and_may_be_sent_again(
    remote: TestClient, run: str, far: Server
) -> None:
    seen = item("4", "8", checker="far", run=run, step=1, problem_id="p", rollout_id="a", tokens=5)
    far.script = away
    (row,) = verdicts(remote, seen)
    assert (row["status"], row["recorded"]) == ("unchecked", False)
    far.script = same_text
    (row,) = verdicts(remote, seen)
    assert (row["status"], row["recorded"]) == ("wrong", True)


def test_a_shape_with_unchecked_verdicts(remote: TestClient, run: str) -> None:
    rollouts = [
        {"correct": True, "tokens": 10},
        {"correct": False, "tokens": 20},
        {"correct": False, "tokens": 90, "status": "unchecked"},
    ]
    body = {"run": run, "step": 1, "groups": [{"problem_id": "p", "rollouts": rollouts}]}
    (group,) = remote.post("/v1/shape", json=body).json()["groups"]
    assert group["pass_ratio"] == 0.5
    assert group["trainable"] == [True, True, False]
    (group,) = remote.post("/v1/shape", json={**body, "phase": "eval"}).json()["groups"]
    assert group["rewards"] == [1.0, -1.0, 0.0]


def test_single_rollouts(remote: TestClient, run: str, far: Server) -> None:
    body = {
        "run": run, "step": 1, "problem_id": "p", "group_size": 2, "gold": "4", "answer_format": "bare",
        "checker": "far", "question": "2+2?", "row": {"a": [1]}, "data_source": "sums",
    }  # fmt: skip

    def send(index: int, text: str) -> dict[str, Any]:
        answer = remote.post("/v1/rollouts", json={**body, "rollout_index": index, "response": text, "tokens": 5})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(send, (0, 1), ("4", "41")))
    assert [answer["verdict"]["decided_by"] for answer in answers] == ["far", "far"]
    assert [answer["correct"] for answer in answers] == [True, False]
    assert {json.loads(one)["question"] for one in far.requests} == {"2+2?"}
    # The same rollout again is a repeat; with another row it is another rollout.
    assert send(0, "4")["correct"]
    other = {**body, "rollout_index": 0, "response": "4", "tokens": 5, "row": {"a": [2]}}
    problem(remote.post("/v1/rollouts", json=other), 409, "rollout-conflict")


def test_rollouts_of_any_checker(remote: TestClient, run: str) -> None:
    body = {"run": run, "phase": "eval", "problem_id": "p", "group_size": 1, "rollout_index": 0, "gold": "B"}
    body |= {"response": "Paris", "answer_format": "bare", "checker": "choice", "options": ["Rome", "Paris"]}
    assert remote.post("/v1/rollouts", json=body).json()["correct"]
    refused = remote.post("/v1/rollouts", json={**body, "checker": "x"})
    assert "far" in problem(refused, 422, "invalid-checker")["detail"]


def test_names_and_bounds(remote: TestClient, run: str) -> None:
    detail = problem(
        remote.post("/v1/verify", json={"items": [item("1", "1", checker="near")]}), 422, "invalid-checker"
    )["detail"]
    assert "remote: far" in detail
    odd = item("1", "1", checker={"name": "far", "url": "http://127.0.0.1:1/"})
    refused = remote.post("/v1/verify", json={"items": [odd]})
    assert "no parameters" in problem(refused, 422, "invalid-checker")["detail"]
    for name in ("near", "math", "http://127.0.0.1:1/"):
        refused = remote.put(f"/v1/runs/{run}", json={"fallback_checker": name})
        assert "far" in problem(refused, 422, "invalid-config")["detail"]
    problem(remote.post("/v1/verify", json={"items": [item("1", "1", question="?" * 70_000)]}), 413, "too-large")
    nested: Any = []
    for _ in range(70):
        nested = [nested]
    for row in ({"a": "b" * 70_000}, {"a": nested}, [1], "a"):
        problem(remote.post("/v1/verify", json={"items": [item("1", "1", row=row)]}), 422, "invalid-request")
    body = b'{"items": [{"gold": "1", "response": "1", "row": {"a": NaN}}]}'
    assert remote.post("/v1/verify", content=body).status_code == 422


def test_rows_that_cannot_be_written_as_json_again_are_refused() -> None:
    for row in ({"a": 2**64}, {"a": [{"b": -(2**70)}]}, {"a": float("nan")}, {"a": "\ud800"}, {"a": {1, 2}}):
        for fields in ({"row": row}, {"checker": {"name": "number", **row}}):
            with pytest.raises(ValueError, match="JSON"):
                VerifyItem.model_validate({"gold": "1", "response": "1", **fields})


def test_without_a_file_there_are_no_remote_checkers(service: TestClient, run: str) -> None:
    refused = service.put(f"/v1/runs/{run}", json={"fallback_checker": "far"})
    assert "none is set up here" in problem(refused, 422, "invalid-config")["detail"]
    assert service.put(f"/v1/runs/{run}", json={"fallback_checker": None}).status_code == 201


def test_a_stored_fallback_that_is_no_longer_set_up_is_refused_with_its_name(
    tmp_path: Path, far: Server, run: str
) -> None:
    with served(tmp_path, far) as service:
        service.put(f"/v1/runs/{run}", json={"fallback_checker": "far"})
        score(service, run, ["4", "5"])
    state = f"sqlite:///{tmp_path / 'state.sqlite3'}"
    with TestClient(create_app(Settings(state_url=state, verifier_workers=1))) as service:
        body = {"run": run, "step": 2, "groups": [{"problem_id": "p", "gold": "1", "rollouts": [{"response": "1"}]}]}
        answer = service.post("/v1/score", json=body)
    assert answer.json()["type"].endswith("config-not-supported")
    assert "'far'" in answer.json()["detail"]


def test_a_request_that_waits_for_an_endpoint_does_not_hold_the_slots(tmp_path: Path, far: Server) -> None:
    release = threading.Event()
    far.script = lambda exchange: release.wait(240) and same_text(exchange)
    slow = item("4", "44", checker="far")
    with served(tmp_path, far, max_active=1) as service, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(verdicts, service, slow, item("1", "1")) for _ in range(3)]
        eventually(lambda: len(far.requests) == 3)
        assert verdicts(service, item("1", "1"))[0]["correct"]
        assert service.get("/readyz").status_code == 200
        assert not any(one.done() for one in waiting)
        release.set()
        assert [[row["status"] for row in one.result()] for one in waiting] == [["wrong", "correct"]] * 3


def test_the_batch_is_answered_within_its_budget(tmp_path: Path, far: Server) -> None:
    release = threading.Event()
    far.script = lambda exchange: release.wait(240) and same_text(exchange)
    with served(tmp_path, far, "batch_seconds = 0.5") as service:
        rows = verdicts(service, item("4", "4", checker="far"), item("4", "4"))
    release.set()
    assert [row["status"] for row in rows] == ["unchecked", "correct"]
    assert "budget of 0.5 s" in rows[0]["reason"]


def test_metrics(remote: TestClient, far: Server) -> None:
    verdicts(remote, item("91", "91", checker="far"))
    verdicts(remote, item("91", "91", checker="far"))
    far.script = away
    verdicts(remote, item("92", "92", checker="far"))
    page = remote.get("/metrics").text
    for line in (
        'deepcompress_remote_checks_total{checker="far",outcome="correct"}',
        'deepcompress_remote_checks_total{checker="far",outcome="status"}',
        'deepcompress_remote_cached_total{checker="far"}',
        'deepcompress_remote_seconds_count{checker="far"}',
        'deepcompress_verdicts_total{status="unchecked",tier="far"}',
    ):
        assert line in page, line
