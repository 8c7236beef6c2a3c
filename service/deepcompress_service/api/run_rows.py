"""Runs, steps, data sources, problems and checkpoints as they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from deepcompress_client.wire import (
    Difficulty,
    HistoryEntry,
    LengthQuantiles,
    Problem,
    SourceStatistics,
)

from ..activity.recent import RunActivity
from ..activity.sources import mean_rewards
from ..difficulty.model import Checkpoint, ProblemState, RunState, SourceSums, StepStatistics
from ..difficulty.sources import mean_pass_ratio
from ..shaping.lengths import LengthRecord


def _mean(total: int, count: int) -> float | None:
    return total / count if count else None


def run_row(state: RunState) -> dict[str, Any]:
    """Return a run as it is answered: the fields of `wire.RunInfo`."""
    return {
        "run": state.run,
        "epoch": state.epoch,
        "config": orjson.loads(state.config_text),
        "kind": state.kind,
        "step": state.step,
        "level": state.level,
        "batch_pass_ratio": state.batch_pass_ratio,
        "problems": state.problems,
        "created": state.created,
        "version": state.version,
        # Left out until the first write to a run of an older version.
        **({"incarnation": state.incarnation} if state.incarnation else {}),
    }


def step_row(step: StepStatistics) -> dict[str, Any]:
    """Return a step as it is answered: the fields of `wire.HistoryEntry`."""
    wrong_sum = step.tokens_sum - step.correct_tokens_sum
    wrong_count = step.tokens_count - step.correct_tokens_count
    row = HistoryEntry(
        step=step.step,
        level=step.level,
        batch_pass_ratio=step.batch_pass_ratio,
        groups=step.groups,
        rollouts=step.rollouts,
        correct=step.correct,
        simple=step.simple,
        hard=step.hard,
        stale_groups=step.stale_groups,
        observed_groups=step.observed_groups,
        truncated=step.truncated,
        mean_tokens=_mean(step.tokens_sum, step.tokens_count),
        mean_tokens_correct=_mean(step.correct_tokens_sum, step.correct_tokens_count),
        mean_tokens_wrong=_mean(wrong_sum, wrong_count),
        mean_tokens_simple=_mean(step.simple_tokens_sum, step.simple_tokens_count),
        mean_tokens_hard=_mean(step.hard_tokens_sum, step.hard_tokens_count),
        closed=step.closed,
        mean_age=_mean(step.age_sum, step.age_count),
        largest_age=step.age_max if step.age_count else None,
        too_old_groups=step.too_old_groups or None,
        discarded_groups=step.discarded_groups or None,
    )
    return vars(row)


def source_row(one: SourceSums, mean_reward: float | None) -> dict[str, Any]:
    """Return a data source in a step as it is answered: the fields of `wire.SourceStatistics`."""
    row = SourceStatistics(
        groups=one.groups,
        rollouts=one.rollouts,
        correct=one.correct,
        truncated=one.truncated,
        pass_ratio=mean_pass_ratio(one),
        mean_tokens=_mean(one.tokens_sum, one.tokens_count),
        mean_tokens_correct=_mean(one.correct_tokens_sum, one.correct_tokens_count),
        mean_reward=mean_reward,
    )
    return vars(row)


def source_rows(sums: Mapping[str, SourceSums], activity: RunActivity | None, step: int) -> dict[str, Any]:
    """Return the data sources of a step by name, with the mean rewards that this server has of them."""
    recent = None if activity is None else activity.course.get(step)
    rewards = {} if activity is None or recent is None else mean_rewards(recent.sources, activity.sources)
    return {name: source_row(one, rewards.get(name)) for name, one in sums.items()}


def problem_row(problem: ProblemState) -> dict[str, Any]:
    """Return a problem as it is answered: the fields of `wire.Problem`."""
    beta = problem.last_beta
    side: Difficulty | None = None if beta is None else "simple" if beta > 0 else "hard" if beta < 0 else "even"
    row = Problem(
        problem_id=problem.problem_id,
        attempts=problem.attempts,
        passes=problem.passes,
        pass_ratio=problem.pass_ratio,
        last_pass_ratio=problem.last_pass_ratio,
        last_beta=beta,
        difficulty=side,
        turns=problem.turns,
        shortest_correct_tokens=problem.shortest_correct_tokens,
        mean_correct_tokens=_mean(problem.correct_tokens_sum, problem.correct_tokens_count),
        last_step=problem.last_step,
        length_quantiles=_length_quantiles(problem),
    )
    return vars(row)


def _length_quantiles(problem: ProblemState) -> LengthQuantiles | None:
    """Return the quantiles of a problem's stored lengths; None if it has none."""
    record = LengthRecord(problem.lengths)
    p10, p50, p90 = map(record.quantile, (0.1, 0.5, 0.9))
    if p10 is None or p50 is None or p90 is None:
        return None
    return LengthQuantiles(p10=p10, p50=p50, p90=p90)


def checkpoint_row(one: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as it is answered."""
    return {
        "name": one.name,
        "step": one.step,
        "level": one.level,
        "problems": one.problems,
        "epoch": one.epoch,
        "bytes": one.bytes,
    }
