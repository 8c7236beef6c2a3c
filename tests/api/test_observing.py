"""Logs and traces: one line a request, a span a part, and no text of a rollout in either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deepcompress_service.app import create_app
from deepcompress_service.observability import tracing
from deepcompress_service.settings import Settings

SECRET = "unmistakable-text-of-a-rollout"
BODY = {
    "run": "watched",
    "step": 3,
    "groups": [{"problem_id": "p", "gold": "1", "rollouts": [{"response": SECRET + "\\boxed{1}", "tokens": 4}]}],
}


def test_one_line_of_json_a_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(state_url=f"sqlite:///{tmp_path / 's.sqlite3'}", verifier_workers=1, log_format="json")
    with TestClient(create_app(settings)) as client:
        client.post("/v1/score", json=BODY, headers={"X-Request-ID": "abc-1"})
        client.post("/v1/score", content=b"{" + SECRET.encode(), headers={"X-Request-ID": "evil\x7f id"})
        client.get("/healthz")
    printed = capsys.readouterr().err
    assert SECRET not in printed
    lines = [json.loads(line) for line in printed.splitlines() if '"request"' in line]
    assert len(lines) == 2
    first, second = lines
    assert (first["request_id"], first["run"], first["step"], first["status"]) == ("abc-1", "watched", 3, 200)
    assert first["route"] == "/v1/score" and first["ms"] > 0
    assert second["status"] == 422 and "evil" not in second["request_id"]


def test_a_span_for_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    monkeypatch.setattr(tracing, "_tracer", None)
    settings = Settings(state_url=f"sqlite:///{tmp_path / 's.sqlite3'}", verifier_workers=1, tracing=True)
    with TestClient(create_app(settings)) as client:
        client.post("/v1/score", json=BODY)
    spans = exporter.get_finished_spans()
    names = [span.name for span in spans]
    assert "POST /v1/score" in names and "verify" in names and "store" in names
    assert all(SECRET not in str(dict(span.attributes or {})) for span in spans)
