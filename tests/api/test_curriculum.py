"""The data set of a run and its samples over HTTP: what they answer, refuse, and never change."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress_service.api.curriculum import read_problems
from deepcompress_service.api.errors import ApiError
from deepcompress_service.app import create_app
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.settings import Settings

from .conftest import shape_body
from .test_endpoints import problem
from .test_import import with_app


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


DATASET = lines(*({"problem_id": f"p{i}", "data_source": "gsm8k" if i % 2 else None} for i in range(100)))


@pytest.fixture
def registered(service: TestClient, run: str) -> str:
    service.put(f"/v1/runs/{run}", json={"keep_steps": 4}).raise_for_status()
    service.put(f"/v1/runs/{run}/dataset", content=DATASET).raise_for_status()
    return run


def sample(service: TestClient, run: str, step: int, n: int = 10, **more: Any) -> Any:
    return service.post(f"/v1/runs/{run}/sample", json={"step": step, "n": n, **more})


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_a_data_set_is_registered(service: TestClient, run: str, encoding: str) -> None:
    service.put(f"/v1/runs/{run}", json={}).raise_for_status()
    packed = {
        "identity": DATASET,
        "gzip": gzip.compress(DATASET),
        "zstd": zstandard.ZstdCompressor().compress(DATASET),
    }[encoding]
    headers = {"Content-Encoding": encoding, "Content-Type": "application/x-ndjson"}
    answer = service.put(f"/v1/runs/{run}/dataset", content=packed, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["run"], found["problems"], found["data_sources"]) == (run, 100, {"gsm8k": 50})
    assert len(found["digest"]) == 32
    assert len(found["incarnation"]) == 16
    assert service.get(f"/v1/runs/{run}/dataset").json() == found
    assert service.put(f"/v1/runs/{run}/dataset", content=DATASET).json() == found


def test_a_sample_is_answered_and_repeated(service: TestClient, registered: str) -> None:
    first = sample(service, registered, 0, policy={"name": "signal", "group_size": 4}).json()
    assert first["policy"] == {"name": "signal", "group_size": 4, "floor": 0.05}
    assert (first["run"], first["epoch"], first["step"], first["as_of"]) == (registered, 0, 0, None)
    assert len({row["problem_id"] for row in first["problems"]}) == 10
    sources = {f"p{i}": "gsm8k" if i % 2 else None for i in range(100)}
    assert all(row["data_source"] == sources[row["problem_id"]] for row in first["problems"])
    assert (first["warnings"], first["version"]) == ([], 0)
    groups = [(row["problem_id"], [True, False], [1, 2]) for row in first["problems"]]
    trained = service.post("/v1/shape", json=shape_body(registered, 0, *groups)).json()
    again = sample(service, registered, 0, policy={"name": "signal", "group_size": 4}).json()
    assert again == first | {"version": 1}
    assert trained["incarnation"] == first["incarnation"]
    problem(sample(service, registered, 0, policy="signal"), 409, "sample-conflict")
    problem(sample(service, registered, 0, 11, policy={"name": "signal", "group_size": 4}), 409, "sample-conflict")


def test_sampling_opens_and_closes_nothing(service: TestClient, registered: str) -> None:
    sample(service, registered, 3).raise_for_status()
    assert service.get(f"/v1/runs/{registered}").json()["step"] is None
    for step in (0, 1):
        service.post("/v1/shape", json=shape_body(registered, step, ("p0", [True], [1]))).raise_for_status()
    assert sample(service, registered, 5).json()["as_of"] == 0
    assert service.get(f"/v1/runs/{registered}").json()["step"] == 1


def test_fewer_problems_come_with_a_warning(service: TestClient, registered: str) -> None:
    answer = sample(service, registered, 0, 60, data_source="gsm8k").json()
    assert len(answer["problems"]) == 50
    assert answer["warnings"][0].startswith("fewer-problems: 50 problems instead of 60")


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"step": 0}, 422, "invalid-request"),
        ({"n": 3}, 422, "invalid-request"),
        ({"step": 0, "n": 0}, 422, "invalid-request"),
        ({"step": 0, "n": 1.0}, 422, "invalid-request"),
        ({"step": -1, "n": 1}, 422, "invalid-request"),
        ({"step": 0, "n": 3, "policies": "x"}, 422, "invalid-request"),
        ({"step": 0, "n": 3, "policy": "x"}, 422, "invalid-policy"),
        ({"step": 0, "n": 3, "policy": {"name": "band", "low": 2}}, 422, "invalid-policy"),
        ({"step": 0, "n": 3, "policy": {"name": "band", "low": 0.101, "high": 0.102}}, 422, "invalid-policy"),
        ({"step": 0, "n": 3, "policy": {"name": "mastered", "retired_steps": 4}}, 422, "invalid-policy"),
        ({"step": 0, "n": 3, "policy": ["signal"]}, 422, "invalid-request"),
        ({"step": 0, "n": 3, "data_source": "other"}, 422, "unknown-data-source"),
        ({"step": 0, "n": 16_385}, 413, "too-large"),
        ({"step": 0, "n": 3, "epoch": 5}, 409, "epoch-mismatch"),
        ({"step": 0, "n": 3, "incarnation": "0" * 16}, 409, "run-lost"),
        ({"step": 0, "n": 3, "version": 1}, 422, "invalid-request"),
    ],
)
def test_refused_samples(service: TestClient, registered: str, body: dict[str, Any], status: int, slug: str) -> None:
    problem(service.post(f"/v1/runs/{registered}/sample", json=body), status, slug)


def test_samples_without_run_or_data_set(service: TestClient, run: str) -> None:
    problem(sample(service, run, 0), 404, "unknown-run")
    problem(service.put(f"/v1/runs/{run}/dataset", content=DATASET), 404, "unknown-run")
    problem(service.get(f"/v1/runs/{run}/dataset"), 404, "unknown-run")
    service.put(f"/v1/runs/{run}", json={}).raise_for_status()
    problem(sample(service, run, 0), 409, "no-dataset")
    problem(service.get(f"/v1/runs/{run}/dataset"), 404, "unknown-dataset")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: not JSON"),
        (b"[]", "line 2"),
        (b"3", "line 2"),
        (b'{"problem_id": ""}', "line 2: problem_id"),
        (b'{"problem_id": 7}', "line 2: problem_id"),
        (b'{"data_source": "x"}', "line 2: problem_id"),
        (b'{"problem_id": "a", "pass_ratio": 1.5}', "line 2: pass_ratio"),
        (b'{"problem_id": "a", "pass_ratio": true}', "line 2: pass_ratio"),
        (b'{"problem_id": "a", "pass_ratio": NaN}', "line 2: not JSON"),
        (b'{"problem_id": "a", "rollouts": 1.0}', "line 2: rollouts"),
        (b'{"problem_id": "a", "rollouts": 2147483648}', "line 2: rollouts"),
        (b'{"problem_id": "a", "tokens": -1}', "line 2: tokens"),
        (b'{"problem_id": "a", "gold": "3"}', "line 2: gold"),
        (b'{"problem_id": "\xff"}', "line 2: not UTF-8"),
        (b'{"problem_id": "\\ud800"}', "line 2: not JSON"),
        (b'{"problem_id": "p1"}', "a problem_id is twice"),
        (b'{"problem_id": "a", "tokens": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper"),
        (b'{"problem_id": "' + b"x" * 513 + b'"}', "line 2: problem_id"),
    ],
)
def test_a_bad_line_changes_nothing(service: TestClient, registered: str, line: bytes, said: str) -> None:
    before = service.get(f"/v1/runs/{registered}/dataset").json()
    body = lines({"problem_id": "p1"}) + line + b"\n" + DATASET.replace(b': "p', b': "q')
    answer = service.put(f"/v1/runs/{registered}/dataset", content=body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    assert service.get(f"/v1/runs/{registered}/dataset").json() == before


def test_a_long_line_is_refused_before_it_has_come(tmp_path: Path) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"problem_id": "'
        for _ in range(1000):
            sent += 10_000
            yield b"x" * 10_000

    async def scenario(_: FastAPI, client: httpx.AsyncClient) -> None:
        (await client.put("/v1/runs/r", json={})).raise_for_status()
        problem(await client.put("/v1/runs/r/dataset", content=body()), 413, "too-large")
        assert sent < 100_000

    with_app(tmp_path, scenario)


def test_too_many_problems_are_refused_on_the_way(tmp_path: Path) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for number in range(1000):
            sent += 100
            yield lines(*({"problem_id": f"{number}-{i}"} for i in range(100)))

    async def scenario(_: FastAPI, client: httpx.AsyncClient) -> None:
        (await client.put("/v1/runs/r", json={})).raise_for_status()
        problem(await client.put("/v1/runs/r/dataset", content=body()), 413, "too-large")
        assert sent < 5000
        problem(await client.get("/v1/runs/r/dataset"), 404, "unknown-dataset")

    with_app(tmp_path, scenario, max_dataset_problems=2000)


def test_a_stream_that_breaks_off_changes_nothing(service: TestClient, registered: str) -> None:
    before = service.get(f"/v1/runs/{registered}/dataset").json()
    packed = gzip.compress(lines({"problem_id": "a"}, {"problem_id": "b"}))[:-9]
    headers = {"Content-Encoding": "gzip"}
    problem(service.put(f"/v1/runs/{registered}/dataset", content=packed, headers=headers), 400, "bad-compression")
    assert service.get(f"/v1/runs/{registered}/dataset").json() == before


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_second_compressed_stream_is_refused_and_not_dropped(
    service: TestClient, registered: str, encoding: str
) -> None:
    """`cat a.gz b.gz` is a valid file of gzip."""
    before = service.get(f"/v1/runs/{registered}/dataset").json()
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    body = pack(lines({"problem_id": "a"})) + pack(lines({"problem_id": "b"}))
    headers = {"Content-Encoding": encoding}
    problem(service.put(f"/v1/runs/{registered}/dataset", content=body, headers=headers), 400, "bad-compression")
    assert service.get(f"/v1/runs/{registered}/dataset").json() == before


def test_keys_for_other_runs_and_read_only_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(
        '[[key]]\nname = "a"\nkey = "key-a"\nruns = "a-"\n[[key]]\nname = "r"\nkey = "key-r"\naccess = "read"\n'
    )
    app = create_app(Settings(state_url="memory://", verifier_workers=1, api_keys_file=keys))
    with TestClient(app) as client:

        def call(method: str, path: str, key: str, **more: Any) -> Any:
            return client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **more)

        call("PUT", "/v1/runs/a-1", "key-a", json={}).raise_for_status()
        call("PUT", "/v1/runs/a-1/dataset", "key-a", content=DATASET).raise_for_status()
        asked = {"step": 0, "n": 3}
        assert call("POST", "/v1/runs/a-1/sample", "key-a", json=asked).status_code == 200
        problem(call("POST", "/v1/runs/b-1/sample", "key-a", json=asked), 403, "run-not-allowed")
        problem(call("PUT", "/v1/runs/b-1/dataset", "key-a", content=DATASET), 403, "run-not-allowed")
        problem(call("POST", "/v1/runs/a-1/sample", "key-r", json=asked), 403, "read-only-key")
        assert call("GET", "/v1/runs/a-1/dataset", "key-r").status_code == 200


@settings(max_examples=300, deadline=None)
@given(
    found=st.lists(
        st.one_of(
            st.text(max_size=60),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["problem_id", "data_source", "pass_ratio", "tokens"]), inner)
                ),
            ).map(json.dumps),
        ),
        max_size=4,
    )
)
def test_lines_of_any_text_are_problems_or_refused(found: list[str]) -> None:
    try:
        problems = read_problems(found, 0)
    except ApiError as error:
        refused = error
    else:
        assert all(isinstance(one, DatasetProblem) for one in problems)
        return
    assert (refused.status, refused.slug) == (422, "bad-dataset")
    assert len(refused.detail) < 600


def test_other_requests_are_answered_while_a_large_data_set_arrives(tmp_path: Path) -> None:
    """The sender waits in the middle until other requests are answered."""
    answered = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for number in range(20):
            yield lines(*({"problem_id": f"{number}-{i}"} for i in range(1000)))
            if number == 10:
                await asyncio.wait_for(answered.wait(), 240)

    async def scenario(_: FastAPI, client: httpx.AsyncClient) -> None:
        (await client.put("/v1/runs/r", json={})).raise_for_status()
        putting = asyncio.create_task(client.put("/v1/runs/r/dataset", content=body()))
        for _ in range(4):
            (await client.get("/v1/runs/r")).raise_for_status()
        answered.set()
        assert (await putting).json()["problems"] == 20_000

    with_app(tmp_path, scenario)
