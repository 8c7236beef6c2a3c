"""The parts that only SQLite has: a log that is written back beside the requests, so that it stays small and nothing
waits for
it or depends on it; snapshots that end; a file that takes no write; a store that is closed under its callers."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.store import open_store
from deepcompress_service.difficulty.stores import sqlite

from ..waiting import eventually
from .driving import Driver, group

GROUPS, KNOWN = 128, 4000
ROWS = 1024
"""Rows until the log is due, in these tests: two or three requests."""


class Life:
    """A run of random problems on a file, whose writer never writes the log back itself."""

    def __init__(self, path: Path) -> None:
        self.log = Path(f"{path}-wal")
        self.driver = Driver(f"sqlite:///{path}")
        assert isinstance(self.driver.store, sqlite.SqliteStore)
        self.store = self.driver.store
        self._random, self._step = random.Random(0), 0

    def train(self, steps: int, *, pause: bool = True) -> None:
        config = DifficultyConfig(keep_steps=4)
        for _ in range(steps):
            groups = tuple(group(f"problem-{n}", n % 5) for n in self._random.sample(range(KNOWN), GROUPS))
            self.driver.commit(Commit("run", groups, step=self._step, config=config, config_text="{}"))
            self._step += 1
            if pause and self.store._cleaning is not None:
                self.store._cleaning.result()


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    monkeypatch.setattr(sqlite, "LOG_PAGES", 1_000_000)
    monkeypatch.setattr(sqlite, "ROWS_IN_LOG", ROWS)
    life = Life(tmp_path / "state.sqlite3")
    yield life
    life.driver.close()


def test_the_log_stays_as_long_as_a_few_requests(life: Life) -> None:
    life.train(20)
    begun = life.log.stat().st_size
    life.train(60)
    assert life.log.stat().st_size < 1.5 * begun


def test_a_reader_that_holds_the_log_open_holds_up_nothing(life: Life, tmp_path: Path) -> None:
    life.train(20)
    begun = life.log.stat().st_size
    reader = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM problems").fetchone()
    life.train(60)
    held = life.log.stat().st_size
    assert held > 2 * begun, "the reader did not hold it: this test shows nothing"
    reader.execute("ROLLBACK")
    reader.close()
    life.train(60)
    assert life.log.stat().st_size < 1.2 * held
    assert life.driver.get_run("run").step == 139


def test_a_log_that_cannot_be_written_back_fails_no_request(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken() -> sqlite3.Connection:
        asked.append(None)
        raise sqlite3.OperationalError("disk I/O error")

    life.train(1)
    monkeypatch.setattr(life.store, "_connect", broken)
    life.train(20)
    assert asked
    monkeypatch.undo()
    assert life.driver.get_run("run").step == 20


def test_the_writer_does_it_where_requests_leave_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOG_PAGES", 1024)
    monkeypatch.setattr(sqlite, "ROWS_IN_LOG", 10**9)
    busy = Life(tmp_path / "busy.sqlite3")
    busy.train(80, pause=False)
    assert busy.log.stat().st_size < 4 * 1024 * sqlite.PAGE_BYTES
    busy.driver.close()


class Clock:
    """The time of an event loop, which a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    async def pass_by(self, seconds: float) -> None:
        """Let the time pass, and let what is due begin."""
        self.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def clock(life: Life, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(life.driver.loop, "time", lambda: clock.now)
    return clock


def test_an_unread_export_ends_and_frees_the_log(life: Life, clock: Clock, tmp_path: Path) -> None:
    life.train(20)
    exported = life.store.export_run("run")

    async def stall() -> None:
        await anext(exported)
        await clock.pass_by(sqlite.STALLED_S)

    life.driver.wait(stall())
    other = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    # Refused as long as a snapshot is in use.
    eventually(lambda: other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0)
    other.close()
    life.train(5)
    begun = life.log.stat().st_size
    life.train(60)
    assert life.log.stat().st_size < 1.5 * begun

    async def go_on() -> None:
        async for _ in exported:
            pass

    with pytest.raises(StoreUnavailable, match="too slowly"):
        life.driver.wait(go_on())


def test_an_export_that_is_read_slowly_is_whole(life: Life, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    life.train(10)
    monkeypatch.setattr(sqlite, "LINES_AT_ONCE", 1000)

    async def read() -> list[str]:
        lines = []
        async for line in life.store.export_run("run"):
            lines.append(line)
            if len(lines) % 500 == 0:
                await clock.pass_by(0.4 * sqlite.STALLED_S)
        return lines

    lines = life.driver.wait(read())
    assert len(lines) > 2000 and lines == life.driver.export("run")


def test_a_file_that_takes_no_write_is_not_ready(tmp_path: Path) -> None:
    driver = Driver(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    driver.ping()
    assert isinstance(driver.store, sqlite.SqliteStore) and driver.store._write_connection is not None
    driver.store._write_connection.execute("PRAGMA query_only = ON")  # it still reads
    with pytest.raises(StoreUnavailable):
        driver.ping()
    driver.close()


def test_a_store_that_is_closed_under_its_callers_refuses_or_answers(tmp_path: Path) -> None:
    async def scenario() -> list[object]:
        store = open_store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
        await store.open()
        config = DifficultyConfig()
        commits = [
            store.commit(Commit("run", (group(f"p{n}", 1),), step=0, config=config, config_text="{}"))
            for n in range(30)
        ]
        tasks = [asyncio.create_task(commit) for commit in commits]
        await asyncio.sleep(0.005)
        await store.close()
        late = [asyncio.create_task(call) for call in (store.get_run("run"), store.ping())]
        return list(await asyncio.gather(*tasks, *late, return_exceptions=True))

    found = asyncio.run(scenario())
    assert all(isinstance(one, StoreUnavailable) for one in found if isinstance(one, BaseException))
    assert isinstance(found[-1], StoreUnavailable)
    again = Driver(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    acknowledged = sum(not isinstance(one, BaseException) for one in found)
    assert again.get_run("run").problems == acknowledged
    again.close()


def test_a_database_in_memory_is_no_store() -> None:
    with pytest.raises(ValueError, match="memory://"):
        open_store("sqlite:///:memory:")


def two_runs(path: Path) -> Driver:
    driver = Driver(f"sqlite:///{path}")
    for run in ("a", "b"):
        driver.commit(Commit(run, (group("p", 1),), step=0, config=DifficultyConfig(), config_text="{}"))
    return driver


@pytest.mark.parametrize("record", ["", "{", "[]", "null", "3", '{"config": 5}', "[" * 5000, "\x00", 7, b"\xff\xff"])
def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path, record: object) -> None:
    """A damaged record ended the list of all runs, and every sweep."""
    driver = two_runs(tmp_path / "s.sqlite3")
    with sqlite3.connect(tmp_path / "s.sqlite3") as file:
        file.execute("UPDATE spaces SET meta = ? WHERE run = 'a'", (record,))
        file.execute("UPDATE used SET at = 1")
    file.close()
    assert [state.run for state in driver.list_runs()] == ["b"]
    assert driver.sweep(5.0).runs == ("b",)
    driver.close()


@pytest.mark.parametrize("version", [0, 1, 2, 3, -3])
def test_a_database_of_another_program_is_left_alone(tmp_path: Path, version: int) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE runs (run_uuid TEXT)")
        file.execute(f"PRAGMA user_version = {version}")
    file.close()
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="another program"):
        asyncio.run(store.open())
    assert sqlite.is_foreign(str(path))
    with sqlite3.connect(path) as file:
        assert [name for (name,) in file.execute("SELECT name FROM sqlite_master")] == ["runs"]
    file.close()


def test_a_database_of_this_service_is_not_another_programs(tmp_path: Path) -> None:
    two_runs(tmp_path / "s.sqlite3").close()
    assert not sqlite.is_foreign(str(tmp_path / "s.sqlite3"))
    assert not sqlite.is_foreign(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no database")
    assert not sqlite.is_foreign(str(tmp_path / "text"))
