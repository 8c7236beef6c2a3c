"""A run's keys in Redis as the rows of an export, and back. Over a scratch prefix that nothing else touches."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice

from ..codec import bucket_integers, config_to_json
from ..dataset import DatasetRecord, entries_of
from ..names import decode, encode
from ..records import RunRecord
from ..run_transaction import Row
from ..transfer import dataset_row
from .redis_commit import (
    REQUEST,
    SHARED,
    TOKEN_BYTES,
    SharedFields,
    by_token,
    groups_of_request,
    is_group,
    join_group,
    shared_fields,
    split_group,
)
from .redis_index import entry_commands, source_of
from .redis_link import Argument, Link, PinnedConnection
from .redis_replies import parse_sources

PAGE = 1000
REQUESTS_AT_ONCE = 50
"""A stepless request's record has all of its groups."""


async def scan_hash(link: Link, tag: str, key: str) -> AsyncIterator[tuple[bytes, bytes]]:
    """Every field of a hash once, a page at a time, so that no other request waits for a large one."""
    cursor, seen = 0, set[bytes]()
    while True:
        cursor_text, flat = await link.command(tag, "HSCAN", key, cursor, "COUNT", PAGE)
        for field, value in zip(flat[::2], flat[1::2], strict=True):
            if field not in seen:
                seen.add(field)
                yield field, value
        cursor = int(cursor_text)
        if cursor == 0:
            return


class Snapshot:
    """A state that does not change, read once from beginning to end. Memory has only the portion
    being read, and of one step at a time the records of its requests (61 bytes a group) and payloads.
    """

    def __init__(self, pinned: PinnedConnection, prefix: str) -> None:
        self._pinned = pinned
        self._prefix = prefix
        self.entries = 0
        """Fields of hashes and elements of lists and sets read so far, which the snapshot's script counted too."""

    async def _hash(self, key: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """Every field once, since the hash is never written to, a portion at a time."""
        cursor = b"0"
        while True:
            cursor, flat = await self._pinned.command("HSCAN", self._prefix + key, cursor, "COUNT", PAGE)
            fields = list(zip(flat[::2], flat[1::2], strict=True))
            self.entries += len(fields)
            yield fields
            if cursor == b"0":
                return

    async def rows(self) -> AsyncIterator[Row]:
        """Everything but the meta."""
        async for fields in self._hash("h"):
            for closed, text in fields:
                yield "steps", (int(closed),), text
        async for step, record in self._sources():
            yield "data_sources", (step,), record
        async for fields in self._hash("p"):
            for name, record in fields:
                yield "problems", (decode(name),), record
        for step in await self._steps():
            async for row in self._rows_of_step(step):
                yield row
        async for row in self._requests():
            yield row
        async for row in self._dataset():
            yield row

    async def _sources(self) -> AsyncIterator[tuple[int, bytes]]:
        start = 0
        while members := await self._pinned.command("ZRANGE", f"{self._prefix}b", start, start + PAGE - 1):
            self.entries += len(members)
            start += PAGE
            for member in members:
                yield parse_sources(member)

    async def _dataset(self) -> AsyncIterator[Row]:
        cursor = b"0"
        while True:
            cursor, flat = await self._pinned.command("ZSCAN", f"{self._prefix}dx", cursor, "COUNT", PAGE)
            names = flat[::2]
            self.entries += len(names)
            priors = await self._pinned.command("HMGET", f"{self._prefix}dp", *names) if names else ()
            for name, score, prior in zip(names, flat[1::2], priors, strict=True):
                yield dataset_row(decode(name), source_of(score), prior or b"")
            if cursor == b"0":
                break
        async for fields in self._hash("sm"):
            for step, text in fields:
                yield "samples", (int(step),), text

    async def _steps(self) -> list[int]:
        """Every step that may have keys of its own, ascending."""
        closed = await self._pinned.command("ZRANGE", f"{self._prefix}s", 0, -1)
        observed = await self._pinned.command("ZRANGE", f"{self._prefix}w", 0, -1)
        now = await self._pinned.command("HGET", f"{self._prefix}m", "open")
        return sorted({int(step) for step in (*closed, *observed, *([now] if now else []))})

    async def _rows_of_step(self, step: int) -> AsyncIterator[Row]:
        names = await self._pinned.command("LRANGE", f"{self._prefix}n:{step}", 0, -1)
        self.entries += len(names)
        for packed in names:
            for touched in _names(packed):
                yield "undo", (step, touched), b""
        async for fields in self._hash(f"u:{step}"):
            for name, record in fields:
                yield "undo", (step, decode(name)), record
        shared: dict[bytes, SharedFields] = {}
        async for fields in self._hash(f"g:{step}"):
            requests = [groups_of_request(packed) for name, packed in fields if name == REQUEST]
            for tails in ([(name, tail) for name, tail in fields if is_group(name)], *requests):
                async for row in self._rows_of_groups(step, tails, shared):
                    yield row
        async for fields in self._hash(f"o:{step}"):
            for name, record in fields:
                yield "observed", (step, decode(name)), record
        async for fields in self._hash(f"r:{step}"):
            for name, record in fields:
                length, _, rest = name.partition(b":")
                group_id, rollout_id = rest[: int(length)], rest[int(length) :]
                yield "rollouts", (step, decode(group_id), decode(rollout_id)), record

    async def _rows_of_groups(
        self, step: int, groups: Iterable[tuple[bytes, bytes]], shared: dict[bytes, SharedFields]
    ) -> AsyncIterator[Row]:
        iterator = iter(groups)
        while tails := list(islice(iterator, PAGE)):
            await self._learn(step, {tail[:TOKEN_BYTES] for _, tail in tails}, shared)
            for name, tail in tails:
                yield "groups", (step, decode(name)), join_group(tail, *shared[tail[:TOKEN_BYTES]])

    async def _learn(self, step: int, tokens: set[bytes], shared: dict[bytes, SharedFields]) -> None:
        """Read the fields that the groups of each request with one of these tokens share."""
        missing = sorted(tokens - shared.keys())
        if missing:
            fields = shared_fields(missing)
            found = await self._pinned.command("HMGET", f"{self._prefix}g:{step}", *fields)
            shared.update(by_token(missing, found))

    async def _requests(self) -> AsyncIterator[Row]:
        start = 0
        while True:
            end = start + REQUESTS_AT_ONCE - 1
            order = await self._pinned.command("ZRANGE", f"{self._prefix}qs", start, end, "WITHSCORES")
            if not order:
                return
            records = await self._pinned.command("HMGET", f"{self._prefix}q", *order[::2])
            self.entries += len(records)
            for name, score, record in zip(order[::2], order[1::2], records, strict=True):
                yield "requests", (decode(name), int(float(score)), int(_step_of_request(record))), record
            start += REQUESTS_AT_ONCE


def _names(packed: bytes) -> Iterator[str]:
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 2], "little")
        yield decode(packed[at + 2 : at + 2 + length])
        at += 2 + length


def _step_of_request(record: bytes) -> float:
    step: float = struct.unpack_from("<d", record, 16)[0]
    return step


def run_record_commands(prefix: str, run_record: RunRecord, schema: int) -> list[list[Argument]]:
    """Return the commands that write the run's record under the prefix."""
    fields: list[Argument] = [
        *("schema", schema, "config", config_to_json(run_record.config), "config_text", run_record.config_text),
        *(
            "kind",
            run_record.kind or "",
            "open",
            "" if run_record.open is None else run_record.open,
            "closed",
            run_record.closed,
        ),
        *("pruned", run_record.pruned, "first", "" if run_record.first is None else run_record.first),
        *("values", " ".join(map(repr, run_record.values)), "start", " ".join(map(repr, run_record.start))),
        *("problems", run_record.problems, "ratio_sum", run_record.ratio_sum, "sequence", run_record.sequence),
        *("revisits", " ".join(map(str, run_record.revisits))),
        *("ages", " ".join(map(str, run_record.ages))),
        *("incarnation", run_record.incarnation, "version", run_record.version),
        *(("dataset", "1") if run_record.dataset else ()),
        *(("begun", " ".join(map(repr, run_record.begun))) if run_record.begun else ()),
    ]
    commands: list[list[Argument]] = [["HSET", f"{prefix}m", *fields]]
    for (generation, size, passes), bucket in run_record.buckets.items():
        value = ",".join(map(str, bucket_integers(bucket)))
        commands.append(["HSET", f"{prefix}t", f"{generation}:{size}:{passes}", value])
    return commands


def row_commands(
    prefix: str, rows: Iterable[Row], pruned: int, dataset: DatasetRecord | None = None
) -> list[list[Argument]]:
    """Return the commands that write rows of an export under the prefix."""
    commands: list[list[Argument]] = []
    for table, key, value in rows:
        match table, key:
            case "steps", (int(step),):
                commands.append(["HSET", f"{prefix}h", step, value])
                if step > pruned:
                    commands.append(["ZADD", f"{prefix}s", step, step])
            case "data_sources", (int(step),):
                commands.append(["ZADD", f"{prefix}b", step, b"%d|%s" % (step, value)])
            case "problems", (str(name),):
                commands.append(["HSET", f"{prefix}p", encode(name), value])
            case "undo", (int(step), str(name)) if not value:
                field = encode(name)
                commands.append(["RPUSH", f"{prefix}n:{step}", len(field).to_bytes(2, "little") + field])
            case "undo", (int(step), str(name)):
                commands.append(["HSET", f"{prefix}u:{step}", encode(name), value])
            case "groups", (int(step), str(name)):
                token = os.urandom(TOKEN_BYTES)
                tail, shared = split_group(value, token)
                commands.append(["HSET", f"{prefix}g:{step}", encode(name), tail, SHARED + token, shared])
            case "observed", (int(step), str(name)):
                commands.append(["HSET", f"{prefix}o:{step}", encode(name), value])
                commands.append(["ZADD", f"{prefix}w", step, step])
            case "rollouts", (int(step), str(group_id), str(rollout_id)):
                group = encode(group_id)
                field = b"%d:%s%s" % (len(group), group, encode(rollout_id))
                commands.append(["HSET", f"{prefix}r:{step}", field, value])
            case "dataset", (str(name),) if dataset is not None:
                entries = entries_of([(name, value[0], value[1:])], dataset.key)
                commands += entry_commands(prefix, entries)
                commands.append(["HINCRBY", f"{prefix}dn", entries[name].stratum, 1])
            case "samples", (int(step),):
                commands.append(["HSET", f"{prefix}sm", step, value])
            case "requests", (str(name), int(sequence), int()):
                commands.append(["HSET", f"{prefix}q", encode(name), value])
                commands.append(["ZADD", f"{prefix}qs", sequence, encode(name)])
    return commands
