"""The three verbs over HTTP: what they answer, what they refuse, and what they never change."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest
import zstandard
from fastapi.testclient import TestClient

from .conftest import shape_body

MIXED = ("p7", [True, True, True, False], [800, 1200, 1000, 2000])
HARD = ("p8", [False, True, False, False], [3000, 5000, 4000, 8000])


def problem(response: Any, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:deepcompress:problem:{slug}"
    assert body["status"] == status
    return body


def test_verify_answers_in_order_and_explains(service: TestClient) -> None:
    items = [
        {"id": "a", "gold": "\\frac{3}{4}", "response": "... \\boxed{0.75}"},
        {"id": "b", "gold": "42", "response": "\\boxed{41}"},
        {"gold": ["1", "2"], "response": "\\boxed{2}"},
        {"gold": "3", "response": "I do not know"},
    ]
    verdicts = service.post("/v1/verify", json={"items": items}).json()["verdicts"]
    assert [v["id"] for v in verdicts] == ["a", "b", "2", "3"]
    assert [v["status"] for v in verdicts] == ["correct", "wrong", "correct", "no_answer"]
    assert verdicts[0]["answer"] == "0.75"
    assert all(v["reason"] and v["decided_by"] for v in verdicts)


def test_shape_is_the_published_example(service: TestClient, run: str) -> None:
    """The cold start vector: level 0.995 after one step at 0.5, so even P_g = 0.75 counts as hard."""
    answer = service.post("/v1/shape", json=shape_body(run, 1, MIXED, HARD)).json()
    assert answer["level"] == pytest.approx(0.995, abs=1e-12)
    assert answer["batch_pass_ratio"] == 0.5
    first = answer["groups"][0]
    assert first["beta"] == pytest.approx(-0.245, abs=1e-12)
    assert first["difficulty"] == "hard"
    assert first["rewards"] == pytest.approx(
        [1.0879572204662278, 1.0986554688437506, 1.0932870501060066, -1.0], abs=1e-9
    )
    for key in ("outcome", "length", "overlong"):
        assert len(first["components"][key]) == 4
    total = [sum(parts) for parts in zip(*first["components"].values(), strict=True)]
    assert total == pytest.approx(first["rewards"])


def test_a_repeat_is_answered_from_the_record(service: TestClient, run: str) -> None:
    body = shape_body(run, 1, MIXED, HARD)
    first = service.post("/v1/shape", json=body).json()
    service.post("/v1/shape", json=shape_body(run, 2, ("p9", [True, True], [5, 6])))
    again = service.post("/v1/shape", json=body).json()
    for one, two in zip(first["groups"], again["groups"], strict=True):
        assert two.pop("replayed") is True
        assert one.pop("replayed") is False
        assert one == two
    assert service.get(f"/v1/runs/{run}").json()["step"] == 2


def test_other_content_under_the_same_group_is_a_conflict(service: TestClient, run: str) -> None:
    service.post("/v1/shape", json=shape_body(run, 1, MIXED))
    before = service.get(f"/v1/runs/{run}").json()
    other = service.post("/v1/shape", json=shape_body(run, 1, HARD, ("p7", [False], [1])))
    problem(other, 409, "group-conflict")
    assert service.get(f"/v1/runs/{run}").json() == before


def test_score_is_verify_then_shape(service: TestClient, run: str) -> None:
    rollouts = [
        {"response": "\\boxed{0.75}", "tokens": 800},
        {"response": "\\boxed{3/4}", "tokens": 1200},
        {"response": "\\boxed{75\\%}", "tokens": 1000},
        {"response": "\\boxed{2}", "tokens": 2000},
    ]
    body = {"run": run, "step": 1, "groups": [{"problem_id": "p7", "gold": "\\frac{3}{4}", "rollouts": rollouts}]}
    scored = service.post("/v1/score", json=body).json()
    shaped = service.post("/v1/shape", json=shape_body(run + "-s", 1, MIXED)).json()
    assert scored["groups"][0]["rewards"] == shaped["groups"][0]["rewards"]
    assert [v["status"] for v in scored["groups"][0]["verdicts"]] == ["correct"] * 3 + ["wrong"]
    again = service.post("/v1/score", json=body).json()
    assert again["groups"][0]["replayed"] is True
    assert again["groups"][0]["verdicts"] == scored["groups"][0]["verdicts"]
    assert again["groups"][0]["rewards"] == scored["groups"][0]["rewards"]


def test_eval_is_outcome_only_and_creates_no_run(service: TestClient, run: str) -> None:
    answer = service.post("/v1/shape", json=shape_body(run, 3, MIXED, phase="eval")).json()
    group = answer["groups"][0]
    assert group["rewards"] == [1.0, 1.0, 1.0, -1.0]
    assert group["beta"] is None and group["level"] is None and group["difficulty"] is None
    problem(service.get(f"/v1/runs/{run}"), 404, "unknown-run")


def test_an_unreadable_gold_is_not_trainable_and_counts_nowhere(service: TestClient, run: str) -> None:
    groups = [
        {"problem_id": "bad", "gold": "\\frac{1}{", "rollouts": [{"response": "\\boxed{1}", "tokens": 5}]},
        {"problem_id": "good", "gold": "2", "rollouts": [{"response": "\\boxed{2}", "tokens": 5}]},
    ]
    answer = service.post("/v1/score", json={"run": run, "step": 1, "groups": groups}).json()
    bad, good = answer["groups"]
    assert bad["verdicts"][0]["status"] == "gold_unreadable"
    assert bad["trainable"] == [False] and good["trainable"] == [True]
    assert answer["batch_pass_ratio"] == 1.0
    assert service.get(f"/v1/runs/{run}").json()["problems"] == 1


def test_an_undecided_rollout_counts_as_wrong_and_is_not_trainable(service: TestClient, run: str) -> None:
    body = shape_body(run, 1, MIXED)
    body["groups"][0]["rollouts"][3]["status"] = "undecided"
    group = service.post("/v1/shape", json=body).json()["groups"][0]
    assert group["trainable"] == [True, True, True, False]
    assert group["pass_ratio"] == 0.75


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        (lambda b: b["groups"].append(b["groups"][0]), "duplicate-group"),
        (lambda b: b["groups"][0].update(rollouts=[]), "invalid-request"),
        (lambda b: b["groups"][0].update(group_size=5), "group-size-mismatch"),
        (lambda b: b["groups"][0]["rollouts"][0].pop("tokens"), "missing-tokens"),
        (lambda b: b["groups"][0]["rollouts"][0].update(tokens=-1), "invalid-request"),
        (lambda b: b["groups"][0]["rollouts"][0].update(tokens=2**31), "invalid-request"),
        (lambda b: b["groups"][0]["rollouts"][0].update(tokens=1.5), "invalid-request"),
        (lambda b: b["groups"][0]["rollouts"][0].update(tokens=True), "invalid-request"),
        (lambda b: b["groups"][0]["rollouts"][0].update(correct=1), "invalid-request"),
        (lambda b: b["groups"][0]["rollouts"][0].update(corect=True), "invalid-request"),
        (lambda b: b["groups"][0].pop("problem_id"), "invalid-request"),
        (lambda b: b.pop("run"), "invalid-request"),
        (lambda b: b.pop("step"), "request-id-required"),
        (lambda b: b.update(run="a b"), "invalid-request"),
        (lambda b: b.update(run="run\n"), "invalid-request"),
        (lambda b: b.update(run="x" * 129), "invalid-request"),
        (lambda b: b.update(step=-1), "invalid-request"),
        (lambda b: b.update(groups=[]), "invalid-request"),
    ],
)
def test_bad_input_is_a_422_that_changes_nothing(service: TestClient, run: str, change: Any, slug: str) -> None:
    body = shape_body(run[:100], 1, MIXED)
    change(body)
    details = problem(service.post("/v1/shape", json=body), 422, slug)
    assert details["errors"][0]["field"] is not None
    problem(service.get(f"/v1/runs/{run[:100]}"), 404, "unknown-run")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"items": 3}', b"[" * 100_000, b"\xff\xfe", b'{"a":NaN}']
)
def test_malformed_bodies_are_422(service: TestClient, raw: bytes) -> None:
    for path in ("/v1/verify", "/v1/shape", "/v1/score"):
        problem(service.post(path, content=raw), 422, "invalid-request")


def test_text_that_a_policy_wrote_cannot_fail_a_request(service: TestClient) -> None:
    texts = ["\ud800 \\boxed{1}", "\x00\\boxed{1}", "\\boxed{\udfff}", "\\boxed{" * 10_000, "\u202e\\boxed{1}", ""]
    items = [{"gold": "1", "response": text} for text in texts]
    raw = json.dumps({"items": items}).encode()
    assert b"\\ud800" in raw
    answer = service.post("/v1/verify", content=raw)
    assert answer.status_code == 200, answer.text
    statuses = [v["status"] for v in answer.json()["verdicts"]]
    assert statuses[0] == "correct"
    assert statuses[5] == "no_answer"
    json.dumps(answer.json()).encode()


def test_errors_do_not_quote_the_request(service: TestClient) -> None:
    secret = "s3cret-text-of-a-rollout"
    body = {"items": [{"gold": "1", "response": {"x": secret}}], secret[:4]: 1}
    answer = service.post("/v1/verify", json=body)
    assert answer.status_code == 422
    assert secret not in answer.text


def test_packed_bodies(service: TestClient) -> None:
    raw = json.dumps({"items": [{"gold": "1", "response": "\\boxed{1}"}]}).encode()
    for encoding, packed in (("gzip", gzip.compress(raw)), ("zstd", zstandard.compress(raw))):
        answer = service.post("/v1/verify", content=packed, headers={"content-encoding": encoding})
        assert answer.json()["verdicts"][0]["correct"] is True
        problem(
            service.post("/v1/verify", content=b"junk" + packed, headers={"content-encoding": encoding}),
            400,
            "bad-compression",
        )
        problem(
            service.post("/v1/verify", content=packed[:-9], headers={"content-encoding": encoding}),
            400,
            "bad-compression",
        )
        for more in (packed, b"junk", b"\0"):
            answer = service.post("/v1/verify", content=packed + more, headers={"content-encoding": encoding})
            assert "more bytes after the end" in problem(answer, 400, "bad-compression")["detail"]
    problem(service.post("/v1/verify", content=raw, headers={"content-encoding": "br"}), 415, "unsupported-encoding")


def test_a_bomb_unpacks_no_further_than_the_limit(service: TestClient) -> None:
    limit = service.app.state.context.settings.max_body_bytes  # type: ignore[attr-defined]
    bomb = zstandard.ZstdCompressor().compress(b" " * (limit + 1))
    assert len(bomb) < 100_000
    problem(service.post("/v1/verify", content=bomb, headers={"content-encoding": "zstd"}), 413, "too-large")


def test_a_gold_over_the_limit_is_a_413(service: TestClient) -> None:
    problem(service.post("/v1/verify", json={"items": [{"gold": "1" * 70_000, "response": ""}]}), 413, "too-large")


def test_a_declared_size_over_the_limit_is_refused_before_it_is_read(service: TestClient) -> None:
    headers = {"content-length": str(10**12), "content-type": "application/json"}
    problem(service.post("/v1/verify", content=b"{}", headers=headers), 413, "too-large")


def test_no_number_is_nan_or_infinite(service: TestClient, run: str) -> None:
    extreme = ("p", [True, False, True], [0, 2**31 - 1, 0])
    group = service.post("/v1/shape", json=shape_body(run, 1, extreme, ("q", [True], [7]))).json()["groups"]
    assert all(math.isfinite(reward) for one in group for reward in one["rewards"])


def test_unknown_paths_and_methods_are_problems(service: TestClient) -> None:
    problem(service.get("/v1/nothing"), 404, "not-found")
    problem(service.get("/v1/shape"), 405, "method-not-allowed")


def test_docs_examples_work_when_pasted(service: TestClient) -> None:
    schema = service.get("/openapi.json").json()
    tried = 0
    for path in ("/v1/verify", "/v1/shape", "/v1/score"):
        content = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        reference = content["schema"]["$ref"].rsplit("/", 1)[1]
        assert reference in schema["components"]["schemas"]
        for example in content["examples"].values():
            assert service.post(path, json=example["value"]).status_code == 200
            tried += 1
    assert tried >= 3
    page = service.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://testserver", "") and "https://" not in page.text
    assert service.get("/docs/assets/swagger-ui-bundle.js").status_code == 200
