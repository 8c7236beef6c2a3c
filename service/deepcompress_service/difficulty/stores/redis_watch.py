"""The settings of a Redis server on which the state depends: eviction and persistence, as INFO reports them.

CONFIG is often forbidden where Redis is managed, INFO seldom. A fact that INFO does not have is unknown: no finding.
"""

from __future__ import annotations

from collections.abc import Sequence

Info = dict[str, str]
"""The fields of INFO; empty if the command is forbidden."""


def parse_info(text: bytes) -> Info:
    """Return the fields of an INFO reply."""
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _evicts(info: Info) -> bool:
    """Return True if this server deletes any key when its memory is full."""
    return info.get("maxmemory_policy", "").startswith("allkeys") and _count(info, "maxmemory") > 0


def _count(info: Info, name: str) -> int:
    value = info.get(name, "")
    return int(value) if value.isdigit() else 0


def unsafe(servers: Sequence[Info]) -> str | None:
    """Return why the service is not ready on these servers, or None: one of them may evict the state of a run."""
    for info in servers:
        if _evicts(info):
            return (
                f"Redis evicts keys when its memory is full (maxmemory-policy {info['maxmemory_policy']}): an "
                "evicted key is lost state. Set maxmemory-policy noeviction"
            )
    return None


def lost(servers: Sequence[Info]) -> str | None:
    """Return why training requests are refused, or None: a server that may evict the state of a run evicted keys."""
    for info in servers:
        if _evicts(info) and (evicted := _count(info, "evicted_keys")):
            return (
                f"Redis evicted {evicted} keys since its start (maxmemory-policy {info['maxmemory_policy']}), which "
                "may be state of this run: set maxmemory-policy noeviction, then restore the run from an export"
            )
    return None


def risks(servers: Sequence[Info]) -> list[str]:
    """Return what a log should warn of when the service starts: each risk once."""
    found = [unsafe(servers)]
    for info in servers:
        if info.get("maxmemory_policy", "").startswith("volatile") and _count(info, "maxmemory") > 0:
            found.append(
                f"Redis may evict waiting observations and rollouts (maxmemory-policy {info['maxmemory_policy']}): "
                "set maxmemory-policy noeviction"
            )
        if info.get("aof_enabled") == "0":
            found.append(
                "Redis has no append-only file: after a restart the runs are as in its last snapshot, or gone. Set "
                "appendonly yes and appendfsync always"
            )
        if info.get("aof_last_write_status") == "err":
            found.append("Redis could not write its append-only file: its disk may be full")
    return list(dict.fromkeys(one for one in found if one))
