"""Real Redis servers for tests: started on free ports of 127.0.0.1, killed at the end, durable in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from deepcompress_service.difficulty.stores.redis_permissions import KEY_PATTERNS, OPTIONAL, Example, examples

from ..ports import free_port
from ..waiting import eventually


def _rule(command: Example) -> str:
    """The name of a command in an ACL rule."""
    return "|".join(command[:2] if command[0] in ("CLUSTER", "MEMORY") else command[:1]).lower()


REDIS_SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(REDIS_SERVER is None, reason="needs redis-server (Debian: apt install redis-server)")


RESTRICTED = [
    *("reset", "on", ">secret", "resetchannels", "-@all", *(f"~{pattern}" for pattern in KEY_PATTERNS)),
    *(f"+{_rule(command)}" for command in examples(1, cluster=True)),
    *(f"+{name.lower()}" for name in OPTIONAL),
]
"""The ACL rules of a user that may do what the service needs, and nothing else."""


class RedisServer:
    """One redis-server with an append-only file that is synced at every write."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, sentinel: bool = False) -> None:
        assert REDIS_SERVER is not None
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert REDIS_SERVER is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.sentinel:
            command = [REDIS_SERVER, str(self.folder / "sentinel.conf"), "--sentinel"]
        else:
            settings = {
                "port": str(self.port),
                "bind": "127.0.0.1",
                "dir": str(self.folder),
                "appendonly": "yes",
                "appendfsync": "always",
                "save": "",
            }
            command = [REDIS_SERVER]
            for name, value in settings.items():
                command += [f"--{name}", value]
            command += self.options
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait()

    def wait(self) -> None:
        """Until it answers, its append-only file loaded."""
        eventually(self._answers, self._log)

    def _answers(self) -> bool:
        assert self.process is None or self.process.poll() is None, self._log()
        try:
            with Redis(port=self.port, socket_timeout=1) as client:
                client.ping()
        except (RedisError, OSError):
            return False
        return True

    def _log(self) -> str:
        return f"redis-server did not start:\n{(self.folder / 'log').read_text(errors='replace')[-2000:]}"

    def kill(self) -> None:
        """SIGKILL: what was not synced is lost."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=60)


def restrict(url: str, *more: str) -> str:
    """Give the user `service` of a server the rules RESTRICTED, and `more`; return its URL."""
    with Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "service", *RESTRICTED, *more)
    return url.replace("redis://", "redis://service:secret@", 1)


def tls_server(folder: Path) -> tuple[RedisServer, str]:
    """A server with a certificate made for it, not started, and its URL for TLS."""
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    made = subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs openssl, to make a certificate")
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    server = RedisServer(folder, *options, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    return server, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"


def start_sentinels(folder: Path, master: RedisServer, number: int, *, down_after_ms: int = 800) -> list[RedisServer]:
    """Start sentinels of the master `state`, which agree within a second or two."""
    watchers = []
    for i in range(number):
        sentinel = RedisServer(folder / f"sentinel-{i}", sentinel=True)
        sentinel.folder.mkdir()
        (sentinel.folder / "sentinel.conf").write_text(
            f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
            f"sentinel monitor state 127.0.0.1 {master.port} {number // 2 + 1}\n"
            f"sentinel down-after-milliseconds state {down_after_ms}\nsentinel failover-timeout state 4000\n"
        )
        sentinel.start()
        watchers.append(sentinel)
    return watchers


def await_replicas(master: RedisServer, count: int) -> None:
    """Wait until as many replicas have caught up."""
    with master.client() as client:

        def caught_up() -> bool:
            info = client.info("replication")
            return all(info.get(f"slave{i}", {}).get("state") == "online" for i in range(count))

        eventually(caught_up, "the replicas did not come")


def await_sentinels(sentinels: list[RedisServer], master: RedisServer, replicas: int) -> None:
    """Wait until each sentinel has found the master, its replicas and the other sentinels."""
    wanted = (master.port, replicas, len(sentinels) - 1)
    for sentinel in sentinels:
        with sentinel.client() as client:

            def found(client: Redis = client) -> tuple[int, int, int]:
                known = client.sentinel_master("state")
                return known["port"], known["num-slaves"], known["num-other-sentinels"]

            eventually(lambda: found() == wanted, lambda: f"{found()} instead of {wanted}")
