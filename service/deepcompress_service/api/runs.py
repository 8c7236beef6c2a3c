"""Routes of runs: configuration, state, checkpoints, rewind, restore, export and import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from deepcompress_client.wire import (
    MAX_COUNT,
    CheckpointName,
    Problem,
    ProblemPage,
    RunConfig,
    RunHistory,
    RunInfo,
    RunName,
    RunSources,
    Step,
)
from deepcompress_client.wire.base import Count, Name

from ..difficulty.errors import RunConflict, UnknownCheckpoint, UnknownRun
from ..difficulty.model import RunState
from ..difficulty.refusals import run_conflict
from ..difficulty.transfer import Receiver
from ..difficulty.unreadable import skip_unreadable, unreadable_refused
from ..observability import metrics
from ..scoring.errors import NewerConfigurationError, TooLargeError, UnsupportedConfigError
from ..scoring.plan import MAX_CONFIG_CHARS, make_new_plan, named_plan, plan_from_text
from .context import Context, ContextDep, GrantDep, is_operator
from .descriptions import documented
from .errors import ApiError
from .json_bodies import json_response
from .run_rows import checkpoint_row, problem_row, run_row, source_rows, step_row

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


def _row(state: RunState) -> dict[str, Any]:
    """Return a run as it is answered; StoreTooNew if its stored configuration cannot be read."""
    with unreadable_refused():
        return run_row(state)


@router.put(
    "/{run}",
    summary="Create a run, or confirm its configuration",
    response_model=RunInfo,
    responses={201: {"model": RunInfo, "description": "Created"}},
    openapi_extra=documented(RunConfig, {"strategy": {"name": "deepcompress"}}),
)
async def put_run(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Create a run, or confirm that it has this configuration.

    For a run with state only the fields sent are compared: fields left out mean the stored values. Another
    configuration is a 409, unless the run has no state yet.
    """
    config = await context.small_body(request, grant, RunConfig)
    try:
        state = await _put(context, run, config)
    except RunConflict:
        # A first request may have counted between the read and the write of `_put`: compare again.
        state = await _put(context, run, config)
    return json_response(_row(state), 201 if state.created else 200)


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
        await context.pipeline.check_new_run()
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
    return json_response(_row(await context.store.get_run(run)))


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
            row["data_sources"] = source_rows(split[step.step], activity, step.step)
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
    rows = [{"step": step, "data_sources": source_rows(sums, activity, step)} for step, sums in split.items()]
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
    rows = [checkpoint_row(one) for one in await context.store.checkpoints(run)]
    return json_response({"run": run, "checkpoints": rows})


@router.post(
    "/{run}/checkpoints/{name}",
    summary="Save a checkpoint",
    status_code=201,
    openapi_extra=documented(CheckpointRequest, {"step": 400}),
)
async def make_checkpoint(
    run: Run, name: Checkpoint_, request: Request, context: ContextDep, grant: GrantDep
) -> Response:
    """Save the state as at the end of a step, even if later steps have begun."""
    body = await context.small_body(request, grant, CheckpointRequest)
    return json_response(checkpoint_row(await context.store.checkpoint(run, name, body.step)), 201)


@router.get("/{run}/checkpoints/{name}", summary="Show a checkpoint")
async def get_checkpoint(run: Run, name: Checkpoint_, context: ContextDep) -> Response:
    """Return one checkpoint."""
    for one in await context.store.checkpoints(run):
        if one.name == name:
            return json_response(checkpoint_row(one))
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
async def restore(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Replace the run's state by the checkpoint's. The epoch rises."""
    body = await context.small_body(request, grant, RestoreRequest)
    return json_response(_row(await context.store.restore(run, body.checkpoint)))


@router.post(
    "/{run}/rewind",
    summary="Rewind to a step",
    response_model=RunInfo,
    openapi_extra=documented(RewindRequest, {"next_step": 401}),
)
async def rewind(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Forget everything at steps from `next_step` on. The epoch rises."""
    body = await context.small_body(request, grant, RewindRequest)
    return json_response(_row(await context.store.rewind(run, body.next_step)))


@router.post(
    "/{run}/discard",
    summary="Drop observed groups of an asynchronous run",
    openapi_extra=documented(DiscardRequest, {"group_ids": ["q17"]}),
)
async def discard(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Drop groups that were observed and will never be shaped: they count nowhere.

    Groups that do not wait are left as they are, so a repeat has no further effect.
    """
    body = await context.small_body(request, grant, DiscardRequest)
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
    grant: GrantDep,
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

    with context.inflight.admit(request, grant.share):
        receiver = None
        if continues:
            state = await context.store.get_run(run)
            if state.kind is not None:
                raise ApiError(409, "run-in-use", f"run {run!r} has steps: only a new run continues another one")
            receiver = Receiver(state.config, state.config_text)
        else:
            try:
                await context.store.get_run(run)
            except UnknownRun:
                await context.pipeline.check_new_run()
        lines = context.body_lines(request)
        return json_response(_row(await context.store.import_run(run, lines, accepts, receiver)))
