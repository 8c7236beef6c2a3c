"""A store that lost or rewound its data in the middle of a training, through the client and a real socket.

Each of these trained on from the initial level, or from old state, before runs had an incarnation and a version.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import AsyncClient, Client, Retry, Run
from deepcompress_client.errors import RunLost, RunRolledBack, Unavailable

from ..difficulty.servers import RedisServer, needs_redis
from ..difficulty.test_late_store import Service
from ..waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RESTORE = "deepcompress runs import"


def groups(step: int) -> list[dict[str, Any]]:
    rollouts = [{"correct": True, "tokens": 5 + step}, {"correct": False, "tokens": 9}]
    return [{"problem_id": f"p{step % 5}", "rollouts": rollouts}]


def train(run: Run, *steps: int) -> None:
    for step in steps:
        run.shape(groups(step), step=step)


class Stack:
    """A Redis server, a service on it, and a client."""

    def __init__(self, redis: RedisServer, service: Service) -> None:
        self.redis, self.service = redis, service
        self.url = f"http://127.0.0.1:{service.port}"
        self.client = Client(self.url, retry=Retry(max_elapsed_s=120))

    def restart(self, data: Path | None) -> None:
        """Kill Redis; start it with a copy of this data, or with none."""
        self.redis.kill()
        shutil.rmtree(self.redis.folder / "appendonlydir")
        if data is not None:
            shutil.copytree(data, self.redis.folder / "appendonlydir")
        self.redis.start()
        self.service.await_status("/readyz", 200)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    redis = RedisServer(folder / "redis")
    redis.start()
    service = Service(redis.url, folder)
    service.await_status("/readyz", 200)
    yield Stack(redis, service)
    service.stop()
    redis.kill()


@needs_redis
@pytest.mark.parametrize("loss", ["flushall", "restart without persistence", "other database"])
def test_a_lost_run_is_noticed(stack: Stack, loss: str) -> None:
    run = stack.client.run("lost", next_step=0)
    train(run, 0, 1, 2)
    saved = run.state_dict()
    with stack.redis.client() as redis:
        if loss == "flushall":
            redis.flushall()
        elif loss == "other database":
            redis.swapdb(0, 1)
    if loss == "restart without persistence":
        stack.restart(None)
    with pytest.raises(RunLost, match=RESTORE):
        train(run, 3)
    with pytest.raises(RunLost, match=RESTORE):
        stack.client.run("lost", next_step=3, state=saved)
    assert [one.run for one in stack.client.runs()] == [], "nothing was created"

    async def resume() -> None:
        async with AsyncClient(stack.url) as client:
            with pytest.raises(RunLost, match=RESTORE):
                await client.run("lost", next_step=3, state=saved)

    asyncio.run(resume())
    with stack.redis.client() as redis:
        redis.flushall()


@needs_redis
def test_another_run_of_the_name_is_noticed(stack: Stack) -> None:
    run = stack.client.run("again", next_step=0)
    train(run, 0, 1)
    with stack.redis.client() as redis:
        redis.flushall()
    train(stack.client.run("again", next_step=0), 0, 1, 2, 3)
    with pytest.raises(RunLost, match="incarnation"):
        train(run, 2)


@needs_redis
def test_an_older_snapshot_is_noticed(stack: Stack, tmp_path: Path) -> None:
    run = stack.client.run("older", next_step=0)
    train(run, 0, 1)
    shutil.copytree(stack.redis.folder / "appendonlydir", tmp_path / "snapshot")
    train(run, 2)
    saved = run.state_dict()
    stack.restart(tmp_path / "snapshot")
    with pytest.raises(RunRolledBack, match=RESTORE):
        train(run, 3)
    with pytest.raises(RunRolledBack, match=RESTORE):
        train(run, 2)  # a repeat of an acknowledged group would count again, beside groups that are gone
    with pytest.raises(RunRolledBack, match=RESTORE):
        stack.client.run("older", next_step=3, state=saved)


@needs_redis
def test_a_snapshot_from_before_a_rewind_is_noticed(stack: Stack, tmp_path: Path) -> None:
    run = stack.client.run("rewound", next_step=0)
    train(run, 0, 1)
    shutil.copytree(stack.redis.folder / "appendonlydir", tmp_path / "snapshot")
    run.rewind(1)
    stack.restart(tmp_path / "snapshot")
    with pytest.raises(RunRolledBack, match="epoch 0"):
        train(run, 1)


@needs_redis
def test_a_lagging_replica_that_is_promoted_is_noticed(stack: Stack, tmp_path: Path) -> None:
    run = stack.client.run("lagging", next_step=0)
    train(run, 0, 1)
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(stack.redis.port))
    replica.start()
    with replica.client() as client:

        def is_copied() -> bool:
            info = client.info("persistence")
            rewriting = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
            return bool(client.exists("dc:{lagging}:m")) and not rewriting

        eventually(is_copied)
    replica.kill()  # from here on it misses what its master acknowledges
    train(run, 2, 3)
    stack.redis.kill()
    shutil.rmtree(stack.redis.folder / "appendonlydir")
    shutil.copytree(replica.folder / "appendonlydir", stack.redis.folder / "appendonlydir")
    stack.redis.start()  # the promoted one, at the address of the service's store
    stack.service.await_status("/readyz", 200)
    with pytest.raises(RunRolledBack, match=r"version 2 .* version 4"):
        train(run, 4)


@needs_redis
@pytest.mark.parametrize("key", ["m", "p", "g:2"])
def test_an_evicted_key_is_noticed(stack: Stack, key: str) -> None:
    run = stack.client.run("evicted", next_step=0)
    train(run, 0, 1, 2)
    with stack.redis.client() as redis:
        assert redis.delete(f"dc:{{evicted}}:{key}") == 1
    with pytest.raises(RunLost, match=RESTORE):
        run.shape([{**groups(2)[0], "problem_id": "new"}], step=2)


@needs_redis
@pytest.mark.parametrize("key", ["ds", "dx", "dn"])
def test_an_evicted_key_of_a_data_set_is_noticed(stack: Stack, key: str) -> None:
    """No sample of what is left, and registering the problems again mends it."""
    run = stack.client.run(f"evicted-{key}", next_step=0)
    names = [f"p{number}" for number in range(50)]
    run.register(names)
    with stack.redis.client() as redis:
        assert redis.delete(f"dc:{{evicted-{key}}}:{key}") == 1
    with pytest.raises(RunLost, match="the store lost the data set"):
        run.sample(0, 8)
    if key != "ds":
        run.register(names)
        assert len(run.sample(0, 8).problems) == 8


@needs_redis
def test_a_redis_that_evicts_is_not_ready_and_refuses_training(stack: Stack) -> None:
    run = stack.client.run("evicting", next_step=0)
    train(run, 0)
    impatient = Client(stack.url, retry=Retry(max_elapsed_s=0.5))
    impatient_run = impatient.run("evicting", join=True)
    with stack.redis.client() as redis:
        redis.config_set("maxmemory-policy", "allkeys-random")
        stack.service.await_status("/readyz", 200)  # without a limit nothing is evicted
        try:
            redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 2_000_000)
            assert "noeviction" in stack.service.await_status("/readyz", 503).json()["why"]["store"]
            for number in range(1_000_000):
                redis.set(f"other-{number}", b"x" * 10_000)
                if number % 50 == 0 and redis.info("stats")["evicted_keys"]:
                    break
            with pytest.raises((Unavailable, RunLost)):
                for step in range(1, 100_000):
                    train(impatient_run, step)
        finally:
            redis.config_set("maxmemory", 0)
            redis.config_set("maxmemory-policy", "noeviction")
            redis.flushall()
    stack.service.await_status("/readyz", 200)


@needs_redis
def test_a_run_is_restored_by_an_import(stack: Stack, tmp_path: Path) -> None:
    """The way that the message names."""
    run = stack.client.run("restored", next_step=0)
    train(run, 0, 1)
    run.export_to(tmp_path / "restored.jsonl")
    level = run.info().level
    train(run, 2)
    saved = run.state_dict()
    with stack.redis.client() as redis:
        redis.flushall()
    with pytest.raises(RunLost):
        train(run, 3)
    stack.client.import_run("restored", tmp_path / "restored.jsonl")
    with pytest.raises(RunLost):
        train(run, 3)
    with pytest.raises(RunLost):
        stack.client.run("restored", next_step=2, state=saved)
    resumed = stack.client.run("restored", next_step=2)  # without the saved state: that is gone for good
    assert resumed.info().level == level
    train(resumed, 2, 3)


@needs_redis
def test_requests_without_identity_are_warned_every_time(stack: Stack) -> None:
    body = {"run": "plain", "step": 0, "groups": groups(0)}
    for _ in range(2):
        for answer in (stack.service.post("/v1/shape", body), stack.service.post("/v1/shape", body)):
            assert answer.status_code == 200
            (warning,) = [one for one in answer.json()["warnings"] if one.startswith("run-created: ")]
            assert "since step 0" in warning
        later = stack.service.post("/v1/shape", {**body, "step": 1, "groups": groups(1)}).json()
        assert not any("run-created" in one for one in later["warnings"])
        with stack.redis.client() as redis:
            redis.flushall()
    assert "was created by a training request" in stack.service.log.read_text()


@pytest.mark.parametrize("loss", ["removed", "replaced"])
def test_a_database_file_that_goes_away_is_noticed(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "state" / "state.sqlite3"
    service = Service(f"sqlite:///{path}", tmp_path)
    try:
        service.await_status("/readyz", 200)
        client = Client(f"http://127.0.0.1:{service.port}", retry=Retry(max_elapsed_s=0.5))
        run = client.run("file", next_step=0)
        train(run, 0, 1)
        path.rename(tmp_path / "moved")
        if loss == "replaced":
            shutil.copy(tmp_path / "moved", path)
        with pytest.raises(Unavailable, match=f"file was {loss}"):
            train(run, 2)
        with pytest.raises(Unavailable):
            run.info()
        why = service.await_status("/readyz", 503).json()["why"]["store"]
        assert loss in why
        assert "while it was open" in service.log.read_text()
        (tmp_path / "moved").rename(path)
        service.await_status("/readyz", 200)
        train(run, 2)
    finally:
        service.stop()


def test_strangers_get_no_details_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state" / "state.sqlite3"
    monkeypatch.setenv("DEEPCOMPRESS_API_KEYS", "good-key")
    service = Service(f"sqlite:///{path}", tmp_path)
    try:
        service.await_status("/readyz", 200)
        client = Client(f"http://127.0.0.1:{service.port}", api_key="good-key", retry=Retry(max_elapsed_s=0.1))
        train(client.run("file", next_step=0), 0)
        path.unlink()
        stranger = service.await_status("/readyz", 503).json()["why"]["store"]
        assert str(tmp_path) not in stranger
        assert "removed" not in stranger
        with pytest.raises(Unavailable) as known:
            client.ready()
        assert str(path) in str(known.value.problem)
        with pytest.raises(Unavailable) as refused:
            client.run("file", join=True)
        assert str(tmp_path) not in str(refused.value.problem)
        assert str(path) in service.log.read_text()
    finally:
        service.stop()
