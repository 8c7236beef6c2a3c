"""The rewards of a batch, from its verdicts and from the state that the commit returned. A function of its inputs.

A large batch takes turns with other requests on the event loop, between the parts of the computation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter

from deepcompress_client.wire import GROUP_FIELDS, ROLLOUT_FIELDS, Signal

from ..difficulty.model import CommitOutcome, GroupOutcome, ProblemState
from ..shaping import Group, ProblemHistory, Reward
from ..shaping.lengths import LengthRecord
from ..shaping.signal import MIN_GROUPS, SignalSums
from .batch import Batch, BatchGroup, Rewards
from .records import unpack_whitening
from .unchecked import NOT_TRAINABLE, checked_parts, unchecked_warning, whole_group, whole_shadows

_ROLLOUT = attrgetter(*ROLLOUT_FIELDS)
TURN = 4_096
"""Rollouts whose inputs are prepared in one turn of the event loop."""


async def shape(batch: Batch, outcome: CommitOutcome | None) -> Rewards:
    """Return the rewards of every group, from the recorded state (None: evaluation, the outcome alone)."""
    reward = batch.plan.reward
    records: Sequence[GroupOutcome | None] = [None] * len(batch.groups) if outcome is None else outcome.groups
    step = None if outcome is None else outcome.step
    groups: list[Group] = []
    waiting = 0
    for group, record in zip(batch.groups, records, strict=True):
        groups.append(shaping_input(group, record, step, reward))
        waiting += len(group.sent.rollouts)
        if waiting >= TURN:
            waiting = 0
            await asyncio.sleep(0)
    statuses = [group.statuses for group in batch.groups]
    unchecked = any("unchecked" in row for row in statuses)
    parts = checked_parts(groups, statuses) if unchecked else groups
    if outcome is None:
        rewards = Rewards(groups, reward.shape(parts, evaluate=True), None, [])
    else:
        shaped = reward.shape(parts)
        if len(parts) > 1:
            await asyncio.sleep(0)
        shadows = reward.shape_shadows(parts) if batch.plan.config.shadow else None
        sums = reward.signal_sums(parts, shaped) if batch.request.signal or len(parts) >= MIN_GROUPS else None
        figures = None if sums is None else sums.figures()
        warnings = reward.warnings(parts, shaped, figures)
        rewards = Rewards(groups, shaped, shadows, [*batch.warnings, *warnings], sums=sums)
        if batch.request.signal and figures is not None:
            rewards.signal = Signal(**asdict(figures))
    if unchecked:
        rewards.shaped = list(map(whole_group, rewards.shaped, statuses))
        rewards.shadows = None if rewards.shadows is None else list(map(whole_shadows, rewards.shadows, statuses))
        rewards.warnings = [*rewards.warnings, *unchecked_warning(statuses)]
    return rewards


def signal_of(batch: Batch, rewards: Rewards, new: Sequence[int]) -> SignalSums:
    """Return the sums of the signal's figures over the groups whose indices are `new`."""
    reward, statuses = batch.plan.reward, [group.statuses for group in batch.groups]
    if len(new) == len(batch.groups):
        if rewards.sums is not None:
            return rewards.sums
        if not any("unchecked" in row for row in statuses):
            return reward.signal_sums(rewards.groups, rewards.shaped)
    parts = checked_parts(rewards.groups, statuses)
    groups = [parts[index] for index in new]
    return reward.signal_sums(groups, reward.shape(groups)) if groups else SignalSums()


def shaping_input(group: BatchGroup, record: GroupOutcome | None, step: int | None, reward: Reward) -> Group:
    """Return a group as the strategies see it: the fields sent, the verdicts, and the recorded state."""
    sent, statuses = group.sent, group.statuses
    readable = "gold_unreadable" not in statuses
    columns = dict(zip(ROLLOUT_FIELDS, zip(*map(_ROLLOUT, sent.rollouts), strict=True), strict=True))
    return Group(
        correct=group.correct,
        trainable=tuple(readable and status not in NOT_TRAINABLE for status in statuses),
        level=None if record is None else record.level,
        accumulators=() if record is None else record.accumulators,
        history=ProblemHistory() if record is None else problem_history(record.problem),
        step=step,
        formatted=tuple(status != "no_answer" for status in statuses),
        lengths=None if record is None else LengthRecord(record.problem.lengths),
        guard=None if record is None else reward.guard_sums(record.accumulators),
        whitening=None if record is None or not reward.whitens else unpack_whitening(record.payload),
        # A field that a rollout lacks is missing for the group.
        **{name: None if None in column else column for name, column in columns.items()},  # type: ignore[arg-type]
        **{name: getattr(sent, name) for name in GROUP_FIELDS},
    )


def problem_history(problem: ProblemState) -> ProblemHistory:
    """Return a problem's state before the step, as strategies read it."""
    count = problem.correct_tokens_count
    return ProblemHistory(
        attempts=problem.attempts,
        passes=problem.passes,
        pass_ratio=problem.pass_ratio,
        shortest_correct_tokens=problem.shortest_correct_tokens,
        mean_correct_tokens=problem.correct_tokens_sum / count if count else None,
    )
