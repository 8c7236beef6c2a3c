"""Exports and imports are streams: what is held does not grow with the run, a broken one leaves nothing, and a slow
one delays no other request. Memory is bounded by counting what is alive, not by a clock or a process's size."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from deepcompress_service.difficulty import errors, retention, transfer
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.difficulty.stores import local, redis_transfer
from deepcompress_service.difficulty.stores.redis import RedisStore
from deepcompress_service.difficulty.stores.redis_link import PinnedConnection
from deepcompress_service.difficulty.stores.sqlite import SqliteStore

from ..waiting import eventually
from .conftest import REDIS_STORES, SHARED_STORES
from .driving import Driver, Run, group
from .idling import let_pass
from .proxy import Proxy
from .servers import RedisServer, needs_redis

MakeRun = Callable[..., Run]


class Line(str):
    """A line whose end of life can be observed."""

    alive = 0
    most = 0

    def __new__(cls, text: str) -> Line:
        Line.alive += 1
        Line.most = max(Line.most, Line.alive)
        return super().__new__(cls, text)

    def __del__(self) -> None:
        Line.alive -= 1


@pytest.fixture(scope="module", autouse=True)
def seed() -> None:
    """The export that all others here are made of."""
    driver = Driver("memory://")
    run = Run(driver, "seed", DifficultyConfig())
    run.commit(1, group("p", 1))
    SEED[:] = driver.export("seed")
    driver.close()


SEED: list[str] = []


def large_export(problems: int) -> Iterator[str]:
    """An export with a given number of problems, made line by line."""
    header, *rows, _ = SEED
    fields = json.loads(header)
    fields["meta"]["problems"] = problems + 1
    yield json.dumps(fields)
    yield from rows
    row = json.loads(next(line for line in rows if '"problems"' in line))
    for i in range(problems):
        row["key"] = [f"problem-{i}"]
        yield json.dumps(row)
    yield json.dumps({"end": True, "rows": len(rows) + problems})


def none_alive() -> bool:
    gc.collect()
    return Line.alive == 0


def test_an_import_holds_a_portion_at_a_time(driver: Driver, new_run: MakeRun) -> None:
    run, problems = new_run(), 5 * transfer.LINES_AT_ONCE
    gc.collect()
    Line.alive = Line.most = 0
    driver.import_run(run.name, map(Line, large_export(problems)))
    assert run.state.problems == problems + 1
    # The portion that is written, and the one that comes next.
    assert Line.most <= 2 * transfer.LINES_AT_ONCE + 10
    eventually(none_alive)  # a thread that has given its result may hold its work for a moment longer


def test_an_import_holds_few_long_lines(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    header, *rows, end = large_export(20)
    long = [row + " " * transfer.CHARS_AT_ONCE for row in rows]
    Line.alive = Line.most = 0
    driver.import_run(run.name, map(Line, [header, *long, end]))
    assert Line.most <= 4


def test_an_import_that_breaks_off_leaves_nothing(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    before = driver.export(run.name)

    class GoneError(Exception):
        pass

    def broken() -> Iterator[str]:
        for number, line in enumerate(large_export(3 * transfer.LINES_AT_ONCE)):
            if number == 2 * transfer.LINES_AT_ONCE + 7:
                raise GoneError
            yield line

    with pytest.raises(GoneError):
        driver.import_run(run.name, broken())
    lines = list(large_export(2 * transfer.LINES_AT_ONCE))
    for bad in ([*lines[:-1], "{", lines[-1]], lines[:-1], [*lines, lines[1]]):
        with pytest.raises(errors.DifficultyError):
            driver.import_run(run.name, bad)
    assert driver.export(run.name) == before
    assert left_behind(driver, run.name) == []


def left_behind(driver: Driver, run: str) -> list[str]:
    """All records that are kept beside the run's own state."""
    store = driver.store
    if isinstance(store, RedisStore):
        key = f"dc:{{{run}}}:m"
        found = driver.wait(
            store._link.command(key, "EVAL", "return redis.call('KEYS', ARGV[1])", 1, key, f"dc:{{{run}}}:x:*")
        )
        return [name.decode() for name in found]
    assert isinstance(store, local.LocalStore)
    return [name for name in driver.wait(store._read(lambda place: place.names())) if name.startswith(local.SCRATCH)]


def test_training_goes_on_beside_a_slow_import(driver: Driver, new_run: MakeRun) -> None:
    """The sender waits in the middle until a training request of the same run is acknowledged."""
    run = new_run()
    run.commit(1, group("a", 1))
    trained = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        for number, line in enumerate(large_export(2 * transfer.LINES_AT_ONCE)):
            if number == transfer.LINES_AT_ONCE + 7:
                await asyncio.wait_for(trained.wait(), 60)
            yield line

    async def train() -> None:
        await driver.store.commit(Commit(run.name, (group("b", 1),), step=2))
        assert (await driver.store.get_run(run.name)).problems == 2
        trained.set()

    _, failed = driver.together(driver.store.import_run(run.name, slow()), train())
    assert failed is None
    assert run.state.problems == 2 * transfer.LINES_AT_ONCE + 1
    assert run.state.epoch == 1


def test_two_imports_at_once_are_one_after_the_other(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()

    async def lines(problems: int) -> AsyncIterator[str]:
        for line in large_export(problems):
            yield line
            await asyncio.sleep(0)

    done = driver.together(*(driver.store.import_run(run.name, lines(n)) for n in (1500, 1600)))
    assert not any(isinstance(one, Exception) for one in done), done
    assert run.state.problems in (1501, 1601)
    assert run.state.epoch == 2
    assert len(driver.export(run.name)) == len(list(large_export(run.state.problems - 1)))


def test_what_a_dead_process_left_of_an_import_goes(driver: Driver, new_run: MakeRun) -> None:
    """Killed between two portions: nothing is cleaned up by it."""
    run = new_run()
    run.commit(1, group("a", 1))
    store = driver.store
    if isinstance(store, RedisStore):
        key = f"dc:{{{run.name}}}:"

        async def half() -> None:
            async with PinnedConnection(store._link, key + "m") as pinned:
                reader = transfer.ExportReader()
                rows = reader.rows(list(large_export(50)))
                commands = redis_transfer.redis_rows.row_commands(f"{key}x:dead:", rows, -1)
                await pinned.batch(redis_transfer._expiring(commands, set()))

        driver.wait(half())
        name = run.name
    else:
        assert isinstance(store, local.LocalStore)
        name = f"{local.SCRATCH}dead"
        driver.wait(store._write(lambda transaction: transaction.open_run(name).wipe(), used=name))
    assert left_behind(driver, run.name)
    let_pass(driver, name, retention.SCRATCH_S - 60)
    driver.sweep(None)
    assert left_behind(driver, run.name)
    let_pass(driver, name, 61)
    driver.sweep(None)
    assert left_behind(driver, run.name) == []
    assert run.state.problems == 1


@pytest.mark.parametrize("store_url", SHARED_STORES, indirect=True)  # memory:// has everything in memory
def test_an_export_reads_as_it_is_read(new_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the next portion is read from the store."""
    run = new_run()
    driver, problems = run.driver, 6000
    driver.import_run(run.name, large_export(problems))
    asked = 0
    if isinstance(driver.store, RedisStore):
        batch = PinnedConnection.batch

        async def counted(self: PinnedConnection, *args: object, **more: object) -> list[object]:
            nonlocal asked
            asked += 1
            return await batch(self, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(PinnedConnection, "batch", counted)
    else:
        read = SqliteStore._run

        async def counted_run(self: SqliteStore, *args: object) -> object:
            nonlocal asked
            asked += 1
            return await read(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(SqliteStore, "_run", counted_run)
    lines = driver.store.export_run(run.name)
    for _ in range(3):
        driver.wait(anext(lines))
    first = asked

    async def rest() -> int:
        return sum([1 async for _ in lines])

    assert driver.wait(rest()) == problems + 4 - 3 + 1
    assert asked >= first + 5, "the rest was asked for later"
    assert left_behind(driver, run.name) == []


def test_an_export_is_one_snapshot(driver: Driver, new_run: MakeRun) -> None:
    run = new_run(keep_steps=2)
    for step in range(3):
        run.commit(step, *(group(f"p{i}", 1) for i in range(30)))
    expected = driver.export(run.name)
    lines = driver.store.export_run(run.name)
    got = [driver.wait(anext(lines))]
    for step in range(3, 7):
        run.commit(step, *(group(f"q{step}-{i}", 1) for i in range(30)))
    driver.rewind(run.name, None)

    async def rest() -> list[str]:
        return [line async for line in lines]

    assert sorted(got + driver.wait(rest())) == sorted(expected)


@pytest.mark.parametrize("store_url", REDIS_STORES, indirect=True)  # elsewhere a snapshot cannot be lost
def test_an_export_whose_snapshot_is_lost_has_no_last_line(new_run: MakeRun) -> None:
    """A failover to an empty replica, or an hour that passed: the export must not appear complete."""
    run = new_run()
    driver = run.driver
    driver.import_run(run.name, large_export(3000))
    lines = driver.store.export_run(run.name)
    driver.wait(anext(lines))
    let_pass(driver, run.name, retention.SCRATCH_S + 1)
    got: list[str] = []

    async def rest() -> None:
        async for line in lines:
            got.append(line)

    with pytest.raises(errors.StoreUnavailable, match="export the run again"):
        driver.wait(rest())
    assert '"end"' not in "".join(got[-1:])


@needs_redis
@pytest.mark.parametrize("mode", ["cut_before", "cut_after"])
def test_a_connection_that_breaks_ends_both(tmp_path: Path, mode: str) -> None:
    """In the middle, with the request not sent or its answer lost: an error, no last line, and the run as it was."""
    server = RedisServer(tmp_path)
    server.start()

    async def scenario() -> None:
        proxy = Proxy(server.port)
        await proxy.start()
        store = open_store(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=2.0)
        await store.open()
        await store.commit(Commit("r", (group("a", 1),), step=1, config=DifficultyConfig(), config_text="{}"))
        before = [line async for line in store.export_run("r")]

        async def cut() -> AsyncIterator[str]:
            for number, line in enumerate(large_export(3 * transfer.LINES_AT_ONCE)):
                if number == transfer.LINES_AT_ONCE + 7:
                    proxy.mode = mode
                yield line

        with pytest.raises(errors.StoreUnavailable):
            await store.import_run("r", cut())
        proxy.mode = "pass"
        assert [line async for line in store.export_run("r")] == before

        async def whole() -> AsyncIterator[str]:
            for line in large_export(3 * transfer.LINES_AT_ONCE):
                yield line

        await store.import_run("r", whole())
        got = []
        with pytest.raises(errors.StoreUnavailable):
            async for line in store.export_run("r"):
                got.append(line)
                proxy.mode = mode
        assert '"end"' not in got[-1]
        await store.close()
        await proxy.close()

    try:
        asyncio.run(scenario())
    finally:
        server.kill()
