"""The commands that the service sends to Redis, and the check that its user may run them.

A script that Redis ends at a command that is forbidden has already written in part, so the check comes first. It asks
Redis itself, in a script (`acl_check_cmd`, Redis 7 and later). Older servers and those without the function are
checked by running that script only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Example = tuple[str, ...]
"""A command with as many arguments as it needs, empty ones among them, and a key where it takes one."""

RUN_KEY = "dc:{-}:m"
"""A key of a run that does not exist."""
_KEYED = {
    0: "DEL EXISTS GET HGETALL HKEYS HLEN HVALS INCR LLEN PERSIST SCARD SMEMBERS UNLINK ZCARD",
    1: "EXPIRE HDEL HEXISTS HGET HMGET HSCAN PEXPIRE RPUSH SADD SET SREM ZMSCORE ZREM ZSCAN ZSCORE",
    2: "HINCRBY HSET HSETNX LRANGE ZADD ZCOUNT ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZREMRANGEBYSCORE ZREVRANGE "
    "ZREVRANGEBYSCORE",
}
"""Commands by the arguments that they need after the key. Redis 8 allows no command with fewer arguments."""
COMMANDS: tuple[Example, ...] = (
    *((name, RUN_KEY, *[""] * more) for more, names in _KEYED.items() for name in names.split()),
    ("COPY", RUN_KEY, RUN_KEY),
    ("EVAL", "", "1", RUN_KEY),
    ("EVALSHA", "", "1", RUN_KEY),
    ("MEMORY", "USAGE", RUN_KEY),
    ("RENAME", RUN_KEY, RUN_KEY),
    ("TIME",),
)
"""The commands that every deployment needs."""
REPLICA_COMMANDS: tuple[Example, ...] = (("WAIT", "1", "1"),)
"""Further commands where replicas acknowledge writes."""
CLUSTER_COMMANDS: tuple[Example, ...] = (("ASKING",), ("CLUSTER", "SLOTS"))
"""Further commands of a cluster."""
OPTIONAL = frozenset({"INFO"})
"""Commands without which the service works."""
KEY_PATTERNS = ("dc:*", "dc-meet:*")
"""Patterns of every key of the service."""
_KEYS = ("dc:schema", "dc:ping", "dc:{dc:ping}:wait", "dc:runs", "dc-meet:{-}:0:0:-")
"""A key of each kind beside those of a run."""
MOST_NAMED = 5


def examples(replicas: int, *, cluster: bool) -> list[Example]:
    """Return every command that is needed, and a read and a write of a key of each kind."""
    found = [*COMMANDS, *(example for key in _KEYS for example in (("GET", key), ("SET", key, "")))]
    if replicas:
        found += REPLICA_COMMANDS
    return [*found, *CLUSTER_COMMANDS] if cluster else found


def arguments(commands: Iterable[Example]) -> list[str | int]:
    """Return the arguments of the script PERMISSIONS."""
    words: list[str | int] = []
    for command in commands:
        words += (len(command), *command)
    return words


def refusal(commands: Sequence[Example], forbidden: Sequence[int]) -> str | None:
    """Return why the service cannot be used, by the script's reply: the positions of forbidden commands, from 1."""
    if not forbidden:
        return None
    named = [" ".join(filter(None, commands[number - 1])) for number in forbidden[:MOST_NAMED]]
    more = f" and {len(forbidden) - MOST_NAMED} more" if len(forbidden) > MOST_NAMED else ""
    return forbidden_reason(", ".join(named) + more)


def forbidden_reason(what: str) -> str:
    """Return the reason for the log: which commands Redis forbids, and which it must allow."""
    return (
        f"Redis forbids its user {what}. The service needs the keys {' and '.join(KEY_PATTERNS)} and the commands of "
        "docs/difficulty-state.md, section Permissions in Redis"
    )
