"""The recorded state of commit 6112358, opened on SQLite or Redis, and its answers.

`scripts/record_upgrade_state.py` recorded it.
"""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from redis import Redis

FOLDER = Path(__file__).parents[1] / "data" / "upgrade"
WAIT_SECONDS = 0.3
"""Time that the recorded service let a rollout wait for its group."""

Row = dict[str, Any]


def read(name: str) -> bytes:
    """Return the content of a recorded file."""
    return gzip.decompress((FOLDER / f"{name}.gz").read_bytes())


def answers() -> list[Row]:
    """Return the requests that follow on the state, with the answers of the recorded commit."""
    return [json.loads(line) for line in read("answers.jsonl").splitlines()]


def restore_sqlite(folder: Path) -> str:
    """Write the recorded files; return the state URL. Groups that were collected get ten more minutes."""
    (folder / "state.sqlite3").write_bytes(read("state.sqlite3"))
    (folder / "state.sqlite3-rendezvous").write_bytes(read("rendezvous.sqlite3"))
    with closing(sqlite3.connect(folder / "state.sqlite3-rendezvous")) as db, db:
        later = time.time() + 600
        db.execute("update rounds set deadline = ?, expires = ?", (later, later + 600))
    return f"sqlite:///{folder / 'state.sqlite3'}"


def restore_redis(client: Redis) -> None:
    """Write the recorded keys. Groups that were collected get ten more minutes."""
    later = str(int((time.time() + 600) * 1000))
    for row in json.loads(read("redis.json")):
        key, *content = (base64.b64decode(part) for part in (row["key"], *row["content"]))
        pairs = list(zip(content[::2], content[1::2], strict=False))
        match row["type"]:
            case "string":
                client.set(key, content[0])
            case "hash":
                client.hset(key, mapping=dict(pairs))
                if client.hexists(key, "d") and client.hexists(key, "h"):
                    client.hset(key, "d", later)
            case "set":
                client.sadd(key, *content)
            case "list":
                client.rpush(key, *content)
            case "zset":
                client.zadd(key, {member: float(points) for points, member in pairs})
        if row["pttl"] > 0:
            client.pexpire(key, row["pttl"])


_NOT_COMPARED = frozenset({"cpu_ms", "bytes", "detail", "reason", "incarnation", "version", "length_quantiles"})
"""CPU times, sizes in a store, text for people; the identity of a run and quantiles of lengths, which are newer."""


def comparable(value: object) -> object:
    """Return a JSON value without what may differ; of each warning, the slug alone."""
    if isinstance(value, dict):
        result = {name: comparable(one) for name, one in value.items() if name not in _NOT_COMPARED}
        result.pop("warnings", None)  # once per process then, in every answer now, and there are newer ones
        return result
    return [comparable(one) for one in value] if isinstance(value, list) else value


def text(value: object) -> str:
    """Return what is comparable of a JSON value as text, in which equal numbers are equal to the last bit."""
    return json.dumps(comparable(value), sort_keys=True)


def as_answered_then(answer: Row, length_weight: float) -> Row:
    """Return an answer of today as the recorded commit would give it, after checking what was added since.

    Each group: `components.length` was the length term before its
    weight, now `length_term`; `why` is new.
    """
    for group in answer.get("groups", []):
        term, why, components = group.pop("length_term", None), group.pop("why", None), group["components"]
        assert term is not None
        if answer["phase"] == "train":
            assert components["length"] == [length_weight * one + 0.0 for one in term]
        assert (why is not None) == (not any(components["length"]))
        components["length"] = term
    answer.pop("why", None)
    return answer
