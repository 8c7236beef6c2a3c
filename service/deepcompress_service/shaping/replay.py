"""Logged rollouts of many steps, run through several rewards offline, and what to compare them by. Pure.

The state that a run would have had is folded as the stores fold it: the level, the accumulators and the problems'
histories of a step come from those before it and from the step's groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .guard import step_changes
from .lengths import LengthRecord
from .level import mean_pass_ratio, next_history, next_level, next_value
from .reward import Reward
from .types import Group, ProblemHistory, ShapedGroup

PROBLEM_WEIGHT = 0.3
"""Weight of the newest step in a problem's smoothed pass ratio, as the service's default setting has it."""


@dataclass(frozen=True, slots=True)
class LoggedGroup:
    """One group of the log. Its group needs no level, accumulators, history or step: the replay gives them."""

    problem_id: str
    group: Group
    counts: bool = True
    """False where the gold cannot be read: in neither the level nor the problem's history."""


@dataclass(frozen=True, slots=True)
class ReplayedStep:
    """The rewards of one configuration in one step."""

    step: int
    level: float
    """At the end of the step."""
    shaped: tuple[ShapedGroup, ...]


Log = Sequence[tuple[int, Sequence[LoggedGroup]]]
"""Steps in ascending order, each with its groups."""


def replay(log: Log, rewards: Mapping[str, Reward]) -> dict[str, list[ReplayedStep]]:
    """Each reward's own walk through the log, by name. Raises InputError where rows lack what a reward needs."""
    walks: dict[str, list[ReplayedStep]] = {name: [] for name in rewards}
    state = {
        name: (reward.initial_level, tuple(spec.initial for spec in reward.accumulators))
        for name, reward in rewards.items()
    }
    by_dataset = any(reward.reference == "dataset" for reward in rewards.values())
    histories: dict[str, ProblemHistory] = {}
    lengths: dict[str, LengthRecord] = {}
    for step, logged in log:
        counted = [one.group for one in logged if one.counts]
        mean = mean_pass_ratio(counted)
        # Over all problems so far, so it is computed only where a reward reads it.
        dataset = _dataset_level(histories) if by_dataset else None
        by_problem = _by_problem(logged)
        changes = step_changes(
            (_pass_ratio(groups), histories.get(problem_id, ProblemHistory()).pass_ratio)
            for problem_id, groups in by_problem.items()
        )
        for name, reward in rewards.items():
            level, values = state[name]
            after, used = _levels(reward, level, mean, dataset)
            groups = [
                replace(
                    one.group,
                    level=used,
                    accumulators=values,
                    history=histories.get(one.problem_id, ProblemHistory()),
                    step=step,
                    lengths=lengths.get(one.problem_id, LengthRecord()),
                    guard=reward.guard_sums(values),
                )
                for one in logged
            ]
            walks[name].append(ReplayedStep(step, after, tuple(reward.shape(groups))))
            if mean is not None:
                accuracy = sum(sum(g.correct) for g in counted) / sum(len(g.correct) for g in counted)
                specs = zip(reward.accumulators, values, strict=True)
                values = tuple(next_value(spec, value, mean, accuracy, changes) for spec, value in specs)
            state[name] = (after, values)
        for problem_id, groups in by_problem.items():
            before = histories.get(problem_id, ProblemHistory())
            histories[problem_id] = next_history(before, groups, PROBLEM_WEIGHT)
            known = [g for g in groups if g.tokens is not None]
            correct = [n for g in known for n, ok in zip(g.tokens or (), g.correct, strict=True) if ok]
            lengths[problem_id] = lengths.get(problem_id, LengthRecord()).after(correct)
    return walks


def _levels(reward: Reward, level: float, mean: float | None, dataset: float | None) -> tuple[float, float]:
    """Return the level after the step, and the one that betas are taken against."""
    if reward.reference == "dataset":
        fixed = level if dataset is None else dataset
        return fixed, fixed
    after = level if mean is None else next_level(level, mean, reward.ema)
    return after, level if reward.reference == "previous" else after


def _dataset_level(histories: Mapping[str, ProblemHistory]) -> float | None:
    ratios = [h.pass_ratio for h in histories.values() if h.pass_ratio is not None]
    return sum(ratios) / len(ratios) if ratios else None


def _pass_ratio(groups: Sequence[Group]) -> float:
    """Return correct rollouts / rollouts of a problem's groups."""
    return sum(sum(g.correct) for g in groups) / sum(len(g.correct) for g in groups)


def _by_problem(logged: Iterable[LoggedGroup]) -> dict[str, list[Group]]:
    by_problem: dict[str, list[Group]] = {}
    for one in logged:
        if one.counts:
            by_problem.setdefault(one.problem_id, []).append(one.group)
    return by_problem


# --- what to compare them by ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summary:
    """One reward over the whole log. None where no group has what a figure is taken over."""

    reward_simple: float | None
    """Mean reward of the rollouts of groups that are simple under the default."""
    reward_hard: float | None
    shorter_simple: float | None
    """Mean rank correlation of reward with brevity among a group's correct rollouts: 1 always pays the shorter."""
    shorter_hard: float | None
    agreement: float | None
    """Mean rank correlation (Kendall's tau-b) with the default's rewards within a group."""
    negative_correct: float | None
    """Share of correct rollouts whose group advantage is below zero."""
    negative_correct_mixed: float | None
    """The same, in groups that have right and wrong rollouts."""
    spread: float | None
    """Mean over groups of the rewards' standard deviation within the group."""


def summarise(
    log: Log, walk: Sequence[ReplayedStep], default: Sequence[ReplayedStep], sides: Sequence[Sequence[str | None]]
) -> Summary:
    """Return the figures of one walk. `sides`: for every group of every step, whether it is simple or hard."""
    rewards: dict[str, list[float]] = {"simple": [], "hard": []}
    shorter: dict[str, list[float]] = {"simple": [], "hard": []}
    agreements, spreads = [], []
    negative = {True: [0, 0], False: [0, 0]}
    for (_, logged), mine, theirs, step_sides in zip(log, walk, default, sides, strict=True):
        for one, shaped, other, side in zip(logged, mine.shaped, theirs.shaped, step_sides, strict=True):
            group = one.group
            paid = np.array(shaped.rewards)
            right = np.array(group.correct)
            if side in rewards:
                rewards[side].extend(shaped.rewards)
                if group.tokens is not None:
                    tau = rank_agreement(paid[right], -np.array(group.tokens, np.float64)[right])
                    shorter[side].extend([] if tau is None else [tau])
            tau = rank_agreement(paid, np.array(other.rewards))
            agreements.extend([] if tau is None else [tau])
            spreads.append(float(paid.std()))
            advantage = paid - paid.mean() if shaped.advantages is None else np.array(shaped.advantages)
            tally = negative[bool(right.any() and not right.all())]
            tally[0] += int((advantage[right] < -1e-12).sum())
            tally[1] += int(right.sum())
    below = [sum(tally[i] for tally in negative.values()) for i in (0, 1)]
    return Summary(
        reward_simple=_mean(rewards["simple"]),
        reward_hard=_mean(rewards["hard"]),
        shorter_simple=_mean(shorter["simple"]),
        shorter_hard=_mean(shorter["hard"]),
        agreement=_mean(agreements),
        negative_correct=below[0] / below[1] if below[1] else None,
        negative_correct_mixed=negative[True][0] / negative[True][1] if negative[True][1] else None,
        spread=_mean(spreads),
    )


def rank_agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Kendall's tau-b of two lists of numbers; None where either is constant."""
    first, second = order_signs(a), order_signs(b)
    return float(first @ second) if first.any() and second.any() else None


def order_signs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sign of every difference of two values, as a vector of length 1 (0 if all are equal).

    The product of two such vectors is Kendall's tau-b. Differences under 1e-12 count as 0.
    """
    difference = (values[:, None] - values[None, :]).ravel()
    signs = np.where(np.abs(difference) < 1e-12, 0.0, np.sign(difference))
    length = np.sqrt((signs * signs).sum())
    return signs / length if length else signs


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
