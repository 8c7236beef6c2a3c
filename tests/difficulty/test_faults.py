"""Servers die and networks break in the middle of a run; the state is exact afterwards.

Each test is also a command, for instance ``pytest tests/difficulty/test_faults.py -k sentinel``. The number of
faults can be raised with DEEPCOMPRESS_FAULTS.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deepcompress_service.difficulty.errors import StoreTooNew, StoreUnavailable
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.store import open_store

from ..ports import free_cluster_port
from ..waiting import eventually_async
from .campaign import Faults, Plan, check, patient, register, train, train_all
from .proxy import MODES, Proxy
from .servers import RedisServer, await_replicas, await_sentinels, needs_redis, start_sentinels

FAULTS = int(os.environ.get("DEEPCOMPRESS_FAULTS", "5"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@needs_redis
def test_redis_killed_and_restarted(tmp_path: Path) -> None:
    """SIGKILL in the middle of a run, append-only file with appendfsync always, several times."""
    server = RedisServer(tmp_path)
    server.start()
    plans = Plan.both("killed", steps=12 * FAULTS, shards=6)

    async def scenario() -> None:
        timeout_s = 1.0
        stores = [open_store(server.url, timeout_s=timeout_s) for _ in range(2)]
        for store in stores:
            await patient(store.open)
        rng = random.Random(0)

        starting: list[asyncio.Task[None]] = []

        async def die() -> None:
            await asyncio.gather(*starting)
            await asyncio.sleep(rng.uniform(0, 0.02))  # anywhere in the step
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await open_store(server.url, timeout_s=0.2).ping()
            starting.append(asyncio.create_task(start_again()))  # not awaited: the steps after meet a dead server

        async def start_again() -> None:
            await asyncio.sleep(1.2 * timeout_s)  # a request that met the dead server is refused before
            await asyncio.to_thread(server.start)

        tally = await train_all(stores, plans, Faults([die] * FAULTS, 12 * FAULTS))
        await asyncio.gather(*starting)
        assert tally.refused
        for plan in plans:
            await check(stores[0], plan)
        for store in stores:
            await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


@needs_redis
def test_network_that_drops_delays_and_cuts(tmp_path: Path) -> None:
    """A proxy refuses, cuts before and after the request went through, answers late, or not at all."""
    server = RedisServer(tmp_path)
    server.start()
    plans = Plan.both("network", steps=30 * FAULTS, shards=4)

    async def scenario() -> None:
        proxy = Proxy(server.port)
        await proxy.start()
        stores = [open_store(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=0.5) for _ in range(2)]
        for store in stores:
            await patient(store.open)
        rng = random.Random(0)

        def misbehave(mode: str) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                proxy.mode = mode
                if mode == "refuse":
                    proxy.cut_all()
                met = proxy.met

                async def is_met() -> bool:
                    return proxy.met > met

                await asyncio.sleep(rng.uniform(0.1, 0.8))
                await eventually_async(is_met)
                proxy.mode = "pass"
                proxy.cut_all()

            return act

        modes = [*MODES[1:], *rng.choices(MODES[1:], k=FAULTS)] * 2
        await train_all(stores, plans, Faults([misbehave(mode) for mode in modes], 30 * FAULTS))
        for plan in plans:
            await check(stores[1], plan)
        # An answer that is lost after the store has counted.
        lost, direct = Plan.make("lost", steps=2, shards=1), open_store(server.url, timeout_s=60.0)
        first, second = (lost.commit(step, lost.steps[step][0]) for step in range(2))
        await patient(lambda: stores[0].commit(first))

        async def is_counted() -> bool:
            proxy.mode = "pass"
            await patient(stores[0].ping)  # leaves a connection, whose next answer is lost
            proxy.mode = "cut_after"
            with pytest.raises(StoreUnavailable):
                await stores[0].commit(second)
            return (await direct.get_run("lost")).step == 1

        await eventually_async(is_counted)
        await direct.close()
        proxy.mode = "pass"
        again = await patient(lambda: stores[0].commit(second))
        assert all(one.replayed for one in again.groups)
        for store in stores:
            await store.close()
        await proxy.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[tuple[list[RedisServer], list[RedisServer]]]:
    """One master with two replicas, three sentinels that know each other and them."""
    master = RedisServer(tmp_path / "0", "--repl-diskless-sync-delay", "0")
    master.start()
    redises = [master]
    for i in (1, 2):
        replica = RedisServer(tmp_path / str(i), "--replicaof", f"127.0.0.1 {master.port}")
        replica.start()
        redises.append(replica)
    await_replicas(master, 2)
    # So late that a request is refused before another server is promoted, and that a busy machine is no dead one.
    watchers = start_sentinels(tmp_path, master, 3, down_after_ms=4000)
    await_sentinels(watchers, master, 2)
    yield redises, watchers
    for server in (*watchers, *redises):
        server.kill()


@needs_redis
def test_sentinel_failover(sentinels: tuple[list[RedisServer], list[RedisServer]]) -> None:
    """The master dies; a replica that has every acknowledged write (WAIT) takes over."""
    redises, watchers = sentinels
    plans = Plan.both("failover", steps=60, shards=4)
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in watchers)

    async def scenario() -> None:
        stores = [open_store(f"redis+sentinel://{hosts}/state", timeout_s=1.0, replicas=1) for _ in range(2)]
        for store in stores:
            await patient(store.open)

        async def die() -> None:
            with watchers[0].client() as client:
                port = client.sentinel_master("state")["port"]
            (master,) = [server for server in redises if server.port == port]
            await asyncio.to_thread(master.kill)

        tally = await train_all(stores, plans, Faults([die], 60))
        assert tally.refused
        for plan in plans:
            await check(stores[0], plan)
        for store in stores:
            await store.close()

    asyncio.run(scenario())


@needs_redis
def test_without_enough_replicas_nothing_is_acknowledged(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    plan = Plan.make("alone", steps=1, shards=1)

    async def scenario() -> None:
        store = open_store(server.url, timeout_s=6.0, replicas=1)  # it waits a quarter of this for replicas
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="replicas"):
                await store.commit(plan.commit(0, plan.steps[0][0]))
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


@needs_redis
def test_cluster_that_loses_a_node(tmp_path: Path) -> None:
    """Three masters with a replica each; a master dies, its replica takes over, and acknowledges nothing before it
    has a replica again: the lost node, when it comes back."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
    nodes = [RedisServer(tmp_path / str(i), *options, port=free_cluster_port()) for i in range(6)]
    for node in nodes:
        node.start()
    try:
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=240,
        )
        runs = [f"cluster-{i}" for i in range(4)]
        kinds = (Plan.make, Plan.make_asynchronous)
        plans = [kinds[i % 2](run, steps=40, shards=3, seed=i) for i, run in enumerate(runs)]
        for node in nodes[:3]:
            await_replicas(node, 1)

        async def scenario() -> None:
            url = "redis+cluster://" + ",".join(addresses[1:])
            stores = [open_store(url, timeout_s=2.0, replicas=1) for _ in range(2)]
            for store in stores:
                await patient(store.open)  # a replica that is online may still be busy with its first copy
            dead = asyncio.Event()

            async def die() -> None:
                await asyncio.to_thread(nodes[0].kill)
                dead.set()

            # One death for all plans: every run has steps before it and after it.
            faults = Faults([die], len(plans[0].steps))
            training = [asyncio.create_task(train(stores, plan, faults=faults)) for plan in plans]
            await dead.wait()
            await asyncio.sleep(4.0)
            await asyncio.to_thread(nodes[0].start)
            tallies = await asyncio.gather(*training)
            assert any(tally.refused for tally in tallies)
            for plan in plans:
                await check(stores[0], plan)
            assert {state.run for state in await patient(stores[1].list_runs)} == set(runs)
            for store in stores:
                await store.close()

        asyncio.run(scenario())
    finally:
        for node in nodes:
            node.kill()


@needs_redis
def test_store_that_is_down_is_reported_and_recovers(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    plan = Plan.make("down", steps=1, shards=1)

    async def scenario() -> None:
        store = open_store(server.url, timeout_s=0.3)
        with pytest.raises(StoreUnavailable):
            await store.open()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.commit(plan.commit(0, plan.steps[0][0]))
        await asyncio.to_thread(server.start)
        await patient(store.ping)
        await patient(lambda: store.commit(plan.commit(0, plan.steps[0][0])))
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


@needs_redis
def test_redis_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    plan = Plan.make("newer", steps=2, shards=1)

    async def scenario() -> None:
        store = open_store(server.url, timeout_s=60.0)
        await store.open()
        await store.commit(plan.commit(0, plan.steps[0][0]))
        await store.put_run("ours", DifficultyConfig(), "{}")
        key = "dc:{newer}:m"
        for field, value in (("config", '{"what": "is new"}'), ("schema", "4")):
            was = server.client().hget(key, field)
            server.client().hset(key, field, value)
            for look in (store.get_run, store.history, store.problems, store.checkpoints):
                with pytest.raises(StoreTooNew):
                    await look("newer")
            assert [state.run for state in await store.list_runs()] == ["ours"], "one of them hides the others"
            assert (await store.sweep(None)).runs == ()
            if field != "schema":
                server.client().hset(key, field, was)
        with pytest.raises(StoreTooNew):
            await store.commit(plan.commit(1, plan.steps[1][0]))
        server.client().set("dc:schema", 4)
        with pytest.raises(StoreTooNew, match="schema version 4"):
            await open_store(server.url, timeout_s=60.0).open()
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()


def test_sqlite_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite3"

    async def scenario() -> None:
        store = open_store(url)
        await store.open()
        await store.close()
        with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
            connection.execute("PRAGMA user_version = 4")
        with pytest.raises(StoreTooNew, match="schema version 4"):
            await open_store(url).open()

    asyncio.run(scenario())


WORKER = """
import asyncio, sys
from deepcompress_service.difficulty.store import open_store
from tests.difficulty.campaign import Plan, train

async def main(url, plan, worker, workers):
    store = open_store(url)
    await store.open()
    for step in range(len(plan.steps)):
        await store.sample(plan.sample(step))
        for groups in plan.steps[step][worker::workers]:
            await store.commit(plan.commit(step, groups))
        print(step, flush=True)
        sys.stdin.readline()

asyncio.run(main(sys.argv[1], Plan.make("processes", steps=int(sys.argv[2]), shards=6), int(sys.argv[3]), 3))
"""


def test_sqlite_with_processes_killed(tmp_path: Path) -> None:
    """Three processes write one SQLite file; each is killed at random moments and sends everything again."""
    url = f"sqlite:///{tmp_path}/state.sqlite3"
    steps = 6
    plan = Plan.make("processes", steps=steps, shards=6)
    rng = random.Random(0)

    def start(worker: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(steps), str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def observe() -> None:
        store = open_store(url)
        await store.open()
        await register(store, plan)
        for step in range(steps):
            assert all(await store.observe(plan.observed[step]))
        await store.close()

    asyncio.run(observe())
    kills = 0
    for step in range(steps):
        workers = {i: start(i) for i in range(3)}
        waiting = set(workers)
        while waiting:
            for i in sorted(waiting):
                process = workers[i]
                if kills < 4 * FAULTS and rng.random() < 0.5:
                    time.sleep(rng.uniform(0.2, 0.9))
                    process.kill()
                    process.wait()
                    kills += 1
                    workers[i] = start(i)
                    continue
                assert process.stdout is not None
                assert process.stdin is not None
                done = -1
                while done < step:
                    line = process.stdout.readline()
                    assert line, "the worker failed"
                    done = int(line)
                    if done < step:
                        process.stdin.write(b"\n")
                        process.stdin.flush()
                waiting.discard(i)
        for process in workers.values():
            process.kill()
            process.wait()

    async def compare() -> None:
        store = open_store(url)
        await store.open()
        await check(store, plan)
        await store.close()

    asyncio.run(compare())
    assert kills


@needs_redis
def test_an_operation_that_is_cancelled_ends(tmp_path: Path) -> None:
    """Whenever the cancellation comes. redis-py's time limit of a write could lose it, so that a stop had no end."""
    server = RedisServer(tmp_path, "--appendfsync", "no")
    server.start()

    async def scenario() -> None:
        store = open_store(server.url, timeout_s=60.0)
        await store.open()

        async def sweep_forever() -> None:
            while True:
                await store.sweep(1e9)

        rng = random.Random(0)
        for _ in range(100):
            task = asyncio.create_task(sweep_forever())
            await asyncio.sleep(rng.uniform(0, 0.005))
            cancelled = asyncio.Event()
            task.add_done_callback(lambda _, ended=cancelled: ended.set())
            task.cancel()
            async with asyncio.timeout(30):
                await cancelled.wait()
            assert task.cancelled()
        await store.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()
