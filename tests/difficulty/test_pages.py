"""Pages of problems: their cost, their correctness, the bytes on the wire, and the memory of a problem in Redis."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio.connection import Connection

from deepcompress_service.difficulty.codec import pack_group, unpack_group
from deepcompress_service.difficulty.model import Accumulator, Commit, DifficultyConfig, ProblemState
from deepcompress_service.difficulty.paging import BadCursor
from deepcompress_service.difficulty.records import GroupRecord
from deepcompress_service.difficulty.stores.redis import RedisStore
from deepcompress_service.difficulty.stores.redis_commit import TOKEN_BYTES, _packed, join_group, split_group
from deepcompress_service.difficulty.stores.redis_rows import PAGE
from deepcompress_service.difficulty.stores.redis_servers import pack
from deepcompress_service.difficulty.stores.sqlite_tables import SqliteRun

from .driving import Driver, Run, group

MakeRun = Callable[..., Run]
MANY = 3500
CONFIG = DifficultyConfig()


@pytest.fixture
def redis_driver(redis_url: str) -> Iterator[Driver]:
    driver = Driver(redis_url)
    yield driver
    driver.close()


def fill(run: Run, problems: int) -> None:
    """Each of them once, in steps of 500."""
    for start in range(0, problems, 500):
        run.commit(start // 500, *(group(f"p{i:05}", i % 5) for i in range(start, min(start + 500, problems))))


def names(driver: Driver, run: Run, **filters: Any) -> list[str]:
    """Of all pages, in order."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = driver.problems(run.name, cursor=cursor, **filters)
        found += [state.problem_id for state in page]
        if cursor is None:
            return found


class Replies:
    """The replies of a Redis store's commands, by the command's name."""

    def __init__(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.longest: dict[str, int] = {}
        self.entries: dict[str, int] = {}
        link = driver.store._link  # type: ignore[attr-defined]
        command = link.command

        async def watched(key: str, *words: Any, writes: bool = False) -> Any:
            reply = await command(key, *words, writes=writes)
            entries = len(reply[1]) // 2 if words[0] == "HSCAN" else len(reply or ())
            self.longest[words[0]] = max(self.longest.get(words[0], 0), entries)
            self.entries[words[0]] = self.entries.get(words[0], 0) + entries
            return reply

        monkeypatch.setattr(link, "command", watched)


def test_a_page_reads_what_it_shows_in_redis(redis_driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(redis_driver, "pages-cost", CONFIG)
    fill(run, MANY)
    redis_driver.problems(run.name, limit=1)  # the first look makes the index
    replies = Replies(redis_driver, monkeypatch)
    page, cursor = redis_driver.problems(run.name, limit=100)
    page, cursor = redis_driver.problems(run.name, limit=100, cursor=cursor)
    assert [state.problem_id for state in page] == [f"p{i:05}" for i in range(100, 200)]
    # 101 names and records a page, and the levels of the two steps that these are of.
    assert replies.entries["ZRANGEBYLEX"] == 202
    assert replies.entries["HMGET"] <= 202 + 2
    assert "HSCAN" not in replies.entries


def test_a_page_reads_what_it_shows_in_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(f"sqlite:///{tmp_path}/state.sqlite3")
    run = Run(driver, "pages-cost", CONFIG)
    fill(run, MANY)
    read = 0
    after = SqliteRun.problems_after

    def watched(view: SqliteRun, problem_id: str | None) -> Iterator[tuple[str, bytes]]:
        nonlocal read
        for row in after(view, problem_id):
            read += 1
            yield row

    monkeypatch.setattr(SqliteRun, "problems_after", watched)
    _, cursor = driver.problems(run.name, limit=100)
    page, _ = driver.problems(run.name, limit=100, cursor=cursor)
    assert [state.problem_id for state in page] == [f"p{i:05}" for i in range(100, 200)]
    assert read == 202

    def plan(work: Any) -> list[str]:
        statement = "SELECT problem_id, record FROM problems WHERE space = 1 AND problem_id > 'p' ORDER BY problem_id"
        return [row[3] for row in work.sql.execute("EXPLAIN QUERY PLAN " + statement)]

    steps = driver.wait(driver.store._read(plan))  # type: ignore[attr-defined]
    assert len(steps) == 1, f"SQLite sorts instead of following the primary key: {steps}"
    assert steps[0].startswith("SEARCH problems USING PRIMARY KEY")
    driver.close()


@pytest.mark.parametrize("filters", [{"sort": "pass_ratio"}, {"search": "7"}, {"side": "hard"}])
def test_no_look_holds_up_redis_or_the_loop(
    redis_driver: Driver, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any]
) -> None:
    """Work over every problem is done in portions, between which everything else goes on."""
    run = Run(redis_driver, f"pages-turns-{next(iter(filters))}", CONFIG)
    fill(run, MANY)
    replies = Replies(redis_driver, monkeypatch)

    async def look() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await redis_driver.store.problems(run.name, limit=1000, **filters)
        beside.cancel()
        return turns

    assert redis_driver.wait(look()) > MANY // PAGE
    # HSCAN may give a few more than requested: the rest of a bucket.
    assert max(replies.longest.values()) <= PAGE + 50


def test_the_index_of_names_stays_right(new_run: MakeRun, driver: Driver) -> None:
    """Every change of the set of problems: new ones, rewinds, checkpoints, exports, deletion."""
    run = new_run(level=Accumulator("ema", 0.5, weight=1.0))
    run.commit(1, group("b", 1), group("d", 3))
    assert names(driver, run) == ["b", "d"]
    run.commit(2, group("a", 1), group("c", 1), group("d", 1))
    assert names(driver, run, limit=1) == ["a", "b", "c", "d"]
    driver.checkpoint(run.name, "two", 2)
    run.commit(3, group("e", 1), group("a", 1))
    lines = driver.export(run.name)
    assert names(driver, run, limit=2) == ["a", "b", "c", "d", "e"]
    driver.rewind(run.name, 2)
    assert names(driver, run, limit=2) == ["b", "d"]
    run.commit(2, group("0", 1))
    assert names(driver, run) == ["0", "b", "d"]
    driver.restore(run.name, "two")
    run.commit(3, group("z", 1))
    assert names(driver, run, limit=3) == ["a", "b", "c", "d", "z"]
    driver.import_run(run.name, lines)
    assert names(driver, run) == ["a", "b", "c", "d", "e"]
    assert names(driver, run, side="hard", search="a") == ["a"]
    driver.rewind(run.name, None)
    assert names(driver, run) == []
    run.commit(9, group("q", 1))
    assert names(driver, run) == ["q"]


def test_names_come_in_the_order_of_their_characters(new_run: MakeRun, driver: Driver) -> None:
    run = new_run()
    odd = ["", "z", "Z", "é", "z\u0301", "\uffff", "\U0001f600", "a\x00b", "a", "ab", "日本語", "10", "9"]
    odd.remove("")
    run.commit(1, *(group(name, 1) for name in odd))
    assert names(driver, run, limit=2) == sorted(odd)


def test_a_problem_takes_less_than_400_bytes_of_redis(redis_driver: Driver, redis_url: str) -> None:
    """40 MB for 100,000 problems, the index of their names included."""
    run = Run(redis_driver, "pages-memory", CONFIG)
    for step in range(3):
        for start in range(0, 10_000, 2000):
            some = (group(f"problem-{i:07}", i % 5) for i in range(start, start + 2000))
            run.commit(step, *some)
    redis_driver.problems(run.name)
    with Redis.from_url(redis_url) as client:
        key = "dc:{pages-memory}:"
        assert client.hlen(key + "p") == client.zcard(key + "i") == 10_000
        taken = client.memory_usage(key + "p", samples=0) + client.memory_usage(key + "i", samples=0)
    assert taken / 10_000 < 400


def test_commands_are_packed_as_redis_py_packs_them() -> None:
    commands: list[tuple[Any, ...]] = [
        ("GET", "a"),
        ("CLUSTER SLOTS",),
        ("HSET", b"key", "f\u00fcr", 12, -1, b"\x00\xff\r\n", "", b"", 0.1),
        ("EVALSHA", "x" * 40, 1, "k", *(bytes([i % 256]) * i for i in range(0, 9000, 97))),
    ]
    for command in commands:
        assert pack(command) == b"".join(Connection().pack_command(*command))


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("accumulators", [(), (0.25, 3.0)])
def test_a_group_cut_in_two_is_whole_again(stale: bool, counts: bool, accumulators: tuple[float, ...]) -> None:
    state = ProblemState("p/1", 8, 3, 0.3, 0.4, -0.1, 2, "hard", 12, 99, 3, 7)
    record = GroupRecord(0.5, 0.625, 0.75, stale, counts, accumulators, state, bytes(range(16)), b"payload")
    tail, shared = split_group(pack_group(record), b"t" * TOKEN_BYTES)
    assert unpack_group(join_group(tail, shared)) == record
    bare = tail.removesuffix(record.payload)
    assert unpack_group(join_group(bare, shared, _packed([record.payload, b"another's"]))) == record
    assert _packed([b"", b""]) == b""


@pytest.mark.parametrize(
    "cursor",
    [
        "[" * 3000,
        '["problem_id",1' + "0" * 400 + ',"x"]',
        '["problem_id",0,"\\ud800"]',
        '["problem_id",0,5]',
        "{}",
        "1",
    ],
)
def test_a_made_up_cursor_is_refused(driver: Driver, new_run: MakeRun, cursor: str) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    with pytest.raises(BadCursor):
        driver.problems(run.name, cursor=base64.urlsafe_b64encode(cursor.encode()).decode())


@pytest.mark.parametrize("closes", [False, True])
def test_a_step_that_opens_while_one_looks_is_seen(redis_url: str, closes: bool) -> None:
    """The run is read, then its problems: in between they may have come to belong to a step that was not there, and
    that is closed (`closes`) when the run is read again."""
    config = DifficultyConfig(level=Accumulator("ema", 1.0, weight=0.5))
    name = f"opens-{closes}"

    async def scenario() -> None:
        looking, training = RedisStore(redis_url), RedisStore(redis_url)
        steps = itertools.count()
        read = looking._read

        async def touch(problem: str) -> None:
            groups = (group(problem, 1),)
            await training.commit(Commit(name, groups, step=next(steps), config=config, config_text="{}"))

        async def read_late(run: str, key: str | None = None) -> Any:
            nonlocal reads
            reads += 1
            if reads == 2 and closes:
                await touch("other")
            found = await read(run, key)
            if reads == 1:
                await touch("p")
            return found

        await touch("p")
        for sort in ("alone", "problem_id", "pass_ratio"):
            reads = 0
            looking._read = read_late  # type: ignore[method-assign]
            if sort == "alone":
                seen = await looking.problem(name, "p")
            else:
                page, _ = await looking.problems(name, sort=sort)  # type: ignore[arg-type]
                seen = next(problem for problem in page if problem.problem_id == "p")
            assert reads == 2
            levels = {step.step: step.level for step in await training.history(name)}
            assert seen.last_pass_ratio is not None and seen.last_step is not None
            assert seen.last_beta == seen.last_pass_ratio - levels[seen.last_step]
        await looking.close()
        await training.close()

    asyncio.run(scenario())
