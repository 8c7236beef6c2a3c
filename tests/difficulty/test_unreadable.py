"""Values of a store that were damaged, or written by another program: a method works, or raises a DifficultyError."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.difficulty.bins import BINS
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.errors import DifficultyError
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.samples import SampleRequest
from deepcompress_service.settings import Settings

from .driving import Driver, Run, group
from .servers import RedisServer, needs_redis

VALUES: tuple[Callable[[bytes], bytes], ...] = (
    lambda value: b"",
    lambda value: b"x",
    lambda value: b"99999999999999999999",
    lambda value: value[: len(value) // 2],
    lambda value: value + b"\0",
    lambda value: b"\xff" * len(value),
)


def train(driver: Driver) -> None:
    run = Run(driver, "r", DifficultyConfig())
    for step in range(3):
        run.commit(step, group("p", 1, 2), group("q", 2, 2))
    driver.put_dataset("r", [DatasetProblem("p", "s"), DatasetProblem("q", "s"), DatasetProblem("w", None)])
    driver.sample(SampleRequest("r", 3, 2, (1.0,) * BINS, "{}"))
    driver.checkpoint("r", "c", 2)
    run.observe(3, "p", "a", True)
    Run(driver, "other", DifficultyConfig()).commit(0, group("p", 1, 2))


def use(driver: Driver) -> int:
    """Call every method that reads the run; return how many were refused."""
    run = Run(driver, "r", DifficultyConfig())
    calls: list[Callable[[], Any]] = [
        lambda: driver.get_run("r"),
        lambda: driver.history("r"),
        lambda: driver.source_history("r"),
        lambda: driver.problems("r"),
        lambda: driver.problem("r", "p"),
        lambda: driver.problem_course("r", "p"),
        lambda: driver.checkpoints("r"),
        lambda: driver.wait(driver.store.dataset("r")),
        lambda: driver.recorded("r", {"p": b"x" * 16}, step=2),
        lambda: driver.export("r"),
        lambda: driver.sample(SampleRequest("r", 3, 2, (1.0,) * BINS, "{}")),
        lambda: driver.sample(SampleRequest("r", 4, 2, (1.0,) * BINS, "{}")),
        lambda: run.commit(2, group("p", 1, 2), group("q", 2, 2)),
        lambda: run.commit(3, group("p", 1, 2), group("q", 2, 2)),
        lambda: run.commit(4, group("p", 1, 2)),
        lambda: run.observe(5, "p", "b", True),
        lambda: driver.put_dataset("r", [DatasetProblem("p", "s"), DatasetProblem("q", "s")]),
        lambda: driver.put_run("r", DifficultyConfig(), "{}"),
        lambda: driver.checkpoint("r", "d", 3),
        lambda: driver.restore("r", "c"),
        lambda: driver.rewind("r", 1),
        lambda: driver.sweep(1e9),
    ]
    refused = 0
    for call in calls:
        try:
            call()
        except DifficultyError:
            refused += 1
    assert driver.get_run("other").level < 1.0
    assert "other" in [state.run for state in driver.list_runs()]
    return refused


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--appendfsync", "no")
    server.start()
    yield server
    server.kill()


@needs_redis
@pytest.mark.parametrize("part", range(4))
def test_every_value_of_a_run_in_redis(redis: RedisServer, part: int) -> None:
    with redis.client() as client:
        client.flushall()
        driver = Driver(redis.url)
        train(driver)
        whole = {key: client.dump(key) for key in client.keys("*")}
        refused = cases = 0
        fields = [
            (key, field, value)
            for key in sorted(whole)
            if key.startswith(b"dc:{r}") and client.type(key) == b"hash"
            for field, value in sorted(client.hgetall(key).items())
        ]
        for number, (key, field, value) in enumerate(fields):
            if number % 4 != part:
                continue
            damage = VALUES[number // 4 % len(VALUES)]
            client.hset(key, field, damage(value))
            refused += use(driver)
            cases += 1
            client.flushall()
            for name, dumped in whole.items():
                client.restore(name, 0, dumped)
        assert refused > cases > 5
        driver.close()


@needs_redis
def test_keys_of_another_type_or_with_foreign_entries_in_redis(redis: RedisServer) -> None:
    with redis.client() as client:
        client.flushall()
        driver = Driver(redis.url)
        train(driver)
        whole = {key: client.dump(key) for key in client.keys("*")}
        for key in sorted(whole):
            if not key.startswith(b"dc:{r}"):
                continue
            kind = client.type(key)
            client.delete(key)
            client.set(key, "x") if kind != b"string" else client.rpush(key, "x")
            use(driver)
            client.flushall()
            for name, dumped in whole.items():
                client.restore(name, 0, dumped)
            if kind == b"hash":
                client.hset(key, "foreign", "x")
            elif kind == b"zset":
                client.zadd(key, {"foreign": float("inf")})
            use(driver)
            client.flushall()
            for name, dumped in whole.items():
                client.restore(name, 0, dumped)
        driver.close()


def test_every_value_of_a_run_in_sqlite(tmp_path: Path) -> None:
    driver = Driver(f"sqlite:///{tmp_path}/whole.sqlite3")
    train(driver)
    driver.close()
    space = "space IN (SELECT space FROM spaces WHERE run = 'r' AND checkpoint IS NULL)"
    with closing(sqlite3.connect(tmp_path / "whole.sqlite3")) as whole:
        tables = [name for (name,) in whole.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        columns = {table: [row[1] for row in whole.execute(f"PRAGMA table_info({table})")] for table in tables}
        refused = 0
        for table, names in columns.items():
            for column in {"record", "meta", "prior"} & set(names) if table != "meta" else ():
                for number, value in enumerate((b"\xff\0x", "{", b"")):
                    file = tmp_path / f"{table}-{column}-{number}.sqlite3"
                    with closing(sqlite3.connect(file)) as damaged:
                        whole.backup(damaged)
                        where = space if "space" in names else "1"
                        damaged.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
                        damaged.commit()
                    driver = Driver(f"sqlite:///{file}")
                    refused += use(driver)
                    driver.close()
        assert refused > 20


@needs_redis
def test_a_configuration_that_cannot_be_read_is_a_503(redis: RedisServer) -> None:
    with redis.client() as client:
        client.flushall()
        with TestClient(create_app(Settings(state_url=redis.url, verifier_workers=1))) as service:
            assert service.put("/v1/runs/r", json={}).status_code == 201
            client.hset("dc:{r}:m", "config_text", '{"strategy')
            answer = service.get("/v1/runs/r")
            assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "store-too-new")
            assert service.get("/v1/runs").json() == {"runs": []}
