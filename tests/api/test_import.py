"""Import over HTTP: the body is read line by line as the store takes it, within its bounds, packed or not; an export
refuses before it begins, and never ends as if it were whole."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import DifficultyConfig, RunState
from deepcompress_service.settings import Settings

from .conftest import shape_body
from .test_endpoints import problem

P = ("p", [True, False], [10, 20])


def with_app(tmp_path: Path, scenario: Callable[[FastAPI, httpx.AsyncClient], Any], **settings: Any) -> None:
    """A scenario against the app in process, whose requests are streamed."""
    app = create_app(Settings(state_url=f"sqlite:///{tmp_path / 's.sqlite3'}", verifier_workers=1, **settings))

    async def play() -> None:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await scenario(app, client)

    asyncio.run(play())


def test_a_body_is_read_as_the_store_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk of a body is read before the lines of the chunks before it were consumed."""
    sent = taken = ahead = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent, ahead
        for number in range(300):
            ahead = max(ahead, sent - taken)
            sent += 10
            yield b"".join(b'{"number": %d}\n' % (10 * number + i) for i in range(10))

    async def import_run(run: str, lines: AsyncIterator[str], *_: object) -> RunState:
        nonlocal taken
        async for line in lines:
            assert json.loads(line)["number"] == taken
            taken += 1
        return RunState(run, 1, DifficultyConfig(), "{}", None, None, 1.0, None, 0)

    async def scenario(app: FastAPI, client: httpx.AsyncClient) -> None:
        monkeypatch.setattr(app.state.context.store, "import_run", import_run)
        answer = await client.put("/v1/runs/r/import", content=body())
        assert answer.status_code == 200, answer.text

    with_app(tmp_path, scenario)
    assert (sent, taken) == (3000, 3000)
    assert ahead <= 10


@pytest.fixture
def exported(service: TestClient, run: str) -> bytes:
    for step in range(3):
        service.post("/v1/shape", json=shape_body(run, step, P)).raise_for_status()
    return service.get(f"/v1/runs/{run}/export").content


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_packed_bodies(service: TestClient, run: str, exported: bytes, encoding: str) -> None:
    body = {
        "identity": exported,
        "gzip": gzip.compress(exported),
        "zstd": zstandard.ZstdCompressor().compress(exported),
    }[encoding]
    headers = {"Content-Encoding": encoding}
    answer = service.put(f"/v1/runs/copy-{encoding}/import", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert service.get(f"/v1/runs/copy-{encoding}/export").content.splitlines()[1:] == exported.splitlines()[1:]
    if encoding != "identity":
        problem(service.put("/v1/runs/half/import", content=body[:-9], headers=headers), 400, "bad-compression")
        problem(service.put("/v1/runs/half/import", content=b"no" + body, headers=headers), 400, "bad-compression")
        problem(service.get("/v1/runs/half"), 404, "unknown-run")
    problem(
        service.put("/v1/runs/x/import", content=b"", headers={"Content-Encoding": "br"}), 415, "unsupported-encoding"
    )


def test_what_a_line_may_hold(service: TestClient, run: str, exported: bytes) -> None:
    """Only a line feed ends a line: other separators are text."""
    lines = exported.decode().splitlines()
    odd = ["\n", *[line.replace('"p"', '"p\u2028\u0085q"') + " \r\n" for line in lines], "\n", "  "]
    answer = service.put("/v1/runs/odd-lines/import", content="".join(odd).encode())
    assert answer.status_code == 200, answer.text
    assert service.get("/v1/runs/odd-lines/problems").json()["problems"][0]["problem_id"] == "p\u2028\u0085q"


def test_a_broken_import_changes_nothing(service: TestClient, run: str, exported: bytes) -> None:
    before = service.get(f"/v1/runs/{run}").json()
    for body in (b"", b"{}", exported[: len(exported) // 2], exported + b"{}", b"\xff\xfe" * 100):
        problem(service.put(f"/v1/runs/{run}/import", content=body), 422, "bad-export")
    assert service.get(f"/v1/runs/{run}").json() == before
    assert service.get(f"/v1/runs/{run}/export").content == exported


def test_bounds(tmp_path: Path) -> None:
    """Of the whole, of a line, and of what a packed body holds."""

    async def endless(line: bytes) -> AsyncIterator[bytes]:
        while True:
            yield line

    async def scenario(app: FastAPI, client: httpx.AsyncClient) -> None:
        for body in (
            endless(b"\n"),
            endless(b"x"),
            gzip.compress(b"\n" * 5_000_000),
            gzip.compress(b"x" * 5_000_000),
        ):
            headers = {"Content-Encoding": "gzip"} if isinstance(body, bytes) else {}
            answer = await client.put("/v1/runs/r/import", content=body, headers=headers)
            assert answer.status_code == 413
        assert (await client.get("/v1/runs")).json()["runs"] == []

    with_app(tmp_path, scenario, max_import_bytes=1_000_000, max_body_bytes=100_000)


def test_an_import_larger_than_a_body_may_be(tmp_path: Path) -> None:
    async def scenario(app: FastAPI, client: httpx.AsyncClient) -> None:
        groups = [(f"p{i}", [True, False], [1, 2]) for i in range(20)]
        for step in range(5):
            (await client.post("/v1/shape", json=shape_body("large", step, *groups))).raise_for_status()
        exported = (await client.get("/v1/runs/large/export")).content
        assert len(exported) > 3 * app.state.context.settings.max_body_bytes
        answer = await client.put("/v1/runs/copy/import", content=exported)
        assert answer.status_code == 200, answer.text
        assert answer.json()["problems"] == 20

    with_app(tmp_path, scenario, max_body_bytes=10_000)


def test_a_body_that_stops_coming_is_a_408(tmp_path: Path) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(3600)

    async def scenario(app: FastAPI, client: httpx.AsyncClient) -> None:
        answer = await client.put("/v1/runs/r/import", content=stuck())
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (408, "body-timeout")

    with_app(tmp_path, scenario, body_timeout_seconds=0.2)


def test_an_export_is_refused_before_it_begins(service: TestClient, run: str) -> None:
    problem(service.get("/v1/runs/nobody/export"), 404, "unknown-run")


def test_an_export_that_fails_on_the_way_does_not_look_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def export_run(run: str) -> AsyncIterator[str]:
        yield "{}"
        raise StoreUnavailable("gone")

    async def scenario(app: FastAPI, client: httpx.AsyncClient) -> None:
        monkeypatch.setattr(app.state.context.store, "export_run", export_run)
        # In process; over a socket the connection breaks.
        with pytest.raises(RuntimeError, match="response already started"):
            await client.get("/v1/runs/r/export")

    with_app(tmp_path, scenario)
