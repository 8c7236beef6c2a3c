"""The event streams by themselves: everything first, then what changed, and an end when it is time."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepcompress_service.activity.recent import Activity
from deepcompress_service.dashboard import board, routes
from deepcompress_service.dashboard.board import MAX_BOARDS, Board, TimedCache
from deepcompress_service.dashboard.stream import RunStream, event
from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.store import DifficultyStore, open_store

from ..waiting import eventually
from .conftest import KEY, Serve, train


def listen(address: str, path: str, key: str | None = None) -> Iterator[tuple[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.stream("GET", address + path, headers=headers, timeout=60) as stream:
        assert stream.status_code == 200
        assert stream.headers["cache-control"] == "no-store"
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def test_a_stream_begins_with_everything_and_goes_on_with_what_changed(serve: Serve) -> None:
    address = serve()
    train(address, "r", range(1, 4))
    heard = listen(address, "/dashboard/runs/r/events")
    first = {}
    for name, data in heard:
        first[name] = data
        if name == "health":
            break
    assert {"run", "steps", "betas", "activity", "verdicts", "health"} <= set(first)
    assert first["steps"]["replace"] is True
    assert [step["step"] for step in first["steps"]["steps"]] == [1, 2, 3]
    train(address, "r", range(4, 5))
    for name, data in heard:
        if name == "steps":
            # Step 3 is closed now, and step 4 is there; nothing is said again of 1 and 2.
            assert data["replace"] is False
            assert [step["step"] for step in data["steps"]] == [3, 4]
            break
    httpx.post(f"{address}/v1/runs/r/rewind", json={"next_step": 3}).raise_for_status()
    for name, data in heard:
        if name == "steps":
            assert data["replace"] is True
            assert [step["step"] for step in data["steps"]] == [1, 2]
            break


def test_a_stream_cannot_be_broken_out_of() -> None:
    said = event("run", {"text": "a\n\nevent: gone\ndata: {}\n\n\u2028\r"})
    assert said.count(b"\n") == 3 and said.endswith(b"\n\n") and b"\r" not in said


def test_streams_end_when_the_server_is_stopped(serve: Serve) -> None:
    """An open page must not keep a server from stopping."""
    address = serve()
    train(address, "r", range(1, 2))
    heard = listen(address, "/dashboard/runs/r/events")
    next(heard)
    server = serve.last  # type: ignore[attr-defined]
    server.send_signal(signal.SIGTERM)
    ended = threading.Event()
    threading.Thread(target=lambda: (list(heard), ended.set()), daemon=True).start()
    assert server.wait(240) in (0, -signal.SIGTERM)
    assert ended.wait(120), "it was cut off, as requests are that do not end"


@pytest.mark.slow
def test_a_stream_ends_soon_after_its_key_was_taken_away(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nkey = "one"\naccess = "read"\n')
    address = serve(api_keys=KEY, api_keys_file=file)
    heard = listen(address, "/dashboard/events", "one")
    next(heard)
    time.sleep(1.2)
    file.write_text('[[key]]\nkey = "another"\naccess = "read"\n')
    assert list(heard)


def test_streams_of_one_process_are_bounded(serve: Serve) -> None:
    address = serve()
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=address, limits=limits, timeout=60) as client:
        streams = []
        heard = []
        try:
            for _ in range(routes.MAX_VIEWERS):
                stream = client.stream("GET", "/dashboard/events")
                answer = stream.__enter__()
                streams.append(stream)
                assert answer.status_code == 200
                # Kept: a stream whose iterator is gone is closed.
                heard.append(answer.iter_lines())
                next(heard[-1])
            with client.stream("GET", "/dashboard/events") as one_more:
                assert one_more.status_code == 503
                assert one_more.headers["retry-after"]
            # The verbs have room all the same.
            items = {"items": [{"gold": "1", "response": "\\boxed{1}"}]}
            assert client.post("/v1/verify", json=items).status_code == 200
        finally:
            for stream in streams:
                stream.__exit__(None, None, None)


def test_a_burst_of_streams_does_not_exceed_the_bound(serve: Serve) -> None:
    address = serve()

    async def scenario() -> list[int]:
        limits = httpx.Limits(max_connections=None)
        everybody_answered = asyncio.Event()
        statuses: list[int] = []

        async def watch(client: httpx.AsyncClient) -> None:
            async with client.stream("GET", "/dashboard/events") as answer:
                statuses.append(answer.status_code)
                if len(statuses) == 300:
                    everybody_answered.set()
                await everybody_answered.wait()

        async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
            await asyncio.gather(*(watch(client) for _ in range(300)))
        return statuses

    statuses = asyncio.run(scenario())
    assert statuses.count(200) == routes.MAX_VIEWERS
    assert statuses.count(503) == 300 - routes.MAX_VIEWERS
    # Streams that ended leave room for others.

    def health() -> Any:
        return next(data for name, data in listen(address, "/dashboard/events") if name == "health")

    eventually(lambda: health()["viewers"] == 1, health)


def commit(run: str, step: int) -> Commit:
    one = GroupCommit("p", "p", f"{step}".encode().ljust(16, b"."), b"", 4, 2, tokens_sum=400, correct_tokens_sum=100)
    return Commit(run, (one,), step=step, config=DifficultyConfig(), config_text="{}")


class Counting:
    """A store that counts its reads, and can be made unreachable."""

    def __init__(self, store: DifficultyStore) -> None:
        self._store = store
        self.asked = 0
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        async def call(*args: Any, **options: Any) -> Any:
            self.asked += 1
            if self.gone:
                raise StoreUnavailable("gone")
            return await found(*args, **options)

        return call


def test_many_viewers_ask_the_store_as_one() -> None:
    async def scenario() -> None:
        store = open_store("memory://")
        await store.open()
        for step in range(1, 5):
            await store.commit(commit("r", step))
        counting = Counting(store)
        board = Board(counting)  # type: ignore[arg-type]
        streams = [RunStream(board.run("r")) for _ in range(100)]
        window = Activity().of("r")

        async def watch(stream: RunStream) -> list[bytes]:
            return [part async for part in stream.events(window)]

        told = await asyncio.gather(*(watch(stream) for stream in streams))
        assert len({b"".join(parts) for parts in told}) == 1
        assert counting.asked <= 4
        counting.gone = True
        board.run("r")._snapshot.every = 0
        again = await asyncio.gather(*(watch(stream) for stream in streams[:3]))
        assert all(b"event: trouble" in b"".join(parts) for parts in again)
        counting.gone = False
        # Back again: nothing changed, so nothing of the run is repeated.
        assert await watch(streams[0]) == []

    asyncio.run(scenario())


def test_a_long_run_is_followed_by_its_newest_steps() -> None:
    """Also when the run was ahead by more than a look reaches back."""

    async def scenario() -> None:
        store = open_store("memory://")
        await store.open()
        await store.commit(commit("r", 1))
        board = Board(store).run("r")
        board._snapshot.every = 0
        assert sorted((await board.snapshot()).steps) == [1]
        for step in range(2, 40):
            await store.commit(commit("r", step))
        assert sorted((await board.snapshot()).steps) == list(range(1, 40))
        await store.commit(commit("r", 40))
        snapshot = await board.snapshot()
        assert sorted(snapshot.steps) == list(range(1, 41))
        assert snapshot.steps[39]["closed"] and not snapshot.steps[40]["closed"]

    asyncio.run(scenario())


def test_boards_are_bounded() -> None:
    async def scenario() -> None:
        store = open_store("memory://")
        await store.open()
        board = Board(store)
        for number in range(3 * MAX_BOARDS):
            board.run(f"r{number}")
        assert len(board._runs) == MAX_BOARDS

    asyncio.run(scenario())


def test_a_question_that_failed_is_asked_again() -> None:
    async def scenario() -> None:
        answers: list[Any] = [StoreUnavailable("gone"), 7]

        async def load() -> int:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return int(answer)

        shared = TimedCache(load, 60)
        with pytest.raises(StoreUnavailable):
            await shared.get()
        assert [await shared.get() for _ in range(3)] == [7, 7, 7]

    asyncio.run(scenario())


def test_the_page_knows_the_bound_of_its_charts() -> None:
    page = Path(board.__file__).with_name("static") / "js" / "steps.js"
    assert f"MOST_STEPS = {board.MAX_STEPS};" in page.read_text()
