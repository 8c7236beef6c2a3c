"""Servers for measurements: a deepcompress service and a Redis on free ports, with their data in a folder that the
measurement deletes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start a Redis that syncs every write to disk before it acknowledges it; yield its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


class Service:
    """A `deepcompress serve` on one port that can be killed and started again."""

    def __init__(self, state_url: str, workers: int = 1) -> None:
        self.state_url = state_url
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the server, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = ["serve", "--port", str(self.port), "--state-url", self.state_url, "--workers", str(self.workers)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deepcompress_service", *command],
            env={**os.environ, "DEEPCOMPRESS_LOG_LEVEL": "error"},
        )
        _wait_for(self.port, self._process)

    def wait_until_ready(self) -> None:
        """Wait until `/readyz` answers 200."""
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=5):  # noqa: S310 - of a service that this started
                return
            time.sleep(0.2)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server: SIGTERM drains it, SIGKILL ends it at once."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(60)
            self._process = None


@contextlib.contextmanager
def service(state_url: str, workers: int = 1) -> Iterator[Service]:
    """Start a service; yield it once it is ready."""
    one = Service(state_url, workers)
    one.start()
    try:
        one.wait_until_ready()
        yield one
    finally:
        one.stop()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    late = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < late:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"no server on port {port} (exit status {process.poll()})")
