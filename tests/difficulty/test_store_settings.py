"""Risks of a store's own settings and of its disk: seen when the service starts, and by the readiness check."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.stores.redis_watch import lost, parse_info, risks, unsafe

from .driving import Driver, Run, group
from .servers import RedisServer, needs_redis

SAFE = {"maxmemory": "0", "maxmemory_policy": "noeviction", "aof_enabled": "1", "evicted_keys": "0"}


def test_a_server_that_evicts_any_key_is_unsafe_if_its_memory_is_limited() -> None:
    limited = {**SAFE, "maxmemory": "1000", "maxmemory_policy": "allkeys-lru"}
    assert "allkeys-lru" in str(unsafe([SAFE, limited]))
    assert unsafe([SAFE, {**limited, "maxmemory": "0"}, {**limited, "maxmemory_policy": "volatile-lru"}]) is None
    assert lost([limited]) is None
    assert "evicted 7 keys" in str(lost([{**limited, "evicted_keys": "7"}]))
    assert lost([{**SAFE, "evicted_keys": "7"}]) is None, "from before the policy was changed"


def test_risks_are_named_once() -> None:
    volatile = {**SAFE, "maxmemory": "1000", "maxmemory_policy": "volatile-ttl"}
    without_log = {**SAFE, "aof_enabled": "0"}
    assert len(risks([volatile, volatile])) == len(risks([without_log, without_log])) == 1
    assert risks([SAFE]) == []


def test_what_info_does_not_have_is_unknown() -> None:
    assert risks([{}, parse_info(b"")]) == []
    assert unsafe([{}]) is lost([{}]) is None
    assert parse_info(b"# Memory\r\nmaxmemory:5\r\nbroken\r\nos:a:b\r\n") == {"maxmemory": "5", "os": "a:b"}


@needs_redis
def test_the_settings_of_a_real_server(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    driver = Driver(server.url)
    try:
        assert driver.risks() == []
        with server.client() as client:
            client.config_set("appendonly", "no")
            client.config_set("maxmemory", 100_000_000)
            client.config_set("maxmemory-policy", "allkeys-lru")
        assert len(driver.risks()) == 2
        with pytest.raises(StoreUnavailable, match="noeviction"):
            driver.ping()
        with server.client() as client:
            client.acl_setuser("default", enabled=True, nopass=True, commands=["-info"])
        assert driver.risks() == []
        driver.ping()
    finally:
        driver.close()
        server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    driver = Driver(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    try:
        Run(driver, "r", DifficultyConfig()).commit(0, group("a", 1))
        driver.ping()
        free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
        (tmp_path / "other").write_bytes(bytes(free - 100_000))
        driver.store._probed_at = -1e9  # type: ignore[attr-defined]
        with pytest.raises(StoreUnavailable) as full:
            driver.ping()
        assert full.value.detail == "the state store is full"
        (tmp_path / "other").unlink()
        driver.ping()
        assert sorted(path.name for path in tmp_path.iterdir() if "probe" in path.name) == []
    finally:
        driver.close()
        subprocess.run(["umount", str(tmp_path)], check=True)
