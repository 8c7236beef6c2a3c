"""Groups of a step's first request in Redis: one field until single groups of the step are looked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from deepcompress_service.difficulty.errors import GroupConflict
from deepcompress_service.difficulty.model import DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.stores.redis_commit import REQUEST, groups_of_request, is_group

from .driving import Driver, Run, group
from .servers import needs_redis

pytestmark = needs_redis


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    driver = Driver(redis_url)
    yield driver
    driver.close()


def fields(redis_url: str, run: Run, step: int) -> tuple[int, int]:
    """Groups of the step that have a field of their own, and groups in one field."""
    with Redis.from_url(redis_url) as client:
        found = client.hgetall(f"dc:{{{run.name}}}:g:{step}")
    packed = found.get(REQUEST)
    return sum(map(is_group, found)), len(list(groups_of_request(packed))) if packed else 0


def some_groups(first: int, n: int, same_names: bool) -> list[GroupCommit]:
    """Names of different lengths, one longer than 255 bytes."""
    names = [f"{'é' * (200 if i == 0 else i % 7)}{i}" for i in range(first, first + n)]
    return [group(name, i % 5, group_id=name if same_names else f"g{i}") for i, name in enumerate(names, first)]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"x",
        b"\xff" * 40,
        bytes(8) + b"\x02\0\0\0" + bytes(33),
        bytes(8) + b"\x01\0\0\0" + bytes(16) + b"\x05\0ab",
    ],
)
def test_damaged_groups_are_an_error(packed: bytes) -> None:
    """A number of groups that the value does not have is no loop over them."""
    with pytest.raises((ValueError, struct.error)):
        list(groups_of_request(packed))


@pytest.mark.parametrize("n", [1, 3, 1201])
@pytest.mark.parametrize("same_names", [True, False])
def test_groups_are_the_same_before_and_after_they_have_fields_of_their_own(
    n: int, same_names: bool, driver: Driver, redis_url: str
) -> None:
    run = Run(driver, f"packed {n} {same_names}", DifficultyConfig())
    groups = some_groups(0, n, same_names)
    first = run.commit(1, *groups)
    assert fields(redis_url, run, 1) == (0, n)
    digests = {g.group_id: g.digest for g in groups} | {"of no group": bytes(16)}
    payloads = {g.group_id: g.payload for g in groups}
    assert driver.recorded(run.name, digests, step=1) == payloads
    exported = driver.export(run.name)
    assert fields(redis_url, run, 1) == (0, n), "reading changes nothing"

    again = run.commit(1, groups[-1])
    assert fields(redis_url, run, 1) == (n, 0)
    assert [(g.replayed, g.payload, g.problem) for g in again.groups] == [
        (True, groups[-1].payload, first.groups[-1].problem)
    ]
    assert driver.recorded(run.name, digests, step=1) == payloads
    assert sorted(driver.export(run.name)) == sorted(exported)
    replayed = run.commit(1, *groups)
    assert [(g.group_id, g.problem) for g in replayed.groups] == [(g.group_id, g.problem) for g in first.groups]
    with pytest.raises(GroupConflict):
        run.commit(1, replace(groups[-1], digest=bytes(16)))


def test_only_the_first_request_of_a_step_is_packed(driver: Driver, redis_url: str) -> None:
    run = Run(driver, "packed in turn", DifficultyConfig())
    for first, n, expected in ((0, 3, (0, 3)), (3, 2, (5, 0)), (5, 4, (9, 0))):
        run.commit(1, *some_groups(first, n, True))
        assert fields(redis_url, run, 1) == expected
    assert len(driver.recorded(run.name, {g.group_id: g.digest for g in some_groups(0, 9, True)}, step=1)) == 9
    run.commit(1, *some_groups(8, 2, True))  # one of them is recorded, so the request is not plain
    assert fields(redis_url, run, 1) == (10, 0)
    run.commit(2, *some_groups(20, 2, False))
    assert fields(redis_url, run, 2) == (0, 2)


def test_an_observation_of_a_packed_group_is_not_counted(driver: Driver, redis_url: str) -> None:
    run = Run(driver, "packed and observed", DifficultyConfig())
    groups = some_groups(0, 3, True)
    run.commit(1, *groups)
    late = groups[1].group_id
    run.observe(1, late, "0", True)
    run.observe(1, "seen only", "0", True)
    assert fields(redis_url, run, 1) == (3, 0)
    run.commit(2, group("next", 1))
    assert driver.problem(run.name, "seen only").attempts == 1
    assert driver.problem(run.name, late).attempts == 4
    assert driver.history(run.name)[0].observed_groups == 1


def test_an_import_of_packed_groups_goes_on(driver: Driver, redis_url: str) -> None:
    run = Run(driver, "packed and exported", DifficultyConfig())
    groups = some_groups(0, 5, False)
    first = run.commit(1, *groups)
    driver.import_run(run.name, iter(driver.export(run.name)))
    assert fields(redis_url, run, 1) == (5, 0)
    again = run.commit(1, *groups)
    assert [(g.replayed, g.problem) for g in again.groups] == [(True, g.problem) for g in first.groups]
