"""The structure of a body is counted before it is parsed, and text is never counted as structure."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress_client.wire import ScoreRequest, VerifyRequest
from deepcompress_service.api import structure
from deepcompress_service.api.compression import make_unpacker
from deepcompress_service.api.errors import ApiError
from deepcompress_service.api.json_bodies import parse
from deepcompress_service.api.structure import Structure, count_structure

from .test_endpoints import problem


def counted(value: Any) -> Structure:
    """The same by walking the parsed value."""
    if isinstance(value, str):
        return Structure(0, 1, 0)
    if not isinstance(value, list | dict):
        return Structure()
    inner = list(value) if isinstance(value, list) else [part for pair in value.items() for part in pair]
    parts = [counted(part) for part in inner]
    return Structure(
        sum(part.objects for part in parts) + isinstance(value, dict),
        sum(part.strings for part in parts),
        sum(part.commas for part in parts) + max(0, len(value) - 1),
    )


texts = st.text(alphabet='{}[],:"\\ aé\n\u2028', max_size=30)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(value=values, at_once=st.integers(1, 7), spaced=st.booleans())
def test_the_count_is_that_of_the_parsed_value(value: Any, at_once: int, spaced: bool) -> None:
    raw = json.dumps(value, ensure_ascii=spaced, indent=1 if spaced else None).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "FEW_QUOTES", -(10**9))
        patch.setattr(structure, "_SCAN_BYTES", at_once)
        assert count_structure(raw) == counted(value)


def test_text_is_not_looked_at_twice() -> None:
    text = "Let $x = 3$, then we are done. " * 40_000
    assert count_structure(json.dumps({"items": [{"gold": "1", "response": text}]}).encode()) == Structure()


@pytest.mark.parametrize("size", [1, 3, 1000, 1 << 20])
@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_bytes_after_a_compressed_stream_are_refused_wherever_the_chunks_end(
    encoding: str, pack: Callable[[bytes], bytes], size: int
) -> None:
    packed = pack(b"a line\n" * 500)
    content = b"a line\n" * 500

    def unpacked(body: bytes) -> bytes:
        unpacker = make_unpacker(encoding)
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        return b"".join(piece for chunk in chunks for piece in unpacker.unpack(chunk))

    assert unpacked(packed) == content
    for more in (b"x", packed):
        with pytest.raises(ApiError, match="more bytes after the end"):
            unpacked(packed + more)


def test_a_response_of_nothing_but_structure_costs_only_itself(service: TestClient) -> None:
    hostile = ['{"a":0},' * 60_000, "," * 500_000, '"' * 300_000, '\\"{' * 200_000, "[" * 500_000]
    items = [{"gold": "1", "response": text + "\\boxed{1}"} for text in hostile]
    answer = service.post("/v1/verify", json={"items": items})
    assert [verdict["status"] for verdict in answer.json()["verdicts"]] == ["correct"] * len(hostile)


MANY = 400_000
CROWDS = {
    "tiny items": b'{"items":[' + b",".join([b'{"gold":"1","response":""}'] * MANY) + b"]}",
    "unknown fields": b'{"items":[{"gold":"1","response":"",'
    + b",".join(b'"k%d":0' % n for n in range(MANY))
    + b"}]}",
    "values": b'{"items":[],"x":[' + b"0," * (4 * MANY) + b"0]}",
    "gold answers": b'{"items":[{"response":"","gold":[' + b",".join([b'""'] * MANY) + b"]}]}",
    "single rollouts": b'{"run":"r","step":1,"groups":['
    + b",".join(b'{"problem_id":"%d","rollouts":[{"correct":true}]}' % n for n in range(MANY))
    + b"]}",
}


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/shape", "/v1/score", "/v1/rollouts"])
def test_a_crowd_is_a_413_before_it_is_parsed(
    service: TestClient, crowd: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("was parsed")

    monkeypatch.setattr("deepcompress_service.api.context.parse", never)
    problem(service.post(path, content=CROWDS[crowd]), 413, "too-large")


@pytest.mark.parametrize("items", [b"0," * MANY + b"0", b"{}," * MANY + b"{}", b"[]," * MANY + b"[]"])
def test_a_million_wrong_items_are_one_error(service: TestClient, items: bytes) -> None:
    answer = service.post("/v1/verify", content=b'{"items":[' + items + b"]}")
    assert answer.status_code in (413, 422)
    assert len(answer.content) < 4096


def test_as_many_items_as_the_limits_allow_are_accepted() -> None:
    """Every field of the wire in each: what the limits permit is not refused by how it is built."""
    item: dict[str, Any] = {"id": "a", "gold": ["1", "2"], "response": "", "run": "r", "epoch": 0, "step": 1}
    item |= {"generation": 0, "phase": "train", "problem_id": "p", "group_id": "g", "rollout_id": "r"}
    item |= {"tokens": 1, "truncated": False}
    found = count_structure(json.dumps({"items": [item] * 20_000}).encode())
    assert found.objects == 20_001
    assert not found.exceeds_limits


@pytest.mark.parametrize("path", ["/v1/runs/small-1", "/v1/runs/small-1/rewind", "/compat/roll/task_result"])
def test_requests_without_a_batch_have_small_bodies(service: TestClient, path: str) -> None:
    method = "PUT" if path == "/v1/runs/small-1" else "POST"
    answer = service.request(method, path, content=b" " * (1 << 20) + b"{}")
    problem(answer, 413, "too-large")


ROLLOUT = {"response": "", "tokens": 812, "truncated": False}
BODIES = {
    "verify": (VerifyRequest, {"items": [{"id": "a", "gold": "1", "response": ""}] * 30_000}),
    "score": (
        ScoreRequest,
        {
            "run": "r",
            "step": 1,
            "groups": [{"problem_id": f"p{n}", "gold": "1", "rollouts": [ROLLOUT] * 15} for n in range(2_000)],
        },
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_weight_of_a_body_is_at_least_the_memory_that_parsing_takes(name: str) -> None:
    """Many small items without text: the parsed models are nearly all of the memory."""
    model, body = BODIES[name]
    raw = json.dumps(body).encode()
    tracemalloc.start()
    try:
        parsed = parse(model, raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert parsed is not None
    weight = len(raw) + count_structure(raw).memory
    assert peak <= weight <= 4 * peak
