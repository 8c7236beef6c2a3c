"""The warning of an accuracy that falls with the lengths: seen when it happens, and quiet on a stationary policy."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from deepcompress_service.shaping.decline import MAX_STEPS, WINDOW, ClosedStep, ClosedSteps, Decline, decline_warnings


def find_decline(steps: Sequence[ClosedStep]) -> Decline | None:
    """Return the decline that these steps show."""
    return ClosedSteps(steps).find_decline()


def course(seed: int, count: int, fall: float = 0.0, shorter: float = 0.0, groups: int = 8) -> list[ClosedStep]:
    """Return steps of problems with very different chances; from step 60 on accuracy and lengths fall."""
    source, steps = random.Random(seed), []
    for step in range(count):
        late = step >= 60
        chances = [min(1.0, max(0.0, source.betavariate(2, 1) - (fall if late else 0.0))) for _ in range(groups)]
        correct = sum(source.random() < chance for chance in chances for _ in range(16))
        tokens = source.gauss(500, 40) * (1 - (shorter if late else 0.0))
        steps.append(ClosedStep(step, correct / (16 * groups), tokens))
    return steps


def test_under_5_percent_of_steps_are_false_alarms_on_a_stationary_policy() -> None:
    alarms = looked = 0
    for seed in range(20):
        steps = course(seed, 300)
        for count in range(2 * WINDOW, len(steps) + 1, 5):
            looked += 1
            alarms += find_decline(steps[:count]) is not None
    assert looked > 1000
    assert alarms / looked < 0.05


def test_shorter_answers_alone_are_no_alarm() -> None:
    alarms = [find_decline(course(seed, 160, shorter=0.5)[:count]) for seed in range(10) for count in (100, 130, 160)]
    assert sum(alarm is not None for alarm in alarms) <= 1


def test_a_fall_with_shorter_answers_is_seen() -> None:
    seen = [find_decline(course(seed, 100, fall=0.3, shorter=0.3, groups=32)) for seed in range(10)]
    assert sum(one is not None for one in seen) >= 9
    assert all(one.since <= 76 and one.accuracy_now < one.accuracy_before for one in seen if one)


def test_a_fall_with_longer_answers_is_another_matter() -> None:
    seen = [find_decline(course(seed, 100, fall=0.3, shorter=-0.3, groups=32)) for seed in range(5)]
    assert seen == [None] * 5


def test_the_text_has_the_figures() -> None:
    steps = [ClosedStep(k, 0.95 + 0.001 * (k % 2), 400) for k in range(40)]
    steps += [ClosedStep(k, 0.90 + 0.001 * (k % 2), 300) for k in range(40, 56)]
    ((slug, text),) = decline_warnings(ClosedSteps(steps))
    assert slug == "accuracy-fell"
    for part in ("5.0 points", "since step 15", "95.0% to 90.1%", "from 400 to 300 tokens"):
        assert part in text, text


@pytest.mark.parametrize("count", [0, 1, WINDOW, 2 * WINDOW - 1])
def test_few_steps_are_no_evidence(count: int) -> None:
    assert find_decline([ClosedStep(k, 1.0 if k < WINDOW else 0.0, 100 - k) for k in range(count)]) is None


def two_windows(
    accuracies: tuple[float, float], tokens: tuple[float, float], spread: float = 0.0
) -> list[ClosedStep]:
    """Return two windows of 16 steps; accuracies lie `spread` above and below those given, in turn."""
    return [ClosedStep(k, accuracies[k // 16] + (spread if k % 2 else -spread), tokens[k // 16]) for k in range(32)]


@pytest.mark.parametrize(
    ("accuracy", "tokens", "spread", "seen"),
    [
        (0.729, 97.0, 0.0, True),
        (0.731, 97.0, 0.0, False),  # a fall below 2 points
        (0.729, 97.9, 0.0, True),
        (0.729, 98.0, 0.0, False),  # lengths of 98 % are not shorter
        # Alternating values of +-d have a standard error of d / sqrt(15), so 4.5 errors of both are 1.6432 d.
        (0.75 - 0.0830, 97.0, 0.05, True),
        (0.75 - 0.0820, 97.0, 0.05, False),
    ],
)
def test_a_fall_counts_beyond_two_points_and_chance(
    accuracy: float, tokens: float, spread: float, seen: bool
) -> None:
    found = find_decline(two_windows((0.75, accuracy), (100.0, tokens), spread))
    assert (found is not None) is seen
    if found is not None:
        assert (found.since, found.accuracy_before, found.accuracy_now) == (
            15,
            pytest.approx(0.75),
            pytest.approx(accuracy),
        )
        assert (found.tokens_before, found.tokens_now) == (100.0, tokens)


def test_a_run_without_a_decline_has_no_warning() -> None:
    assert decline_warnings(ClosedSteps(two_windows((0.75, 0.75), (100.0, 50.0)))) == []


def test_only_the_newest_steps_are_compared() -> None:
    best = [ClosedStep(step, 1.0, 400) for step in range(WINDOW)]
    later = [ClosedStep(step, 0.75, 300) for step in range(WINDOW, WINDOW + MAX_STEPS)]
    assert find_decline([*best, *later[:-1]]) is None  # one step of the best window is left out
    found = find_decline([*best, *later[: MAX_STEPS - WINDOW]])
    assert found is not None and (found.since, found.accuracy_before) == (WINDOW - 1, 1.0)
    assert find_decline([*best, *later]) is None
