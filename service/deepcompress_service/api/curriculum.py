"""Routes of a run's data set and its samples (docs/curriculum.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError
from structlog.contextvars import bind_contextvars

from deepcompress_client.wire import DatasetInfo, RunName, SampleAnswer, SampleRequest
from deepcompress_client.wire import DatasetProblem as ProblemLine

from ..difficulty.dataset import DatasetProblem, DatasetSummary
from ..difficulty.transfer import line_batches
from ..scoring.errors import describe_validation
from ..scoring.sampling import sample as draw_sample
from .context import SMALL_BODY, Context, ContextDep, GrantDep, run_scheduled
from .descriptions import documented
from .errors import invalid, too_large
from .json_bodies import json_response

router = APIRouter(prefix="/v1/runs", tags=["runs"])

Run = Annotated[RunName, Path(description="the run's name")]
SAMPLE_EXAMPLE = {"step": 12, "n": 512, "policy": {"name": "signal", "group_size": 8}}
DATASET_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"problem_id": "gsm8k/7", "data_source": "gsm8k", "pass_ratio": 0.75, "rollouts": 8}\n',
            }
        },
    }
}
LONGEST_LINE = 1 << 14
"""Most bytes of a line of a data set: both names are of at most 512 characters."""


@router.put(
    "/{run}/dataset",
    summary="Register the data set of a run",
    response_model=DatasetInfo,
    openapi_extra=DATASET_BODY,
)
async def put_dataset(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Replace the run's data set. The body has a JSON object for each problem, one a line.

    The body is read as it arrives; nothing changes until it was read to its end and is valid. The same content again
    changes nothing. Problems that were trained keep their records.
    """
    with context.inflight.admit(request, grant.share):
        await context.store.get_run(run)  # refused before the body is read
        problems = _problems(context, request)
        return json_response(dataset_row(await context.store.put_dataset(run, problems)))


async def _problems(context: Context, request: Request) -> AsyncIterator[list[DatasetProblem]]:
    """Yield the problems of the body in batches."""
    number, count = 0, 0
    lines = context.body_lines(request, LONGEST_LINE)
    async for batch in line_batches(lines):
        found = await asyncio.to_thread(read_problems, batch, number)
        number += len(batch)
        count += len(found)
        if count > context.settings.max_dataset_problems:
            raise too_large("the number of problems", context.settings.max_dataset_problems)
        yield found


def read_problems(lines: list[str], before: int) -> list[DatasetProblem]:
    """Return the problems of lines; `before` is the number of lines before them.

    Raises:
        ApiError: 422, which names the line and the field.
    """
    found = []
    for number, line in enumerate(lines, before + 1):
        if not line.strip():
            continue
        if "\ufffd" in line:  # bytes that are not UTF-8 were read as this character
            raise invalid(f"line {number}", "not UTF-8", "bad-dataset")
        try:
            one = ProblemLine.model_validate(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise invalid(f"line {number}", "not JSON", "bad-dataset") from None
        except ValidationError as error:
            detail, _ = describe_validation(error)
            raise invalid(f"line {number}", detail, "bad-dataset") from None
        found.append(DatasetProblem(one.problem_id, one.data_source, one.pass_ratio, one.rollouts, one.tokens))
    return found


@router.get("/{run}/dataset", summary="Show the data set of a run", response_model=DatasetInfo)
async def get_dataset(run: Run, context: ContextDep) -> Response:
    """Return the size, the data sources and the digest of the run's data set."""
    return json_response(dataset_row(await context.store.dataset(run)))


@router.post(
    "/{run}/sample",
    summary="Sample the problems of a step",
    response_model=SampleAnswer,
    openapi_extra=documented(SampleRequest, SAMPLE_EXAMPLE),
)
async def sample(run: Run, request: Request, context: ContextDep, grant: GrantDep) -> Response:
    """Draw n problems of the data set for a step, by a policy on their pass ratios after the last closed step.

    The sample is recorded: the same request again gets the same problems. No step is opened or closed.
    """
    body = await context.small_body(request, grant, SampleRequest)
    bind_contextvars(run=run, step=body.step, n=body.n)
    with context.inflight.admit(request, grant.share, SMALL_BODY) as reservation:
        work = partial(draw_sample, context.pipeline, run, body)
        return json_response(await run_scheduled(request, context, run, reservation, work))


def dataset_row(found: DatasetSummary) -> DatasetInfo:
    """Return a data set as it is answered."""
    return DatasetInfo(
        run=found.run,
        epoch=found.epoch,
        problems=found.problems,
        data_sources=found.data_sources,
        digest=found.digest,
        incarnation=found.incarnation or None,
        version=found.version,
    )
