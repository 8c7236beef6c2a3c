"""Random lives of a run (test_stateful.py) on servers that die or hand over between two events of a life.

A server is killed and restarted, with and without TLS; a replica takes over under Sentinel; a cluster moves the run's
slot. All that was acknowledged is there afterwards, equal to the model: groups, also of asynchronous runs,
observations, data sets, samples and checkpoints.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from hypothesis.stateful import invariant, run_state_machine_as_test
from redis.crc import key_slot

from deepcompress_service.difficulty.dataset import DatasetProblem, DatasetSummary
from deepcompress_service.difficulty.errors import StoreUnavailable

from ..waiting import eventually
from .campaign import patient
from .driving import Driver
from .servers import RedisServer, await_replicas, await_sentinels, needs_redis, start_sentinels, tls_server
from .test_moving_slots import SLOT, Masters
from .test_stateful import Lives, of_lives

EXAMPLES = int(os.environ.get("DEEPCOMPRESS_STATEFUL_FAULT_EXAMPLES", "8"))
FAULT_AFTER = (9, 21)
"""Events of a life after which the fault comes."""

pytestmark = [needs_redis, pytest.mark.slow, pytest.mark.timeout(900)]

_names = (name for i in itertools.count() if key_slot((name := f"life {i}").encode()) == SLOT)
Fault = Callable[[], None]
T = TypeVar("T")


class PatientDriver(Driver):
    """A driver that repeats what the store does on one connection without retries.

    A busy machine can make the sentinels promote a server once more, after the fault.
    """

    def put_dataset(self, run: str, problems: Sequence[DatasetProblem], seed: bytes = bytes(16)) -> DatasetSummary:
        """Register a data set; a repetition finds that the run has the same."""
        return repeated(lambda: super(PatientDriver, self).put_dataset(run, problems, seed))

    def export(self, run: str) -> list[str]:
        """Export a run."""
        return repeated(lambda: super(PatientDriver, self).export(run))


def repeated(call: Callable[[], T]) -> T:
    """Return the result of a call, which is repeated while the store is unavailable."""
    refused: list[StoreUnavailable] = []

    def result() -> list[T]:
        try:
            return [call()]
        except StoreUnavailable as error:
            refused[:] = [error]
            return []

    return eventually(result, lambda: refused)[0]


class Pair:
    """A master and its replica under three sentinels."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "0", "--repl-diskless-sync-delay", "0")
        self.replica = RedisServer(folder / "1", "--repl-diskless-sync-delay", "0")
        self.master.start()
        self.replica.start()
        self._follow()
        self.sentinels = start_sentinels(folder, self.master, 3, down_after_ms=2500)
        await_sentinels(self.sentinels, self.master, 1)

    def _follow(self) -> None:
        with self.replica.client() as client:
            client.replicaof("127.0.0.1", self.master.port)
        await_replicas(self.master, 1)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/state"

    def fail_over(self) -> None:
        """Kill the master; when the replica has taken over, the old master becomes a replica of it."""
        self.master.kill()
        with self.replica.client() as client:
            eventually(lambda: client.info("replication")["role"] == "master", "no failover")
        self.master, self.replica = self.replica, self.master
        self.replica.start()
        self._follow()
        await_sentinels(self.sentinels, self.master, 1)

    def kill(self) -> None:
        for server in (*self.sentinels, self.master, self.replica):
            server.kill()


@pytest.fixture(params=["killed", "killed with TLS", "Sentinel", "Cluster"])
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Driver, Fault]]:
    """A store, and the fault of its servers."""
    if request.param == "Sentinel":
        pair = Pair(tmp_path)
        driver = PatientDriver(pair.url, replicas=1)
        yield driver, pair.fail_over
        driver.close()
        pair.kill()
    elif request.param == "Cluster":
        masters = Masters(tmp_path)
        driver = PatientDriver(masters.url)
        yield driver, masters.move_all
        driver.close()
        for server in masters.servers:
            server.kill()
    else:
        server, url = tls_server(tmp_path / "0")
        server.start()

        def restart() -> None:
            server.kill()
            server.start()

        driver = PatientDriver(url if "TLS" in request.param else server.url)
        yield driver, restart
        driver.close()
        server.kill()


class FaultyLives(Lives):
    """A life in which the fault comes after some of its events."""

    fault: ClassVar[Fault]
    met: ClassVar[list[str]]
    """The run of each fault so far."""

    def __init__(self) -> None:
        super().__init__()
        self.run = next(_names)
        self.other = f"{self.run}-copy"
        self.events = 0

    @invariant()
    def meet_a_fault(self) -> None:
        self.events += 1
        if self.events in FAULT_AFTER:
            self.met.append(self.run)
            type(self).fault()
            self.driver.wait(patient(self.driver.store.ping))


def test_random_lives_over_faults(faulty: tuple[Driver, Fault]) -> None:
    driver, fault = faulty
    met: list[str] = []
    machine = type("LivesOfThese", (FaultyLives,), {"driver": driver, "fault": staticmethod(fault), "met": met})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=of_lives(EXAMPLES),
    )
    assert met
