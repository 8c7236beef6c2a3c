"""A service started as a process beside the trainer, for ``--embedded``; it ends with the trainer."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepcompress_client import Client, Retry
from deepcompress_client.errors import DeepCompressError

START_TIMEOUT_S = 60.0


class EmbeddedServiceError(Exception):
    """The service of ``--embedded`` did not start; the message has the reason or the file of its log."""


@contextmanager
def embedded_service(folder: Path) -> Iterator[str]:
    """Serve on a free port of this machine with the state in `folder`; yield the URL. The log is service.log there.

    Raises:
        EmbeddedServiceError: the service did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "deepcompress_service", "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--state-url", f"sqlite:///{folder.resolve()}/service.sqlite3"]
    command += ["--verifier-workers", "1"]
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url, folder / "service.log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with _asking_once(url) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise EmbeddedServiceError(f"the embedded service did not start: {last} (log: {log})")
            try:
                client.ready()
                return
            except DeepCompressError:
                time.sleep(0.1)
    raise EmbeddedServiceError(f"the embedded service was not ready within {START_TIMEOUT_S:.0f} s; see {log}")


def _asking_once(url: str) -> Client:
    """Return a client without retries, since the waiting is done by the caller."""
    return Client(url, retry=Retry(max_elapsed_s=0.0), timeout_s=5.0)


def _die_with_parent() -> None:
    """Have the service get SIGTERM when the trainer dies for any reason (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
