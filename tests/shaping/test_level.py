"""The state after a step, by hand: level, accumulators and histories."""

from __future__ import annotations

import pytest

from deepcompress_service.shaping import Group, ProblemHistory
from deepcompress_service.shaping.level import mean_pass_ratio, next_history, next_level, next_value
from deepcompress_service.shaping.strategy import AccumulatorSpec


def group(correct: str, *tokens: int) -> Group:
    return Group(tuple(c == "+" for c in correct), tokens or None, (False,) * len(correct))


def test_the_level_moves_by_the_weight_of_the_step() -> None:
    assert next_level(0.8, 0.4, 0.75) == pytest.approx(0.7)


def test_the_mean_pass_ratio_weighs_groups_and_not_rollouts() -> None:
    assert mean_pass_ratio([]) is None
    assert mean_pass_ratio([group("--")]) == 0.0
    assert mean_pass_ratio([group("+-"), group("+++-"), group("++++")]) == 0.75


@pytest.mark.parametrize(
    ("spec", "after"),
    [
        # Before the step 320; its mean pass ratio is 0.5, its accuracy 0.75, its changes 3, -5 and 10.
        (AccumulatorSpec("ema", 0.0, weight=0.25), 80.375),
        (AccumulatorSpec("max", 0.0), 320),
        (AccumulatorSpec("integrator", 0.0, weight=4.0, target=0.25), 322),
        (AccumulatorSpec("integrator", 0.0, weight=4.0, target=100.0), 0),
        (AccumulatorSpec("revisits", 0.0), 303),
        (AccumulatorSpec("squared_weight", 0.0), 320 - 38 + 3),
        (AccumulatorSpec("change", 0.0), 308),
        (AccumulatorSpec("squared_change", 0.0), 300 + 134),
    ],
    ids=lambda value: str(getattr(value, "kind", "")),
)
def test_accumulators_after_a_step(spec: AccumulatorSpec, after: float) -> None:
    assert next_value(spec, 320.0, 0.5, 0.75, [3, -5, 10]) == after


def test_the_greatest_accuracy_is_kept() -> None:
    assert [next_value(AccumulatorSpec("max", 0.0), x, 0.1, 0.75) for x in (0.5, 0.75, 0.9)] == [0.75, 0.75, 0.9]


def test_a_problems_first_step() -> None:
    assert next_history(ProblemHistory(), [group("+-+", 30, 5, 10), group("---", 1, 1, 1)], 0.3) == ProblemHistory(
        attempts=6, passes=2, pass_ratio=2 / 6, shortest_correct_tokens=10, mean_correct_tokens=20.0
    )
    assert next_history(ProblemHistory(), [group("--", 5, 6)], 0.3) == ProblemHistory(2, 0, 0.0, None, None)


def test_a_problems_later_step_adds_to_the_record() -> None:
    before = ProblemHistory(8, 2, 0.5, 15, 20.0)
    after = next_history(before, [group("+--+", 8, 1, 1, 18)], 0.25)
    assert after == ProblemHistory(12, 4, 0.5, 8, (2 * 20.0 + 26) / 4)
    assert next_history(before, [group("----", 8, 1, 1, 18)], 0.25) == ProblemHistory(12, 2, 0.375, 15, 20.0)


def test_rollouts_without_lengths_are_not_in_the_mean_length() -> None:
    before = next_history(ProblemHistory(), [group("++")], 0.3)
    assert before == ProblemHistory(2, 2, 1.0, None, None)
    assert next_history(before, [group("+-", 40, 9)], 0.3).mean_correct_tokens == 40.0
