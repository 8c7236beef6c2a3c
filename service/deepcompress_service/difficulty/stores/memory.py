"""`memory://`: the state in dictionaries, for tests and for trying things out. Gone with the process."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from .. import engine
from ..codec import format_step, parse_step
from ..model import Checkpoint, Commit, CommitOutcome
from ..names import decode, encode
from ..records import RunRecord, StepRecord
from ..retention import OBSERVATIONS_S
from ..run_transaction import Row, Table
from .local import LocalStore
from .local_transaction import LocalTransaction
from .memory_index import MemoryIndex

T = TypeVar("T")


@dataclass(slots=True)
class MemoryRun:
    """One state in dictionaries."""

    run_record: RunRecord | None = None
    problem_records: dict[str, bytes] = field(default_factory=dict)
    undo_records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    group_records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    step_records: dict[int, str] = field(default_factory=dict)
    source_records: dict[int, bytes] = field(default_factory=dict)
    observed_groups: dict[int, dict[str, bytes]] = field(default_factory=dict)
    observed_rollouts: dict[int, dict[tuple[str, str], bytes]] = field(default_factory=dict)
    requests: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    index: MemoryIndex = field(default_factory=MemoryIndex)

    def load(self) -> RunRecord | None:
        """Implement `RunTransaction.load`."""
        return copy.deepcopy(self.run_record)

    def save(self, run_record: RunRecord) -> None:
        """Implement `RunTransaction.save`."""
        self.run_record = run_record

    def _by_step(self, table: Table) -> dict[int, dict[str, bytes]]:
        tables = {"undo": self.undo_records, "groups": self.group_records, "observed": self.observed_groups}
        return tables[table]

    def read(self, table: Table, step: int | None, ids: Iterable[str]) -> dict[str, bytes]:
        """Implement `RunTransaction.read`."""
        records = self.problem_records if step is None else self._by_step(table).get(step, {})
        return {name: records[name] for name in ids if name in records}

    def put(self, table: Table, step: int | None, records: Mapping[str, bytes]) -> None:
        """Implement `RunTransaction.put`."""
        if step is None:
            self.problem_records.update(records)
        elif records:
            self._by_step(table).setdefault(step, {}).update(records)

    def drop_problems(self, ids: Iterable[str]) -> None:
        """Implement `RunTransaction.drop_problems`."""
        for problem_id in ids:
            del self.problem_records[problem_id]

    def all_problems(self) -> Iterator[tuple[str, bytes]]:
        """Implement `RunTransaction.all_problems`."""
        return iter(self.problem_records.items())

    def problems_after(self, problem_id: str | None) -> Iterator[tuple[str, bytes]]:
        """Implement `RunTransaction.problems_after`."""
        names = sorted(name for name in self.problem_records if problem_id is None or name > problem_id)
        return ((name, self.problem_records[name]) for name in names)

    def undo(self, step: int) -> dict[str, bytes]:
        """Implement `RunTransaction.undo`."""
        return dict(self.undo_records.get(step, {}))

    def steps(self, after: int) -> list[int]:
        """Implement `RunTransaction.steps`."""
        return sorted(step for step in self.step_records if step > after)

    def step(self, step: int) -> StepRecord | None:
        """Implement `RunTransaction.step`."""
        text = self.step_records.get(step)
        return None if text is None else parse_step(text)

    def put_step(self, step: int, record: StepRecord) -> None:
        """Implement `RunTransaction.put_step`."""
        self.step_records[step] = format_step(record)

    def forget_records(self, step: int) -> None:
        """Implement `RunTransaction.forget_records`."""
        tables: tuple[dict[int, Any], ...] = (self.group_records, self.undo_records, self.observed_groups)
        for table in tables:
            table.pop(step, None)
        self.observed_rollouts.pop(step, None)

    def forget_from(self, step: int) -> None:
        """Implement `RunTransaction.forget_from`."""
        tables: tuple[dict[int, Any], ...] = (
            self.group_records,
            self.undo_records,
            self.step_records,
            self.source_records,
            self.observed_groups,
            self.observed_rollouts,
        )
        for table in tables:
            for later in [s for s in table if s >= step]:
                del table[later]
        self.requests = {name: kept for name, kept in self.requests.items() if kept[1] < step}

    def newest_sources(self, step: int) -> tuple[int, bytes] | None:
        """Implement `RunTransaction.newest_sources`."""
        newest = max((one for one in self.source_records if one <= step), default=None)
        return None if newest is None else (newest, self.source_records[newest])

    def put_sources(self, step: int, record: bytes) -> None:
        """Implement `RunTransaction.put_sources`."""
        self.source_records[step] = record

    def sources(self, since: int, limit: int | None) -> list[tuple[int, bytes]]:
        """Implement `RunTransaction.sources`."""
        found = sorted(row for row in self.source_records.items() if row[0] >= since)
        return found if limit is None else found[-limit:]

    def observed_steps(self, after: int) -> list[int]:
        """Implement `RunTransaction.observed_steps`."""
        return sorted(step for step in self.observed_groups if step > after)

    def observed(self, step: int) -> dict[str, bytes]:
        """Implement `RunTransaction.observed`."""
        return dict(self.observed_groups.get(step, {}))

    def rollouts(self, step: int, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Implement `RunTransaction.rollouts`."""
        known = self.observed_rollouts.get(step, {})
        return {key: known[key] for key in keys if key in known}

    def put_rollouts(self, step: int, records: Mapping[tuple[str, str], bytes]) -> None:
        """Implement `RunTransaction.put_rollouts`."""
        if records:
            self.observed_rollouts.setdefault(step, {}).update(records)

    def count_observed(self, step: int) -> int:
        """Implement `RunTransaction.count_observed`."""
        return len(self.observed_groups.get(step, ()))

    def forget_observations(self, step: int) -> None:
        """Implement `RunTransaction.forget_observations`."""
        self.observed_groups.pop(step, None)
        self.observed_rollouts.pop(step, None)

    def close_observations(self, step: int) -> None:
        """Implement `RunTransaction.close_observations`."""
        self.observed_rollouts.pop(step, None)

    def request(self, request_id: str) -> bytes | None:
        """Implement `RunTransaction.request`."""
        kept = self.requests.get(request_id)
        return None if kept is None else kept[2]

    def put_request(self, request_id: str, sequence: int, step: int, record: bytes, keep: int) -> None:
        """Implement `RunTransaction.put_request`."""
        self.requests[request_id] = (sequence, step, record)
        while len(self.requests) > keep:
            del self.requests[next(iter(self.requests))]

    def wipe(self) -> None:
        """Implement `RunTransaction.wipe`."""
        fresh = MemoryRun(self.run_record, index=self.index)
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(fresh, name))

    def bytes_used(self) -> int:
        """Implement `RunTransaction.bytes_used`."""
        tables = [self.problem_records, *self.undo_records.values()]
        tables += [*self.group_records.values(), *self.observed_groups.values()]
        return sum(len(key) + len(value) for table in tables for key, value in table.items())

    def rows(self) -> Iterator[Row]:
        """Implement `RunTransaction.rows`."""
        for step, text in sorted(self.step_records.items()):
            yield "steps", (step,), encode(text)
        for step, record in sorted(self.source_records.items()):
            yield "data_sources", (step,), record
        for problem_id, record in sorted(self.problem_records.items()):
            yield "problems", (problem_id,), record
        for name, by_step in (
            ("undo", self.undo_records),
            ("groups", self.group_records),
            ("observed", self.observed_groups),
        ):
            for step, records in sorted(by_step.items()):
                for key, record in sorted(records.items()):
                    yield name, (step, key), record
        for step, rollouts in sorted(self.observed_rollouts.items()):
            for (group_id, rollout_id), content in sorted(rollouts.items()):
                yield "rollouts", (step, group_id, rollout_id), content
        for request_id, (sequence, step, record) in self.requests.items():
            yield "requests", (request_id, sequence, step), record

    def put_rows(self, rows: Iterable[Row]) -> None:
        """Implement `RunTransaction.put_rows`."""
        for table, key, value in rows:
            match table, key:
                case "steps", (int(step),):
                    self.step_records[step] = decode(value)
                case "data_sources", (int(step),):
                    self.put_sources(step, value)
                case "problems", (str(name),):
                    self.problem_records[name] = value
                case "undo", (int(step), str(name)):
                    self.put("undo", step, {name: value})
                case "groups", (int(step), str(name)):
                    self.put("groups", step, {name: value})
                case "observed", (int(step), str(name)):
                    self.put("observed", step, {name: value})
                case "rollouts", (int(step), str(group_id), str(rollout_id)):
                    self.put_rollouts(step, {(group_id, rollout_id): value})
                case "requests", (str(name), int(sequence), int(step)):
                    self.requests[name] = (sequence, step, value)


@dataclass(slots=True)
class MemoryState:
    """All states of the store, and those that the present transaction adds."""

    epochs: dict[str, int] = field(default_factory=dict)
    states: dict[tuple[str, str | None], MemoryRun] = field(default_factory=dict)
    saved: dict[str, dict[str, Checkpoint]] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    made: dict[tuple[str, str | None], MemoryRun] = field(default_factory=dict)
    """States that this transaction made, and that are kept only if it wrote to them."""

    def epoch(self, run: str) -> int:
        """Implement `LocalTransaction.epoch`."""
        return self.epochs.get(run, 0)

    def set_epoch(self, run: str, epoch: int) -> None:
        """Implement `LocalTransaction.set_epoch`."""
        self.epochs[run] = epoch

    def runs(self) -> list[str]:
        """Implement `LocalTransaction.runs`."""
        return sorted(run for run, checkpoint in self.states if checkpoint is None)

    def names(self) -> list[str]:
        """Implement `LocalTransaction.names`."""
        return self.runs()

    def use(self, run: str, now: float) -> None:
        """Implement `LocalTransaction.use`."""
        self.used[run] = now

    def last_used(self, run: str) -> float | None:
        """Implement `LocalTransaction.last_used`."""
        return self.used.get(run)

    def open_run(self, run: str, checkpoint: str | None = None) -> MemoryRun:
        """Implement `LocalTransaction.open_run`."""
        known = self.states.get((run, checkpoint))
        return self.made.setdefault((run, checkpoint), MemoryRun()) if known is None else known

    def end(self, *, keep: bool) -> None:
        """End a transaction; `keep`: keep the states that it added."""
        if keep:
            self.states |= self.made
        self.made.clear()

    def copy(self, run: str, source: str | None, target: str | None) -> None:
        """Implement `LocalTransaction.copy`."""
        state = copy.copy(self.open_run(run, source))
        state.index = MemoryIndex()
        state = copy.deepcopy(state)
        if (run, target) in self.states:
            state.index = self.states[run, target].index
        self.states[run, target] = state

    def adopt(self, source: str, run: str) -> None:
        """Implement `LocalTransaction.adopt`."""
        self.states[run, None] = self.states.pop((source, None))

    def exchange_indexes(self, run: str, other: str) -> None:
        """Implement `LocalTransaction.exchange_indexes`: the samples stay."""
        one, two = self.open_run(run), self.open_run(other)
        one.index, two.index = two.index, one.index
        one.index.samples, two.index.samples = two.index.samples, one.index.samples

    def drop_orphans(self, limit: int) -> bool:
        """Implement `LocalTransaction.drop_orphans`: there are none."""
        del limit
        return False

    def checkpoints(self, run: str) -> list[Checkpoint]:
        """Implement `LocalTransaction.checkpoints`."""
        return list(self.saved.get(run, {}).values())

    def put_checkpoint(self, run: str, checkpoint: Checkpoint) -> None:
        """Implement `LocalTransaction.put_checkpoint`."""
        self.saved.setdefault(run, {})[checkpoint.name] = checkpoint

    def drop_checkpoint(self, run: str, name: str) -> None:
        """Implement `LocalTransaction.drop_checkpoint`."""
        del self.saved[run][name]
        del self.states[run, name]

    def drop(self, run: str) -> None:
        """Implement `LocalTransaction.drop`."""
        self.saved.pop(run, None)
        self.used.pop(run, None)
        for key in [key for key in self.states if key[0] == run]:
            del self.states[key]


class MemoryStore(LocalStore):
    """A store for one process with one event loop: each operation ends before the next begins."""

    def __init__(self, *, observations_s: float = OBSERVATIONS_S) -> None:
        self._state = MemoryState()
        self._observations_s = observations_s

    async def open(self) -> None:
        """Do nothing: there is no connection."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def ping(self) -> None:
        """Do nothing: memory is always available."""

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Implement `DifficultyStore.commit`."""
        return await self._write(partial(engine.commit, request=commit), used=commit.run)

    async def _read(self, work: Callable[[LocalTransaction], T]) -> T:
        try:
            return work(self._state)
        finally:
            self._state.end(keep=False)

    async def _write(self, work: Callable[[LocalTransaction], T], *, used: str | None = None) -> T:
        keep = False
        try:
            result = work(self._state)
            if used is not None:
                self._state.use(used, time.time())
            keep = True
            return result
        finally:
            self._state.end(keep=keep)

    async def _stream(self, work: Callable[[LocalTransaction], Iterator[str]]) -> AsyncIterator[str]:
        try:
            lines = list(work(self._state))
        finally:
            self._state.end(keep=False)
        for line in lines:
            yield line
