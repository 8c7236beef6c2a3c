"""A run's keys in Redis as the rows of an export, and back. Over a scratch prefix that nothing else touches."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Iterable, Iterator

from .codec import Meta, config_to_json, decode, encode
from .redis_commit import SHARED, TOKEN_BYTES, split_group, whole_group
from .redis_link import Argument, Link
from .transfer import Row

PAGE = 1000
KEPT_SHARED = 64
_STEP_TABLES = (("undo", "u:"), ("groups", "g:"), ("observed", "o:"), ("rollouts", "r:"))
_WHOLE = ("m", "t", "h", "s", "p", "w", "q", "qs")


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


async def _steps(link: Link, tag: str, prefix: str) -> list[int]:
    """Every step that may have keys of its own, ascending."""
    closed = await link.command(tag, "ZRANGE", f"{prefix}s", 0, -1)
    observed = await link.command(tag, "ZRANGE", f"{prefix}w", 0, -1)
    now = await link.command(tag, "HGET", f"{prefix}m", "open")
    return sorted({int(step) for step in (*closed, *observed, *([now] if now else []))})


async def rows_of(link: Link, tag: str, prefix: str) -> AsyncIterator[Row]:
    """`tag` is a key of the run, which says where it lives."""
    async for step, text in scan_hash(link, tag, f"{prefix}h"):
        yield "steps", (int(step),), text
    async for name, record in scan_hash(link, tag, f"{prefix}p"):
        yield "problems", (decode(name),), record
    for step_number in await _steps(link, tag, prefix):
        for packed in await link.command(tag, "LRANGE", f"{prefix}n:{step_number}", 0, -1):
            for touched in _names(packed):
                yield "undo", (step_number, touched), b""
        kept: dict[bytes, bytes] = {}
        for table, kind in _STEP_TABLES:
            async for name, record in scan_hash(link, tag, f"{prefix}{kind}{step_number}"):
                if table == "groups":
                    if not name.startswith(SHARED):
                        shared = await _shared(link, tag, f"{prefix}{kind}{step_number}", record, kept)
                        yield table, (step_number, decode(name)), whole_group(record, shared)
                elif table == "rollouts":
                    length, _, rest = name.partition(b":")
                    group_id, rollout_id = rest[: int(length)], rest[int(length) :]
                    yield table, (step_number, decode(group_id), decode(rollout_id)), record
                else:
                    yield table, (step_number, decode(name)), record
    order = await link.command(tag, "ZRANGE", f"{prefix}qs", 0, -1, "WITHSCORES")
    for name, score in zip(order[::2], order[1::2], strict=True):
        record = await link.command(tag, "HGET", f"{prefix}q", name)
        yield "requests", (decode(name), int(float(score)), int(_step_of_request(record))), record


async def _shared(link: Link, tag: str, key: str, tail: bytes, kept: dict[bytes, bytes]) -> bytes:
    """What the request of a group was answered from; `kept` remembers those of the last requests met."""
    token = tail[:TOKEN_BYTES]
    if token not in kept:
        if len(kept) >= KEPT_SHARED:
            del kept[next(iter(kept))]
        kept[token] = await link.command(tag, "HGET", key, SHARED + token)
    return kept[token]


def _names(packed: bytes) -> Iterator[str]:
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 2], "little")
        yield decode(packed[at + 2 : at + 2 + length])
        at += 2 + length


def _step_of_request(record: bytes) -> float:
    step: float = struct.unpack_from("<d", record, 16)[0]
    return step


def meta_commands(prefix: str, meta: Meta, schema: int) -> list[list[Argument]]:
    fields: list[Argument] = [
        *("schema", schema, "config", config_to_json(meta.config), "config_text", meta.config_text),
        *("kind", meta.kind or "", "open", "" if meta.open is None else meta.open, "closed", meta.closed),
        *("pruned", meta.pruned, "first", "" if meta.first is None else meta.first),
        *("values", " ".join(map(repr, meta.values)), "start", " ".join(map(repr, meta.start))),
        *("problems", meta.problems, "ratio_sum", meta.ratio_sum, "sequence", meta.sequence),
    ]
    commands: list[list[Argument]] = [["HSET", f"{prefix}m", *fields]]
    for (generation, size, passes), cell in meta.cells.items():
        value = ",".join(map(str, cell.integers()))
        commands.append(["HSET", f"{prefix}t", f"{generation}:{size}:{passes}", value])
    return commands


def row_commands(prefix: str, rows: Iterable[Row], pruned: int) -> list[list[Argument]]:
    commands: list[list[Argument]] = []
    for table, key, value in rows:
        match table, key:
            case "steps", (int(step),):
                commands.append(["HSET", f"{prefix}h", step, value])
                if step > pruned:
                    commands.append(["ZADD", f"{prefix}s", step, step])
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
            case "requests", (str(name), int(sequence), int()):
                commands.append(["HSET", f"{prefix}q", encode(name), value])
                commands.append(["ZADD", f"{prefix}qs", sequence, encode(name)])
    return commands


async def drop(link: Link, tag: str, prefix: str) -> None:
    """Unlink whatever is left of a scratch state."""
    keys = [f"{prefix}{name}" for name in _WHOLE]
    for step in await _steps(link, tag, prefix):
        keys += [f"{prefix}n:{step}", *(f"{prefix}{kind}{step}" for _, kind in _STEP_TABLES)]
    for start in range(0, len(keys), PAGE):
        await link.command(tag, "UNLINK", *keys[start : start + PAGE], writes=True)
