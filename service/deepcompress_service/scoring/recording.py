"""Stage record: the metrics, the dashboard's sample and the run's closed steps, after the answer was sent."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import partial

from deepcompress_client.wire import ScoreRequest
from deepcompress_verify import Verdict

from ..activity.recent import GroupAge
from ..activity.recorder import ActivityRecorder, CountedGroup, scored_rows
from ..difficulty.model import CommitOutcome, GroupOutcome
from ..observability import metrics
from ..shaping import Group, Reward
from ..shaping.signal import SignalSums
from .ages import seen_age
from .batch import TURN, Batch, BatchGroup, Rewards, beside, in_turns, release
from .rewards import joined_sums
from .unchecked import checked_parts
from .warnings import Declines


async def record(
    recorder: ActivityRecorder, declines: Declines, batch: Batch, outcome: CommitOutcome | None, rewards: Rewards
) -> None:
    """Count the groups in the metrics, give the recorder its sample, and note the steps that closed.

    `outcome` is None in evaluation.
    """
    request = batch.request
    ages: list[GroupAge] = []
    async for turn in in_turns(batch.turns):
        ages += map(seen_age, batch.groups[turn])
    if outcome is None:
        metrics.count_groups("eval", ["new"] * len(batch.groups))
    else:
        metrics.count_groups("train", list(map(_kind, outcome.groups, batch.groups)))
        for slug, _ in rewards.warnings:
            metrics.WARNINGS.labels(slug).inc()
        new = [index for index, record in enumerate(outcome.groups) if not record.replayed and not record.stale]
        signal = await signal_of(batch, rewards, new)
        async for turn in in_turns(batch.turns):
            counted = [
                CountedGroup(
                    outcome.groups[index].problem_id,
                    rewards.groups[index],
                    rewards.shaped[index],
                    batch.groups[index].statuses,
                    batch.groups[index].tallies,
                    ages[index],
                )
                for index in new[bisect_left(new, turn.start) : bisect_left(new, turn.stop)]
            ]
            recorder.record_batch(outcome, rewards.warnings, counted, signal)
            signal = SignalSums()  # it is recorded once
    if outcome is not None:
        closed = outcome.closed_before, outcome.closed
        await declines.update(outcome.run, outcome.epoch, outcome.step, *closed)
    if isinstance(request, ScoreRequest):
        verdicts = [group.verdicts or () for group in batch.groups]
        step = outcome.step if outcome else None
        sampled = partial(scored_rows, request, step, rewards.shaped, verdicts, ages)
        recorder.record_rows(request.run, await beside(batch.large, sampled))
    if batch.large:
        for values in (batch.groups, rewards.groups, rewards.shaped):
            await release(values)


async def signal_of(batch: Batch, rewards: Rewards, new: Sequence[int]) -> SignalSums:
    """Return the sums of the signal's figures over the groups whose indices are `new`, ascending."""
    reward, statuses = batch.plan.reward, [group.statuses for group in batch.groups]
    if len(new) == len(batch.groups):
        if rewards.sums is not None:
            return rewards.sums
        if not any("unchecked" in row for row in statuses):
            return reward.signal_sums(rewards.groups, rewards.shaped)
    sums = [SignalSums()]
    async for part in in_turns(batch.parts):
        groups = checked_parts(rewards.groups[part], statuses[part])
        own = [groups[i - part.start] for i in new[bisect_left(new, part.start) : bisect_left(new, part.stop)]]
        if own:
            sums.append(await beside(batch.whole, partial(_signal_sums, reward, own)))
    return joined_sums(sums[1:] or sums)


def _signal_sums(reward: Reward, groups: Sequence[Group]) -> SignalSums:
    return reward.signal_sums(groups, reward.shape(groups))


def _kind(record: GroupOutcome, group: BatchGroup) -> str:
    if record.replayed:
        return "replayed"
    return "stale" if record.stale else "too_old" if group.too_old else "new"


async def count_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Count the verdicts in the metrics."""
    async for turn in in_turns([slice(start, start + TURN) for start in range(0, len(verdicts), TURN)]):
        metrics.count_verdicts(verdicts[turn])
