"""`AsyncClient` and `AsyncRun`: the surface of `Client` and `Run`, with ``await``."""
#: """`Client` and `Run`: the blocking surface. `AsyncClient` has the same one, with ``await``."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from . import _operations, _runs
from ._async_concurrency import Connections, send_all, sleep, within
from ._async_curriculum import AsyncCurriculum
from ._batches import StepLike, chosen, score_request, shape_request, verify_request
from ._core import CONNECTIONS, MAX_REQUEST_BYTES, MAX_REQUEST_ITEMS, Operation, Options, Reply, RequestSpec, T
from ._profiles import Profile
from ._retry import Retry
from ._rows import Row, group_rows
from ._runs import RunSetting, StrategyLike
from ._saved import RunIdentity
from ._transport import (
    Attempts,
    Failure,
    check_time,
    classify_error,
    httpx_arguments,
    read_chunks_async,
    replace_on_success,
    reply_from_response,
)
from .wire import (
    AnswerFormat,
    ObserveAnswer,
    Phase,
    RunConfig,
    RunInfo,
    ScoreAnswer,
    ShapeAnswer,
    Verdict,
)

if TYPE_CHECKING:
    import httpx


class AsyncClient:
    """A connection to the service for asyncio; the arguments and the errors are `Client`'s.

    It may be used from several event loops, one after the other, and be pickled.
    """

    #: """A connection to the service, safe to share between threads, to pickle, and to use after a fork.
    #:
    #: ``url``              the service; else DEEPCOMPRESS_URL, else http://127.0.0.1:8321. "embedded" or
    #:                      "embedded:FOLDER" starts one on this machine that ends with the job (docs/client.md)
    #: ``api_key``          else DEEPCOMPRESS_API_KEY
    #: ``timeout_s``        longest time without data from the service, for one attempt
    #: ``retry``            how long to retry if the service is unavailable (`Retry`); 4xx answers are never retried
    #: ``max_request_bytes``, ``max_request_items``  a larger verify or score is split, with the same result
    #: ``concurrency``      parts of one verify that are in flight at once
    #: ``transport``        an `httpx` transport, for tests
    #:
    #: Raises the errors of `deepcompress_client.errors`, and nothing of httpx.
    #: """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        connect_timeout_s: float = 5.0,
        retry: Retry | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        max_request_items: int = MAX_REQUEST_ITEMS,
        concurrency: int = 4,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._options = Options.make(
            url,
            api_key=api_key,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            retry=retry,
            max_request_bytes=max_request_bytes,
            max_request_items=max_request_items,
            concurrency=concurrency,
            headers=headers,
        )
        self._transport = transport
        self._connections = Connections()

    # --- verdicts and rewards ---------------------------------------------------------------------------

    async def verify(self, items: Iterable[Any], *, answer_format: AnswerFormat | None = None) -> list[Verdict]:
        """Check rollouts: items with ``gold`` and ``response``. Return one verdict per item, in order.

        Items are dicts, `wire.VerifyItem`, or objects with those fields.
        """
        return await self._execute(_operations.verify(verify_request(items, answer_format), self._options))

    async def verify_one(
        self,
        gold: Row,
        response: str,
        *,
        answer_format: AnswerFormat | None = None,
        truncated: bool = False,
    ) -> Verdict:
        """Check one response against one gold answer (text or a number), or a list of alternatives."""
        item = {"gold": gold, "response": response, "truncated": truncated}
        verdicts = await self.verify([item], answer_format=answer_format)
        return verdicts[0]

    async def shape(
        self,
        groups: Iterable[Any],
        *,
        run: str | None = None,
        step: StepLike = None,
        phase: Phase = "train",
    ) -> ShapeAnswer:
        """Return rewards for groups whose rollouts have ``correct``, ``tokens`` and, from verify, ``status``.

        The request is never split. In training prefer `run(...).shape`, which sends the epoch.
        """
        request = shape_request(
            groups,
            run=run,
            step=step,
            phase=phase,
            epoch=None,
            generation=None,
            request_id=None,
        )
        return await self._execute(_operations.shape(request))

    async def score(
        self,
        groups: Iterable[Any],
        *,
        run: str | None = None,
        step: StepLike = None,
        phase: Phase = "train",
        answer_format: AnswerFormat | None = None,
    ) -> ScoreAnswer:
        """Verify, then shape: groups with ``problem_id``, ``gold`` and rollouts with ``response`` and ``tokens``.

        In training prefer `run(...).score`, which sends the epoch.
        """
        request = score_request(
            groups,
            answer_format,
            run=run,
            step=step,
            phase=phase,
            epoch=None,
            generation=None,
            request_id=None,
        )
        return await self._execute(_operations.score(request, self._options))

    # --- runs -------------------------------------------------------------------------------------------

    async def run(
        self,
        name: str,
        *,
        next_step: int | None = None,
        join: bool = False,
        state: RunIdentity | None = None,
        continue_from: str | Path | None = None,
        profile: str | Path | None = None,
        strategy: StrategyLike = None,
        **config: RunSetting,
    ) -> AsyncRun:
        """Open a training run; see `Client.run` for what the arguments mean."""
        #: """Open a training run. Exactly one process of a training does so; the others join it.
        #:
        #: ``run("r")``                 a new run; `RunInUse` if it has been trained with, since the
        #:                              rewards of a new training must not depend on the levels of an old one
        #: ``run("r", next_step=0)``    a new training: the old state of "r" is forgotten (a run that continues
        #:                              another one keeps the state that it began with)
        #: ``run("r", next_step=401)``  a resumed training whose next step is 401: later steps are forgotten
        #: ``run("r", join=True)``      another process of the same training: nothing is changed,
        #:                              and the configuration arguments are ignored
        #:
        #: ``state`` is the `Run.state_dict` that was saved with the trainer's checkpoint: `RunLost` or
        #: `RunRolledBack` if the service has lost that state meanwhile.
        #:
        #: ``continue_from`` is another run, or the file of its export: the new run starts at step 0 with that run's
        #: level and problems, and its configuration where arguments are left out. It is for a second stage of a
        #: training.
        #:
        #: ``profile`` is a file of `deepcompress profile`: groups get their ``reference_accuracy`` and
        #: ``reference_tokens`` from it.
        #:
        #: ``strategy`` is a name or ``{"name": ..., parameter: ...}``; ``config`` are the other fields of
        #: `wire.RunConfig` (``outcome``, ``overlong``, ``answer_format``, ``keep_steps``, ...).
        #: """
        given = _runs.run_config(strategy, config)
        reference = None if profile is None else Profile.read(profile)
        operation = _runs.open_run(name, given, next_step, join, state, continue_from)
        run = AsyncRun(self, await self._execute(operation))
        run.profile = reference
        return run

    async def open_training(
        self, name: str, next_step: int, config: RunConfig, **options: Unpack[_runs.TrainingOptions]
    ) -> AsyncRun:
        """Open the run of a framework's training; see `_runs.open_training`."""
        return AsyncRun(self, await self._execute(_runs.open_training(name, config, next_step, **options)))

    async def runs(self) -> list[RunInfo]:
        """Return every run."""
        return await self._execute(_runs.list_runs())

    async def delete_run(self, name: str) -> None:
        """Delete a run. A later run of the same name has a greater epoch."""
        await self._execute(_runs.delete(name))

    async def import_run(self, name: str, exported: bytes | Path) -> RunInfo:
        """Create a run from the result of `Run.export`, of this service or another. A file is sent in chunks."""
        return await self._execute(_runs.import_state(name, exported))

    # --- the service ------------------------------------------------------------------------------------

    async def strategies(self) -> list[dict[str, Any]]:
        """Return every strategy: its name, its requirements, its parameters as a JSON schema."""
        return await self._execute(_runs.list_strategies())

    async def health(self) -> dict[str, Any]:
        """Return the service's health. The request is sent once.

        Raises:
            TransportError: the service is down.
        """
        return await self._execute(_operations.get_status("/healthz"))

    async def ready(self) -> dict[str, Any]:
        """Return whether the service accepts training requests. The request is sent once.

        Raises:
            Unavailable: it does not accept them now.
        """
        return await self._execute(_operations.get_status("/readyz"))

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- input and output -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {"_options": self._options, "_transport": self._transport}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connections = Connections()

    def _connect(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            base_url=self._options.url,
            headers=self._options.request_headers(),
            timeout=httpx.Timeout(self._options.timeout_s, connect=self._options.connect_timeout_s, pool=None),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            transport=self._transport,
        )

    async def _execute(self, operation: Operation[T]) -> T:
        started = time.monotonic()
        try:
            batch = next(operation)
            while True:
                batch = operation.send(await self._send_all(batch, started))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _send_all(self, batch: list[RequestSpec], started: float) -> list[Reply]:
        if len(batch) == 1:
            return [await self._send(batch[0], started)]
        return await send_all(partial(self._send, started=started), batch, self._options.concurrency)

    async def _send(self, spec: RequestSpec, started: float) -> Reply:
        import httpx

        retry = self._options.retry
        # A deadline is that of the whole call, which may be several requests.
        attempts = Attempts(spec, retry, time.monotonic() if retry.deadline_s is None else started)
        while True:
            failure: Failure | None = None
            reply: Reply | None = None
            try:
                timeout = attempts.timeout(self._options.timeout_s, time.monotonic())
                send_once = partial(self._send_once, spec, attempts.made + 1, timeout)
                reply = await within(math.inf if retry.deadline_s is None else timeout, send_once)
            except httpx.HTTPError as error:
                failure = classify_error(error)
            wait = attempts.delay_before_next(reply, failure, time.monotonic(), random.random())
            if wait is None:
                return attempts.result(reply, failure)
            await sleep(wait)

    async def _send_once(self, spec: RequestSpec, attempt: int, timeout_s: float) -> Reply:
        import httpx

        request = httpx_arguments(spec, read_chunks_async(spec.body) if isinstance(spec.body, Path) else spec.body)
        request["timeout"] = httpx.Timeout(
            timeout_s, connect=min(timeout_s, self._options.connect_timeout_s), pool=None
        )
        until = math.inf if self._options.retry.deadline_s is None else time.monotonic() + timeout_s
        async with self._connections.get(self._connect).stream(**request) as response:
            if spec.into is None or not response.is_success:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    check_time(until)
                return reply_from_response(response, bytes(content), attempt)
            with replace_on_success(spec.into) as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    check_time(until)
            return Reply(response.status_code, b"", attempts=attempt)


class AsyncRun(AsyncCurriculum):
    """One training run, made by `AsyncClient.run`.

    It sends the run's epoch with every request, so that no late retry from before a rewind changes the state after it
    (`EpochMismatch`).
    """

    def __init__(self, client: AsyncClient, info: RunInfo) -> None:
        super().__init__(info, client._options)
        self.client = client

    async def _execute(self, operation: Operation[T]) -> T:
        return await self.client._execute(operation)

    def __repr__(self) -> str:
        return f"AsyncRun({self.name!r}, epoch={self.epoch})"

    async def verify(
        self,
        items: Iterable[Any],
        *,
        step: int | None = None,
        phase: Phase = "train",
        answer_format: AnswerFormat | None = None,
    ) -> list[Verdict]:
        """Check rollouts as they are generated. Items with a ``rollout_id`` are also observed, as with `observe`."""
        return await self._execute(self._verify(items, answer_format, step, phase))

    async def shape(
        self,
        groups: Iterable[Any],
        *,
        step: StepLike = None,
        phase: Phase = "train",
        generation: int | None = None,
        request_id: str | None = None,
        policy_version: int | None = None,
    ) -> ShapeAnswer:
        """Return rewards for groups that are verified already; see `Client.shape`. Versions give groups an age."""
        return await self._execute(self._shape(groups, **chosen(step, phase, generation, request_id, policy_version)))

    async def score(
        self,
        groups: Iterable[Any],
        *,
        step: StepLike = None,
        phase: Phase = "train",
        generation: int | None = None,
        request_id: str | None = None,
        answer_format: AnswerFormat | None = None,
        policy_version: int | None = None,
    ) -> ScoreAnswer:
        """Verify, then shape; see `Client.score`."""
        batch = chosen(step, phase, generation, request_id, policy_version)
        return await self._execute(self._score(groups, answer_format, **batch))

    async def discard(self, group_ids: Iterable[str]) -> int:
        """Drop observed groups of an asynchronous run that will never be shaped; return how many waited."""
        return await self._execute(self._discard(group_ids))

    async def observe(
        self, groups: Iterable[Any], *, step: int | None = None, generation: int | None = None
    ) -> ObserveAnswer:
        """Record verdicts that were made elsewhere: groups that are never shaped count when their step closes.

        In an asynchronous run, which takes no ``step``, they never count. Rollouts have ``correct`` and ``tokens``.
        """
        return await self._execute(self._observe(groups, step, generation))

    async def rewards(
        self,
        step: int | None,
        prompts: Iterable[Row],
        golds: Iterable[Row],
        responses: Iterable[Row],
        tokens: Iterable[Row],
        *,
        truncated: Iterable[Row] | None = None,
        problem_ids: Iterable[Row] | None = None,
        phase: Phase = "train",
        answer_format: AnswerFormat | None = None,
    ) -> list[float | None]:
        """Verify and shape flat lists with one entry per rollout; return the rewards in the same order, [rows].

        A reward is None if the rollout must not be trained on: its gold is None or cannot be read, or no rule could
        decide. Leave it out of means, and give it advantage 0.

        ``step``         the training step; None for stepless runs
        ``prompts``      text or messages; rows with equal prompts are one group
        ``golds``        text, a number, or a list of alternatives; equal for equal prompts
        ``responses``    text or messages
        ``tokens``       lengths in tokens
        ``truncated``    True for each response that the token limit cut
        ``problem_ids``  names of the problems, which then make the groups instead of the prompts

        The warnings of the answer are logged.

        Raises:
            InvalidRequest: the lists are not equally long, a gold is no answer, or rows of one problem have different
                golds.
        """
        rows = group_rows(prompts, golds, responses, tokens, truncated, problem_ids)
        return await self._execute(self._rewards(rows, answer_format, step, phase))

    async def info(self) -> RunInfo:
        """Return the run's state."""
        return await self._execute(self._info())

    async def refresh(self) -> RunInfo:
        """Fetch the run's present epoch, after another process has rewound or restored the run."""
        return await self._execute(self._refresh())

    async def rewind(self, next_step: int | None) -> RunInfo:
        """Forget every step from ``next_step`` on, which is the step sent next; None: all but the configuration."""
        return await self._execute(self._rewind(next_step))

    async def checkpoint(self, name: str, step: int) -> dict[str, Any]:
        """Save the state as at the end of ``step``; no rewind removes it."""
        return await self._execute(self._checkpoint(name, step))

    async def checkpoints(self) -> list[dict[str, Any]]:
        """Return every checkpoint of the run."""
        return await self._execute(self._checkpoints())

    async def delete_checkpoint(self, name: str) -> None:
        """Delete a checkpoint."""
        await self._execute(self._delete_checkpoint(name))

    async def restore(self, name: str) -> RunInfo:
        """Replace the run's state by a checkpoint."""
        return await self._execute(self._restore(name))

    async def export(self) -> bytes:
        """Return the whole state as lines of JSON."""
        return await self._execute(self._export())

    async def export_to(self, file: Path) -> None:
        """Write the whole state to a file in chunks. If it fails, the file is unchanged."""
        await self._execute(self._export_to(file))

    async def import_state(self, exported: bytes | Path) -> RunInfo:
        """Replace the run's state by an export, or by a file of one."""
        return await self._execute(self._import(exported))

    async def delete(self) -> None:
        """Delete the run."""
        await self.client.delete_run(self.name)
