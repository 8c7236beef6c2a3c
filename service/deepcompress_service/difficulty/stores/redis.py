"""`redis://` and its kin: the state in Redis, shared by every replica of the service.

Every request is one Lua script (``lua/``), atomic, on keys that share the hash tag `{run}`; Redis' own log is the
journal. What is guaranteed in which deployment is in docs/difficulty-state.md.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from .. import refusals
from ..arithmetic import close_record, present_problem, problem_before, step_statistics
from ..codec import config_to_json, group_digest, parse_step, unpack_group, unpack_problem
from ..errors import StoreTooNew, StoreUnavailable, UnknownRun
from ..model import (
    Checkpoint,
    Commit,
    CommitOutcome,
    DifficultyConfig,
    Observation,
    ProblemState,
    RunState,
    SourceSums,
    StepStatistics,
)
from ..names import decode, encode
from ..observed_codec import pack_rollout
from ..paging import Page, PageBuilder, Side, Sort
from ..records import ProblemRecord, RunRecord, StepRecord, new_incarnation
from ..retention import OBSERVATIONS_S, SCRATCH_S, Swept
from ..rollback import state_of_run
from ..sources import counted_sources
from ..stepless import payloads_of_request
from ..transfer import ExportReader, Receiver, accept_any_config
from ..unreadable import refuses_unreadable, skip_unreadable
from ..waiting import MAX_WAITING, MAX_WAITING_ROLLOUTS
from . import redis_commit, redis_pages, redis_replies, redis_transfer, redis_watch
from .redis_commit import TOKEN_BYTES
from .redis_datasets import RedisDatasets
from .redis_link import Argument, PinnedConnection
from .redis_scripts import prefix_of, raise_if_refused
from .redis_servers import open_link
from .scripts import (
    CHECKPOINT,
    COMMIT,
    DELETE,
    DISCARD,
    DROP_CHECKPOINT,
    OBSERVE,
    PUT_RUN,
    READ_RUN,
    RESTORE,
    REWIND,
    SNAPSHOT,
    SWEEP,
)

SCHEMA_VERSION = 3
SCHEMA_KEY = "dc:schema"
PING_KEY = "dc:ping"
WATCH_S = 5.0
"""Seconds between two reads of the servers' evictions, while requests come."""
RUNS_KEY = "dc:runs"
"""The names of all runs ever; a run that is gone stays named until someone looks for it."""

MAX_REGISTERED = 10_000
"""Most names of runs that a process keeps as known to be in that list. Beyond it they are added again."""
STEPS_BY_NAME = 64
"""Most steps of a history that are read one by one; for more, the whole history is read."""

_NUMBERS = struct.Struct("<IIBIddI")


@refuses_unreadable
class RedisStore(RedisDatasets):
    """`timeout_s` bounds an operation with its retries; `slow_timeout_s` those that touch a whole run (checkpoint,
    restore, rewind, export, import). `replicas`: how many must have a write before it is acknowledged.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        slow_timeout_s: float = 60.0,
        replicas: int = 0,
        max_connections: int = 16,
        observations_s: float = OBSERVATIONS_S,
    ) -> None:
        link = open_link(url, timeout_s=timeout_s, replicas=replicas, max_connections=max_connections)
        super().__init__(link, slow_timeout_s)
        self._link.schema_check = self._check_schema
        self._observations_s = max(1, round(observations_s))
        self._registered: set[str] = set()
        self._watched_at = -WATCH_S
        self._lost: str | None = None
        self._forbidden: str | None = None

    async def open(self) -> None:
        """Implement `DifficultyStore.open`."""
        await self._check_schema()

    async def _check_schema(self) -> None:
        """Check the permissions and the schema version, before every operation until one check succeeds: the
        server may be down when the service starts, or be replaced.
        """
        await self._check_permissions()
        version = await self._link.command(SCHEMA_KEY, "GET", SCHEMA_KEY, first=True)
        if version is not None and int(version) > SCHEMA_VERSION:
            raise StoreTooNew(
                f"this Redis has schema version {int(version)}, the service supports {SCHEMA_VERSION}: run the newer "
                "service, or another Redis",
                found=int(version),
                known=SCHEMA_VERSION,
            )
        if version is None or int(version) < SCHEMA_VERSION:
            await self._link.command(SCHEMA_KEY, "SET", SCHEMA_KEY, SCHEMA_VERSION, writes=True, first=True)
        self._link.schema_check = None

    async def close(self) -> None:
        """Implement `DifficultyStore.close`."""
        await self._link.close()

    async def ping(self) -> None:
        """Implement `DifficultyStore.ping`."""
        if self._link.schema_check is not None:
            await self._link.schema_check()
        else:
            await self._check_permissions()
        # A write, since training requests are: Redis may be full, or short of replicas, and still answer a GET.
        await self._link.command(PING_KEY, "SET", PING_KEY, 1, "EX", 60, writes=True, first=True)
        if why := redis_watch.unsafe(await self._link.info()):
            raise StoreUnavailable(why)

    async def risks(self) -> list[str]:
        """Implement `DifficultyStore.risks`."""
        return redis_watch.risks(await self._link.info())

    async def _check_servers(self) -> None:
        """Check the servers every WATCH_S seconds.

        Raises:
            StoreUnavailable: One of them evicted keys, and may do so again, or forbids a command.
        """
        now = time.monotonic()
        if now - self._watched_at >= WATCH_S:
            self._watched_at = now
            with suppress(StoreUnavailable):  # the commit fails by itself, or goes to another server
                self._lost = redis_watch.lost(await self._link.info())
                self._forbidden = await self._link.forbidden()
        if self._lost:
            raise StoreUnavailable(self._lost)
        self._refuse_forbidden()

    async def _check_permissions(self) -> None:
        self._forbidden = await self._link.forbidden()
        self._refuse_forbidden()

    def _refuse_forbidden(self) -> None:
        if self._forbidden:
            raise StoreUnavailable("Redis forbids commands that the service needs", reason=self._forbidden)

    # runs

    async def put_run(self, run: str, config: DifficultyConfig, config_text: str) -> RunState:
        """Implement `DifficultyStore.put_run`."""
        await self._register(run)
        reply = await self._run(PUT_RUN, run, config_to_json(config), config_text, new_incarnation())
        if reply[1]:
            await self._register(run, renew=True)
        return await self._state(run, created=bool(reply[1]))

    async def get_run(self, run: str) -> RunState:
        """Implement `DifficultyStore.get_run`."""
        return await self._state(run)

    async def list_runs(self) -> list[RunState]:
        """Implement `DifficultyStore.list_runs`."""
        names = await self._link.command(RUNS_KEY, "SMEMBERS", RUNS_KEY)
        found = []
        for name in sorted(map(decode, names)):
            with suppress(UnknownRun, StoreTooNew), skip_unreadable(name):  # it hides no others
                found.append(await self._state(name))
        return found

    async def count_runs(self) -> int:
        """Implement `DifficultyStore.count_runs`."""
        return int(await self._link.command(RUNS_KEY, "SCARD", RUNS_KEY))

    async def delete_run(self, run: str) -> int:
        """Implement `DifficultyStore.delete_run`."""
        reply = await self._run(DELETE, run, slow=True)
        with suppress(StoreUnavailable, StoreTooNew):  # the run is gone; the next sweep removes its name
            await self._unregister(run)
        return int(reply[1])

    async def sweep(self, idle_s: float | None) -> Swept:
        """Implement `DifficultyStore.sweep`."""
        gone = []
        for name in sorted(map(decode, await self._link.command(RUNS_KEY, "SMEMBERS", RUNS_KEY))):
            try:
                if idle_s is not None and (await self._run(SWEEP, name, idle_s, slow=True))[1] != b"":
                    gone.append(name)
                elif idle_s is None:
                    await self._read(name)
            except StoreTooNew:
                continue  # not ours to judge
            except UnknownRun:
                await self._unregister(name)
        return Swept(tuple(gone))

    async def _unregister(self, run: str) -> None:
        """Remove the name of a run that does not exist; restore it if the run was made meanwhile."""
        self._registered.discard(run)
        await self._link.command(RUNS_KEY, "SREM", RUNS_KEY, run, writes=True)
        with suppress(UnknownRun):
            await self._read(run)
            await self._register(run, renew=True)

    async def _register(self, run: str, *, renew: bool = False) -> None:
        """Add the run's name to the list of all runs: before the run is made, and again afterwards, since a
        sweep may have removed it in between. The name of a run that does not exist is harmless.
        """
        if renew or run not in self._registered:
            await self._link.command(RUNS_KEY, "SADD", RUNS_KEY, run, writes=True)
            if len(self._registered) >= MAX_REGISTERED:
                self._registered.clear()
            self._registered.add(run)

    async def _read(self, run: str, key: str | None = None) -> tuple[int, RunRecord, StepRecord | None, float | None]:
        """Epoch, meta with the open step's tallies, the last closed step, and the time of the last use."""
        reply = await self._run(READ_RUN, run, writes=False, key=key)
        try:
            run_record = redis_replies.parse_run_record(reply[2], reply[3])
            last = parse_step(decode(reply[4])) if reply[4] else None
            return int(reply[1]), run_record, last, float(reply[5]) if reply[5] else None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreTooNew(f"the run {run} was written by a newer service, or is damaged: {error!r}") from error

    async def _run_record(self, run: str) -> RunRecord:
        return (await self._read(run))[1]

    async def _state(self, run: str, *, created: bool = False) -> RunState:
        epoch, run_record, last, used = await self._read(run)
        state = state_of_run(run, epoch, run_record, last.mean if last else None, created=created)
        return replace(state, used=used)

    # the training path

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Implement `DifficultyStore.commit`."""
        await self._check_servers()
        reply = await self._run(COMMIT, commit.run, *redis_commit.arguments(commit))
        with suppress(StoreUnavailable):  # the names may be on another server; the next commit tries again
            await self._register(commit.run, renew=bool(reply[3]))
        return redis_commit.outcome(commit, reply)

    async def observe(self, observations: Sequence[Observation]) -> list[bool]:
        """Implement `DifficultyStore.observe`."""
        answers = [False] * len(observations)
        by_run: dict[str, list[int]] = {}
        for index, seen in enumerate(observations):
            by_run.setdefault(seen.run, []).append(index)
        for run, indices in by_run.items():
            keep = DifficultyConfig().keep_steps
            args: list[Argument] = [keep, self._observations_s, MAX_WAITING, MAX_WAITING_ROLLOUTS]
            for index in indices:
                seen = observations[index]
                args += (
                    "" if seen.step is None else seen.step,
                    "" if seen.epoch is None else seen.epoch,
                    encode(seen.group_id),
                    encode(seen.rollout_id),
                    encode(seen.problem_id),
                    pack_rollout(seen.correct, seen.counts, seen.truncated, seen.tokens, seen.generation or 0),
                    b"" if seen.length_bin is None else bytes((seen.length_bin,)),
                )
            reply = await self._run(OBSERVE, run, *args, plain=True)
            for index, digit in zip(indices, reply, strict=True):
                answers[index] = digit == 49
        return answers

    async def discard(self, run: str, group_ids: Collection[str], epoch: int | None = None) -> int:
        """Implement `DifficultyStore.discard`."""
        sent = "" if epoch is None else epoch
        return int((await self._run(DISCARD, run, sent, *map(encode, dict.fromkeys(group_ids))))[1])

    # looking

    async def recorded(
        self, run: str, groups: Mapping[str, bytes], *, step: int | None, request_id: str | None = None
    ) -> dict[str, bytes]:
        """Implement `DifficultyStore.recorded`."""
        key = prefix_of(run)
        if step is None:
            data = await self._link.command(key + "m", "HGET", key + "q", encode(request_id or ""))
            return payloads_of_request(data, groups)
        hash_key = f"{key}g:{step}"
        fields = (*map(encode, groups), redis_commit.REQUEST)
        *tails, request = await self._link.command(key + "m", "HMGET", hash_key, *fields)
        if request:
            of_request = dict(redis_commit.groups_of_request(request))
            tails = [tail or of_request.get(field) for tail, field in zip(tails, fields[:-1], strict=True)]
        tokens = sorted({tail[:TOKEN_BYTES] for tail in tails if tail})
        if not tokens:
            return {}
        found = await self._link.command(key + "m", "HMGET", hash_key, *redis_commit.shared_fields(tokens))
        shared = redis_commit.by_token(tokens, found)
        payloads = {}
        for (name, digest), tail in zip(groups.items(), tails, strict=True):
            if not tail or shared[tail[:TOKEN_BYTES]][0] is None:
                continue  # not recorded, or pruned between the two reads
            record = redis_commit.join_group(tail, *shared[tail[:TOKEN_BYTES]])
            if group_digest(record) == digest:
                payloads[name] = unpack_group(record).payload
        return payloads

    async def history(self, run: str, *, since: int | None = None, limit: int | None = None) -> list[StepStatistics]:
        """Implement `DifficultyStore.history`."""
        run_record = await self._run_record(run)
        key, first = prefix_of(run), since or 0
        asked = range(first, run_record.closed + 1)
        if len(asked) <= STEPS_BY_NAME:
            texts = await self._link.command(key + "m", "HMGET", key + "h", *asked) if asked else []
            steps = [(step, text) for step, text in zip(asked, texts, strict=True) if text is not None]
        else:
            rows = redis_replies.pairs(await self._link.command(key + "m", "HGETALL", key + "h"))
            steps = sorted((int(step), text) for step, text in rows.items() if int(step) >= first)
        if run_record.open is not None and (since is None or run_record.open >= since):
            steps = [row for row in steps if row[0] != run_record.open]
            found = [step_statistics(close_record(run_record), run_record.open, closed=False)]
        else:
            found = []
        steps = steps if limit is None else steps[max(0, len(steps) - limit + len(found)) :]
        found = [step_statistics(parse_step(decode(text)), step) for step, text in steps] + found
        return found if limit is None else found[-limit:]

    async def source_history(
        self, run: str, *, since: int | None = None, limit: int | None = None
    ) -> dict[int, dict[str, SourceSums]]:
        """Implement `DifficultyStore.source_history`."""
        run_record = await self._run_record(run)
        key, most = prefix_of(run), -1 if limit is None else limit
        members = await self._link.command(
            key + "m", "ZREVRANGEBYSCORE", key + "b", run_record.newest_step, since or 0, "LIMIT", 0, most
        )
        rows = map(redis_replies.parse_sources, reversed(members))
        return {step: counted_sources(record) for step, record in rows}

    async def problem(self, run: str, problem_id: str) -> ProblemState:
        """Implement `DifficultyStore.problem`."""
        return (await self._problem(run, problem_id))[0]

    async def problem_course(self, run: str, problem_id: str, *, limit: int = 200) -> list[ProblemState]:
        """Implement `DifficultyStore.problem_course`."""
        now, record, run_record = await self._problem(run, problem_id)
        key, course = prefix_of(run), [now]
        while record.before.last_step is not None and len(course) < limit:
            course.append(problem_before(record))
            if record.delta.step <= run_record.pruned:
                break
            # Pruned in between: the course ends here.
            data = await self._link.command(key + "m", "HGET", f"{key}u:{record.delta.step}", encode(problem_id))
            if not data:
                break
            record = unpack_problem(problem_id, data)
        return course[::-1]

    async def _problem(self, run: str, problem_id: str) -> tuple[ProblemState, ProblemRecord, RunRecord]:
        run_record = await self._run_record(run)
        key = prefix_of(run)
        data = await self._link.command(key + "m", "HGET", key + "p", encode(problem_id))
        if data is None:
            raise refusals.unknown_problem(run, problem_id)
        record = unpack_problem(problem_id, data)
        levels = redis_pages.StepLevels(self._link, key, run_record, partial(self._run_record, run))
        await levels.load([record.delta.step])
        level = levels.at(record.delta.step)
        return present_problem(record, run_record.config.problem_weight, level), record, run_record

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
        run_record = await self._run_record(run)
        levels = redis_pages.StepLevels(self._link, prefix_of(run), run_record, partial(self._run_record, run))
        builder = PageBuilder(
            run_record.config.problem_weight,
            levels.at,
            cursor=cursor,
            limit=limit,
            side=side,
            sort=sort,
            search=search,
        )
        return await redis_pages.page(self._link, prefix_of(run), builder, levels)

    # going back

    async def checkpoint(self, run: str, name: str, step: int) -> Checkpoint:
        """Implement `DifficultyStore.checkpoint`."""
        reply = await self._run(CHECKPOINT, run, name, step, slow=True)
        return Checkpoint(name, int(reply[1]), float(reply[2]), *map(int, reply[3:]))

    async def checkpoints(self, run: str) -> list[Checkpoint]:
        """Implement `DifficultyStore.checkpoints`."""
        await self._read(run)
        key = prefix_of(run)
        found = []
        for name, text in redis_replies.pairs(await self._link.command(key + "m", "HGETALL", key + "c")).items():
            step, level, *others = text.split()
            found.append(Checkpoint(decode(name), int(step), float(level), *map(int, others)))
        return sorted(found, key=lambda c: (c.step, c.name))

    async def delete_checkpoint(self, run: str, name: str) -> None:
        """Implement `DifficultyStore.delete_checkpoint`."""
        await self._run(DROP_CHECKPOINT, run, name, slow=True)

    async def restore(self, run: str, name: str) -> RunState:
        """Implement `DifficultyStore.restore`."""
        await self._run(RESTORE, run, name, slow=True)
        return await self._state(run)

    async def rewind(self, run: str, next_step: int | None) -> RunState:
        """Implement `DifficultyStore.rewind`."""
        await self._run(REWIND, run, "" if next_step is None else next_step, slow=True)
        return await self._state(run)

    async def export_run(self, run: str) -> AsyncIterator[str]:
        """Implement `DifficultyStore.export_run`."""
        key = prefix_of(run)
        scratch = redis_transfer.scratch_of(key)
        async with PinnedConnection(self._link, key + "m") as pinned:
            taken = await pinned.run(SNAPSHOT, key + "m", scratch, SCRATCH_S, timeout_s=self._slow)
            _, epoch, entries = raise_if_refused(run, taken)
            try:
                reply = raise_if_refused(run, await pinned.run(READ_RUN, scratch + "m", timeout_s=self._slow))
                run_record = redis_replies.parse_run_record(reply[2], reply[3])
                lines = redis_transfer.export_lines(pinned, run, int(epoch), run_record, scratch, int(entries))
                async for line in lines:
                    yield line
            finally:
                await self._drop(run, scratch)

    async def import_run(
        self,
        run: str,
        lines: AsyncIterator[str],
        accepts: Callable[[str], None] = accept_any_config,
        receiver: Receiver | None = None,
    ) -> RunState:
        """Implement `DifficultyStore.import_run`."""
        await self._register(run)
        key = prefix_of(run)
        scratch = redis_transfer.scratch_of(key)
        try:
            async with PinnedConnection(self._link, key + "m") as pinned:
                reply = await redis_transfer.fill_and_adopt(
                    pinned,
                    key,
                    scratch,
                    lines,
                    ExportReader(accepts, receiver),
                    schema=SCHEMA_VERSION,
                    observations_s=self._observations_s,
                    timeout_s=self._slow,
                )
            raise_if_refused(run, reply)
        finally:
            await self._drop(run, scratch)
        await self._register(run, renew=True)
        await self._finish_index(run)
        return await self._state(run)
