"""Verification without rewards: the items of a verify request, and the observations of those with identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from deepcompress_client.wire import RunConfig, VerifyAnswer, VerifyItem, VerifyRequest
from deepcompress_verify import Check, Verdict

from ..difficulty.errors import UNUSABLE
from ..observability import metrics
from .batch import AddTask
from .observing import observation, takes_observations_without_step
from .pipeline import Pipeline
from .request_checks import make_checks, missing_identity, reads_config, validate_items
from .rewards import verdict_answers

AT_ONCE = 4096
"""Items that are worked on before other requests take their turn."""


async def verify_items(pipeline: Pipeline, request: VerifyRequest, add_task: AddTask) -> VerifyAnswer:
    """Check each item. Record the observation of those that carry identity.

    Raises:
        TooLargeError: More items or gold text than the settings allow.
        InvalidRequestError: An item with a rollout_id lacks its run, step or problem_id, or a checker is unknown.
    """
    remote = pipeline.remote_names
    validate_items(request, pipeline.settings, remote)
    await asyncio.sleep(0)
    await _check_steps(pipeline, request.items)
    configs = await _configs(pipeline, request)
    checks: list[Check] = []
    async for start in _turns(request.items):
        for item in request.items[start : start + AT_ONCE]:
            checks += make_checks(item, [item], request, configs[item.run], remote)
    first_run = next((item.run for item in request.items if item.run), None)
    verdicts = await pipeline.verdicts(checks, first_run, add_task)
    recorded = await _observe(pipeline, request.items, verdicts)
    rows = []
    async for start in _turns(request.items):
        items = request.items[start : start + AT_ONCE]
        names = (item.id if item.id is not None else str(index) for index, item in enumerate(items, start))
        answered = verdict_answers(names, verdicts[start : start + AT_ONCE])
        for index, (item, row) in enumerate(zip(items, answered, strict=True), start):
            if item.rollout_id is not None:
                row.recorded = recorded.get(index, False)
            rows.append(row)
    add_task(_record, pipeline, request, verdicts)
    return VerifyAnswer(verdicts=rows)


async def _turns(items: Sequence[VerifyItem]) -> AsyncIterator[int]:
    """Yield the position of each AT_ONCE items, after other requests took their turn."""
    for start in range(0, len(items), AT_ONCE):
        await asyncio.sleep(0)
        yield start


async def _check_steps(pipeline: Pipeline, items: Sequence[VerifyItem]) -> None:
    """Check that the observed items without a step are of asynchronous runs.

    Raises:
        InvalidRequestError: An item lacks its step.
    """
    without = {
        item.run: index
        for index, item in reversed(list(enumerate(items)))
        if item.rollout_id is not None and item.phase == "train" and item.step is None and item.run is not None
    }
    for run, index in without.items():
        if not await takes_observations_without_step(pipeline, run):
            raise missing_identity(index, "step")


async def _configs(pipeline: Pipeline, request: VerifyRequest) -> dict[str | None, RunConfig]:
    """Return the configuration of each run that an item names; runs are read only if a check depends on them."""
    default, remote = pipeline.default_plan.config, pipeline.remote_names
    configs: dict[str | None, RunConfig] = dict.fromkeys((item.run for item in request.items), default)
    for run in {item.run for item in request.items if item.run and reads_config(item, request, remote)}:
        configs[run] = (await pipeline.readable_plan(run)).config
    return configs


async def _observe(pipeline: Pipeline, items: Sequence[VerifyItem], verdicts: Sequence[Verdict]) -> dict[int, bool]:
    """Send the training items that have a rollout_id to the store; return by index if each was recorded."""
    indices, observations = [], []
    for index, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
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
    return dict(zip(indices, recorded, strict=True))


async def _record(pipeline: Pipeline, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
    """Give the recorder its sample of a verify request."""
    pipeline.recorder.record_verify(request, verdicts)
