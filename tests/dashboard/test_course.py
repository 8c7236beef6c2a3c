"""Sums of steps: the right figures, bounded, joined over processes, and replaced where a run was rewound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from deepcompress_service.activity.course import MAX_COURSE, StepSums, begin_step, join_courses
from deepcompress_service.activity.recent import MAX_WARNINGS, Activity
from deepcompress_service.activity.recorder import sums_of_parts
from deepcompress_service.activity.shared import SharedActivity
from deepcompress_service.shaping import Group, ShapedGroup
from deepcompress_service.shaping.signal import signal, signal_sums

OUTCOME = (1.0, 1.0, -1.0, 1.0)
LENGTH = (0.1, -0.1, 0.0, 0.05)


def a_group(correct: tuple[bool, ...] = (True, True, False, True), **options: Any) -> Group:
    return Group(correct=correct, tokens=(10, 30, 20, 15), truncated=(False,) * 4, **options)


def shaped(outcome: tuple[float, ...] = OUTCOME, length: tuple[float, ...] = LENGTH, **options: Any) -> ShapedGroup:
    rewards = tuple(a + b for a, b in zip(outcome, length, strict=True))
    parts = {"outcome": outcome, "length": length, "overlong": (0.0,) * len(outcome)}
    return ShapedGroup(rewards, parts, length, 0.75, 0.1, "simple", **options)


def add(
    sums: StepSums, statuses: Sequence[str | None], group: Group | None = None, result: ShapedGroup | None = None
) -> None:
    sums.add_group((group or a_group()).correct, statuses, sums_of_parts(result or shaped()))


def test_a_step_has_the_means_and_shares_of_its_groups() -> None:
    sums = StepSums(0, 3, 10.0, 11.0)
    add(sums, ("correct", "correct", "no_answer", "correct"))
    add(sums, ("correct",) * 4, a_group((True,) * 4), shaped((1.0,) * 4))
    add(sums, (None,) * 4, a_group((False,) * 4), shaped((-1.0,) * 4, (0.0,) * 4))
    add(sums, ("correct", "unchecked", "unchecked", "undecided"), a_group((True, False, False, False)))
    row = sums.row()
    assert (row["all_correct"], row["mixed"], row["none_correct"]) == (1, 2, 1)
    assert row["reward"] == pytest.approx((2.05 + 4.05 - 4 + 2.05) / 16)
    assert row["length"] == pytest.approx(3 * 0.05 / 16)
    assert row["no_answer"] == pytest.approx(1 / 12) and row["unchecked"] == pytest.approx(2 / 12)
    assert row["undecided"] == pytest.approx(1 / 12) and row["unreadable"] == 0
    assert StepSums(0, 1, 0.0, 0.0).row()["reward"] is None
    assert StepSums(0, 1, 0.0, 0.0).row()["undecided"] is None


def test_the_figures_are_those_of_the_answers_over_requests_and_processes() -> None:
    trainable = (True, True, False, True)
    pairs = [
        (a_group(), shaped()),
        (a_group((True,) * 4), shaped((1.0,) * 4)),
        (a_group((False,) * 4), shaped((-1.0,) * 4, (0.0,) * 4)),
        (a_group(trainable=trainable), shaped()),
        (a_group(trainable=(False, False, False, True)), shaped()),
    ]
    whole = signal([group for group, _ in pairs], [one for _, one in pairs], None)
    first, second = StepSums(0, 1, 0.0, 0.0), StepSums(0, 1, 0.0, 0.0)
    first.signal.add(signal_sums([pairs[0][0]], [pairs[0][1]], None))
    second.signal.add(signal_sums([group for group, _ in pairs[1:]], [one for _, one in pairs[1:]], None))
    first.add(second)
    row = first.row()
    assert row["length_share"] == pytest.approx(whole.length_share)
    for name, value in asdict(whole).items():
        assert row["signal"][name] == pytest.approx(value), name
    assert None not in asdict(whole).values()
    assert set(StepSums(0, 1, 0.0, 0.0).row()["signal"].values()) == {0, None}


def test_a_course_is_bounded_and_a_new_epoch_replaces_what_it_rewound() -> None:
    course: dict[int, StepSums] = {}
    for step in range(2 * MAX_COURSE):
        begin_step(course, 0, step, float(step))
    assert len(course) == MAX_COURSE and min(course) == MAX_COURSE
    again = begin_step(course, 0, 700, 5.0)
    assert again is course[700] and again.last_at == 5.0
    begin_step(course, 1, 600, 6.0)
    assert sorted(course)[-1] == 600 and course[600].epoch == 1 and course[599].epoch == 0


def test_processes_add_up_and_the_latest_epoch_counts() -> None:
    one = {step: StepSums(0, step, 1.0 + step, 2.0, rollouts=4, total=2.0) for step in range(1, 6)}
    two = {step: StepSums(0, step, 0.5 + step, 9.0, rollouts=4, total=4.0) for step in range(1, 3)}
    two |= {3: StepSums(1, 3, 20.0, 21.0, rollouts=1, total=1.0)}
    joined = join_courses([one, two])
    assert sorted(joined) == [1, 2, 3]
    assert (joined[1].rollouts, joined[1].total, joined[1].first_at, joined[1].last_at) == (8, 6.0, 1.5, 9.0)
    assert (joined[3].epoch, joined[3].rollouts) == (1, 1)


def test_workers_share_courses_and_warnings(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = Activity(lambda: 5.0), Activity(lambda: 6.0)
        one, two = SharedActivity(first, tmp_path), SharedActivity(second, tmp_path)
        two._own_file = "2.json"
        for activity, step in ((first, 7), (second, 8)):
            recent = activity.begin_step("r", 0, step, [("equal-lengths", f"at {step}")])
            assert recent is not None
            add(recent.course[step], ("correct",) * 4)
        await one.publish()
        await two.publish()
        seen = await one.of("r")
        assert seen is not None and sorted(seen.course) == [7, 8]
        assert seen.course[8].mixed == 1 and seen.course[8].first_at == 6.0
        warning = seen.seen_warnings["equal-lengths"]
        assert (warning.text, warning.first_step, warning.last_step) == ("at 8", 7, 8)

    asyncio.run(scenario())


def test_kinds_of_warnings_are_bounded_and_forgotten_with_their_epoch() -> None:
    activity = Activity()
    for step in range(3 * MAX_WARNINGS):
        activity.begin_step("r", 0, step, [(f"slug-{step}", "text")])
    recent = activity.of("r")
    assert recent is not None and len(recent.seen_warnings) == MAX_WARNINGS
    activity.begin_step("r", 1, 0, [("another", "text")])
    assert list(recent.seen_warnings) == ["another"]


def test_a_full_course_is_small() -> None:
    pairs = [(a_group(), shaped()), (a_group((True,) * 4), shaped((1.0,) * 4))]
    sums = signal_sums([group for group, _ in pairs], [one for _, one in pairs], None)
    course = {step: StepSums(0, step, 1.7e9, 1.7e9, total=0.123456789, signal=sums) for step in range(MAX_COURSE)}
    assert len(orjson.dumps(list(course.values()), default=list)) < 500_000
