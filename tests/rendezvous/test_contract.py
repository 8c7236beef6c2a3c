"""One contract for every rendezvous: memory, SQLite and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_service.difficulty.errors import StoreUnavailable
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
from deepcompress_service.rendezvous.model import Renewal

from ..difficulty.servers import REDIS_SERVER, RedisServer

Scenario = Callable[[Rendezvous, Rendezvous], Awaitable[None]]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REDIS_SERVER is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


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
    name: str,
    slot: int,
    *,
    size: int = 3,
    text: bytes = b"x",
    attempt: int = 0,
    timeout: float = 30,
    header: bytes = b"h" * 16,
    renewal: Renewal = "never",
) -> Arrival:
    digest, payload = text.ljust(16, b"."), b"p" + text
    return Arrival(Cohort("r", 0, 1, name), slot, size, attempt, header, digest, payload, timeout, renewal)


def test_the_last_rollout_releases_the_group(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        assert isinstance(await one.arrive(arrival("full", 2, text=b"c", timeout=600)), Collecting)
        standing = await other.arrive(arrival("full", 0, text=b"a", timeout=600))
        assert isinstance(standing, Collecting)
        assert standing.arrived == 2
        assert 300 < standing.remaining_s <= 600
        released = await one.arrive(arrival("full", 1, text=b"b", timeout=600))
        assert released == Released(((0, b"pa"), (1, b"pb"), (2, b"pc")), 0)
        assert isinstance(released, Released)
        assert await other.look(Cohort("r", 0, 1, "full"), released.round, 0, 2) == released

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
        assert await one.look(Cohort("r", 0, 1, "unheard-of"), 1, 0, 0) == Refused("gone")

    play(scenario)


def test_a_higher_attempt_supersedes_until_the_release(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        first = await one.arrive(arrival("again", 0, size=2))
        assert isinstance(first, Collecting)
        assert isinstance(await other.arrive(arrival("again", 1, size=2, attempt=1, text=b"z")), Collecting)
        assert await one.look(Cohort("r", 0, 1, "again"), first.round, 0, 0) == Refused("superseded")
        assert await one.arrive(arrival("again", 1, size=2)) == Refused("superseded")
        released = await one.arrive(arrival("again", 0, size=2, attempt=1))
        assert released == Released(((0, b"px"), (1, b"pz")), 0)
        assert await other.arrive(arrival("again", 0, size=2, attempt=2)) == Refused("late")

    play(scenario)


def test_the_deadline_releases_what_has_arrived_and_refuses_what_has_not(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        first = await one.arrive(arrival("slow", 1, timeout=0.2))
        assert isinstance(first, Collecting)
        await asyncio.sleep(0.3)
        assert await other.arrive(arrival("slow", 0, timeout=0.2)) == Refused("late")
        assert await one.look(Cohort("r", 0, 1, "slow"), first.round, 0, 1) == Released(((1, b"px"),), 0)
        assert await one.look(Cohort("r", 0, 1, "slow"), first.round, 0, 0) == Refused("late")

    play(scenario)


def test_a_higher_attempt_begins_the_next_round_where_it_may(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        first = await one.arrive(arrival("tried", 0, size=1, renewal="attempt"))
        assert isinstance(first, Released)
        assert await other.arrive(arrival("tried", 0, size=1, text=b"y", renewal="attempt")) == Refused("conflict")
        second = await other.arrive(arrival("tried", 0, size=1, text=b"y", attempt=1, renewal="attempt"))
        assert isinstance(second, Released)
        assert second.slots == ((0, b"py"),)
        assert second.round > first.round
        # The first round is still there for those who wait for it; a late call of its attempt is not taken in.
        assert await one.look(Cohort("r", 0, 1, "tried"), first.round, 0, 0) == first
        assert await one.arrive(arrival("tried", 0, size=1, renewal="attempt")) == Refused("superseded")

    play(scenario)


def test_other_content_begins_the_next_round_where_names_come_again(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        def come(slot: int, text: bytes, header: bytes = b"h" * 16) -> Arrival:
            return arrival("task", slot, size=2, text=text, header=header, renewal="content")

        await one.arrive(come(0, b"a"))
        assert await one.arrive(come(0, b"z")) == Refused("conflict")  # nothing is released yet
        first = await other.arrive(come(1, b"b"))
        assert isinstance(first, Released)
        # A repeat is a repeat; anything else is of the next epoch, another prompt too.
        assert await one.arrive(come(0, b"a")) == first
        second = await one.arrive(come(1, b"c", b"g" * 16))
        assert isinstance(second, Collecting)
        assert second.round > first.round
        # The last round's repeats are known while the next one collects, and fill no slot of it.
        assert await other.arrive(come(0, b"a")) == first
        assert await other.arrive(come(1, b"b")) == first
        assert await other.arrive(come(0, b"d", b"g" * 16)) == Released(((0, b"pd"), (1, b"pc")), 0)
        assert await one.look(Cohort("r", 0, 1, "task"), first.round, 0, 0) == first

    play(scenario)


def test_a_round_whose_time_is_up_does_not_take_in_the_next_epoch(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        first = await one.arrive(arrival("left", 0, size=2, timeout=0.2, renewal="content"))
        assert isinstance(first, Collecting)
        await asyncio.sleep(0.3)
        second = await other.arrive(arrival("left", 0, size=2, text=b"y", renewal="content"))
        assert isinstance(second, Collecting)
        assert second.arrived == 1
        assert await one.look(Cohort("r", 0, 1, "left"), first.round, 0, 0) == Released(((0, b"px"),), 0)

    play(scenario)


class Away:
    """A rendezvous whose store is away for the first calls."""

    def __init__(self, inner: Rendezvous, calls: int) -> None:
        self.inner, self.left = inner, calls

    async def _fail(self) -> None:
        if self.left:
            self.left -= 1
            raise StoreUnavailable("away")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def arrive(self, arrival: Arrival) -> Collecting | Released | Refused:
        await self._fail()
        return await self.inner.arrive(arrival)

    async def look(self, cohort: Cohort, round: int, attempt: int, slot: int) -> Collecting | Released | Refused:
        await self._fail()
        return await self.inner.look(cohort, round, attempt, slot)


def test_a_store_that_is_away_is_waited_for_by_the_patient_alone(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        with pytest.raises(StoreUnavailable):
            await WaitingRoom(Away(one, 1), 10).meet(arrival("away", 0), 20)
        room = WaitingRoom(Away(one, 3), 10)
        patient = asyncio.create_task(room.meet(arrival("away", 0, size=2), 60, patient=True))
        last = await WaitingRoom(other, 10).meet(arrival("away", 1, size=2, text=b"y"), 60)
        assert await patient == last == Released(((0, b"px"), (1, b"py")), 0)
        assert room.waiting == 0
        with pytest.raises(StoreUnavailable):  # for as long as it may wait, and no longer
            await WaitingRoom(Away(one, 10_000), 10).meet(arrival("gone", 0), 0.6, patient=True)

    play(scenario)


def test_a_bell_of_the_last_round_wakes_none_of_the_next(play: Callable[[Scenario], None]) -> None:
    """Otherwise the waiting requests would read the store without a pause."""

    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        looks = 0

        class Counting(Away):
            async def look(self, *args: Any) -> Collecting | Released | Refused:
                nonlocal looks
                looks += 1
                return await self.inner.look(*args)

        room = WaitingRoom(Counting(one, 0), 100)
        for text in (b"1", b"2"):
            early = asyncio.create_task(room.meet(arrival("bell", 0, size=2, text=text, renewal="content"), 60))
            await asyncio.sleep(0.3)
            await room.meet(arrival("bell", 1, size=2, text=text, renewal="content"), 60)
            assert isinstance(await early, Released)
        assert looks < 40

    play(scenario)


def test_everyone_who_waits_gets_the_same_group(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        rooms = [WaitingRoom(one, 100), WaitingRoom(other, 100)]
        waiting = [
            asyncio.create_task(room.meet(arrival("crowd", slot, size=16, text=b"%d" % slot, timeout=600), 600))
            for slot in range(15)
            for room in rooms[slot % 2 :][:1]
        ]
        while True:  # until each has arrived
            await asyncio.sleep(0.01)
            stand = await one.arrive(arrival("crowd", 0, size=16, text=b"0", timeout=600))
            assert isinstance(stand, Collecting)
            if stand.arrived == 15:
                break
        assert not any(task.done() for task in waiting)
        # One hangs up: its slot stays filled.
        while not waiting[3].done():
            waiting[3].cancel()  # Python 3.11's wait_for may miss one that comes together with a result
            await asyncio.sleep(0.01)
        last = await rooms[0].meet(arrival("crowd", 15, size=16, text=b"15", timeout=600), 600)
        stands = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(last, Released)
        assert len(last.slots) == 16
        assert [stand for stand in stands if not isinstance(stand, BaseException)] == [last] * 14
        assert rooms[0].waiting == rooms[1].waiting == 0

    play(scenario)


def test_long_waits_end_with_the_state_of_the_group(play: Callable[[Scenario], None]) -> None:
    async def scenario(one: Rendezvous, other: Rendezvous) -> None:
        standing = await WaitingRoom(one, 10).meet(arrival("patient", 0), 0.2)
        assert isinstance(standing, Collecting)
        assert standing.arrived == 1

    play(scenario)


def test_a_crowd_polls_the_store_no_more_often_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, 3,000 that waited kept the event loop busy with 6,000 polls a second, and everybody else waited."""
    naps: list[float] = []

    async def no_wait(work: Awaitable[object], seconds: float) -> None:
        work.close()  # type: ignore[attr-defined]
        naps.append(seconds)
        raise TimeoutError

    class Never(Away):
        async def look(self, *args: Any) -> Collecting | Released | Refused:
            return Collecting(600.0, 1, 1) if len(naps) < 30 else Refused("gone")

        async def arrive(self, one: Arrival) -> Collecting | Released | Refused:
            return Collecting(600.0, 1, 1)

    async def scenario() -> None:
        for crowd, longest in ((1, 0.5), (250, 0.5), (5_000, 10.0)):
            naps.clear()
            room = WaitingRoom(Never(open_rendezvous("memory://"), 0), 100_000)
            room.waiting = crowd - 1
            await room.meet(arrival("crowd", 0), 600)
            assert max(naps) == longest

    monkeypatch.setattr("deepcompress_service.rendezvous.waiting.asyncio.wait_for", no_wait)
    asyncio.run(scenario())


def test_a_key_with_a_share_takes_half_of_the_places() -> None:
    async def scenario() -> None:
        rendezvous = open_rendezvous("memory://")
        await rendezvous.open()
        room = WaitingRoom(rendezvous, 4)
        waiting = []
        for number, share in enumerate(("team", "team", "other", "")):
            assert room.refusal(share) == ""
            waiting.append(asyncio.create_task(room.meet(arrival(f"g{number}", 0), 60, share=share)))
            await asyncio.sleep(0.05)
            if number == 1:
                assert room.refusal("team") == "key-share-used"
        assert room.refusal("third") == room.refusal("") == "overloaded"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert room.refusal("team") == "" and room.waiting == 0
        await rendezvous.close()

    asyncio.run(scenario())
