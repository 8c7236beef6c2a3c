"""NeMo Gym's cohort mode: rollouts that are posted one by one get the rewards of their group, at any worker or
replica, through cut connections, killed processes and requests sent twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from deepcompress_client import Client

from ..waiting import eventually_async
from . import live, reference
from .test_compat import gym_row

redis = pytest.importorskip("redis", reason="needs the service's packages: the extra [service]")

GROUP: list[reference.Rollout] = [(True, 4), (False, 9), (True, 8), (False, 3)]
PREVIOUS = {"name": "deepcompress", "reference": "previous"}

Arrived = Callable[[str], int]
"""Return the number of rollouts that the rendezvous holds for a run."""


def cohort_row(rollout: reference.Rollout, index: int, **more: Any) -> dict[str, Any]:
    correct, tokens = rollout
    row = gym_row(f"so \\boxed{{{42 if correct else 41}}}", _ng_rollout_index=index, **more)
    row["response"]["output"][1]["generation_token_ids"] = [5] * tokens
    row["response"]["id"] = f"resp_{uuid.uuid4().hex}"  # as engines make them: one a generation
    return row


async def post(url: str, run: str, row: dict[str, Any], query: str = "&cohort=4") -> httpx.Response:
    """As NeMo Gym's client: no timeout, and a connection that drops is tried again without end."""
    async with httpx.AsyncClient(timeout=None) as http:
        while True:
            try:
                return await http.post(f"{url}/compat/nemo_gym/verify?run={run}{query}", json=row)
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def post_all(url: str, run: str, rows: list[dict[str, Any]], query: str = "&cohort=4") -> list[httpx.Response]:
    return list(await asyncio.gather(*(post(url, run, row, query) for row in rows)))


def rows_of(group: list[reference.Rollout], **more: Any) -> list[dict[str, Any]]:
    return [cohort_row(rollout, index, **more) for index, rollout in enumerate(group)]


def rewards_of(answers: list[httpx.Response]) -> list[float]:
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert sum(answer.json()["reward_components"].values()) == answer.json()["reward"]
    return [answer.json()["reward"] for answer in answers]


def counted(url: str, run: str) -> list[tuple[int, int]]:
    """Groups and rollouts of each step."""
    return [(step.groups, step.rollouts) for step in Client(url).run(run, join=True).history().steps]


async def until(ready: Callable[[], bool]) -> None:
    """Wait for an effect, which is looked for in a thread."""
    await eventually_async(lambda: asyncio.to_thread(ready))


@pytest.fixture
def arrived(service: live.Service) -> Arrived:
    def count(run: str) -> int:
        with closing(sqlite3.connect(service.folder / "state.sqlite3-rendezvous")) as db:
            found = db.execute("select count(*) from slots where key like ?", (f"dc-meet:{{{run}}}:%",)).fetchone()
            return int(found[0])

    return count


# --- one service ----------------------------------------------------------------------------------------


def test_a_group_is_shaped_when_it_is_there(service: live.Service, run: str) -> None:
    opened = Client(service.url).run(run, strategy=PREVIOUS, groups_per_step=2)
    level = 1.0
    for epoch in range(2):  # the same tasks again, with other rollouts, as in the next epoch
        group = GROUP if epoch == 0 else [(True, 5), (True, 9), (False, 7), (False, 3)]
        found = asyncio.run(
            post_all(service.url, run, [*rows_of(group, _ng_task_index=0), *rows_of(group, _ng_task_index=1)])
        )
        expected = reference.rewards(group, level) * 2
        assert rewards_of(found) == pytest.approx(expected, abs=1e-9)
        level = reference.next_level(level, [group, group])
    assert [entry.groups for entry in opened.history().steps] == [2, 2]
    assert opened.history().steps[-1].level == pytest.approx(level, abs=1e-12)


def test_the_same_words_in_the_next_epoch_are_its_own_and_a_late_repeat_is_the_last_ones(
    service: live.Service, run: str, arrived: Arrived
) -> None:
    """The model may give the same response again; only the response's id distinguishes it from a repeat."""
    Client(service.url).run(run, groups_per_step=8)
    first, second = rows_of(GROUP, _ng_task_index=0), rows_of(GROUP, _ng_task_index=0)

    async def epochs() -> tuple[list[httpx.Response], list[httpx.Response], list[httpx.Response]]:
        before = await post_all(service.url, run, first)
        begun = asyncio.create_task(post_all(service.url, run, second[:2]))
        await until(lambda: arrived(run) == 6)
        again = await post_all(service.url, run, first)
        assert not begun.done()
        after = await post_all(service.url, run, second[2:])
        return before, again, [*await begun, *after]

    before, again, after = asyncio.run(epochs())
    assert rewards_of(again) == rewards_of(before)
    assert len(rewards_of(after)) == 4
    assert counted(service.url, run) == [(2, 8)]
    nameless = rows_of(GROUP[:1], _ng_task_index=0)
    del nameless[0]["response"]["id"]
    (refused,) = asyncio.run(post_all(service.url, run, nameless))
    assert (refused.status_code, "response.id" in refused.json()["detail"]) == (422, True)


def test_a_repeat_gets_its_reward_and_counts_once(service: live.Service, run: str) -> None:
    opened = Client(service.url).run(run, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g1", _ng_task_index=3)

    async def twice() -> tuple[list[httpx.Response], list[httpx.Response]]:
        first = await post_all(service.url, run, [*rows, rows[2]])  # one of them twice at once
        return first, await post_all(service.url, run, rows)

    first, again = asyncio.run(twice())
    assert [one.json() for one in first] == [*(one.json() for one in again), again[2].json()]
    assert len(rewards_of(first)) == 5
    other = rows_of([(False, 6)], _ng_group_id="g1", _ng_task_index=3)
    assert asyncio.run(post_all(service.url, run, other))[0].status_code == 409
    assert counted(service.url, run) == [(1, 4)]
    assert opened.problem("3").attempts == 4


def test_a_later_attempt_supersedes_the_one_that_collects(service: live.Service, run: str, arrived: Arrived) -> None:
    Client(service.url).run(run, groups_per_step=8)

    async def attempts() -> tuple[list[httpx.Response], list[httpx.Response]]:
        begun = rows_of(GROUP[:2], _ng_group_id="g", _ng_group_attempt=0)
        first = asyncio.create_task(post_all(service.url, run, begun))
        await until(lambda: arrived(run) == 2)
        second = await post_all(service.url, run, rows_of(GROUP, _ng_group_id="g", _ng_group_attempt=1))
        return await first, second

    first, second = asyncio.run(attempts())
    assert {answer.status_code for answer in first} == {409}
    assert len(rewards_of(second)) == 4
    late = asyncio.run(post_all(service.url, run, rows_of(GROUP[:1], _ng_group_id="g", _ng_group_attempt=0)))
    assert late[0].status_code == 409
    assert counted(service.url, run) == [(1, 4)]
    # An attempt at a group that is over is another group: its rollouts are others, without a reward so far.
    third = asyncio.run(post_all(service.url, run, rows_of(GROUP, _ng_group_id="g", _ng_group_attempt=2)))
    assert len(rewards_of(third)) == 4
    assert counted(service.url, run) == [(2, 8)]


def test_a_group_is_released_with_what_it_has_when_its_time_is_up(service: live.Service, run: str) -> None:
    Client(service.url).run(run, groups_per_step=8, strategy=PREVIOUS)
    rows = rows_of(GROUP, _ng_group_id="h")

    async def collect() -> list[httpx.Response]:
        return await post_all(service.url, run, rows[:3], "&cohort=4&timeout_s=3")

    assert rewards_of(asyncio.run(collect())) == pytest.approx(reference.rewards(GROUP[:3], 1.0), abs=1e-9)
    (late,) = asyncio.run(post_all(service.url, run, rows[3:], "&cohort=4&timeout_s=3"))
    assert (late.status_code, "without this rollout" in late.json()["detail"]) == (409, True)
    assert counted(service.url, run) == [(1, 3)]


def test_a_caller_that_hangs_up_leaves_its_slot_filled(service: live.Service, run: str, arrived: Arrived) -> None:
    Client(service.url).run(run, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g")

    async def hang_up() -> list[httpx.Response]:
        gone = asyncio.create_task(post_all(service.url, run, rows[:1]))
        await until(lambda: arrived(run) == 1)
        gone.cancel()
        others = await post_all(service.url, run, rows[1:])
        return [*await post_all(service.url, run, rows[:1]), *others]

    assert rewards_of(asyncio.run(hang_up()))[1] == -1.0


def test_what_must_not_be_trained_on_is_masked_in_a_group_too(service: live.Service, run: str) -> None:
    Client(service.url).run(run, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g", expected_answer="\\frac{1}{")
    for answer in asyncio.run(post_all(service.url, run, rows)):
        assert (answer.json()["mask_sample"], answer.json()["failure_kind"]) == (True, "gold_unreadable")


def test_a_group_of_before_a_rewind_is_refused(service: live.Service, run: str, arrived: Arrived) -> None:
    opened = Client(service.url).run(run, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g")

    async def rewound() -> tuple[list[httpx.Response], list[httpx.Response]]:
        before = asyncio.create_task(post_all(service.url, run, rows[:2], "&cohort=4&timeout_s=3"))
        await until(lambda: arrived(run) == 2)
        await asyncio.to_thread(opened.rewind, None)
        return await before, await post_all(service.url, run, rows)

    before, after = asyncio.run(rewound())
    assert {answer.json()["type"].rpartition(":")[2] for answer in before} == {"epoch-mismatch"}
    assert len(rewards_of(after)) == 4
    assert counted(service.url, run) == [(1, 4)]


def test_a_service_that_is_killed_while_a_group_collects_finds_it_again(tmp_path: Any, run: str) -> None:
    with live.serving(tmp_path) as own:
        Client(own.url).run(run, groups_per_step=8, strategy=PREVIOUS)
        rows = rows_of(GROUP, _ng_group_id="g")

        def arrived() -> bool:
            with closing(sqlite3.connect(tmp_path / "state.sqlite3-rendezvous")) as db:
                return bool(db.execute("select count(*) from slots").fetchone()[0] == 2)

        async def collect() -> list[httpx.Response]:
            early = asyncio.create_task(post_all(own.url, run, rows[:2]))
            await until(arrived)
            own.kill()
            await asyncio.to_thread(own.start)
            late = await post_all(own.url, run, rows[2:])
            return [*await early, *late]

        assert rewards_of(asyncio.run(collect())) == pytest.approx(reference.rewards(GROUP, 1.0), abs=1e-9)
        assert counted(own.url, run) == [(1, 4)]


def test_mistakes_are_refused(service: live.Service, run: str) -> None:
    unknown = asyncio.run(post_all(service.url, "never-made", rows_of(GROUP, _ng_group_id="g")))
    assert unknown[0].status_code == 409
    assert "groups_per_step=N" in unknown[0].json()["detail"]
    Client(service.url).run(f"{run}-steps")
    stepped = asyncio.run(post_all(service.url, f"{run}-steps", rows_of(GROUP, _ng_group_id="g")))
    assert "groups_per_step" in stepped[0].json()["detail"]
    Client(service.url).run(run, groups_per_step=8)
    (nameless,) = asyncio.run(post_all(service.url, run, rows_of(GROUP[:1])))
    assert nameless.status_code == 422
    for name in ("", "a" * 300, "a\nb", True, [1], 1.5):
        (odd,) = asyncio.run(post_all(service.url, run, rows_of(GROUP[:1], _ng_group_id=name)))
        assert odd.status_code == 422, name
    (beyond,) = asyncio.run(post_all(service.url, run, [cohort_row(GROUP[0], 4, _ng_group_id="g")]))
    assert beyond.status_code == 422
    blind = cohort_row(GROUP[0], 0, _ng_group_id="g")
    del blind["response"]["output"][1]["generation_token_ids"]
    (counted_not,) = asyncio.run(post_all(service.url, run, [blind]))
    assert (counted_not.status_code, "tokens" in counted_not.json()["detail"]) == (422, True)


def test_what_waits_is_bounded() -> None:
    pytest.importorskip("fastapi", reason="needs the service's packages: the extra [service]")
    from deepcompress_service.admission.limits import AdmissionError
    from deepcompress_service.api.packed_rows import PackedRows

    few = PackedRows(max_rows=1)
    with few.keep(b"one"), pytest.raises(AdmissionError, match="too many"), few.keep(b""):
        pass
    with few.keep(b""):
        pass
    large = os.urandom(99).hex().encode()
    with pytest.raises(AdmissionError, match="too many"), PackedRows(max_bytes=10).keep(large):
        pass
    for rows in (PackedRows(max_rows=2), PackedRows(max_bytes=500)):  # a key for some runs takes half of either
        with rows.keep(large, "team"):
            with pytest.raises(AdmissionError) as refused, rows.keep(large, "team"):
                pass
            assert refused.value.slug == "key-share-used"
            with rows.keep(large, "other"):
                pass


@pytest.mark.parametrize("large", [False, True])
def test_a_row_that_waited_is_the_row(large: bool) -> None:
    pytest.importorskip("fastapi", reason="needs the service's packages: the extra [service]")
    from deepcompress_service.api.packed_rows import json_text, pack, unpack

    deep: object = 1
    for level in range(60):
        deep = [deep, {}] if level % 2 else {'a"b': deep, "n": [1, 2.5, None]}
    rows: list[dict[str, object]] = [
        {},
        {"response": "\ud800 text", "n": 1},
        {"a": [], "b": {}, "c": [[]], "d": [{}], "e": {"f": {}}, "é": [True, None, -0.0, 1e300, 2**62, "\n"]},
        {"extra": [{"a": n, "b": ["x"] * n} for n in range(50)], "deep": deep},
    ]
    for row in rows:
        text = json.dumps(row)
        assert json_text(row, large) == text
        kept = pack(row, large)
        assert row == {}
        assert unpack(kept) == json.loads(text)


# --- several processes on one Redis ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def replicas(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[live.Service]]:
    folder = tmp_path_factory.mktemp("replicas")
    with (
        live.serving(folder / "one", redis_url, STORE_TIMEOUT_SECONDS="1") as one,
        live.serving(folder / "two", redis_url, STORE_TIMEOUT_SECONDS="1") as two,
    ):
        yield [one, two]


@pytest.fixture
def arrived_in_redis(redis_url: str) -> Arrived:
    def count(run: str) -> int:
        with redis.Redis.from_url(redis_url) as db:
            rounds = [key for key in db.keys("dc-meet:*") if f"{{{run}}}" in key.decode() and db.type(key) == b"hash"]
            return sum(name.startswith(b"s") for key in rounds for name in db.hkeys(key))

    return count


async def split(replicas: list[live.Service], run: str, rows: list[dict[str, Any]]) -> list[httpx.Response]:
    """Every other rollout to the other replica."""
    calls: list[Awaitable[httpx.Response]] = [
        post(replicas[place % 2].url, run, row) for place, row in enumerate(rows)
    ]
    return list(await asyncio.gather(*calls))


def test_a_group_is_collected_across_replicas_and_counts_once(replicas: list[live.Service], run: str) -> None:
    Client(replicas[0].url).run(run, strategy=PREVIOUS, groups_per_step=2)
    level = 1.0
    for epoch in range(2):
        group = GROUP if epoch == 0 else [(True, 5), (True, 9), (False, 7), (False, 3)]
        rows = [*rows_of(group, _ng_task_index=0), *rows_of(group, _ng_task_index=1)]
        found = rewards_of(asyncio.run(split(replicas, run, rows)))
        assert found == pytest.approx(reference.rewards(group, level) * 2, abs=1e-9)
        # A repeat to the other replica is the same, bit for bit.
        assert rewards_of(asyncio.run(split(replicas[::-1], run, rows))) == found
        level = reference.next_level(level, [group, group])
    assert counted(replicas[1].url, run) == [(2, 8), (2, 8)]


def test_a_later_attempt_at_one_replica_supersedes_at_the_other(
    replicas: list[live.Service], run: str, arrived_in_redis: Arrived
) -> None:
    Client(replicas[0].url).run(run, groups_per_step=8)

    async def attempts() -> tuple[list[httpx.Response], list[httpx.Response]]:
        begun = rows_of(GROUP[:2], _ng_group_id="g", _ng_group_attempt=0)
        first = asyncio.create_task(post_all(replicas[0].url, run, begun))
        await until(lambda: arrived_in_redis(run) == 2)
        second = await post_all(replicas[1].url, run, rows_of(GROUP, _ng_group_id="g", _ng_group_attempt=1))
        return await first, second

    first, second = asyncio.run(attempts())
    assert {answer.status_code for answer in first} == {409}
    assert len(rewards_of(second)) == 4
    assert counted(replicas[0].url, run) == [(1, 4)]


def test_a_replica_that_is_killed_takes_nothing_with_it(
    replicas: list[live.Service], run: str, arrived_in_redis: Arrived
) -> None:
    Client(replicas[1].url).run(run, strategy=PREVIOUS, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g")

    async def collect() -> list[httpx.Response]:
        early = asyncio.create_task(post_all(replicas[0].url, run, rows[:2]))
        await until(lambda: arrived_in_redis(run) == 2)
        replicas[0].kill()
        # The group completes at the other replica, without those that were waiting at the dead one.
        late = await post_all(replicas[1].url, run, rows[2:])
        await asyncio.to_thread(replicas[0].start)
        return [*await early, *late]

    assert rewards_of(asyncio.run(collect())) == pytest.approx(reference.rewards(GROUP, 1.0), abs=1e-9)
    assert counted(replicas[1].url, run) == [(1, 4)]


def test_a_redis_that_is_away_for_a_while_is_waited_for(
    replicas: list[live.Service], redis_url: str, run: str, arrived_in_redis: Arrived
) -> None:
    Client(replicas[0].url).run(run, strategy=PREVIOUS, groups_per_step=8)
    rows = rows_of(GROUP, _ng_group_id="g")
    with redis.Redis.from_url(redis_url) as db:
        process = int(db.info("server")["process_id"])  # type: ignore[index,arg-type]

    def away() -> bool:
        return all(httpx.get(f"{one.url}/v1/runs/{run}", timeout=60).status_code == 503 for one in replicas)

    async def collect() -> list[httpx.Response]:
        early = asyncio.create_task(post_all(replicas[0].url, run, rows[:2]))
        await until(lambda: arrived_in_redis(run) == 2)
        os.kill(process, signal.SIGSTOP)
        try:
            await until(away)
            late = asyncio.create_task(post_all(replicas[1].url, run, rows[2:]))
            await until(away)  # once more: the late ones have met an empty chair by now
            assert not early.done()
            assert not late.done()
        finally:
            os.kill(process, signal.SIGCONT)
        return [*await early, *await late]

    assert rewards_of(asyncio.run(collect())) == pytest.approx(reference.rewards(GROUP, 1.0), abs=1e-9)
    assert counted(replicas[0].url, run) == [(1, 4)]


def test_workers_of_one_service_meet_too(tmp_path: Any, redis_url: str, run: str) -> None:
    with live.serving(tmp_path, redis_url, WORKERS="2") as own:
        Client(own.url).run(run, strategy=PREVIOUS, groups_per_step=8)
        rows = [row for task in range(8) for row in rows_of(GROUP, _ng_task_index=task)]
        # A connection each, so that the workers share them.
        found = rewards_of(asyncio.run(post_all(own.url, run, rows)))
        assert found == pytest.approx(reference.rewards(GROUP, 1.0) * 8, abs=1e-9)
        assert counted(own.url, run) == [(8, 32)]
