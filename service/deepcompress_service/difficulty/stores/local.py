"""What `memory://` and SQLite share: the store protocol over a `Place` that can give views inside a transaction."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache, partial
from typing import Literal, Protocol, TypeVar

from .. import refusals
from ..arithmetic import close_record
from ..codec import unpack_problem
from ..engine import commit, existing_run, new_run_record
from ..errors import DifficultyError, StoreUnavailable
from ..model import (
    Checkpoint,
    Commit,
    CommitOutcome,
    DifficultyConfig,
    Observation,
    ProblemState,
    RunState,
    StepStatistics,
)
from ..observations import observe
from ..paging import Page, PageBuilder, Side, Sort
from ..retention import IMPORT_S, OBSERVATIONS_S, SCRATCH_S, Swept
from ..rollback import check_rewindable, closed_level, problem_now, rewind, run_state
from ..run_transaction import Row, RunTransaction
from ..steps import level_of
from ..transfer import ExportReader, accept_any_config, export_lines, import_timeout, line_batches

T = TypeVar("T")
Due = Literal["run", "observations", "scratch", "unknown"]

SCRATCH = "/import/"
"""What an import fills before it becomes the run's is kept under a name that begins so, and no run's does."""


class LocalTransaction(Protocol):
    """All runs of a store, inside one transaction."""

    def epoch(self, run: str) -> int:
        """0 where the run was never heard of; survives its deletion."""

    def set_epoch(self, run: str, epoch: int) -> None: ...

    def runs(self) -> list[str]: ...

    def open_run(self, run: str, checkpoint: str | None = None) -> RunTransaction:
        """The run's own state, or that of a checkpoint of it."""

    def copy(self, run: str, source: str | None, target: str | None) -> None:
        """Replace one view of a run (None: its own) by a copy of another."""

    def adopt(self, source: str, run: str) -> None:
        """The state that is kept under the name `source` becomes the run's own."""

    def checkpoints(self, run: str) -> list[Checkpoint]: ...

    def put_checkpoint(self, run: str, checkpoint: Checkpoint) -> None: ...

    def drop_checkpoint(self, run: str, name: str) -> None: ...

    def drop(self, run: str) -> None:
        """The run's state and its checkpoints, but not its epoch."""

    def use(self, run: str, now: float) -> None:
        """Somebody uses the run now."""

    def last_used(self, run: str) -> float | None:
        """None where it is not known."""

    def names(self) -> list[str]:
        """Every run of which anything but the epoch is kept."""


class LocalStore:
    """Subclasses say how a transaction runs."""

    _observations_s: float = OBSERVATIONS_S

    async def _read(self, work: Callable[[LocalTransaction], T]) -> T:
        raise NotImplementedError

    async def _write(self, work: Callable[[LocalTransaction], T]) -> T:
        raise NotImplementedError

    def _stream(self, work: Callable[[LocalTransaction], Iterator[str]]) -> AsyncIterator[str]:
        """Lines read from one snapshot."""
        raise NotImplementedError

    async def _write_as_user(self, run: str, work: Callable[[LocalTransaction], T]) -> T:
        """`_write` by somebody who uses the run."""

        def using(transaction: LocalTransaction) -> T:
            result = work(transaction)
            transaction.use(run, time.time())
            return result

        return await self._write(using)

    async def put_run(self, run: str, config: DifficultyConfig, config_text: str) -> RunState:
        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            run_record = state.load()
            created = run_record is None
            if run_record is None or (run_record.config_text != config_text and run_record.kind is None):
                closed = run_record.closed if run_record else -1
                run_record = new_run_record(config, config_text)
                run_record.closed = closed
                state.save(run_record)
            elif run_record.config_text != config_text:
                raise refusals.run_conflict(run)
            return run_state(state, run, transaction.epoch(run), run_record, created=created)

        return await self._write_as_user(run, work)

    async def get_run(self, run: str) -> RunState:
        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            return run_state(state, run, transaction.epoch(run), existing_run(state, run))

        return await self._read(work)

    async def list_runs(self) -> list[RunState]:
        def work(transaction: LocalTransaction) -> list[RunState]:
            found = []
            for run in transaction.runs():
                state = transaction.open_run(run)
                if run_record := state.load():
                    found.append(run_state(state, run, transaction.epoch(run), run_record))
            return found

        return await self._read(work)

    async def delete_run(self, run: str) -> int:
        def work(transaction: LocalTransaction) -> int:
            existing_run(transaction.open_run(run), run)
            transaction.drop(run)
            return self._raise_epoch(transaction, run)

        return await self._write(work)

    async def sweep(self, idle_s: float | None) -> Swept:
        now = time.time()
        names = await self._read(
            lambda transaction: [run for run in transaction.names() if self._due(transaction, run, now, idle_s)]
        )
        gone, observed = [], 0
        for name in names:
            done = await self._write(partial(self._sweep, run=name, now=now, idle_s=idle_s))
            gone += [name] if done == "run" else []
            observed += done == "observations"
        return Swept(tuple(gone), observed)

    def _due(self, transaction: LocalTransaction, run: str, now: float, idle_s: float | None) -> Due | None:
        last, state = transaction.last_used(run), transaction.open_run(run)
        if last is None:
            return "unknown"
        run_record, idle = state.load(), now - last
        if run.startswith(SCRATCH):
            return "scratch" if idle >= SCRATCH_S else None
        if run_record is not None and idle_s is not None and idle >= idle_s:
            return "run"
        trained = run_record is not None and run_record.kind is not None
        if not trained and idle >= self._observations_s and (run_record is None or state.observed_steps(-1)):
            return "observations"
        return None

    def _sweep(self, transaction: LocalTransaction, run: str, now: float, idle_s: float | None) -> Due | None:
        due = self._due(transaction, run, now, idle_s)
        if due == "unknown":
            # Of a version that kept no such time: it is counted from now on.
            transaction.use(run, now)
        elif due == "run":
            transaction.drop(run)
            self._raise_epoch(transaction, run)
        elif due == "scratch" or (due == "observations" and transaction.open_run(run).load() is None):
            transaction.drop(run)
        elif due == "observations":
            transaction.open_run(run).forget_from(0)
        return due

    @staticmethod
    def _raise_epoch(transaction: LocalTransaction, run: str) -> int:
        epoch = transaction.epoch(run) + 1
        transaction.set_epoch(run, epoch)
        return epoch

    async def commit(self, commit_: Commit) -> CommitOutcome:
        def work(transaction: LocalTransaction) -> CommitOutcome:
            return commit(transaction.open_run(commit_.run), transaction.epoch(commit_.run), commit_)

        return await self._write_as_user(commit_.run, work)

    async def observe(self, observations: Sequence[Observation]) -> list[bool]:
        def work(transaction: LocalTransaction) -> list[bool]:
            answers = [False] * len(observations)
            by_run: dict[str, list[int]] = {}
            for index, seen in enumerate(observations):
                by_run.setdefault(seen.run, []).append(index)
            for run, indices in by_run.items():
                said = observe(transaction.open_run(run), transaction.epoch(run), [observations[i] for i in indices])
                for index, answer in zip(indices, said, strict=True):
                    answers[index] = answer
                transaction.use(run, time.time())
            return answers

        return await self._write(work)

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        def work(transaction: LocalTransaction) -> list[StepStatistics]:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            closed = state.steps(-1 if since is None else since - 1)
            if limit is not None:
                closed = closed[-limit:]
            found = [record.statistics(step) for step in closed if (record := state.step(step))]
            if run_record.open is not None and (since is None or run_record.open >= since):
                found.append(close_record(run_record).statistics(run_record.open, closed=False))
            return found if limit is None else found[-limit:]

        return await self._read(work)

    async def problem(self, run: str, problem_id: str) -> ProblemState:
        def work(transaction: LocalTransaction) -> ProblemState:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            data = state.problems([problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            return problem_now(state, run_record, problem_id, data)

        return await self._read(work)

    async def problem_course(self, run: str, problem_id: str, *, limit: int = 200) -> list[ProblemState]:
        def work(transaction: LocalTransaction) -> list[ProblemState]:
            state = transaction.open_run(run)
            run_record = existing_run(state, run)
            data = state.problems([problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            course = [problem_now(state, run_record, problem_id, data)]
            while data and len(course) < limit:
                record = unpack_problem(problem_id, data)
                if record.before.last_step is None:
                    break
                course.append(record.before)
                data = state.undo_of(record.delta.step, problem_id) if record.delta.step > run_record.pruned else b""
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
        def work(transaction: LocalTransaction) -> Checkpoint:
            check_rewindable(existing_run(transaction.open_run(run), run), step + 1, transaction.checkpoints(run))
            transaction.copy(run, None, name)
            state = transaction.open_run(run, name)
            run_record = rewind(state, existing_run(state, run), step + 1, transaction.checkpoints(run))
            state.save(run_record)
            saved = Checkpoint(
                name, step, closed_level(run_record), run_record.problems, transaction.epoch(run), state.bytes_used()
            )
            transaction.put_checkpoint(run, saved)
            return saved

        return await self._write_as_user(run, work)

    async def checkpoints(self, run: str) -> list[Checkpoint]:
        def work(transaction: LocalTransaction) -> list[Checkpoint]:
            existing_run(transaction.open_run(run), run)
            return sorted(transaction.checkpoints(run), key=lambda c: (c.step, c.name))

        return await self._read(work)

    async def delete_checkpoint(self, run: str, name: str) -> None:
        def work(transaction: LocalTransaction) -> None:
            existing_run(transaction.open_run(run), run)
            self._require_checkpoint(transaction, run, name)
            transaction.drop_checkpoint(run, name)

        await self._write_as_user(run, work)

    @staticmethod
    def _require_checkpoint(transaction: LocalTransaction, run: str, name: str) -> None:
        if all(checkpoint.name != name for checkpoint in transaction.checkpoints(run)):
            raise refusals.unknown_checkpoint(run, name)

    async def restore(self, run: str, name: str) -> RunState:
        def work(transaction: LocalTransaction) -> RunState:
            existing_run(transaction.open_run(run), run)
            self._require_checkpoint(transaction, run, name)
            transaction.copy(run, name, None)
            state = transaction.open_run(run)
            return run_state(state, run, self._raise_epoch(transaction, run), existing_run(state, run))

        return await self._write_as_user(run, work)

    async def rewind(self, run: str, next_step: int | None) -> RunState:
        def work(transaction: LocalTransaction) -> RunState:
            state = transaction.open_run(run)
            run_record = rewind(state, existing_run(state, run), next_step, transaction.checkpoints(run))
            state.save(run_record)
            return run_state(state, run, self._raise_epoch(transaction, run), run_record)

        return await self._write_as_user(run, work)

    def export_run(self, run: str) -> AsyncIterator[str]:
        def work(transaction: LocalTransaction) -> Iterator[str]:
            state = transaction.open_run(run)
            return export_lines(state, run, transaction.epoch(run), existing_run(state, run))

        return self._stream(work)

    async def import_run(
        self, run: str, lines: AsyncIterator[str], accepts: Callable[[str], None] = accept_any_config
    ) -> RunState:
        """Portion by portion into a state of its own, so that nobody waits for a slow sender."""
        scratch, reader = f"{SCRATCH}{uuid.uuid4().hex}", ExportReader(accepts)

        def work(transaction: LocalTransaction) -> RunState:
            transaction.adopt(scratch, run)
            state = transaction.open_run(run)
            state.save(run_record)
            return run_state(state, run, self._raise_epoch(transaction, run), run_record)

        try:
            async with asyncio.timeout(IMPORT_S):
                await self._write_as_user(scratch, lambda transaction: transaction.open_run(scratch).wipe())
                async for some in line_batches(lines):
                    rows = await asyncio.to_thread(reader.rows, some)
                    await self._write_as_user(scratch, partial(self._fill_scratch, scratch=scratch, rows=rows))
            run_record = reader.finish()
            return await self._write_as_user(run, work)
        except TimeoutError:
            raise import_timeout() from None
        finally:
            with contextlib.suppress(DifficultyError):
                await self._write(lambda transaction: transaction.drop(scratch))

    @staticmethod
    def _fill_scratch(transaction: LocalTransaction, *, scratch: str, rows: list[Row]) -> None:
        if transaction.last_used(scratch) is None:
            raise StoreUnavailable("what was imported so far is gone: send the export again")
        transaction.open_run(scratch).put_rows(rows)
