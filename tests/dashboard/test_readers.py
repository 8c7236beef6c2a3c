"""Readers that take their time: exports and event streams have places per API key, and operators have their own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from deepcompress_service.admission.limits import KeyedSlots
from deepcompress_service.api.errors import ApiError
from deepcompress_service.app import EXPORTS, EXPORTS_PER_KEY, RESERVED_EXPORTS
from deepcompress_service.dashboard.routes import MAX_VIEWERS, RESERVED_VIEWERS, VIEWERS_PER_KEY

from ..waiting import eventually
from .conftest import Serve

KEYS = """
[[key]]
name = "operator"
key = "operator-key"

[[key]]
name = "one"
key = "one-key"
access = "read"

[[key]]
name = "two"
key = "two-key"
access = "read"
"""


def slots() -> KeyedSlots:
    return KeyedSlots(5, 2, 1, lambda: ApiError(429, "too-many", "too many"))


def test_a_key_has_few_places_and_operators_have_all() -> None:
    places = slots()
    with ExitStack() as held:
        for key in ("a", "a", "b", "b"):
            held.enter_context(places.admit(key, operator=False))
        for key in ("a", "c"):  # its own bound, and the reserve
            with pytest.raises(ApiError), places.admit(key, operator=False):
                pass
        held.enter_context(places.admit("operator", operator=True))
        with pytest.raises(ApiError), places.admit("operator", operator=True):
            pass
        assert places.count == 5
    assert places.count == 0


@contextmanager
def unread(address: str, path: str, key: str, count: int) -> Iterator[list[socket.socket]]:
    """Requests whose answers are never read."""
    host, _, port = address.removeprefix("http://").partition(":")
    sockets = []
    try:
        for _ in range(count):
            one = socket.create_connection((host, int(port)))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            sockets.append(one)
        yield sockets
    finally:
        for one in sockets:
            one.close()


def status(one: socket.socket) -> int:
    one.settimeout(60)
    return int(one.recv(12).split()[1])


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(KEYS)
    return file


def fill(client: httpx.Client, problems: int = 4000) -> None:
    groups = [
        {"problem_id": f"p{n}" * 20, "rollouts": [{"correct": True, "tokens": 5}, {"correct": False, "tokens": 9}]}
        for n in range(problems)
    ]
    body = {"run": "r", "step": 0, "groups": groups}
    assert client.post("/v1/shape", json=body).status_code == 200


def test_unread_exports_block_no_other_reader_and_are_released(keys: Path, serve: Serve) -> None:
    address = serve(api_keys_file=keys)
    pid = serve.last.pid  # type: ignore[attr-defined]
    with httpx.Client(base_url=address, headers=headers("operator-key"), timeout=60) as client:
        fill(client)
        before = len(os.listdir(f"/proc/{pid}/fd"))
        with unread(address, "/v1/runs/r/export", "one-key", 60) as sockets:
            statuses = [status(one) for one in sockets]
            assert statuses.count(200) <= EXPORTS_PER_KEY and statuses.count(429) >= 60 - EXPORTS_PER_KEY
            two = client.get("/v1/runs/r/export", headers=headers("two-key"))
            assert two.status_code == 200
            assert b'"end"' in two.content.splitlines()[-1] or two.content.endswith(b"\n")
            assert client.get("/v1/runs/r/export").status_code == 200
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 12)
        # The places are free again.
        eventually(lambda: client.get("/v1/runs/r/export", headers=headers("one-key")).status_code == 200)
        assert client.get("/v1/runs/none/export").status_code == 404
    assert EXPORTS_PER_KEY + RESERVED_EXPORTS <= EXPORTS


def test_an_operator_gets_a_stream_beside_readers_who_took_all_they_can(keys: Path, serve: Serve) -> None:
    address = serve(api_keys_file=keys)

    async def first_event(address: str, key: str) -> int:
        options = {"base_url": address, "headers": headers(key), "timeout": 60}
        async with httpx.AsyncClient(**options) as client, client.stream("GET", "/dashboard/events") as stream:
            return stream.status_code

    with unread(address, "/dashboard/events", "one-key", MAX_VIEWERS) as sockets:
        statuses = [status(one) for one in sockets]
        assert statuses.count(200) == VIEWERS_PER_KEY
        assert asyncio.run(first_event(address, "two-key")) == 200
        assert asyncio.run(first_event(address, "one-key")) == 503
        assert asyncio.run(first_event(address, "operator-key")) == 200
    assert RESERVED_VIEWERS > 0


def test_a_comparison_takes_as_many_places_as_it_has_runs(keys: Path, serve: Serve) -> None:
    """The snapshots of all runs that are shown at once are in memory."""
    address = serve(api_keys_file=keys)
    compared = "&".join(f"run=r{number}" for number in range(8))
    with unread(address, f"/dashboard/compare/events?{compared}", "one-key", VIEWERS_PER_KEY) as sockets:
        assert [status(one) for one in sockets].count(200) == VIEWERS_PER_KEY // 8
