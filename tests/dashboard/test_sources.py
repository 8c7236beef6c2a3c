"""Sums by data source: those of the store's tallies, complete for each name, and bounded."""

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
from deepcompress_service.activity.sources import (
    FIELDS,
    MAX_SOURCES,
    OTHER,
    add_group,
    joined_names,
    renamed,
    statistics,
)
from deepcompress_service.difficulty.model import GroupCommit


def counted(size: int, passes: int, tokens: int = 0, **options: Any) -> GroupCommit:
    return GroupCommit("g", "p", b"", b"", size, passes, tokens_sum=tokens, **options)


def test_a_group_has_the_tallies_of_the_store() -> None:
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    add_group(sums, names, "gsm8k", counted(4, 3, 400, truncated=1), 0.5)
    add_group(sums, names, "gsm8k", counted(2, 0, tokens_known=False), -1.0)
    add_group(sums, names, "aime", counted(4, 4, 800), 1.25)
    add_group(sums, names, "aime", counted(4, 4, 800, counts=False), 1.25)
    assert statistics(sums, names) == {
        "gsm8k": {
            "groups": 2,
            "rollouts": 6,
            "correct": 3,
            "truncated": 1,
            "pass_ratio": 0.375,
            "mean_tokens": 100.0,
            "mean_reward": 0.0,
        },
        "aime": {
            "groups": 1,
            "rollouts": 4,
            "correct": 4,
            "truncated": 0,
            "pass_ratio": 1.0,
            "mean_tokens": 200.0,
            "mean_reward": 1.25,
        },
    }


def test_the_names_are_bounded_and_the_rest_is_counted_together() -> None:
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    for number in range(10 * MAX_SOURCES):
        add_group(sums, names, f"set-{number:03d}", counted(2, 1), 0.0)
    add_group(sums, names, OTHER, counted(2, 1), 0.0)
    add_group(sums, names, "set-000", counted(2, 1), 0.0)
    assert len(names) == MAX_SOURCES and OTHER not in names
    assert len(sums) == (1 + MAX_SOURCES) * len(FIELDS)
    figures = statistics(sums, names)
    assert figures["set-000"]["groups"] == 2
    assert figures[OTHER]["groups"] == 9 * MAX_SOURCES + 1
    assert sum(one["groups"] for one in figures.values()) == 10 * MAX_SOURCES + 2


GROUPS = st.lists(st.tuples(st.integers(0, 24), st.integers(1, 4)), max_size=60)


@given(st.lists(GROUPS, min_size=1, max_size=4))
def test_processes_join_to_complete_sums(processes: list[list[tuple[int, int]]]) -> None:
    """Each name has all of its groups, in whichever process; the total is that of all groups."""
    known = []
    for groups in processes:
        activity = Activity().begin_step("r", 0, 1, [])
        assert activity is not None
        for number, size in groups:
            add_group(activity.course[1].sources, activity.sources, f"s{number}", counted(size, 1), 1.0)
        known.append(activity)
    joined = join(list(known))
    assert joined is not None and len(joined.sources) <= MAX_SOURCES
    found = statistics(joined.course[1].sources, joined.sources)
    everything = [one for groups in processes for one in groups]
    for name, one in found.items():
        if name != OTHER:
            assert one["rollouts"] == sum(size for number, size in everything if f"s{number}" == name)
    assert sum(one["rollouts"] for one in found.values()) == sum(size for _, size in everything)
    if len({number for number, _ in everything}) <= MAX_SOURCES:
        assert OTHER not in found


def test_names_that_one_process_counted_with_others_are_joined_there() -> None:
    full = [f"a{number:02d}" for number in range(MAX_SOURCES)]
    assert joined_names([full, ["a00", "new"]]) == sorted(full)
    assert joined_names([["x"], ["y"]]) == ["x", "y"]
    assert joined_names([]) == []
    sums, names = array("d"), []  # type: tuple[Any, list[str]]
    add_group(sums, names, "new", counted(3, 1), 1.0)
    assert statistics(renamed(sums, names, full), full)[OTHER]["rollouts"] == 3


def test_workers_share_sums_by_data_source(tmp_path: Path) -> None:
    async def scenario() -> None:
        one, two = Activity(), Activity()
        shared, other = SharedActivity(one, tmp_path), SharedActivity(two, tmp_path)
        other._own_file = "2.json"
        for activity, names in ((one, ("x", "y")), (two, ("y", "z"))):
            recent = activity.begin_step("r", 0, 3, [])
            assert recent is not None
            for name in names:
                add_group(recent.course[3].sources, recent.sources, name, counted(4, 2, 40), 0.5)
        await shared.publish()
        await other.publish()
        seen = await shared.of("r")
        assert seen is not None
        found = statistics(seen.course[3].sources, seen.sources)
        assert {name: row["groups"] for name, row in found.items()} == {"x": 1, "y": 2, "z": 1}
        assert found["y"]["mean_tokens"] == 10.0

    asyncio.run(scenario())


def test_a_full_course_with_all_data_sources_is_small() -> None:
    names = [f"set-{number}" for number in range(MAX_SOURCES)]
    course = []
    for step in range(MAX_COURSE):
        sums = StepSums(0, step, 0.0, 0.0)
        for name in names:
            add_group(sums.sources, names, name, counted(8, 3, 123_456), 0.123)
        course.append(sums)
    assert sum(sums.sources.itemsize * len(sums.sources) for sums in course) < 1_200_000
    row = course[0].row(names)
    assert row["sources"]["set-3"]["mean_reward"] == pytest.approx(0.123)
    assert json.loads(json.dumps(row)) == row
