"""The rewards of a batch, from its verdicts and from the state that the commit returned, and its typed answer.

Both are functions of their inputs.

A large batch takes turns with other requests on the event loop, between the parts of the computation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from deepcompress_client.wire import (
    GROUP_FIELDS,
    ROLLOUT_FIELDS,
    GroupRewards,
    RewardComponents,
    ScoreAnswer,
    ScoredGroup,
    ShapeAnswer,
    Signal,
)
from deepcompress_client.wire import Verdict as VerdictAnswer
from deepcompress_verify import Verdict

from ..difficulty.model import CommitOutcome, GroupOutcome
from ..shaping import Group, ProblemHistory, Reward, ShapedGroup, ShapingError
from ..shaping.lengths import LengthRecord
from ..shaping.signal import MIN_GROUPS, SignalSums
from .batch import Batch, BatchGroup, Rewards, beside
from .records import unpack_whitening
from .unchecked import NOT_TRAINABLE, checked_parts, unchecked_warning, whole_group, whole_shadows
from .warnings import reward_warnings, run_created

Answer = TypeVar("Answer", ShapeAnswer, ScoreAnswer)


async def shape(batch: Batch, outcome: CommitOutcome | None) -> Rewards:
    """Return the rewards of every group, from the recorded state (None: evaluation, the outcome alone)."""
    reward = batch.plan.reward
    step = None if outcome is None else outcome.step
    statuses = [group.statuses for group in batch.groups]
    unchecked = any("unchecked" in row for row in statuses)
    has_signal = outcome is not None and (batch.request.signal or len(batch.groups) >= MIN_GROUPS)
    has_shadows = outcome is not None and bool(batch.plan.config.shadow)
    rewards = Rewards([], [], [] if has_shadows else None, [])
    for turn in batch.turns:
        if turn.start:
            await asyncio.sleep(0)
        sent = batch.groups[turn]
        records: Sequence[GroupOutcome | None] = [None] * len(sent) if outcome is None else outcome.groups[turn]
        rewards.groups += [
            shaping_input(group, record, step, reward) for group, record in zip(sent, records, strict=True)
        ]
    groups: list[Group] = []
    shaped: list[ShapedGroup] = []
    sums: list[SignalSums] = []
    whole = batch.large and batch.whole
    for part in batch.parts if batch.large else batch.turns:
        if part.start:
            await asyncio.sleep(0)
        some = rewards.groups[part]
        if unchecked:
            some = checked_parts(some, statuses[part])
        shaping = partial(reward.shape, some, evaluate=outcome is None)
        try:
            made = await asyncio.to_thread(shaping) if whole else shaping()
            shadows = await beside(whole, partial(reward.shape_shadows, some)) if has_shadows else []
        except ShapingError as error:
            raise error.counted_from(part.start) from error.__cause__
        groups += some
        shaped += made
        rewards.shaped += map(whole_group, made, statuses[part]) if unchecked else made
        if rewards.shadows is not None:
            rewards.shadows += map(whole_shadows, shadows, statuses[part]) if unchecked else shadows
        if has_signal:
            sums.append(await beside(whole, partial(reward.signal_sums, some, made)))
    if outcome is not None:
        rewards.sums = joined_sums(sums) if has_signal else None
        figures = None if rewards.sums is None else rewards.sums.figures()
        finding = partial(reward_warnings, reward, groups, shaped, figures)
        warnings = await asyncio.to_thread(finding) if batch.large else finding()
        rewards.warnings = [*batch.warnings, *warnings]
        if batch.request.signal and figures is not None:
            rewards.signal = Signal(**asdict(figures))
    if unchecked:
        rewards.warnings += unchecked_warning(statuses)
    return rewards


def joined_sums(parts: Sequence[SignalSums]) -> SignalSums:
    """Return the sums over all parts; those of a single one are not changed in any bit."""
    first, *others = parts
    for one in others:
        first.add(one)
    return first


def shaping_input(group: BatchGroup, record: GroupOutcome | None, step: int | None, reward: Reward) -> Group:
    """Return a group as the strategies see it: the fields sent, the verdicts, and the recorded state."""
    sent, statuses = group.sent, group.statuses
    size, readable = len(statuses), "gold_unreadable" not in statuses
    trainable = formatted = (True,) * size
    if not readable or not NOT_TRAINABLE.isdisjoint(statuses):
        trainable = tuple([readable and status not in NOT_TRAINABLE for status in statuses])
    if "no_answer" in statuses:
        formatted = tuple([status != "no_answer" for status in statuses])
    columns: dict[str, Any] = dict.fromkeys(ROLLOUT_FIELDS)
    for name in ROLLOUT_FIELDS:
        # A field that a rollout lacks is missing for the group.
        if getattr(sent.rollouts[0], name) is not None:
            column = tuple([getattr(one, name) for one in sent.rollouts])
            columns[name] = None if None in column else column
    guard = whitening = None
    if record is None:
        history = ProblemHistory()
    else:
        problem = record.problem
        count = problem.correct_tokens_count
        history = ProblemHistory(
            attempts=problem.attempts,
            passes=problem.passes,
            pass_ratio=problem.pass_ratio,
            shortest_correct_tokens=problem.shortest_correct_tokens,
            mean_correct_tokens=problem.correct_tokens_sum / count if count else None,
        )
        guard = reward.guard_sums(record.accumulators) if reward.guards_run else None
        whitening = unpack_whitening(record.payload) if reward.whitens else None
    return Group(
        correct=group.correct,
        trainable=trainable,
        level=None if record is None else record.level,
        accumulators=() if record is None else record.accumulators,
        history=history,
        step=step,
        formatted=formatted,
        lengths=None if record is None else LengthRecord(record.problem.lengths),
        guard=guard,
        whitening=whitening,
        **columns,
        **{name: getattr(sent, name) for name in GROUP_FIELDS},
    )


# --- stage: answer ------------------------------------------------------------------------------------------


async def answer(batch: Batch, outcome: CommitOutcome | None, rewards: Rewards, kind: type[Answer]) -> Answer:
    """Return the answer, of type `kind`. `outcome` is None in evaluation, whose answer has no level and no state.

    The warnings are a function of the request and of the run's state, so a repeated request has them again.
    """
    request = batch.request
    warnings: list[str] = [f"{slug}: {text}" for slug, text in rewards.warnings]
    rows: list[Any] = []  # ScoredGroup where the service verified, else GroupRewards
    asynchronous = batch.plan.config.asynchronous
    for turn in batch.turns:
        if turn.start:
            await asyncio.sleep(0)
        parts = zip(batch.groups[turn], rewards.groups[turn], rewards.shaped[turn], strict=True)
        for index, (group, shaping_group, shaped) in enumerate(parts, turn.start):
            record = None if outcome is None else outcome.groups[index]
            row = group_answer(index, group, shaping_group, shaped, record)
            if rewards.shadows is not None:
                row.shadow = {label: shadow_answer(one) for label, one in rewards.shadows[index].items()}
            if group.age is not None:
                row.age = group.age
            if record is not None and asynchronous:
                row.too_old = group.too_old
            rows.append(row)
    if outcome is None:
        return kind(
            run=request.run,
            epoch=None,
            step=request.step if isinstance(request.step, int) else None,
            phase="eval",
            level=None,
            batch_pass_ratio=mean_pass_ratio(batch, rewards),
            warnings=[],
            groups=rows,
        )
    created: list[str] = [run_created(outcome.step)] if outcome.created_step == outcome.step else []
    return kind(
        run=outcome.run,
        epoch=outcome.epoch,
        step=outcome.step,
        phase="train",
        level=outcome.level,
        batch_pass_ratio=outcome.batch_pass_ratio,
        warnings=[*created, *warnings],
        signal=rewards.signal,
        incarnation=outcome.incarnation or None,
        version=outcome.version,
        groups=rows,
    )


def group_answer(
    index: int, group: BatchGroup, shaping_group: Group, shaped: ShapedGroup, record: GroupOutcome | None
) -> GroupRewards:
    """Return the rewards of the request's group `index` as they are answered, with the verdicts that were made."""
    sent, verdicts = group.sent, group.verdicts
    problem_id = record.problem_id if record else sent.problem_id or sent.group_id or str(index)
    row: Callable[..., GroupRewards] = GroupRewards
    if verdicts is not None:
        row = partial(ScoredGroup, verdicts=verdict_answers(map(str, range(len(verdicts))), verdicts))
    return row(
        problem_id=problem_id,
        group_id=record.group_id if record else sent.group_id or problem_id,
        pass_ratio=shaped.pass_ratio,
        level=shaping_group.level if shaped.beta is not None else None,
        beta=shaped.beta,
        difficulty=shaped.difficulty,
        rewards=shaped.rewards,
        components=RewardComponents(**shaped.components),
        correct=shaping_group.correct,
        trainable=shaping_group.trainable,
        length_term=shaped.length_term,
        why=shaped.why,
        scores=None if shaped.scores is None else dict(shaped.scores),
        mask=shaped.mask,
        weights=shaped.weights,
        advantages=shaped.advantages,
        replayed=record is not None and record.replayed,
        stale=record is not None and record.stale,
    )


def verdict_answers(names: Iterable[str], verdicts: Sequence[Verdict]) -> list[VerdictAnswer]:
    """Return verdicts as they are answered, each under its item's id."""
    return [
        VerdictAnswer(
            id=name,
            correct=verdict.correct,
            status=verdict.status,
            answer=verdict.answer,
            decided_by=verdict.decided_by,
            reason=verdict.reason,
            cpu_ms=verdict.cpu_ms,
        )
        for name, verdict in zip(names, verdicts, strict=True)
    ]


def shadow_answer(shaped: ShapedGroup) -> dict[str, object]:
    """Return a shadow strategy's rewards of a group; mask, weights and advantages only if the strategy has them."""
    row = {"rewards": shaped.rewards, "length": shaped.length_term, "beta": shaped.beta}
    extras = {name: getattr(shaped, name) for name in ("mask", "weights", "advantages")}
    return row | {name: value for name, value in extras.items() if value is not None}


def mean_pass_ratio(batch: Batch, rewards: Rewards) -> float:
    """Return the mean group pass ratio over the groups with a checked rollout; 0.0 without one."""
    ratios = [
        shaped.pass_ratio
        for group, shaped in zip(batch.groups, rewards.shaped, strict=True)
        if set(group.statuses) != {"unchecked"}
    ]
    return sum(ratios) / len(ratios) if ratios else 0.0
