"""The lengths at the end of a problem's record: every form of them means the same."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from deepcompress_service.difficulty.codec import (
    DENSE,
    HALVED_AFTER,
    MOST_BYTES,
    PORTION,
    PROBLEM_BYTES,
    _pack_dense,
    closed_lengths,
    extended_lengths,
    folded_lengths,
    joined_lengths,
    pack_bins,
    pack_counts,
    pack_lengths,
    unpack_counts,
    unpack_lengths,
)
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.stores.scripts import _load

from .driving import Driver, Run, group
from .servers import RedisServer, needs_redis

BINS = st.integers(0, 232)
NO_PORTION = bytes((PORTION, 0))
FOLD = (
    _load("layout", "hashes", "run_record", "lengths").text
    + """
fold_portions(ARGV[2])
return fold_portions(ARGV[1])
"""
)
FEW = st.lists(BINS, max_size=20).map(bytes)
SOME = st.one_of(FEW, st.lists(st.sampled_from([7, 8, 200]), min_size=100, max_size=600).map(bytes))
BEFORE = st.dictionaries(BINS, st.integers(1, 65_535), max_size=40).map(lambda counts: pack_counts(counts.items()))


def meaning(end: bytes) -> tuple[int, object, object]:
    visits, before, added = unpack_lengths(end)
    return visits, unpack_counts(before), unpack_counts(added)


@given(
    visits=st.integers(0, HALVED_AFTER - 1),
    before=st.one_of(st.just(b""), BEFORE),
    steps=st.lists(st.lists(SOME, max_size=2)),
)
def test_steps_change_the_end_of_a_record_as_they_change_the_counts(
    visits: int, before: bytes, steps: list[list[bytes]]
) -> None:
    """It begins in the form of an older version, or empty. The expected counts are by `folded_lengths`."""
    end, added = pack_lengths(visits, before, b""), b""
    for parts in steps:
        visits, before = folded_lengths(visits, before, added)
        end, added = closed_lengths(end), b""
        for bins in parts:
            end, added = extended_lengths(end, pack_bins(bins)), joined_lengths(added, pack_bins(bins))
        assert meaning(end) == (visits, unpack_counts(before), unpack_counts(added))


def test_the_end_of_a_record_stays_short() -> None:
    end, forms = b"", set()
    for step in range(500):
        end = extended_lengths(closed_lengths(end), pack_bins(bytes((100 + step * 7 % 20,)) * 12))
        forms.add(end[2 + 12] if len(end) > 14 else None)
        assert len(end) <= MOST_BYTES + 2 + 12
    assert {None, PORTION, DENSE} == {form and min(form, PORTION) for form in forms}


@given(st.binary(max_size=40))
def test_a_damaged_end_is_an_error_or_has_counts(data: bytes) -> None:
    try:
        visits, before, added = unpack_lengths(data)
        unpack_counts(before)
        unpack_counts(added)
    except (ValueError, struct.error):
        return
    assert visits >= 0


@pytest.fixture(scope="module")
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@needs_redis
@given(
    visits=st.integers(0, HALVED_AFTER - 1),
    before=st.one_of(
        st.just({}), st.dictionaries(BINS, st.one_of(st.integers(1, 20), st.integers(1, 65_535)), max_size=40)
    ),
    portions=st.lists(st.one_of(FEW, st.lists(st.integers(100, 110), max_size=12).map(bytes), SOME), max_size=20),
    dense=st.booleans(),
    earlier=st.lists(FEW, max_size=20),
)
def test_the_script_counts_portions_as_python_does(
    visits: int, before: dict[int, int], portions: list[bytes], dense: bool, earlier: list[bytes], redis: Redis
) -> None:
    """Of the record before it in the same script, whose counts are in the same table, nothing is left."""
    end = pack_lengths(visits, pack_counts(before.items()), b"")
    if dense:
        end = _pack_dense(visits, [before.get(index, 0) for index in range(256)])
    end = _with_portions(portions, end)
    folded_end = redis.eval(FOLD, 0, bytes(PROBLEM_BYTES) + end, bytes(PROBLEM_BYTES) + _with_portions(earlier, b""))
    assert isinstance(folded_end, bytes)
    assert meaning(NO_PORTION + folded_end) == meaning(NO_PORTION + end)
    if portions and len(end) > MOST_BYTES:
        assert meaning(closed_lengths(end)) == meaning(NO_PORTION + end)
    if sum(len(portion) + 2 for portion in portions) > len(end) / 2:
        assert folded_end[0] < PORTION


def _with_portions(portions: list[bytes], end: bytes) -> bytes:
    for portion in portions:
        end = bytes((PORTION + (len(portion) >> 8), len(portion) & 255)) + portion + end
    return end


def _as_schema_2(record: bytes) -> bytes:
    return record[:PROBLEM_BYTES] + pack_lengths(*unpack_lengths(record[PROBLEM_BYTES:])) if record else record


def _as_schema_2_left_it(path: Path, server: RedisServer | None) -> None:
    if server is None:
        with sqlite3.connect(path) as file:
            file.create_function("as_schema_2", 1, _as_schema_2)
            for table in ("problems", "undo"):
                file.execute(f"UPDATE {table} SET record = as_schema_2(record)")
            file.execute("PRAGMA user_version = 2")
        file.close()
        return
    with server.client() as client:
        for key in ("dc:{r}:p", *client.keys("dc:{r}:u:*")):
            for name, record in client.hgetall(key).items():
                client.hset(key, name, _as_schema_2(record))
        client.hset("dc:{r}:m", "schema", 2)
        client.set("dc:schema", 2)


@pytest.mark.parametrize("store", ["sqlite", pytest.param("redis", marks=needs_redis)])
@pytest.mark.parametrize("keeps", [False, True])
def test_state_of_schema_2_goes_on(store: str, keeps: bool, tmp_path: Path) -> None:
    """Records of schema 2 have no portions. Steps after the upgrade, and rewinds to before it, are exact."""
    server = RedisServer(tmp_path / "redis") if store == "redis" else None
    path = tmp_path / "state.sqlite3"
    url = f"sqlite:///{path}"
    if server is not None:
        server.start()
        url = server.url
    total, known = Counter[int](), []
    try:
        for steps in (range(9), range(9, 14)):
            driver = Driver(url)
            run = Run(driver, "r", DifficultyConfig(group_lengths=keeps))
            for step in steps:
                known.append(tuple(sorted(total.items())))
                bins = bytes((100 + step % 3, 110)) * (1 + step % 4)
                outcome = run.commit(step, group("a", len(bins), len(bins), bins=bins))
                assert outcome.groups[0].problem.lengths == (known[step] if keeps else ())
                total += Counter(bins)
            if steps.start:
                assert driver.problem("r", "a").lengths == tuple(sorted(total.items()))
                for step in (12, 9, 5):
                    driver.rewind("r", step)
                    assert driver.problem("r", "a").lengths == known[step]
            driver.close()
            _as_schema_2_left_it(path, server)
    finally:
        if server is not None:
            server.kill()
