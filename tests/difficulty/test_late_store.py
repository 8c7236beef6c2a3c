"""A service whose store is not there: it starts, gives the reason why it is not ready, goes on verifying, and uses
the store as
soon as it is there, without a restart. A store of a newer version is refused, at the start and later."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepcompress_service.difficulty.errors import StoreTooNew, StoreUnavailable
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.difficulty.stores import breaker
from deepcompress_service.difficulty.stores.breaker import CircuitBreaker

from ..ports import free_port
from ..waiting import eventually
from .campaign import Plan
from .servers import RedisServer, needs_redis

SHAPE = {
    "run": "late",
    "step": 1,
    "groups": [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 5}, {"correct": False, "tokens": 9}]}],
}
VERIFY = {"items": [{"id": "a", "gold": "7", "response": "\\boxed{7}"}]}
OBSERVED = {
    "items": [
        {
            **VERIFY["items"][0],
            "run": "late",
            "step": 1,
            "problem_id": "p",
            "rollout_id": "r",
            "tokens": 3,
        }
    ]
}


class Service:
    def __init__(self, state_url: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.log = folder / "service.log"
        command = [sys.executable, "-m", "deepcompress_service", "serve", "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--state-url", state_url, "--verifier-workers", "1", *options], stdout=log, stderr=log
            )

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=60)

    def await_status(self, path: str, status: int) -> httpx.Response:
        def answered() -> httpx.Response | None:
            try:
                answer = self.get(path)
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text(errors="replace")
                return None
            return answer if answer.status_code == status else None

        return eventually(answered, lambda: self.log.read_text(errors="replace"), 240)

    def await_shaped(self) -> httpx.Response:
        """Send the shape request until it is not refused; however often it is sent, it counts once."""

        def shaped() -> httpx.Response | None:
            answer = self.post("/v1/shape", SHAPE)
            assert answer.status_code in (200, 503), answer.text
            return answer if answer.status_code == 200 else None

        return eventually(shaped)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def late_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.kill()


@needs_redis
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_redis_comes_after_the_service(late_redis: RedisServer, tmp_path: Path, workers: str) -> None:
    service = Service(late_redis.url, tmp_path, "--workers", workers)
    try:
        not_ready = service.await_status("/readyz", 503)
        assert "Redis" in not_ready.json()["why"]["store"]
        assert "the state store cannot be used yet" in service.log.read_text()
        assert service.get("/healthz").status_code == 200
        refused = service.post("/v1/shape", SHAPE)
        assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (503, "store-unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert service.post("/v1/verify", VERIFY).json()["verdicts"][0]["correct"] is True
        observed = service.post("/v1/verify", OBSERVED).json()["verdicts"][0]
        assert (observed["correct"], observed["recorded"]) == (True, False)
        late_redis.start()
        service.await_status("/readyz", 200)
        assert service.await_shaped().json()["level"] == 0.99 + (1 - 0.99) * 0.5
        assert service.post("/v1/verify", OBSERVED).json()["verdicts"][0]["recorded"] is False, "its group is shaped"
        assert late_redis.client().get("dc:schema") == b"3"
    finally:
        service.stop()


@needs_redis
@pytest.mark.slow
def test_a_redis_of_a_newer_version_that_comes_late_is_refused(late_redis: RedisServer, tmp_path: Path) -> None:
    late_redis.start()
    late_redis.client().set("dc:schema", 99)  # on its disk: it has this version from the moment that it is there
    late_redis.kill()
    service = Service(late_redis.url, tmp_path)
    try:
        service.await_status("/readyz", 503)
        late_redis.start()

        def slug() -> str:
            refused = service.post("/v1/shape", SHAPE)
            assert refused.status_code == 503, refused.text
            return str(refused.json()["type"].rpartition(":")[2])

        eventually(lambda: "schema version 99" in service.get("/readyz").json()["why"].get("store", ""))
        eventually(lambda: slug() == "store-too-new")
        assert late_redis.client().keys("dc:{late}:*") == []
        late_redis.client().set("dc:schema", 1)
        service.await_shaped()  # it is used as soon as its version is a known one
    finally:
        service.stop()


@needs_redis
@pytest.mark.slow
def test_a_store_of_a_newer_version_ends_the_start_with_a_reason(late_redis: RedisServer, tmp_path: Path) -> None:
    late_redis.start()
    late_redis.client().set("dc:schema", 99)
    with sqlite3.connect(tmp_path / "newer.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    for url in (late_redis.url, f"sqlite:///{tmp_path}/newer.sqlite3"):
        service = Service(url, tmp_path)
        assert service.process.wait(240) != 0
        assert "the state store cannot be used" in service.log.read_text()
        assert "schema version 99" in service.log.read_text()


@pytest.mark.slow
def test_a_sqlite_file_that_cannot_be_used_yet(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    holder = sqlite3.connect(tmp_path / "volume" / "state.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    service = Service(f"sqlite:///{tmp_path}/volume/state.sqlite3", tmp_path)
    try:
        assert "SQLite" in service.await_status("/readyz", 503).json()["why"]["store"]
        assert service.post("/v1/shape", SHAPE).status_code == 503
        assert service.post("/v1/verify", OBSERVED).json()["verdicts"][0]["correct"] is True
        holder.rollback()
        service.await_status("/readyz", 200)
        service.await_shaped()
        single = {"run": "single", "step": 0, "problem_id": "p", "gold": "7", "response": "\\boxed{7}", "tokens": 2}
        answer = service.post("/v1/rollouts", {**single, "rollout_index": 0, "group_size": 1})
        assert answer.status_code == 200, answer.text
    finally:
        service.stop()
        holder.close()


def test_a_sqlite_file_of_a_newer_version_is_never_used(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "newer.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    plan = Plan.make("newer", steps=1, shards=1)

    async def scenario() -> None:
        store = open_store(f"sqlite:///{tmp_path}/newer.sqlite3")
        for attempt in (
            store.open,
            store.ping,
            lambda: store.commit(plan.commit(0, plan.steps[0][0])),
            store.list_runs,
        ):
            with pytest.raises(StoreTooNew):
                await attempt()
        await store.close()

    asyncio.run(scenario())


@needs_redis
def test_a_redis_that_takes_no_writes_is_not_ready(late_redis: RedisServer) -> None:
    """Full, and configured never to evict: reads are answered all the same."""
    late_redis.start()

    async def scenario() -> None:
        store = open_store(late_redis.url)
        await store.open()
        await store.ping()
        late_redis.client().config_set("maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.ping()
        late_redis.client().config_set("maxmemory", 0)
        await store.ping()
        await store.close()

    asyncio.run(scenario())


def test_a_server_that_is_gone_is_not_waited_for_by_everyone() -> None:
    now = 100.0
    one = CircuitBreaker(lambda: now)
    for _ in range(breaker.IN_A_ROW - 1):
        one.check()
        one.record_failure("gone")
    one.check()
    one.record_success()
    for _ in range(breaker.IN_A_ROW):
        one.check()
        one.record_failure("gone")
    with pytest.raises(StoreUnavailable, match="gone"):
        one.check()
    now += breaker.PAUSE_S
    one.check()
    with pytest.raises(StoreUnavailable):
        one.check()  # one asks for all
    one.record_success()
    one.check()
    one.check()


def test_a_server_that_is_gone_is_refused_without_an_attempt() -> None:
    """Counted in attempts, not in seconds: only this test listens at the port."""
    met = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        writer.transport.abort()

    async def scenario() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = open_store(f"redis://127.0.0.1:{port}/0", timeout_s=0.1)
        for _ in range(breaker.IN_A_ROW):
            with pytest.raises(StoreUnavailable):
                await store.get_run("r")
        before = met
        assert before
        refused = 0
        for _ in range(50):
            try:
                await store.get_run("r")
            except StoreUnavailable as error:
                refused += "next attempt follows in a moment" in error.detail
        assert refused >= 40
        with pytest.raises(StoreUnavailable, match="no answer"):
            await store.ping()
        assert met > before, "but whether it is ready is found out"
        await store.close()
        server.close()

    asyncio.run(scenario())
