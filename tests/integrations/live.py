"""A real service in a process of its own, Redis under it where asked for, and a proxy that makes trouble in front.

Nothing of the service is imported here: the tests of real frameworks run in environments that have only the
client, and start the service with the interpreter that DEEPCOMPRESS_SERVICE_PYTHON names (else their own).
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ..ports import free_port
from ..waiting import eventually

SERVICE_PYTHON = os.environ.get("DEEPCOMPRESS_SERVICE_PYTHON", sys.executable)


class Service:
    """`deepcompress serve` on a port that stays the same over restarts."""

    def __init__(self, folder: Path, state_url: str | None = None, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._state_url = state_url or f"sqlite:///{folder / 'state.sqlite3'}"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Service:
        settings = {"STATE_URL": self._state_url, "VERIFIER_WORKERS": "1", **self._settings}
        with open(self.folder / "service.log", "ab") as output:
            self._process = subprocess.Popen(
                [SERVICE_PYTHON, "-m", "deepcompress_service", "serve", "--port", str(self.port)],
                env={**os.environ, **{f"DEEPCOMPRESS_{name}": value for name, value in settings.items()}},
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(self._ready, "the service did not come up", 240)
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended: {(self.folder / 'service.log').read_text()[-2000:]}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As a crash: nothing is put in order first."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def serving(folder: Path, state_url: str | None = None, **settings: str) -> Iterator[Service]:
    if sys.executable == SERVICE_PYTHON and importlib.util.find_spec("fastapi") is None:
        pytest.skip("needs a service: install the extra [service], or set DEEPCOMPRESS_SERVICE_PYTHON")
    folder.mkdir(parents=True, exist_ok=True)
    service = Service(folder, state_url, **settings)
    try:
        yield service.start()
    finally:
        service.stop()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis of its own, every write on disk before it is answered; its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [binary, "--port", str(port), "--dir", str(folder), "--save", "", "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL
    )
    try:

        def answers() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    return connection.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

        eventually(answers, "Redis did not come up")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ray_cluster() -> Iterator[None]:
    """A Ray of its own. Ray gives its start 30 seconds and no way to say more: a busy machine takes another try.

    The niceness of Ray's workers is 15 by default: on a busy machine they then import for minutes.
    """
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    for left in reversed(range(10)):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception as error:
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
    try:
        yield
    finally:
        ray.shutdown()


# --- trouble --------------------------------------------------------------------------------------------

Fault = str
"""The fault of one request: "ok"; "503"; "slow" (a second's delay); "lost" (the connection is cut before the service
receives the request); "unanswered" (it is cut after the service did the work); "restart" (the same, and the
service is killed and started again); "silent" (no answer ever comes)."""


class Trouble:
    """An HTTP proxy before the service. `faults` happen to the next requests whose path contains `only` (one of
    them), in order; later ones pass, or get the fault `always`.
    """

    def __init__(self, upstream: Service | str) -> None:
        self.faults: list[Fault] = []
        self.always: Fault = "ok"
        """The fault of the requests when the list is empty."""
        self.only: str | tuple[str, ...] = "/v1/"
        self.rewrite: Callable[[str], str] = lambda path: path
        """The path and query sent to the service, as a reverse proxy would write them."""
        self.alter: Callable[[str, bytes], bytes] = lambda _, body: body
        """The body that the service gets, from the path and the body sent; called before the request is passed on."""
        self.service = None if isinstance(upstream, str) else upstream
        self.over = threading.Event()
        self.seen: list[tuple[str, Fault]] = []
        self._upstream = urlsplit(upstream if isinstance(upstream, str) else upstream.url)
        self._lock = threading.Lock()
        trouble = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                fault = trouble._next(self.path)
                if fault == "lost":
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault == "503":
                    self.answer(503, {"Retry-After": "1"}, b'{"type":"urn:deepcompress:problem:overloaded"}')
                    return
                if fault == "silent":
                    trouble.over.wait()
                    self.close_connection = True
                    return
                if fault == "slow":
                    time.sleep(1.0)
                connection = http.client.HTTPConnection(str(trouble._upstream.netloc), timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                body = trouble.alter(self.path, body)
                if "Content-Length" in headers:
                    headers["Content-Length"] = str(len(body))
                try:
                    connection.request(self.command, trouble.rewrite(self.path), body, headers)
                    reply = connection.getresponse()
                    content = reply.read()
                except OSError:
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault == "restart":
                    assert trouble.service is not None
                    trouble.service.kill()
                    trouble.service.start()
                if fault in ("unanswered", "restart"):
                    self.close_connection = True
                    self.connection.close()
                    return
                kept = {k: v for k, v in reply.getheaders() if k.lower() in ("content-type", "retry-after")}
                self.answer(reply.status, kept, content)

            def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = serve

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _next(self, path: str) -> Fault:
        with self._lock:
            only = (self.only,) if isinstance(self.only, str) else self.only
            fault = "ok"
            if any(part in path for part in only):
                fault = self.faults.pop(0) if self.faults else self.always
            self.seen.append((path, fault))
            return fault

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def trouble(upstream: Service | str) -> Iterator[Trouble]:
    proxy = Trouble(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
