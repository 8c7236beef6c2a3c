"""Routes of runs: configuration, state, checkpoints, rewind, restore, export and import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from deepcompress_client.wire import (
    MAX_COUNT,
    CheckpointName,
    Difficulty,
    HistoryEntry,
    LengthQuantiles,
    Problem,
    ProblemPage,
    RunConfig,
    RunHistory,
    RunInfo,
    RunName,
    RunSources,
    SourceStatistics,
    Step,
)
from deepcompress_client.wire.base import Count, Name

from ..activity.recent import RunActivity
from ..activity.sources import mean_rewards
from ..difficulty.errors import RunConflict, UnknownCheckpoint, UnknownRun
from ..difficulty.model import Checkpoint, ProblemState, RunState, SourceSums, StepStatistics
from ..difficulty.refusals import run_conflict
from ..difficulty.sources import mean_pass_ratio
from ..difficulty.transfer import Receiver
from ..difficulty.unreadable import skip_unreadable
from ..observability import metrics
from ..scoring.errors import NewerConfigurationError, TooLargeError, UnsupportedConfigError
from ..scoring.plan import MAX_CONFIG_CHARS, make_new_plan, named_plan, plan_from_text
from ..shaping.lengths import LengthRecord
from .auth import GrantDep
from .body import documented, json_response
from .context import Context, ContextDep, is_operator
from .errors import ApiError

router = APIRouter(prefix="/v1/runs", tags=["runs"])

Run = Annotated[RunName, Path(description="the run's name")]
Checkpoint_ = Annotated[CheckpointName, Path(description="the checkpoint's name")]


class CheckpointRequest(BaseModel):
    """The step at whose end the state is saved."""

    model_config = ConfigDict(extra="forbid")
    step: Step


class RestoreRequest(BaseModel):
    """The checkpoint that is restored."""

    model_config = ConfigDict(extra="forbid")
    checkpoint: CheckpointName


class DiscardRequest(BaseModel):
    """Observed groups of an asynchronous run that will never be shaped."""

    model_config = ConfigDict(extra="forbid")
    group_ids: Annotated[list[Name], Field(min_length=1, max_length=4096)]
    epoch: Count | None = None


class RewindRequest(BaseModel):
    """The step that the caller will send next; null forgets all but the configuration."""

    model_config = ConfigDict(extra="forbid")
    next_step: Step | None


@router.put(
    "/{run}",
    summary="Create a run, or confirm its configuration",
    response_model=RunInfo,
    responses={201: {"model": RunInfo, "description": "Created"}},
    openapi_extra=documented(RunConfig, {"strategy": {"name": "deepcompress"}}),
)
async def put_run(run: Run, request: Request, context: ContextDep) -> Response:
    """Create a run, or confirm that it has this configuration.

    For a run with state only the fields sent are compared: fields left out mean the stored values. Another
    configuration is a 409, unless the run has no state yet.
    """
    config = await context.small_body(request, RunConfig)
    try:
        state = await _put(context, run, config)
    except RunConflict:
        # A first request may have counted between the read and the write of `_put`: compare again.
        state = await _put(context, run, config)
    return json_response(run_row(state), 201 if state.created else 200)


async def _put(context: Context, run: str, config: RunConfig) -> RunState:
    """Create the run, or compare configurations by their meaning in this version, whichever version stored the text.

    Stores compare texts, so they are given the stored one if it means the same.

    Raises:
        RunConflict: The run has state and another configuration.
    """
    weight, remote = context.settings.problem_weight, context.pipeline.remote_names
    try:
        state = await context.store.get_run(run)
    except UnknownRun:
        plan = make_new_plan(config, weight, remote)
        return await context.store.put_run(run, plan.difficulty, plan.text)
    if state.kind is None and not state.continues:
        plan = make_new_plan(config, weight, remote)
        try:
            same = plan.text == plan_from_text(state.config_text, weight, remote).text
        except UnsupportedConfigError:
            same = False
        return await context.store.put_run(run, plan.difficulty, state.config_text if same else plan.text)
    stored = plan_from_text(state.config_text, weight, remote)
    if named_plan(config, stored, weight, remote).text != stored.text:
        raise run_conflict(run)
    state = await context.store.put_run(run, stored.difficulty, state.config_text)
    if not state.created:
        return state
    # The run was deleted in between, and is now new: it takes this request's configuration.
    plan = make_new_plan(config, weight, remote)
    return replace(await context.store.put_run(run, plan.difficulty, plan.text), created=True)


@router.get("", summary="List the runs")
async def list_runs(context: ContextDep, grant: GrantDep) -> Response:
    """List the runs that the key may read, by name."""
    async with context.read_scheduler.slot(grant.name):
        rows = []
        for state in await context.store.list_runs():
            if grant.allows_run(state.run):
                with skip_unreadable(state.run):
                    rows.append(run_row(state))
        return json_response({"runs": rows})


@router.get("/{run}", summary="Show a run", response_model=RunInfo)
async def get_run(run: Run, context: ContextDep) -> Response:
    """Return the run's configuration, epoch, open step and level."""
    return json_response(run_row(await context.store.get_run(run)))


@router.delete("/{run}", summary="Delete a run")
async def delete_run(run: Run, context: ContextDep) -> Response:
    """Delete the run and its state. Its epoch rises, so that a late retry cannot reach a later run of this name."""
    return json_response({"run": run, "epoch": await context.store.delete_run(run)})


@router.get("/{run}/history", summary="Statistics of each step", response_model=RunHistory)
async def history(
    run: Run,
    context: ContextDep,
    grant: GrantDep,
    since: Annotated[int | None, Query(ge=0, le=MAX_COUNT)] = None,
    limit: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    signal: Annotated[bool, Query(description="add `signal` to the newest steps that this server counted")] = False,
    data_sources: Annotated[bool, Query(description="add the figures of each step by data source")] = False,
) -> Response:
    """Return the level and the statistics of every step, oldest first.

    They are the store's, the same from every server. With `signal=true` the newest 500 steps that this server counted
    also have `signal`, which is not in the store.
    """
    async with context.read_scheduler.slot(grant.name):
        state = await context.store.get_run(run)
        steps = await context.store.history(run, since=since, limit=limit)
        activity = await context.shared_activity.of(run) if signal or data_sources else None
        split = {}
        if data_sources and steps:
            split = await context.store.source_history(run, since=steps[0].step)
    rows = []
    for step in steps:
        sums = None if activity is None else activity.course.get(step.step)
        row = step_row(step)
        if signal and sums is not None and sums.signal.groups:
            row["signal"] = asdict(sums.signal.figures())
        if step.step in split:
            row["data_sources"] = _source_rows(split[step.step], activity, step.step)
        rows.append(row)
    return json_response({"run": run, "epoch": state.epoch, "steps": rows})


@router.get("/{run}/data-sources", summary="Statistics of each step by data source", response_model=RunSources)
async def data_sources(
    run: Run,
    context: ContextDep,
    grant: GrantDep,
    since: Annotated[int | None, Query(ge=0, le=MAX_COUNT)] = None,
    limit: Annotated[int | None, Query(ge=1, le=100_000)] = None,
) -> Response:
    """Return the statistics of every step that has a group with a data source, oldest first.

    They are the store's, the same from every server, except for `mean_reward`, which the newest 500 steps that this
    server counted have.
    """
    async with context.read_scheduler.slot(grant.name):
        state = await context.store.get_run(run)
        split = await context.store.source_history(run, since=since, limit=limit)
        activity = await context.shared_activity.of(run)
    rows = [{"step": step, "data_sources": _source_rows(sums, activity, step)} for step, sums in split.items()]
    return json_response({"run": run, "epoch": state.epoch, "steps": rows})


@router.get("/{run}/problems", summary="List the problems of a run", response_model=ProblemPage)
async def problems(
    run: Run,
    context: ContextDep,
    grant: GrantDep,
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    difficulty: Literal["simple", "hard"] | None = None,
    sort: Literal["problem_id", "pass_ratio", "-pass_ratio"] = "problem_id",
    search: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """Return one page of the run's problems."""
    async with context.read_scheduler.slot(grant.name):
        page, following = await context.store.problems(
            run, cursor=cursor, limit=limit, side=difficulty, sort=sort, search=search
        )
    return json_response({"run": run, "problems": [problem_row(problem) for problem in page], "next": following})


@router.get("/{run}/problems/{problem_id:path}", summary="Show a problem", response_model=Problem)
async def problem(run: Run, problem_id: str, context: ContextDep) -> Response:
    """Return one problem. Its id may contain slashes."""
    return json_response(problem_row(await context.store.problem(run, problem_id)))


@router.get("/{run}/checkpoints", summary="List the checkpoints of a run")
async def checkpoints(run: Run, context: ContextDep) -> Response:
    """List the run's checkpoints."""
    rows = [_checkpoint_row(one) for one in await context.store.checkpoints(run)]
    return json_response({"run": run, "checkpoints": rows})


@router.post(
    "/{run}/checkpoints/{name}",
    summary="Save a checkpoint",
    status_code=201,
    openapi_extra=documented(CheckpointRequest, {"step": 400}),
)
async def make_checkpoint(run: Run, name: Checkpoint_, request: Request, context: ContextDep) -> Response:
    """Save the state as at the end of a step, even if later steps have begun."""
    body = await context.small_body(request, CheckpointRequest)
    return json_response(_checkpoint_row(await context.store.checkpoint(run, name, body.step)), 201)


@router.get("/{run}/checkpoints/{name}", summary="Show a checkpoint")
async def get_checkpoint(run: Run, name: Checkpoint_, context: ContextDep) -> Response:
    """Return one checkpoint."""
    for one in await context.store.checkpoints(run):
        if one.name == name:
            return json_response(_checkpoint_row(one))
    raise UnknownCheckpoint(f"the run {run} has no checkpoint {name}")


@router.delete("/{run}/checkpoints/{name}", summary="Delete a checkpoint")
async def delete_checkpoint(run: Run, name: Checkpoint_, context: ContextDep) -> Response:
    """Remove a checkpoint. No other request removes one, except the deletion of its run."""
    await context.store.delete_checkpoint(run, name)
    return json_response({"run": run, "deleted": name})


@router.post(
    "/{run}/restore",
    summary="Restore a checkpoint",
    response_model=RunInfo,
    openapi_extra=documented(RestoreRequest, {"checkpoint": "step-400"}),
)
async def restore(run: Run, request: Request, context: ContextDep) -> Response:
    """Replace the run's state by the checkpoint's. The epoch rises."""
    body = await context.small_body(request, RestoreRequest)
    return json_response(run_row(await context.store.restore(run, body.checkpoint)))


@router.post(
    "/{run}/rewind",
    summary="Rewind to a step",
    response_model=RunInfo,
    openapi_extra=documented(RewindRequest, {"next_step": 401}),
)
async def rewind(run: Run, request: Request, context: ContextDep) -> Response:
    """Forget everything at steps from `next_step` on. The epoch rises."""
    body = await context.small_body(request, RewindRequest)
    return json_response(run_row(await context.store.rewind(run, body.next_step)))


@router.post(
    "/{run}/discard",
    summary="Drop observed groups of an asynchronous run",
    openapi_extra=documented(DiscardRequest, {"group_ids": ["q17"]}),
)
async def discard(run: Run, request: Request, context: ContextDep) -> Response:
    """Drop groups that were observed and will never be shaped: they count nowhere.

    Groups that do not wait are left as they are, so a repeat has no further effect.
    """
    body = await context.small_body(request, DiscardRequest)
    state = await context.store.get_run(run)
    if not state.config.asynchronous:
        raise ApiError(422, "not-asynchronous", f"run {run!r} is not asynchronous: its observed groups have a step")
    return json_response({"run": run, "discarded": await context.store.discard(run, body.group_ids, body.epoch)})


@router.get(
    "/{run}/export",
    summary="Export a run",
    responses={200: {"content": {"application/x-ndjson": {}}}},
    response_class=StreamingResponse,
)
async def export_run(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Return the run's state as lines of JSON. An API key may read two exports of one process at once."""
    place = context.exports.admit(grant.name, operator=is_operator(request, context, grant))
    return _Export(context.store.export_run(run), place)


class _Export(StreamingResponse):
    """The lines of an export. It holds a place and a snapshot until its end, also if the client leaves early."""

    def __init__(self, exported: AsyncIterator[str], place: AbstractContextManager[None]) -> None:
        super().__init__(self._lines(), media_type="application/x-ndjson")
        self._exported, self._place = exported, place
        self._first = ""

    async def _lines(self) -> AsyncIterator[bytes]:
        yield self._first.encode() + b"\n"
        async for line in self._exported:
            yield line.encode() + b"\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        with self._place:
            try:
                # Errors of the request occur before the first line. A later error breaks the connection, and the last
                # line, without which an export is incomplete, is missing.
                self._first = await anext(self._exported)
                await super().__call__(scope, receive, send)
            finally:
                if isinstance(self._exported, AsyncGenerator):
                    await asyncio.shield(self._exported.aclose())


def too_many_exports() -> ApiError:
    """Count a refused export and return its error."""
    metrics.REJECTED.labels("too-many-exports").inc()
    return ApiError(429, "too-many-exports", "too many exports are being read: ask again later", retry_after=5)


@router.put("/{run}/import", summary="Import a run", response_model=RunInfo)
async def import_run(
    run: Run,
    request: Request,
    context: ContextDep,
    continues: Annotated[
        bool, Query(alias="continue", description="take the level and the problems only, for a run without steps")
    ] = False,
) -> Response:
    """Replace the run's state by an export. The epoch rises.

    The export is read as it arrives. Nothing changes until it was read to its end and is valid. With
    ``continue=true`` the run keeps its configuration and has no steps: it is the start of a training with another
    one's difficulty state.
    """

    def accepts(config_text: str) -> None:
        if len(config_text) > MAX_CONFIG_CHARS:
            raise TooLargeError("the configuration", MAX_CONFIG_CHARS)
        try:
            plan_from_text(config_text, context.settings.problem_weight, context.pipeline.remote_names)
        except NewerConfigurationError as error:
            # Not the 503 of a stored configuration: here the request is at fault, and a retry does not help.
            raise UnsupportedConfigError("config-not-supported", error.detail) from None

    with context.inflight.admit(request):
        receiver = None
        if continues:
            state = await context.store.get_run(run)
            if state.kind is not None:
                raise ApiError(409, "run-in-use", f"run {run!r} has steps: only a new run continues another one")
            receiver = Receiver(state.config, state.config_text)
        lines = context.body_lines(request)
        return json_response(run_row(await context.store.import_run(run, lines, accepts, receiver)))


# --- rows -----------------------------------------------------------------------------------------------


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


def _source_rows(sums: Mapping[str, SourceSums], activity: RunActivity | None, step: int) -> dict[str, Any]:
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


def _checkpoint_row(one: Checkpoint) -> dict[str, Any]:
    return {
        "name": one.name,
        "step": one.step,
        "level": one.level,
        "problems": one.problems,
        "epoch": one.epoch,
        "bytes": one.bytes,
    }
