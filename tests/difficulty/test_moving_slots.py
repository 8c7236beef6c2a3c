"""A cluster that moves a run's slot to another master, key by key, while the run trains: a slot in motion refuses a
script whole, and afterwards every acknowledged group was counted once. ``DEEPCOMPRESS_FAULTS`` moves."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.crc import key_slot

from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.store import open_store

from ..ports import free_cluster_port
from ..waiting import eventually
from .campaign import Faults, Plan, check, patient, train_all
from .driving import Driver, Run, group
from .servers import RedisServer, needs_redis

FAULTS = int(os.environ.get("DEEPCOMPRESS_FAULTS", "5"))
RUN = "moved"
SLOT = key_slot(RUN.encode())

pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.timeout(600)]


class Masters:
    """Two of a cluster. The first has the run's slot at the beginning."""

    def __init__(self, folder: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
        self.servers = [RedisServer(folder / str(i), *options, port=free_cluster_port()) for i in range(2)]
        for server in self.servers:
            server.start()
        self.clients = [Redis(port=server.port, decode_responses=True) for server in self.servers]
        self.of_slot = 0
        other = (SLOT + 1) % 16384  # a master that loses its last slot becomes a replica
        self.ask(0, "CLUSTER", "ADDSLOTS", *(slot for slot in range(16384) if slot != other))
        self.ask(1, "CLUSTER", "ADDSLOTS", other)
        self.ask(1, "CLUSTER", "MEET", "127.0.0.1", self.servers[0].port)
        eventually(
            lambda: self.ask(1, "CLUSTER", "SLOTS") and all(self._ok(i) for i in (0, 1)),
            "the two did not become a cluster",
        )

    def ask(self, server: int, *command: Any) -> Any:
        return self.clients[server].execute_command(*command)  # type: ignore[no-untyped-call]

    def _ok(self, server: int) -> bool:
        return "cluster_state:ok" in self.ask(server, "CLUSTER", "INFO")

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.servers[1].port},127.0.0.1:{self.servers[0].port}"

    def _id(self, server: int) -> str:
        return str(self.ask(server, "CLUSTER", "MYID"))

    def move_all(self, pause_s: float = 0.0) -> None:
        """Move the slot with all its keys; requests may come in between."""
        self.begin()
        while keys := self.left():
            self.move(keys[0])
            time.sleep(pause_s)
        self.end()

    def begin(self) -> None:
        source, target = self.of_slot, 1 - self.of_slot
        self.ask(target, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", self._id(source))
        self.ask(source, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", self._id(target))

    def left(self) -> list[str]:
        """Those that are still where the slot comes from."""
        return sorted(self.ask(self.of_slot, "CLUSTER", "GETKEYSINSLOT", SLOT, 1000))

    def move(self, key: str) -> None:
        self.ask(self.of_slot, "MIGRATE", "127.0.0.1", self.servers[1 - self.of_slot].port, key, 0, 5000)

    def end(self) -> None:
        source, target = self.of_slot, 1 - self.of_slot
        for server in (target, source):
            self.ask(server, "CLUSTER", "SETSLOT", SLOT, "NODE", self._id(target))
        self.of_slot = target

    def stop(self) -> None:
        self.ask(1 - self.of_slot, "CLUSTER", "SETSLOT", SLOT, "STABLE")
        self.ask(self.of_slot, "CLUSTER", "SETSLOT", SLOT, "STABLE")


@pytest.fixture
def masters(tmp_path: Path) -> Iterator[Masters]:
    made = Masters(tmp_path)
    yield made
    for server in made.servers:
        server.kill()


@pytest.fixture
def run(masters: Masters) -> Iterator[Run]:
    """One with an epoch, a closed step and an open one."""
    driver = Driver(masters.url)
    run = Run(driver, RUN, DifficultyConfig())
    run.commit(0, group("old", 1))
    driver.rewind(RUN, 0)
    run.commit(0, group("old", 1))
    run.commit(1, group("new", 2))
    yield run
    driver.close()


@pytest.fixture
def refused(masters: Masters) -> Iterator[Run]:
    """The same run through a store that soon gives up: a request to a slot that moves is tried until then."""
    driver = Driver(masters.url, timeout_s=1.0)
    yield Run(driver, RUN, DifficultyConfig())
    driver.close()


def test_a_slot_that_begins_to_move_refuses_whole(masters: Masters, run: Run, refused: Run) -> None:
    """No key has moved yet, and what the script would make is not there: it must not end in its middle."""
    masters.begin()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            refused.commit(1, group("old", 3, group_id="more"))
    masters.stop()
    assert run.driver.problem(RUN, "old").attempts == 4
    assert not run.commit(1, group("old", 3, group_id="more")).groups[0].replayed
    assert run.driver.problem(RUN, "old").attempts == 8
    assert run.driver.history(RUN)[-1].groups == 2


@pytest.mark.parametrize("moved", ["m", "p", "e", "all but one"])
def test_a_slot_half_moved_makes_nothing_anew(masters: Masters, run: Run, refused: Run, moved: str) -> None:
    """A record that was not yet moved is not treated as missing: nothing is written beside it."""
    masters.begin()
    for key in masters.left()[1:] if moved == "all but one" else [f"dc:{{{RUN}}}:{moved}"]:
        masters.move(key)
    for change in (
        lambda: refused.commit(1, group("old", 3, group_id="more")),
        lambda: refused.observe(2, "g", "r", True),
        lambda: refused.state,
        lambda: refused.driver.problems(RUN),
    ):
        with pytest.raises(StoreUnavailable):
            change()
    elsewhere = Run(run.driver, "elsewhere", DifficultyConfig())
    elsewhere.commit(0, group("p", 1))  # on the same server, and in no slot that is moved
    for key in masters.left():
        masters.move(key)  # fails where the other side made one of this name
    masters.end()
    assert (run.state.epoch, run.driver.problem(RUN, "old").attempts) == (1, 4)
    assert run.commit(1, group("new", 2)).groups[0].replayed
    run.commit(1, group("old", 3, group_id="more"))
    assert run.driver.problem(RUN, "old").attempts == 8


def test_training_while_its_slot_is_moved(masters: Masters) -> None:
    steps = 8 * FAULTS
    beside = next(name for i in itertools.count() if key_slot((name := f"beside {i}").encode()) == SLOT)
    plans = [
        Plan.make(RUN, steps=steps, shards=4),
        Plan.make_asynchronous(beside, steps=steps, shards=3),
    ]

    def move() -> None:
        masters.move_all(0.005)

    async def scenario() -> None:
        stores = [open_store(masters.url, timeout_s=2.0) for _ in range(2)]
        for store in stores:
            await patient(store.open)
        tally = await train_all(stores, plans, Faults([lambda: asyncio.to_thread(move)] * FAULTS, steps))
        assert tally.acknowledged >= steps * 7
        for plan in plans:
            await check(stores[0], plan)
        for store in stores:
            await store.close()

    asyncio.run(scenario())
    assert masters.of_slot == FAULTS % 2


def test_a_node_that_was_cut_off_is_not_believed(masters: Masters) -> None:
    """It answers first, with the map of before; the server that it leads to names the right one."""
    stale = masters.servers[1].port  # has not the run's slot

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            if words[0].upper() == b"CLUSTER":
                writer.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % stale)
            else:
                writer.write(b"-CLUSTERDOWN The cluster is down\r\n")
            await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = open_store(f"redis+cluster://127.0.0.1:{port},127.0.0.1:{stale}", timeout_s=60.0)
        await store.open()
        await store.put_run(RUN, DifficultyConfig(), "{}")
        await store.close()
        server.close()

    asyncio.run(scenario())
