"""Recent activity: bounded, current, and joined over all worker processes of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_service.activity import recent as bounds
from deepcompress_service.activity.recent import Activity, RunActivity, beta_bin, clip, sample
from deepcompress_service.activity.recorder import sums_of_parts
from deepcompress_service.activity.shared import SharedActivity, join
from deepcompress_service.shaping import Group, ShapedGroup


def verdict(status: str = "wrong", text: str = "1") -> dict[str, Any]:
    return {
        "step": 1,
        "phase": "train",
        "problem_id": text,
        "status": status,
        "gold": text,
        "answer": text,
        "decided_by": "string",
        "reason": text,
    }


def record(
    activity: Activity, recent: RunActivity, tokens: list[int], rewards: list[float], beta: float = 0.1
) -> None:
    """Record one group whose rollouts are all correct."""
    size = len(tokens)
    group = Group((True,) * size, tuple(tokens), (False,) * size)
    zeros = (0.0,) * size
    components = {"outcome": tuple(rewards), "length": zeros, "overlong": zeros}
    shaped = ShapedGroup(tuple(rewards), components, zeros, 1.0, beta, "simple" if beta > 0 else "hard")
    activity.record_group(recent, "p", group, shaped, sums_of_parts(shaped))


def note(activity: Activity, run: str, step: int, count: int = 4, reward: float = 1.0, epoch: int = 0) -> None:
    recent = activity.begin_step(run, epoch, step, [("equal-lengths", "all lengths are equal")])
    if recent is not None:
        record(activity, recent, [10] * count, [reward] * count, beta=-0.2)


def test_memory_is_bounded_for_any_input() -> None:
    activity = Activity()
    long = "x" * 100_000
    for number in range(3 * bounds.MAX_RUNS):
        activity.record_verdicts(f"run-{number}", [verdict(text=long)] * 500)
        note(activity, f"run-{number}", 1, count=5000)
    assert len(activity.runs()) == bounds.MAX_RUNS
    assert activity.of("run-0") is None
    recent = activity.of(f"run-{3 * bounds.MAX_RUNS - 1}")
    assert recent is not None
    assert len(recent.points) == bounds.MAX_POINTS and recent.seen_points == 5000
    kept = recent.latest()
    assert len(kept) == bounds.MAX_VERDICTS
    assert all(len(text) <= bounds.MAX_TEXT for one in kept for text in (one.gold, one.answer or "", one.reason))


def test_the_points_are_a_fair_sample_of_the_step() -> None:
    activity = Activity()
    recent = activity.begin_step("r", 0, 1, [])
    assert recent is not None
    for tokens in range(20_000):
        record(activity, recent, [tokens], [0.0])
    mean = sum(point.tokens for point in recent.points) / bounds.MAX_POINTS
    assert mean == pytest.approx(10_000, rel=0.07)


def test_only_the_newest_step_counts_and_another_epoch_begins_anew() -> None:
    activity = Activity()
    note(activity, "r", 5)
    note(activity, "r", 4)
    note(activity, "r", 6, count=2)
    recent = activity.of("r")
    assert recent is not None and (recent.step, recent.rollouts) == (6, 2)
    note(activity, "r", 3, epoch=1)
    assert (recent.epoch, recent.step, recent.rollouts) == (1, 3, 4)


def test_rare_verdicts_are_never_sampled_away() -> None:
    statuses = ["wrong"] * 100_000
    statuses[777] = "undecided"
    statuses[70_001] = "gold_unreadable"
    chosen = sample(statuses)
    assert {777, 70_001} <= set(chosen)
    assert len(chosen) < 200


@given(st.floats(-1, 1))
def test_every_beta_has_a_bin_on_its_side(beta: float) -> None:
    place = beta_bin(beta)
    assert 0 <= place < bounds.BETA_BINS
    if abs(beta) > 1e-9:
        assert (place >= bounds.BETA_BINS // 2) == (beta > 0)


@given(st.text(max_size=600))
def test_a_clipped_text_is_short_and_a_beginning(text: str) -> None:
    short = clip(text)
    assert len(short) <= bounds.MAX_TEXT
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_siblings_are_one(tmp_path: Path) -> None:
    """Two worker processes saw parts of one step; either answers for both."""

    async def scenario() -> None:
        first, second = Activity(), Activity()
        one, two = SharedActivity(first, tmp_path), SharedActivity(second, tmp_path)
        two._own_file = "2.json"
        note(first, "..", 7, count=3, reward=1.0)
        note(second, "..", 7, count=1, reward=-1.0)
        note(second, "other", 1)
        first.record_verdicts("..", [verdict("correct")])
        second.record_verdicts("..", [verdict("wrong"), verdict("undecided")])
        await one.publish()
        await two.publish()
        for shared in (one, two):
            seen = await shared.of("..")
            assert seen is not None
            assert (seen.step, seen.rollouts, seen.sums["total"]) == (7, 4, 2.0)
            assert sum(seen.betas) == 2 and len(seen.points) == 4
            assert {v.status for v in seen.latest()} == {"correct", "wrong", "undecided"}
        # The one that is a step ahead is what is shown.
        note(first, "..", 8, count=2)
        await one.publish()
        seen = await two.of("..")
        assert seen is not None and (seen.step, seen.rollouts) == (8, 2)
        assert await two.of("nobody") is None
        (tmp_path / "run-.." / "3.json").write_bytes(b'{"half')
        assert (await two.of("..")) is not None

    asyncio.run(scenario())


def test_joining_keeps_the_bounds() -> None:
    parts = []
    for _ in range(6):
        activity = Activity()
        note(activity, "r", 1, count=4000)
        activity.record_verdicts("r", [verdict()] * 500)
        parts.append(activity.of("r"))
    joined = join(parts)
    assert joined is not None
    assert joined.rollouts == 24_000
    assert len(joined.points) <= bounds.MAX_POINTS + 6
    assert len(joined.latest()) == bounds.MAX_VERDICTS
