"""The typed answer of a batch, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from deepcompress_client.wire import GroupRewards, RewardComponents, ScoreAnswer, ScoredGroup, ShapeAnswer
from deepcompress_client.wire import Verdict as VerdictAnswer
from deepcompress_verify import Verdict

from ..difficulty.model import CommitOutcome, GroupOutcome
from ..shaping import Group, ShapedGroup
from .batch import Batch, BatchGroup, Rewards
from .training_warnings import run_created

Answer = TypeVar("Answer", ShapeAnswer, ScoreAnswer)


def answer(batch: Batch, outcome: CommitOutcome | None, rewards: Rewards, kind: type[Answer]) -> Answer:
    """Return the answer, of type `kind`. `outcome` is None in evaluation, whose answer has no level and no state."""
    request = batch.request
    warnings = [] if outcome is None else answered_warnings(outcome, rewards.warnings)
    rows: list[Any] = []  # ScoredGroup where the service verified, else GroupRewards
    for index, (group, shaping_group, shaped) in enumerate(
        zip(batch.groups, rewards.groups, rewards.shaped, strict=True)
    ):
        record = None if outcome is None else outcome.groups[index]
        row = group_answer(index, group, shaping_group, shaped, record)
        if rewards.shadows is not None:
            row.shadow = {label: shadow_answer(one) for label, one in rewards.shadows[index].items()}
        if group.age is not None:
            row.age = group.age
        if record is not None and batch.plan.config.asynchronous:
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
            warnings=warnings,
            groups=rows,
        )
    return kind(
        run=outcome.run,
        epoch=outcome.epoch,
        step=outcome.step,
        phase="train",
        level=outcome.level,
        batch_pass_ratio=outcome.batch_pass_ratio,
        warnings=warnings,
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
        row = partial(ScoredGroup, verdicts=[verdict_answer(str(i), verdict) for i, verdict in enumerate(verdicts)])
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


def verdict_answer(name: str, verdict: Verdict) -> VerdictAnswer:
    """Return a verdict as it is answered, under the item's id."""
    return VerdictAnswer(
        id=name,
        correct=verdict.correct,
        status=verdict.status,
        answer=verdict.answer,
        decided_by=verdict.decided_by,
        reason=verdict.reason,
        cpu_ms=verdict.cpu_ms,
    )


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


def answered_warnings(outcome: CommitOutcome, warnings: Sequence[tuple[str, str]]) -> list[str]:
    """Return the warnings of an answer, each as "slug: text"; a request that created the run has one more.

    They are a function of the request and of the run's state, so a repeated request has them again.
    """
    created = [run_created(outcome.step)] if outcome.created_step == outcome.step else []
    return [*created, *(f"{slug}: {text}" for slug, text in warnings)]
