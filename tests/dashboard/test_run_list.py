"""The list of runs: the newest first also after a restart, searched, sorted and paged, for thousands of runs."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepcompress_service.dashboard.board import MAX_SPARKS, Board
from deepcompress_service.dashboard.run_list import PAGE_RUNS, RunQuery, select
from deepcompress_service.difficulty.model import DifficultyConfig, RunState
from deepcompress_service.difficulty.store import open_store
from tests.difficulty.servers import RedisServer, needs_redis

from .conftest import Serve, score, train
from .test_streams import commit, listen


def state(run: str, level: float = 0.5, kind: Any = "stepped") -> RunState:
    return RunState(run, 0, DifficultyConfig(), "{}", kind, 1, level, 0.5, 1)


def everything(_: str) -> bool:
    return True


def names(query: RunQuery, states: list[RunState], changed: dict[str, float | None] | None = None) -> list[str]:
    return [one.run for one in select(states, changed or {}, query, everything).states]


def test_the_list_is_searched_and_sorted() -> None:
    states = [state("b-One", 0.3), state("a-two", 0.9), state("c-one-two", 0.1), state("new", kind=None)]
    changed = {"b-One": 5.0, "a-two": None, "c-one-two": 9.0, "new": 5.0}
    assert names(RunQuery(), states, changed) == ["c-one-two", "b-One", "new", "a-two"]
    assert names(RunQuery(order="changed"), states, changed) == ["b-One", "new", "c-one-two", "a-two"]
    assert names(RunQuery(order="-run"), states) == ["new", "c-one-two", "b-One", "a-two"]
    assert names(RunQuery(order="-level"), states) == ["a-two", "b-One", "c-one-two", "new"]
    assert names(RunQuery("one"), states, changed) == ["c-one-two", "b-One"]
    assert names(RunQuery("TWO one"), states, changed) == ["c-one-two"]
    assert names(RunQuery("three"), states) == []


def test_pages_cover_every_run_once_and_count_only_what_the_key_may_see() -> None:
    states = [state(f"r{number:04d}") for number in range(3 * PAGE_RUNS - 5)]
    found = []
    for page in range(1, 4):
        shown = select(states, {}, RunQuery(order="run", page=page), everything)
        assert (shown.page, shown.pages, shown.matching) == (page, 3, len(states))
        found += [one.run for one in shown.states]
    assert found == [one.run for one in states]
    assert select(states, {}, RunQuery(order="run", page=99), everything).page == 3
    mine = select(states, {}, RunQuery(), lambda run: run.startswith("r000"))
    assert (mine.total, mine.matching, mine.pages) == (10, 10, 1)


def test_the_newest_run_is_first_on_the_first_page_of_thousands() -> None:
    async def scenario() -> None:
        store = open_store("memory://")
        await store.open()
        for number in range(3000):
            await store.put_run(f"run-{number:04d}", DifficultyConfig(), "{}")
        await asyncio.sleep(0.01)
        await store.commit(commit("zz-newest", 1))
        board = Board(store)
        found, cards = await board.cards(RunQuery(), everything)
        assert (found.total, len(cards)) == (3001, PAGE_RUNS)
        assert cards[0]["run"] == "zz-newest" and cards[0]["levels"]
        _, cards = await board.cards(RunQuery("0042 run"), everything)
        assert [card["run"] for card in cards] == ["run-0042"]
        for page in range(1, found.pages + 1):
            await board.cards(RunQuery(page=page), everything)
        assert len(board._sparks) <= MAX_SPARKS

    asyncio.run(scenario())


def test_a_slow_list_is_read_less_often() -> None:
    async def scenario() -> None:
        store = open_store("memory://")
        await store.open()
        board = Board(store)

        async def slow() -> list[RunState]:
            await asyncio.sleep(0.2)
            return []

        store.list_runs = slow  # type: ignore[method-assign]
        await board.cards(RunQuery(), everything)
        assert board._states.every >= 2

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["memory", "sqlite", pytest.param("redis", marks=needs_redis)])
def test_the_time_of_the_last_use_is_in_every_store(kind: str, tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        store = open_store(url)
        await store.open()
        before = time.time()
        await store.commit(commit("r", 1))
        listed, alone = (await store.list_runs())[0], await store.get_run("r")
        for found in (listed, alone):
            assert found.used is not None and int(before) <= found.used <= time.time() + 1
        assert listed == alone
        await store.close()
        if kind == "sqlite":  # another process that has seen no change
            again = open_store(url)
            await again.open()
            _, cards = await Board(again).cards(RunQuery(), everything)
            assert cards[0]["changed"] == listed.used
            await again.close()

    if kind == "redis":
        server = RedisServer(tmp_path)
        server.start()
        try:
            asyncio.run(scenario(server.url))
        finally:
            server.kill()
    else:
        asyncio.run(scenario("memory://" if kind == "memory" else f"sqlite:///{tmp_path}/s.sqlite3"))


def first(address: str, path: str, name: str, key: str | None = None) -> Any:
    return next(data for found, data in listen(address, path, key) if found == name)


def test_the_stream_has_the_page_that_was_asked_for(serve: Serve) -> None:
    address = serve()
    for run in ("alpha", "beta", "gamma"):
        train(address, run, range(1, 2))
        time.sleep(0.05)
    shown = first(address, "/dashboard/events", "runs")
    assert [card["run"] for card in shown["runs"]] == ["gamma", "beta", "alpha"]
    shown = first(address, "/dashboard/events?search=ALP&sort=run", "runs")
    assert [card["run"] for card in shown["runs"]] == ["alpha"]
    assert (shown["matching"], shown["total"], shown["page"], shown["pages"]) == (1, 3, 1, 1)
    for bad in ("sort=drop", "page=0", f"search={'x' * 300}"):
        assert httpx.get(f"{address}/dashboard/events?{bad}").status_code == 422


def test_several_runs_come_in_one_stream(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[[key]]\nkey = "f"\n[[key]]\nkey = "a"\naccess = "read"\nruns = "a-"\n')
    address = serve(api_keys_file=keys)
    for run in ("a-1", "a-2", "b-1"):
        train(address, run, range(1, 3), "f")
    heard: dict[tuple[str, str], Any] = {}
    for name, data in listen(address, "/dashboard/compare/events?run=a-1&run=a-2&run=a-none", "a"):
        if name == "viewer":
            assert data == {"may_write": False}
        if name == "of":
            heard[data["run"], data["name"]] = data["data"]
        if name == "health":
            break
    assert [row["step"] for row in heard["a-1", "steps"]["steps"]] == [1, 2]
    row = heard["a-2", "course"]["steps"][-1]
    # In `train` 6 of 30 groups are all correct, 6 have no correct rollout.
    assert (row["step"], row["all_correct"], row["mixed"], row["none_correct"]) == (2, 6, 18, 6)
    assert row["no_answer"] == 0 and row["last_at"] >= row["first_at"] > time.time() - 600
    assert ("a-none", "gone") in heard
    assert httpx.get(f"{address}/dashboard/compare/events?run=a-1&run=b-1", headers=bearer("a")).status_code == 403
    many = "&".join(f"run=a-{number}" for number in range(20))
    for bad in ("", "run=%3Cimg%3E", many):
        assert httpx.get(f"{address}/dashboard/compare/events?{bad}", headers=bearer("a")).status_code == 422


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_retry_does_not_count_twice_in_the_course(serve: Serve) -> None:
    address = serve()
    groups = [
        {"problem_id": "p", "gold": "3", "rollouts": [{"response": r, "tokens": 5} for r in ("\\boxed{3}", "no")]}
    ]
    answers = [score(address, "r", 1, groups) for _ in range(2)]
    assert json.dumps(answers[0]["groups"][0]["rewards"]) == json.dumps(answers[1]["groups"][0]["rewards"])
    for name, data in listen(address, "/dashboard/compare/events?run=r"):
        if name == "of" and data["name"] == "course":
            break
    row = data["data"]["steps"][0]
    assert (row["mixed"], row["no_answer"]) == (1, 0.5)
    assert row["reward"] == pytest.approx(sum(answers[0]["groups"][0]["rewards"]) / 2)
