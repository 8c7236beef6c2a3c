"""One contract for every rendezvous: memory, SQLite and a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deepcompress_service.rendezvous import (
    Arrival,
    Cohort,
    Collecting,
    Refused,
    Released,
    Rendezvous,
    WaitingRoom,
    open_rendezvous,
)

Scenario = Callable[[Rendezvous, Rendezvous], Awaitable[None]]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian's package of that name)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario with two replicas of the same rendezvous (one and the same, in memory)."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 's.sqlite3'}"}.get(request.param)
    if url is None:
        url = request.getfixturevalue("redis_url")

    def run(scenario: Scenario) -> None:
        async def both() -> None:
            one = open_rendezvous(url)
            other = one if request.param == "memory" else open_rendezvous(url)
            await one.open()
            if other is not one:
                await other.open()
            try:
                await scenario(one, other)
            finally:
                await one.close()
                if other is not one:
                    await other.close()

        asyncio.run(both())

    return run


def arrival(
    name: str, slot: int, *, size: int = 3, text: bytes = b"x", attempt: int = 0, timeout: float = 30, **more: bytes
) -> Arrival:
    header = more.get("header", b"h" * 16)
    return Arrival(Cohort("r", 0, 1, name), slot, size, attempt, header, text.ljust(16, b"."), b"p" + text, timeout)


def test_the_last_rollout_releases_the_group(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        assert isinstance(await one.arrive(arrival("full", 2, text=b"c")), Collecting)
        standing = await other.arrive(arrival("full", 0, text=b"a"))
        assert isinstance(standing, Collecting)
        assert standing.arrived == 2
        assert 25 < standing.remaining_s <= 30
        released = await one.arrive(arrival("full", 1, text=b"b"))
        assert released == Released(((0, b"pa"), (1, b"pb"), (2, b"pc")))
        assert await other.look(Cohort("r", 0, 1, "full"), 0, 2) == released

    play(scenario)


def test_a_retry_joins_its_own_slot_before_and_after_the_release(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        for _ in range(3):
            standing = await one.arrive(arrival("retry", 0, size=2))
            assert isinstance(standing, Collecting)
            assert standing.arrived == 1
        await other.arrive(arrival("retry", 1, size=2))
        assert isinstance(await other.arrive(arrival("retry", 0, size=2)), Released)

    play(scenario)


def test_other_content_for_a_slot_and_other_groups_are_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        await one.arrive(arrival("clash", 0))
        assert await other.arrive(arrival("clash", 0, text=b"y")) == Refused("conflict")
        assert await other.arrive(arrival("clash", 1, header=b"g" * 16)) == Refused("mismatch")
        assert await one.look(Cohort("r", 0, 1, "unheard-of"), 0, 0) == Refused("gone")

    play(scenario)


def test_a_higher_attempt_supersedes_until_the_release(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        await one.arrive(arrival("again", 0, size=2))
        assert isinstance(await other.arrive(arrival("again", 1, size=2, attempt=1, text=b"z")), Collecting)
        assert await one.look(Cohort("r", 0, 1, "again"), 0, 0) == Refused("superseded")
        assert await one.arrive(arrival("again", 1, size=2)) == Refused("superseded")
        released = await one.arrive(arrival("again", 0, size=2, attempt=1))
        assert released == Released(((0, b"px"), (1, b"pz")))
        assert await other.arrive(arrival("again", 0, size=2, attempt=2)) == Refused("late")

    play(scenario)


def test_the_deadline_releases_what_has_arrived_and_refuses_what_has_not(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        await one.arrive(arrival("slow", 1, timeout=0.2))
        await asyncio.sleep(0.3)
        assert await other.arrive(arrival("slow", 0, timeout=0.2)) == Refused("late")
        assert await one.look(Cohort("r", 0, 1, "slow"), 0, 1) == Released(((1, b"px"),))
        assert await one.look(Cohort("r", 0, 1, "slow"), 0, 0) == Refused("late")

    play(scenario)


def test_everyone_who_waits_gets_the_same_group(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        rooms = [WaitingRoom(one, 100), WaitingRoom(other, 100)]
        waiting = [
            asyncio.create_task(rooms[slot % 2].meet(arrival("crowd", slot, size=16, text=b"%d" % slot), 20))
            for slot in range(15)
        ]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
        # One hangs up: its slot stays filled.
        waiting[3].cancel()
        await asyncio.sleep(0)
        last = await rooms[0].meet(arrival("crowd", 15, size=16, text=b"15"), 20)
        stands = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(last, Released)
        assert len(last.slots) == 16
        assert [stand for stand in stands if not isinstance(stand, BaseException)] == [last] * 14
        assert rooms[0].waiting == rooms[1].waiting == 0

    play(scenario)


def test_whoever_waits_long_enough_is_told_how_it_stands(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        standing = await WaitingRoom(one, 10).meet(arrival("patient", 0), 0.2)
        assert isinstance(standing, Collecting)
        assert standing.arrived == 1

    play(scenario)
