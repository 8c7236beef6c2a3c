"""Mean rewards by data source: complete for each name, and bounded."""

from __future__ import annotations

import asyncio
import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_service.activity.course import MAX_COURSE, StepSums
from deepcompress_service.activity.recent import Activity
from deepcompress_service.activity.shared import SharedActivity, join
from deepcompress_service.activity.sources import FIELDS, add_group, joined_names, mean_rewards, renamed
from deepcompress_service.difficulty.model import GroupCommit
from deepcompress_service.difficulty.sources import MAX_SOURCES, OTHER


def counted(source: str | None, size: int, **options: Any) -> GroupCommit:
    return GroupCommit("g", "p", b"", b"", size, 1, data_source=source, **options)


def test_the_mean_is_over_rollouts_of_groups_that_count() -> None:
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    add_group(sums, names, counted("gsm8k", 4), 0.5)
    add_group(sums, names, counted("gsm8k", 2), -1.0)
    add_group(sums, names, counted("aime", 4), 1.25)
    add_group(sums, names, counted("aime", 4, counts=False), 7.0)
    add_group(sums, names, counted(None, 4), 7.0)
    assert mean_rewards(sums, names) == {"gsm8k": 0.0, "aime": 1.25}
    assert mean_rewards(array("d"), names) == {}


def test_the_names_are_bounded_and_the_rest_is_counted_together() -> None:
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    for number in range(10 * MAX_SOURCES):
        add_group(sums, names, counted(f"set-{number:03d}", 2), 1.0)
    add_group(sums, names, counted(OTHER, 2), -9.0 * MAX_SOURCES)
    add_group(sums, names, counted("set-000", 2), 3.0)
    assert len(names) == MAX_SOURCES and OTHER not in names
    assert len(sums) == (1 + MAX_SOURCES) * len(FIELDS)
    means = mean_rewards(sums, names)
    assert (means["set-000"], means[OTHER]) == (2.0, 0.0)


GROUPS = st.lists(st.tuples(st.integers(0, 24), st.integers(1, 4)), max_size=60)


@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_processes_join_to_complete_sums(processes: list[list[tuple[int, int]]]) -> None:
    """Each name has all of its groups, in whichever process; the total is that of all groups."""
    known = []
    for groups in processes:
        activity = Activity().begin_step("r", 0, 1, [])
        assert activity is not None
        for number, size in groups:
            add_group(activity.course[1].sources, activity.sources, counted(f"s{number}", size), 1.0)
        known.append(activity)
    joined = join(list(known))
    assert joined is not None and len(joined.sources) <= MAX_SOURCES
    found = dict(zip((OTHER, *joined.sources), joined.course[1].sources[::2], strict=False))
    everything = [one for groups in processes for one in groups]
    for name, rollouts in found.items():
        if name != OTHER:
            assert rollouts == sum(size for number, size in everything if f"s{number}" == name)
    assert sum(found.values()) == sum(size for _, size in everything)
    if len({number for number, _ in everything}) <= MAX_SOURCES:
        assert not found.get(OTHER)
    assert set(mean_rewards(joined.course[1].sources, joined.sources).values()) <= {1.0}


def test_names_that_one_process_counted_with_others_are_joined_there() -> None:
    full = [f"a{number:02d}" for number in range(MAX_SOURCES)]
    assert joined_names([full, ["a00", "new"]]) == sorted(full)
    assert joined_names([["x"], ["y"]]) == ["x", "y"]
    assert joined_names([]) == []
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    add_group(sums, names, counted("new", 3), 1.0)
    assert renamed(sums, names, full)[0] == 3


def test_workers_share_rewards_by_data_source(tmp_path: Path) -> None:
    async def scenario() -> None:
        one, two = Activity(), Activity()
        shared, other = SharedActivity(one, tmp_path), SharedActivity(two, tmp_path)
        other._own_file = "2.json"
        for activity, names, reward in ((one, ("x", "y"), 0.5), (two, ("y", "z"), 1.5)):
            recent = activity.begin_step("r", 0, 3, [])
            assert recent is not None
            for name in names:
                add_group(recent.course[3].sources, recent.sources, counted(name, 4), reward)
        await shared.publish()
        await other.publish()
        seen = await shared.of("r")
        assert seen is not None
        assert mean_rewards(seen.course[3].sources, seen.sources) == {"x": 0.5, "y": 1.0, "z": 1.5}

    asyncio.run(scenario())


def test_a_full_course_with_all_data_sources_is_small() -> None:
    names = [f"set-{number}" for number in range(MAX_SOURCES)]
    course = []
    for step in range(MAX_COURSE):
        sums = StepSums(0, step, 0.0, 0.0)
        for name in names:
            add_group(sums.sources, names, counted(name, 8), 0.123)
        course.append(sums)
    assert sum(sums.sources.itemsize * len(sums.sources) for sums in course) < 150_000
    row = course[0].row(names)
    assert row["source_rewards"]["set-3"] == pytest.approx(0.123)
    assert json.loads(json.dumps(row)) == row
