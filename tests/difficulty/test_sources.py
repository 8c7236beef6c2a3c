"""Sums of each step by data source, in every store (docs/design.md, 5.13)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import astuple, replace

import pytest

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.model import GroupCommit, SourceSums
from deepcompress_service.difficulty.sources import MAX_NAME, MAX_SOURCES, OTHER, source_name
from deepcompress_service.difficulty.stores.local import LocalStore
from deepcompress_service.difficulty.stores.redis import RedisStore

from .driving import Driver, Run, group

MakeRun = Callable[..., Run]


def split(run: Run, **asked: int) -> dict[int, dict[str, SourceSums]]:
    found: dict[int, dict[str, SourceSums]] = run.driver.source_history(run.name, **asked)
    return found


def of(source: str | None, problem_id: str, passes: int, **more: object) -> GroupCommit:
    return group(problem_id, passes, data_source=source, **more)  # type: ignore[arg-type]


def test_each_group_is_counted_under_its_data_source(new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, of("gsm8k", "a", 3, truncated=1), of("aime", "b", 1, size=3, tokens=7), of(None, "c", 4))
    run.commit(1, of("gsm8k", "d", 2, tokens=None), of("aime", "e", 2, counts=False))
    run.commit(3, of(None, "a", 1))
    run.commit(4, of("aime", "b", 0))
    third = round(2**30 / 3)
    assert split(run) == {
        1: {
            "gsm8k": SourceSums(2, 8, 5, 1, 400, 4, 300, 3, 3 * 2**28 + 2**29),
            "aime": SourceSums(1, 3, 1, 0, 21, 3, 7, 1, third),
        },
        4: {"aime": SourceSums(1, 4, 0, 0, 400, 4, 0, 0, 0)},
    }
    assert list(split(run, since=2)) == [4]
    assert list(split(run, limit=1)) == [4]
    with pytest.raises(errors.UnknownRun):
        run.driver.source_history("unknown")


def test_the_sums_of_the_sources_are_those_of_the_step(new_run: MakeRun) -> None:
    rng = random.Random(7)
    run = new_run()
    for step in range(5):
        for shard in range(3):
            sources = rng.choices(["a", "b", "c"], k=5)
            run.commit(step, *(of(s, f"{shard}-{i}", rng.randrange(5)) for i, s in enumerate(sources)))
    found = split(run)
    for whole in run.driver.history(run.name):
        total = [sum(column) for column in zip(*(astuple(one) for one in found[whole.step].values()), strict=True)]
        assert total[:8] == [
            *(whole.groups, whole.rollouts, whole.correct, whole.truncated, whole.tokens_sum, whole.tokens_count),
            *(whole.correct_tokens_sum, whole.correct_tokens_count),
        ]
        assert total[8] / 2**30 / whole.groups == whole.batch_pass_ratio


def test_repeats_and_stale_groups_count_nothing(new_run: MakeRun) -> None:
    run = new_run()
    groups = [of("a", "p", 3), of("b", "q", 1)]
    run.commit(1, *groups)
    run.commit(1, *groups)
    run.commit(1, replace(groups[0], data_source="another"), of("b", "r", 2))
    run.commit(2, of("a", "p", 1))
    run.commit(1, of("a", "late", 4), groups[0])
    assert {step: {name: one.groups for name, one in sums.items()} for step, sums in split(run).items()} == {
        1: {"a": 1, "b": 2},
        2: {"a": 1},
    }


def test_data_sources_beyond_the_bound_are_counted_together(new_run: MakeRun) -> None:
    run = new_run()
    first = [of(f"set {n}", f"p{n}", 1) for n in range(MAX_SOURCES - 1)]
    run.commit(1, *first, of(OTHER, "other", 1))
    run.commit(2, *(of(f"new {n}", f"p{n}", 1) for n in range(3)), of("set 0", "q", 1))
    run.commit(2, of("new 0", "r", 1), of("new 2", "s", 1))
    run.commit(3, of("set 1", "p1", 1), of("new 1", "p", 2))
    assert list(split(run)[1]) == [*(f"set {n}" for n in range(MAX_SOURCES - 1)), OTHER]
    second = {name: one.groups for name, one in split(run)[2].items()}
    assert second == {"set 0": 1, "new 0": 2, OTHER: 3}
    assert list(split(run)[2])[-1] == OTHER
    assert {name: one.groups for name, one in split(run)[3].items()} == {"set 1": 1, OTHER: 1}
    # A name that a rewind took back leaves its place to another.
    run.driver.rewind(run.name, 2)
    run.commit(2, of("new 1", "p", 2))
    assert list(split(run)[2]) == ["new 1"]


def test_a_rewind_and_a_restore_take_the_sums_back(new_run: MakeRun) -> None:
    run = new_run(keep_steps=3)
    for step in range(6):
        run.commit(step, of("a", "p", step % 5), of("b" if step % 2 else None, "q", 1))
    run.driver.checkpoint(run.name, "four", 4)
    before = split(run)
    assert list(before) == [0, 1, 2, 3, 4, 5], "they are kept as long as the history"
    run.driver.rewind(run.name, 5)
    assert split(run) == {step: before[step] for step in range(5)}
    run.commit(5, of("a", "p", 2))
    run.driver.restore(run.name, "four")
    assert split(run) == {step: before[step] for step in range(5)}
    run.commit(5, of("a", "p", 0), of("b", "q", 1))
    assert split(run) == before
    run.driver.rewind(run.name, None)
    assert split(run) == {}


def test_an_import_has_the_sums_of_its_export(driver: Driver, new_run: MakeRun) -> None:
    run, copy, second = new_run(), new_run(), new_run()
    for step in range(3):
        run.commit(step, *(of(f"s{step}-{n}", f"p{n}", n % 5) for n in range(9)))
    lines = driver.export(run.name)
    rows = [json.loads(line) for line in lines if '"data_sources"' in line]
    assert [row["key"] for row in rows] == [[0], [1], [2]]
    assert rows[0]["sources"]["s0-1"]["correct"] == 1
    driver.import_run(copy.name, lines)
    assert split(copy) == split(run)
    assert sorted(driver.export(copy.name)[1:]) == sorted(lines[1:])
    for one in (run, copy):
        one.commit(2, of("s0-0", "more", 2), of("s2-8", "too", 2))
    assert split(copy) == split(run)
    assert split(run)[2]["s0-0"].groups == 1
    # State of an older version has no such rows, and shows no split of its steps.
    old = [line for line in lines[1:-1] if '"data_sources"' not in line]
    driver.import_run(second.name, [lines[0], *old, json.dumps({"end": True, "rows": len(old)})])
    assert split(second) == {}
    second.commit(2, of("a", "more", 2))
    assert split(second) == {2: {"a": SourceSums(1, 4, 2, 0, 400, 4, 200, 2, 2**29)}}


def test_a_row_that_is_not_one_is_refused(driver: Driver, new_run: MakeRun) -> None:
    run, copy = new_run(), new_run()
    run.commit(1, of("a", "p", 3))
    header, *rows, end = driver.export(run.name)
    (right,) = [row for row in rows if '"data_sources"' in row]
    others = [row for row in rows if row != right]
    sums = json.loads(right)["sources"]["a"]
    for bad in (
        {"a": {**sums, "groups": "1_0"}},
        {"a": {**sums, "groups": True}},
        {"a": {**sums, "groups": -1}},
        {"a": {**sums, "groups": 1.0}},
        {"a": {**sums, "tokens_sum": 2**60}},
        {"a": {**sums, "correct": 5}},
        {"a": {**sums, "more": 1}},
        {"a": []},
        {"": sums},
        {"a" * (MAX_NAME + 1): sums},
        {"\ud800": sums},
        {f"s{n}": sums for n in range(MAX_SOURCES + 1)},
        [],
        None,
    ):
        line = json.dumps({**json.loads(right), "sources": bad})
        with pytest.raises(errors.DifficultyError):
            driver.import_run(copy.name, [header, *others, line, end])
    with pytest.raises(errors.UnknownRun):
        driver.get_run(copy.name)


def test_sums_that_an_older_service_left_behind_do_not_count(driver: Driver, new_run: MakeRun) -> None:
    """It does not know them: when it rewinds a run, the sums of the steps that it removes stay."""
    run = new_run()
    for step in (1, 2):
        run.commit(step, of("a", "p", step))
    kept = driver_rows(driver, run)
    run.driver.rewind(run.name, 2)
    put_row(driver, run, *kept[-1])
    assert list(split(run)) == [1]
    run.commit(2, of("b", "p", 1))
    assert {name: one.groups for name, one in split(run)[2].items()} == {"b": 1}


def driver_rows(driver: Driver, run: Run) -> list[tuple[int, bytes]]:
    store = driver.store
    if isinstance(store, LocalStore):
        rows: list[tuple[int, bytes]] = driver.wait(store._read(lambda t: t.open_run(run.name).sources(0, None)))
        return rows
    assert isinstance(store, RedisStore)
    key = f"dc:{{{run.name}}}:"
    members = driver.wait(store._link.command(f"{key}m", "ZRANGE", f"{key}b", 0, -1))
    return [(int(one.partition(b"|")[0]), one) for one in members]


def put_row(driver: Driver, run: Run, step: int, record: bytes) -> None:
    store = driver.store
    if isinstance(store, LocalStore):
        driver.wait(store._write(lambda t: t.open_run(run.name).put_sources(step, record)))
        return
    assert isinstance(store, RedisStore)
    key = f"dc:{{{run.name}}}:"
    driver.wait(store._link.command(f"{key}m", "ZADD", f"{key}b", step, record, writes=True))


def test_names_may_be_anything_and_are_cut(new_run: MakeRun) -> None:
    run = new_run()
    names = ["|", "1|", "\0", "a b,c", "\n", "数学" * 20, "e\u0301" * 40]
    run.commit(1, *(of(name, f"p{i}", 1) for i, name in enumerate(names)))
    run.commit(1, *(of(name, f"q{i}", 1) for i, name in enumerate(names)))
    assert [(name, one.groups) for name, one in split(run)[1].items()] == [(name, 2) for name in names]
    assert source_name(None) is None
    assert source_name("x" * MAX_NAME) == "x" * MAX_NAME
    assert source_name("x" * (MAX_NAME + 1)) == "x" * (MAX_NAME - 1) + "…"


def test_a_large_request_with_a_data_source_for_each_group(new_run: MakeRun) -> None:
    run = new_run()
    groups = [of(f"s{n}", f"p{n}", 1) for n in range(2000)]
    run.commit(1, *groups[:1000])
    run.commit(1, *groups)
    found = split(run)[1]
    assert list(found) == [*(f"s{n}" for n in range(MAX_SOURCES)), OTHER]
    assert found[OTHER].groups == 2000 - MAX_SOURCES


def test_stepless_requests_count_too(new_run: MakeRun) -> None:
    run = new_run(groups_per_step=2)
    for number in range(3):
        for _ in range(2):
            run.commit(None, of("a", f"p{number}", 2), request_id=f"r{number}", request_digest=bytes(16))
    assert {step: sums["a"].groups for step, sums in split(run).items()} == {0: 2, 1: 1}
