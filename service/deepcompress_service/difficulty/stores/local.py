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
from ..arithmetic import finish
from ..codec import unpack_problem
from ..engine import commit, new_meta, run_exists
from ..errors import DifficultyError, StoreUnavailable
from ..going_back import check_reach, problem_now, rewind, run_state, standing_level
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
from ..paging import Page, Pick, Side, Sort
from ..retention import IMPORT_S, OBSERVATIONS_S, SCRATCH_S, Swept
from ..steps import level_of
from ..transfer import FullView, Reader, Row, any_config, export_lines, portions, took_too_long

T = TypeVar("T")
Due = Literal["run", "observations", "scratch", "unknown"]

SCRATCH = "/import/"
"""What an import fills before it becomes the run's is kept under a name that begins so, and no run's does."""


class Place(Protocol):
    """All runs of a store, inside one transaction."""

    def epoch(self, run: str) -> int:
        """0 where the run was never heard of; survives its deletion."""

    def set_epoch(self, run: str, epoch: int) -> None: ...

    def runs(self) -> list[str]: ...

    def view(self, run: str, checkpoint: str | None = None) -> FullView:
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

    async def _read(self, work: Callable[[Place], T]) -> T:
        raise NotImplementedError

    async def _write(self, work: Callable[[Place], T]) -> T:
        raise NotImplementedError

    def _stream(self, work: Callable[[Place], Iterator[str]]) -> AsyncIterator[str]:
        """Lines read from one snapshot."""
        raise NotImplementedError

    async def _change(self, run: str, work: Callable[[Place], T]) -> T:
        """`_write` by somebody who uses the run."""

        def using(place: Place) -> T:
            result = work(place)
            place.use(run, time.time())
            return result

        return await self._write(using)

    async def put_run(self, run: str, config: DifficultyConfig, config_text: str) -> RunState:
        def work(place: Place) -> RunState:
            view = place.view(run)
            meta = view.load()
            created = meta is None
            if meta is None or (meta.config_text != config_text and meta.kind is None):
                closed = meta.closed if meta else -1
                meta = new_meta(config, config_text)
                meta.closed = closed
                view.save(meta)
            elif meta.config_text != config_text:
                raise refusals.run_conflict(run)
            return run_state(view, run, place.epoch(run), meta, created=created)

        return await self._change(run, work)

    async def get_run(self, run: str) -> RunState:
        def work(place: Place) -> RunState:
            view = place.view(run)
            return run_state(view, run, place.epoch(run), run_exists(view, run))

        return await self._read(work)

    async def list_runs(self) -> list[RunState]:
        def work(place: Place) -> list[RunState]:
            found = []
            for run in place.runs():
                view = place.view(run)
                if meta := view.load():
                    found.append(run_state(view, run, place.epoch(run), meta))
            return found

        return await self._read(work)

    async def delete_run(self, run: str) -> int:
        def work(place: Place) -> int:
            run_exists(place.view(run), run)
            place.drop(run)
            return self._raise_epoch(place, run)

        return await self._write(work)

    async def sweep(self, idle_s: float | None) -> Swept:
        now = time.time()
        names = await self._read(lambda place: [run for run in place.names() if self._due(place, run, now, idle_s)])
        gone, observed = [], 0
        for name in names:
            done = await self._write(partial(self._sweep, run=name, now=now, idle_s=idle_s))
            gone += [name] if done == "run" else []
            observed += done == "observations"
        return Swept(tuple(gone), observed)

    def _due(self, place: Place, run: str, now: float, idle_s: float | None) -> Due | None:
        last, view = place.last_used(run), place.view(run)
        if last is None:
            return "unknown"
        meta, idle = view.load(), now - last
        if run.startswith(SCRATCH):
            return "scratch" if idle >= SCRATCH_S else None
        if meta is not None and idle_s is not None and idle >= idle_s:
            return "run"
        trained = meta is not None and meta.kind is not None
        if not trained and idle >= self._observations_s and (meta is None or view.observed_steps(-1)):
            return "observations"
        return None

    def _sweep(self, place: Place, run: str, now: float, idle_s: float | None) -> Due | None:
        due = self._due(place, run, now, idle_s)
        if due == "unknown":
            # Of a version that kept no such time: it is counted from now on.
            place.use(run, now)
        elif due == "run":
            place.drop(run)
            self._raise_epoch(place, run)
        elif due == "scratch" or (due == "observations" and place.view(run).load() is None):
            place.drop(run)
        elif due == "observations":
            place.view(run).forget_from(0)
        return due

    @staticmethod
    def _raise_epoch(place: Place, run: str) -> int:
        epoch = place.epoch(run) + 1
        place.set_epoch(run, epoch)
        return epoch

    async def commit(self, commit_: Commit) -> CommitOutcome:
        def work(place: Place) -> CommitOutcome:
            return commit(place.view(commit_.run), place.epoch(commit_.run), commit_)

        return await self._change(commit_.run, work)

    async def observe(self, observations: Sequence[Observation]) -> list[bool]:
        def work(place: Place) -> list[bool]:
            answers = [False] * len(observations)
            by_run: dict[str, list[int]] = {}
            for index, seen in enumerate(observations):
                by_run.setdefault(seen.run, []).append(index)
            for run, indices in by_run.items():
                said = observe(place.view(run), place.epoch(run), [observations[i] for i in indices])
                for index, answer in zip(indices, said, strict=True):
                    answers[index] = answer
                place.use(run, time.time())
            return answers

        return await self._write(work)

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        def work(place: Place) -> list[StepStatistics]:
            view = place.view(run)
            meta = run_exists(view, run)
            closed = view.steps(-1 if since is None else since - 1)
            if limit is not None:
                closed = closed[-limit:]
            found = [record.statistics(step) for step in closed if (record := view.step(step))]
            if meta.open is not None and (since is None or meta.open >= since):
                found.append(finish(meta).statistics(meta.open, closed=False))
            return found if limit is None else found[-limit:]

        return await self._read(work)

    async def problem(self, run: str, problem_id: str) -> ProblemState:
        def work(place: Place) -> ProblemState:
            view = place.view(run)
            meta = run_exists(view, run)
            data = view.problems([problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            return problem_now(view, meta, problem_id, data)

        return await self._read(work)

    async def problem_course(self, run: str, problem_id: str, *, limit: int = 200) -> list[ProblemState]:
        def work(place: Place) -> list[ProblemState]:
            view = place.view(run)
            meta = run_exists(view, run)
            data = view.problems([problem_id]).get(problem_id)
            if data is None:
                raise refusals.unknown_problem(run, problem_id)
            course = [problem_now(view, meta, problem_id, data)]
            while data and len(course) < limit:
                record = unpack_problem(problem_id, data)
                if record.before.last_step is None:
                    break
                course.append(record.before)
                data = view.undo_of(record.tally.step, problem_id) if record.tally.step > meta.pruned else b""
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
        def work(place: Place) -> Page:
            view = place.view(run)
            meta = run_exists(view, run)
            pick = Pick(
                meta.config.problem_weight,
                cache(partial(level_of, view, meta)),
                cursor=cursor,
                limit=limit,
                side=side,
                sort=sort,
                search=search,
            )
            pick.add(view.problems_after(pick.start) if pick.ordered else view.all_problems())
            return pick.page()

        return await self._read(work)

    async def checkpoint(self, run: str, name: str, step: int) -> Checkpoint:
        def work(place: Place) -> Checkpoint:
            check_reach(run_exists(place.view(run), run), step + 1, place.checkpoints(run))
            place.copy(run, None, name)
            view = place.view(run, name)
            meta = rewind(view, run_exists(view, run), step + 1, place.checkpoints(run))
            view.save(meta)
            saved = Checkpoint(name, step, standing_level(meta), meta.problems, place.epoch(run), view.bytes_used())
            place.put_checkpoint(run, saved)
            return saved

        return await self._change(run, work)

    async def checkpoints(self, run: str) -> list[Checkpoint]:
        def work(place: Place) -> list[Checkpoint]:
            run_exists(place.view(run), run)
            return sorted(place.checkpoints(run), key=lambda c: (c.step, c.name))

        return await self._read(work)

    async def delete_checkpoint(self, run: str, name: str) -> None:
        def work(place: Place) -> None:
            run_exists(place.view(run), run)
            self._known(place, run, name)
            place.drop_checkpoint(run, name)

        await self._change(run, work)

    @staticmethod
    def _known(place: Place, run: str, name: str) -> None:
        if all(checkpoint.name != name for checkpoint in place.checkpoints(run)):
            raise refusals.unknown_checkpoint(run, name)

    async def restore(self, run: str, name: str) -> RunState:
        def work(place: Place) -> RunState:
            run_exists(place.view(run), run)
            self._known(place, run, name)
            place.copy(run, name, None)
            view = place.view(run)
            return run_state(view, run, self._raise_epoch(place, run), run_exists(view, run))

        return await self._change(run, work)

    async def rewind(self, run: str, next_step: int | None) -> RunState:
        def work(place: Place) -> RunState:
            view = place.view(run)
            meta = rewind(view, run_exists(view, run), next_step, place.checkpoints(run))
            view.save(meta)
            return run_state(view, run, self._raise_epoch(place, run), meta)

        return await self._change(run, work)

    def export_run(self, run: str) -> AsyncIterator[str]:
        def work(place: Place) -> Iterator[str]:
            view = place.view(run)
            return export_lines(view, run, place.epoch(run), run_exists(view, run))

        return self._stream(work)

    async def import_run(
        self, run: str, lines: AsyncIterator[str], accepts: Callable[[str], None] = any_config
    ) -> RunState:
        """Portion by portion into a state of its own, so that nobody waits for a slow sender."""
        scratch, reader = f"{SCRATCH}{uuid.uuid4().hex}", Reader(accepts)

        def work(place: Place) -> RunState:
            place.adopt(scratch, run)
            view = place.view(run)
            view.save(meta)
            return run_state(view, run, self._raise_epoch(place, run), meta)

        try:
            async with asyncio.timeout(IMPORT_S):
                await self._change(scratch, lambda place: place.view(scratch).wipe())
                async for some in portions(lines):
                    rows = await asyncio.to_thread(reader.rows, some)
                    await self._change(scratch, partial(self._fill, scratch=scratch, rows=rows))
            meta = reader.finish()
            return await self._change(run, work)
        except TimeoutError:
            raise took_too_long() from None
        finally:
            with contextlib.suppress(DifficultyError):
                await self._write(lambda place: place.drop(scratch))

    @staticmethod
    def _fill(place: Place, *, scratch: str, rows: list[Row]) -> None:
        if place.last_used(scratch) is None:
            raise StoreUnavailable("what was imported so far is gone: send the export again")
        place.view(scratch).put_rows(rows)
