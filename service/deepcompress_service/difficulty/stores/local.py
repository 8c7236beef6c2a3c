"""The store protocol over a `LocalTransaction`: shared by `memory://` and SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal, TypeVar

from .. import refusals
from ..arithmetic import close_record, problem_before, step_statistics
from ..codec import group_digest, unpack_group, unpack_problem
from ..dataset import (
    DatasetRecord,
    Entry,
    entries_of,
)
from ..errors import DifficultyError
from ..model import (
    Checkpoint,
    DifficultyConfig,
    Observation,
    ProblemState,
    RunState,
    SourceSums,
    StepStatistics,
)
from ..names import decode
from ..observations import observe
from ..paging import Page, PageBuilder, Side, Sort
from ..past import level_of
from ..records import new_incarnation, new_run_record
from ..reindex import mark_pending
from ..retention import IMPORT_S, OBSERVATIONS_S, SCRATCH_S, Swept
from ..rollback import check_rewindable, closed_level, problem_now, rewind, run_state
from ..run_transaction import Row, existing_run
from ..samples import drop_samples_from
from ..sources import counted_sources
from ..stepless import payloads_of_request
from ..transfer import (
    ExportReader,
    Receiver,
    accept_any_config,
    export_lines,
    import_timeout,
    line_batches,
)
from ..unreadable import skip_unreadable
from ..waiting import discard, forget_waiting
from .local_datasets import LocalDatasets
from .local_transaction import SCRATCH, LocalTransaction, check_scratch

T = TypeVar("T")
Due = Literal["run", "observations", "scratch", "unknown"]


class LocalStore(LocalDatasets):
    """Base class of the local stores. Subclasses define how a transaction is run."""

    _observations_s: float = OBSERVATIONS_S

    def _stream(self, work: Callable[[LocalTransaction], Iterator[str]]) -> AsyncIterator[str]:
        """Iterate over the lines of `work(transaction)`, all read from one snapshot."""
        raise NotImplementedError

    async def risks(self) -> list[str]:
        """Implement `DifficultyStore.risks`."""
        return []

    async def put_run(self, run: str, config: DifficultyConfig, config_text: str) -> RunState:
        """Implement `DifficultyStore.put_run`."""

        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            run_record = state.load()
            created = run_record is None
            if config.asynchronous != (run_record is not None and run_record.config.asynchronous) and (
                run_record is None or run_record.kind is None
            ):
                forget_waiting(state)
            if run_record is None or (
                run_record.config_text != config_text and run_record.kind is None and not run_record.begun
            ):
                old, run_record = run_record, new_run_record(config, config_text)
                if old is not None:
                    run_record.closed, run_record.incarnation = old.closed, old.incarnation
                    run_record.dataset = old.dataset
            elif run_record.config_text != config_text:
                raise refusals.run_conflict(run)
            run_record.incarnation = run_record.incarnation or new_incarnation()
            state.save(run_record)
            return run_state(state, run, transaction.epoch(run), run_record, created=created)

        return await self._write(work, used=run)

    async def get_run(self, run: str) -> RunState:
        """Implement `DifficultyStore.get_run`."""

        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            found = run_state(state, run, transaction.epoch(run), existing_run(state, run))
            return replace(found, used=transaction.last_used(run))

        return await self._read(work)

    async def list_runs(self) -> list[RunState]:
        """Implement `DifficultyStore.list_runs`."""

        def work(transaction: LocalTransaction) -> list[RunState]:
            result = []
            for run in transaction.runs():
                state = transaction.open_run(run)
                with skip_unreadable(run):
                    if run_record := state.load():
                        found = run_state(state, run, transaction.epoch(run), run_record)
                        result.append(replace(found, used=transaction.last_used(run)))
            return result

        return await self._read(work)

    async def count_runs(self) -> int:
        """Implement `DifficultyStore.count_runs`."""
        return await self._read(lambda transaction: len(transaction.runs()))

    async def delete_run(self, run: str) -> int:
        """Implement `DifficultyStore.delete_run`."""

        def work(transaction: LocalTransaction) -> int:
            existing_run(transaction.open_run(run), run)
            transaction.drop(run)
            return _raise_epoch(transaction, run)

        epoch = await self._write(work)
        with contextlib.suppress(DifficultyError):  # the run is gone; the rest goes with the next sweep
            await self._drop_orphans()
        return epoch

    async def sweep(self, idle_s: float | None) -> Swept:
        """Implement `DifficultyStore.sweep`."""
        now = time.time()

        def due_runs(transaction: LocalTransaction) -> list[str]:
            names = []
            for run in transaction.names():
                with skip_unreadable(run):
                    names += [run] if self._due(transaction, run, now, idle_s) else []
            return names

        names = await self._read(due_runs)
        deleted, observed = [], 0
        for name in names:
            due = await self._write(partial(self._sweep_one, run=name, now=now, idle_s=idle_s))
            deleted += [name] if due == "run" else []
            observed += due == "observations"
        await self._drop_orphans()
        return Swept(tuple(deleted), observed)

    def _due(self, transaction: LocalTransaction, run: str, now: float, idle_s: float | None) -> Due | None:
        """Return what of the run has expired; "unknown" if its last use was never recorded."""
        last_used, state = transaction.last_used(run), transaction.open_run(run)
        if last_used is None:
            return "unknown"
        run_record, idle = state.load(), now - last_used
        if run.startswith(SCRATCH):
            return "scratch" if idle >= SCRATCH_S else None
        if run_record is not None and idle_s is not None and idle >= idle_s:
            return "run"
        trained = run_record is not None and run_record.kind is not None
        if not trained and idle >= self._observations_s and (run_record is None or state.observed_steps(-1)):
            return "observations"
        return None

    def _sweep_one(self, transaction: LocalTransaction, run: str, now: float, idle_s: float | None) -> Due | None:
        due = self._due(transaction, run, now, idle_s)
        if due == "unknown":
            # Written by a version that did not record the last use: the idle time starts now.
            transaction.use(run, now)
        elif due == "run":
            transaction.drop(run)
            _raise_epoch(transaction, run)
        elif due == "scratch" or (due == "observations" and transaction.open_run(run).load() is None):
            transaction.drop(run)
        elif due == "observations":
            transaction.open_run(run).forget_from(0)
        return due

    async def recorded(
        self, run: str, groups: Mapping[str, bytes], *, step: int | None, request_id: str | None = None
    ) -> dict[str, bytes]:
        """Implement `DifficultyStore.recorded`."""

        def work(transaction: LocalTransaction) -> dict[str, bytes]:
            state = transaction.open_run(run)
            if step is None:
                return payloads_of_request(state.request(request_id or ""), groups)
            records = state.read("groups", step, groups)
            return {
                name: unpack_group(data).payload
                for name, data in records.items()
                if group_digest(data) == groups[name]
            }

        return await self._read(work)

    async def observe(self, observations: Sequence[Observation]) -> list[bool]:
        """Implement `DifficultyStore.observe`."""

        def work(transaction: LocalTransaction) -> list[bool]:
            answers = [False] * len(observations)
            by_run: dict[str, list[int]] = {}
            for index, observation in enumerate(observations):
                by_run.setdefault(observation.run, []).append(index)
            for run, indices in by_run.items():
                own = [observations[i] for i in indices]
                recorded = observe(transaction.open_run(run), transaction.epoch(run), own)
                for index, answer in zip(indices, recorded, strict=True):
                    answers[index] = answer
                transaction.use(run, time.time())
            return answers

        return await self._write(work)

    async def discard(self, run: str, group_ids: Collection[str], epoch: int | None = None) -> int:
        """Implement `DifficultyStore.discard`."""

        def work(transaction: LocalTransaction) -> int:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            if epoch not in (None, transaction.epoch(run)):
                raise refusals.epoch_mismatch(transaction.epoch(run), epoch or 0)
            if not run_record.config.asynchronous:
                return 0
            discarded = discard(state, run_record, group_ids)
            state.save(run_record)
            return discarded

        return await self._write(work, used=run)

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        """Implement `DifficultyStore.history`."""

        def work(transaction: LocalTransaction) -> list[StepStatistics]:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            closed = state.steps(-1 if since is None else since - 1)
            if limit is not None:
                closed = closed[-limit:]
            result = [step_statistics(record, step) for step in closed if (record := state.step(step))]
            if run_record.open is not None and (since is None or run_record.open >= since):
                result.append(step_statistics(close_record(run_record), run_record.open, closed=False))
            return result if limit is None else result[-limit:]

        return await self._read(work)

    async def source_history(
        self, run: str, *, since: int | None = None, limit: int | None = None
    ) -> dict[int, dict[str, SourceSums]]:
        """Implement `DifficultyStore.source_history`."""

        def work(transaction: LocalTransaction) -> dict[int, dict[str, SourceSums]]:
            state = transaction.open_run(run)
            newest = existing_run(state, run).newest_step
            rows = state.sources(since or 0, limit)
            return {step: counted_sources(record) for step, record in rows if step <= newest}

        return await self._read(work)

    async def problem(self, run: str, problem_id: str) -> ProblemState:
        """Implement `DifficultyStore.problem`."""

        def work(transaction: LocalTransaction) -> ProblemState:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            data = state.read("problems", None, [problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            return problem_now(state, run_record, problem_id, data)

        return await self._read(work)

    async def problem_course(self, run: str, problem_id: str, *, limit: int = 200) -> list[ProblemState]:
        """Implement `DifficultyStore.problem_course`."""

        def work(transaction: LocalTransaction) -> list[ProblemState]:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            data = state.read("problems", None, [problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            course = [problem_now(state, run_record, problem_id, data)]
            while data and len(course) < limit:
                record = unpack_problem(problem_id, data)
                step = record.delta.step
                if record.before.last_step is None:
                    break
                course.append(problem_before(record))
                data = state.read("undo", step, [problem_id])[problem_id] if step > run_record.pruned else b""
            return course[::-1]

        return await self._read(work)

    async def problems(
        self,
        run: str,
        *,
        cursor: str | None = None,
        limit: int = 100,
        side: Side | None = None,
        sort: Sort = "problem_id",
        search: str | None = None,
    ) -> Page:
        """Implement `DifficultyStore.problems`."""

        def work(transaction: LocalTransaction) -> Page:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            builder = PageBuilder(
                run_record.config.problem_weight,
                cache(partial(level_of, state, run_record)),
                cursor=cursor,
                limit=limit,
                side=side,
                sort=sort,
                search=search,
            )
            builder.add(state.problems_after(builder.start) if builder.ordered else state.all_problems())
            return builder.page()

        return await self._read(work)

    async def checkpoint(self, run: str, name: str, step: int) -> Checkpoint:
        """Implement `DifficultyStore.checkpoint`."""

        def work(transaction: LocalTransaction) -> Checkpoint:
            check_rewindable(existing_run(transaction.open_run(run), run), step + 1, transaction.checkpoints(run))
            transaction.copy(run, None, name)
            state = transaction.open_run(run, name)
            run_record = existing_run(state, run)
            run_record.dataset = False  # it belongs to the run
            run_record = rewind(state, run_record, step + 1, transaction.checkpoints(run))
            state.save(run_record)
            level, epoch = closed_level(run_record), transaction.epoch(run)
            saved = Checkpoint(name, step, level, run_record.problems, epoch, state.bytes_used())
            transaction.put_checkpoint(run, saved)
            return saved

        return await self._write(work, used=run)

    async def checkpoints(self, run: str) -> list[Checkpoint]:
        """Implement `DifficultyStore.checkpoints`."""

        def work(transaction: LocalTransaction) -> list[Checkpoint]:
            existing_run(transaction.open_run(run), run)
            return sorted(transaction.checkpoints(run), key=lambda c: (c.step, c.name))

        return await self._read(work)

    async def delete_checkpoint(self, run: str, name: str) -> None:
        """Implement `DifficultyStore.delete_checkpoint`."""

        def work(transaction: LocalTransaction) -> None:
            existing_run(transaction.open_run(run), run)
            _require_checkpoint(transaction, run, name)
            transaction.drop_checkpoint(run, name)

        await self._write(work, used=run)

    async def restore(self, run: str, name: str) -> RunState:
        """Implement `DifficultyStore.restore`."""

        def work(transaction: LocalTransaction) -> RunState:
            old = existing_run(transaction.open_run(run), run)
            _require_checkpoint(transaction, run, name)
            transaction.copy(run, name, None)
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            run_record.incarnation, run_record.version, run_record.dataset = old.incarnation, 0, old.dataset
            drop_samples_from(state, run_record.closed + 1)
            if old.problems or run_record.problems:
                mark_pending(state, run_record)
            state.save(run_record)
            return run_state(state, run, _raise_epoch(transaction, run), run_record)

        return await self._write(work, used=run)

    async def rewind(self, run: str, next_step: int | None) -> RunState:
        """Implement `DifficultyStore.rewind`."""

        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            run_record = rewind(state, existing_run(state, run), next_step, transaction.checkpoints(run))
            state.save(run_record)
            return run_state(state, run, _raise_epoch(transaction, run), run_record)

        return await self._write(work, used=run)

    def export_run(self, run: str) -> AsyncIterator[str]:
        """Implement `DifficultyStore.export_run`."""

        def work(transaction: LocalTransaction) -> Iterator[str]:
            state = transaction.open_run(run)
            return export_lines(state, run, transaction.epoch(run), existing_run(state, run))

        return self._stream(work)

    async def import_run(
        self,
        run: str,
        lines: AsyncIterator[str],
        accepts: Callable[[str], None] = accept_any_config,
        receiver: Receiver | None = None,
    ) -> RunState:
        """Implement `DifficultyStore.import_run`.

        Each batch of lines is one short transaction on a scratch state, so a slow sender blocks no other request.
        """
        scratch, reader = f"{SCRATCH}{uuid.uuid4().hex}", ExportReader(accepts, receiver)

        def adopt(transaction: LocalTransaction) -> RunState:
            transaction.adopt(scratch, run)
            state = transaction.open_run(run)
            state.save(run_record)
            if run_record.problems:
                mark_pending(state, run_record)
            return run_state(state, run, _raise_epoch(transaction, run), run_record)

        try:
            async with asyncio.timeout(IMPORT_S):
                await self._write(lambda t: t.open_run(scratch).wipe(), used=scratch)
                async for batch in line_batches(lines):
                    rows = await asyncio.to_thread(reader.rows, batch)
                    fill = partial(_fill_scratch, scratch=scratch, rows=rows, dataset=reader.dataset)
                    await self._write(fill, used=scratch)
            run_record = reader.finish()
            state = await self._write(adopt, used=run)
        except TimeoutError:
            raise import_timeout() from None
        finally:
            with contextlib.suppress(DifficultyError):
                await self._write(lambda t: t.drop(scratch))
                await self._drop_orphans()
        await self._finish_index(run)
        return state


def _raise_epoch(transaction: LocalTransaction, run: str) -> int:
    epoch = transaction.epoch(run) + 1
    transaction.set_epoch(run, epoch)
    return epoch


def _require_checkpoint(transaction: LocalTransaction, run: str, name: str) -> None:
    if all(checkpoint.name != name for checkpoint in transaction.checkpoints(run)):
        raise refusals.unknown_checkpoint(run, name)


def _fill_scratch(
    transaction: LocalTransaction, *, scratch: str, rows: list[Row], dataset: DatasetRecord | None
) -> None:
    check_scratch(transaction, scratch)
    state = transaction.open_run(scratch)
    others: list[Row] = []
    entries: dict[str, Entry] = {}
    for row in rows:
        table, key, value = row
        if table == "dataset" and dataset is not None:
            problem_id = str(key[0])
            if problem_id in entries:
                raise refusals.duplicate_problem()
            entries |= entries_of([(problem_id, value[0], value[1:])], dataset.key)
        elif table == "samples":
            state.index.put_sample(int(key[0]), decode(value))
        else:
            others.append(row)
    state.put_rows(others)
    if dataset is not None and state.index.load() is None:
        state.index.save(dataset)
    if not state.index.add(entries):
        raise refusals.duplicate_problem()
