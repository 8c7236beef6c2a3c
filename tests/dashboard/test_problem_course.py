"""A problem's course over the kept steps, the same from every store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepcompress_service.difficulty.errors import UnknownProblem
from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.store import DifficultyStore, open_store

from ..difficulty.servers import REDIS_SERVER, RedisServer


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if REDIS_SERVER is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


def group(problem: str, passes: int, step: int) -> GroupCommit:
    return GroupCommit(
        group_id=problem,
        problem_id=problem,
        digest=f"{problem}{step}".encode().ljust(16, b".")[:16],
        payload=b"",
        size=4,
        passes=passes,
        tokens_sum=400,
        correct_tokens_sum=100 * passes,
        correct_tokens_min=100 if passes else None,
    )


async def course(url: str, keep_steps: int, limit: int = 200) -> list[tuple[int | None, int, float | None]]:
    store: DifficultyStore = open_store(url)
    await store.open()
    try:
        config = DifficultyConfig(keep_steps=keep_steps)
        run = f"course-{keep_steps}-{limit}"
        await store.put_run(run, config, "{}")
        for step, passes in enumerate((0, 1, None, 3, 4), start=1):
            other = group("other", 2, step)
            groups = (other,) if passes is None else (group("p", passes, step), other)
            await store.commit(Commit(run, groups, step=step, config=config, config_text="{}"))
        with pytest.raises(UnknownProblem):
            await store.problem_course(run, "nobody")
        states = await store.problem_course(run, "p", limit=limit)
        assert states[-1] == await store.problem(run, "p")
        return [(state.last_step, state.attempts, state.last_pass_ratio) for state in states]
    finally:
        await store.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/state.sqlite3"


def run_now(url: str, keep_steps: int, limit: int = 200) -> list[tuple[int | None, int, float | None]]:
    return asyncio.run(course(url, keep_steps, limit))


def test_every_kept_step_that_touched_it_is_there(url: str) -> None:
    assert run_now(url, 64) == [(1, 4, 0.0), (2, 8, 0.25), (4, 12, 0.75), (5, 16, 1.0)]


def test_the_course_reaches_back_as_far_as_steps_are_kept(url: str) -> None:
    found = run_now(url, 1)
    assert found[-2:] == [(4, 12, 0.75), (5, 16, 1.0)]
    assert len(found) < 4


def test_a_limit_keeps_the_newest(url: str) -> None:
    assert run_now(url, 64, limit=2) == [(4, 12, 0.75), (5, 16, 1.0)]
