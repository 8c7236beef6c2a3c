"""Verification without rewards: the items of a verify request, and the observations of those with identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from deepcompress_client.wire import RunConfig, VerifyAnswer, VerifyItem, VerifyRequest
from deepcompress_verify import Check, Verdict

from ..activity.recorder import verify_rows
from ..difficulty.errors import UNUSABLE
from ..observability import metrics
from .batch import TURN, AddTask, beside, in_turns, release
from .observing import observation, takes_observations_without_step
from .pipeline import Pipeline, turns_of
from .request_checks import make_checks, missing_identity, reads_config, validate_items
from .rewards import verdict_answers


async def verify_items(pipeline: Pipeline, request: VerifyRequest, add_task: AddTask) -> VerifyAnswer:
    """Check each item. Record the observation of those that carry identity.

    Raises:
        TooLargeError: More items or gold text than the settings allow.
        InvalidRequestError: An item with a rollout_id lacks its run, step or problem_id, or a checker is unknown.
    """
    remote = pipeline.remote_names
    turns = turns_of([1] * len(request.items), 0)
    large = len(turns) > 1
    await beside(large, partial(validate_items, request, pipeline.settings, remote))
    await _check_steps(pipeline, await beside(large, partial(without_step, request.items)))
    configs = await _configs(pipeline, request, large)
    checks: list[Check] = []
    async for turn in in_turns(turns):
        for item in request.items[turn]:
            checks += make_checks(item, [item], request, configs[item.run], remote)
    first_run = next((item.run for item in request.items if item.run), None)
    verdicts = await pipeline.verdicts(checks, first_run, add_task)
    await release(checks)
    recorded = await _observe(pipeline, request.items, verdicts, turns)
    rows = []
    async for turn in in_turns(turns):
        items = request.items[turn]
        names = (item.id if item.id is not None else str(index) for index, item in enumerate(items, turn.start))
        answered = verdict_answers(names, verdicts[turn])
        for index, (item, row) in enumerate(zip(items, answered, strict=True), turn.start):
            if item.rollout_id is not None:
                row.recorded = recorded.get(index, False)
            rows.append(row)
    add_task(_record, pipeline, request, verdicts)
    return VerifyAnswer(verdicts=rows)


def without_step(items: Sequence[VerifyItem]) -> dict[str, int]:
    """Return the position of the first observed item without a step of each run that has one."""
    return {
        item.run: index
        for index, item in reversed(list(enumerate(items)))
        if item.rollout_id is not None and item.phase == "train" and item.step is None and item.run is not None
    }


async def _check_steps(pipeline: Pipeline, without: Mapping[str, int]) -> None:
    """Check that the runs of the observed items without a step are asynchronous.

    Raises:
        InvalidRequestError: An item lacks its step.
    """
    for run, index in without.items():
        if not await takes_observations_without_step(pipeline, run):
            raise missing_identity(index, "step")


async def _configs(pipeline: Pipeline, request: VerifyRequest, large: bool) -> dict[str | None, RunConfig]:
    """Return the configuration of each run that an item names; runs are read only if a check depends on them."""
    default, remote = pipeline.default_plan.config, pipeline.remote_names

    def named() -> tuple[set[str | None], set[str]]:
        read = {item.run for item in request.items if item.run and reads_config(item, request, remote)}
        return {item.run for item in request.items}, read

    every, read = await beside(large, named)
    configs: dict[str | None, RunConfig] = dict.fromkeys(every, default)
    for run in read:
        configs[run] = (await pipeline.readable_plan(run)).config
    return configs


async def _observe(
    pipeline: Pipeline, items: Sequence[VerifyItem], verdicts: Sequence[Verdict], turns: Sequence[slice]
) -> dict[int, bool]:
    """Send the training items that have a rollout_id to the store; return by index if each was recorded."""
    indices, observations = [], []
    async for turn in in_turns(turns):
        for index, (item, verdict) in enumerate(zip(items[turn], verdicts[turn], strict=True), turn.start):
            if item.rollout_id is None or item.phase == "eval" or verdict.status == "unchecked":
                continue
            indices.append(index)
            observations.append(observation(item, item, item, item.rollout_id, verdict.correct, verdict.status))
    if not observations:
        return {}
    try:
        recorded = await pipeline.timed("observe", pipeline.store.observe(observations))
    except UNUSABLE:
        # The verdicts are answered without their observations, and the loss is counted.
        metrics.OBSERVATIONS_LOST.inc(len(indices))
        return {}
    await release(observations)
    return dict(zip(indices, recorded, strict=True))


async def _record(pipeline: Pipeline, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
    """Give the recorder its sample of a verify request."""
    large = len(verdicts) > TURN
    for run, rows in await beside(large, partial(verify_rows, request, verdicts)):
        pipeline.recorder.record_rows(run, rows)
