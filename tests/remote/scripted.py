"""An endpoint that follows a test's script, on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request to the endpoint."""

    server: Server
    protocol_version = "HTTP/1.1"
    body: bytes = b""

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", "0")))
        with self.server.lock:
            self.server.requests.append(self.body)
            self.server.headers.append(dict(self.headers))
            self.server.paths.append(self.path)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.server.script(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.now -= 1

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, content: object, status: int = 200, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(raw)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    @property
    def sent(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Server(ThreadingHTTPServer):
    """The endpoint: what it was sent, and its script."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script = script
        self.lock = threading.Lock()
        self.requests: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.now = self.most = 0

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/check"


def same_text(exchange: Exchange) -> None:
    """Answer as a checker of equal texts."""
    exchange.reply({"correct": exchange.sent["answer"] in exchange.sent["gold"], "reason": "compared as text"})


def judge(word: str, **choice: Any) -> Script:
    """Answer as a judge that always replies with a word."""
    body = {"choices": [{"message": {"role": "assistant", "content": word}, "finish_reason": "stop", **choice}]}
    return lambda exchange: exchange.reply(body)


def raw(content: bytes) -> Script:
    """Send these bytes and close the connection."""

    def script(exchange: Exchange) -> None:
        exchange.wfile.write(content)
        exchange.close_connection = True

    return script


def trickle(exchange: Exchange) -> None:
    """Send one byte of a long answer every tenth of a second."""
    exchange.send_response(200)
    exchange.send_header("content-length", "1000")
    exchange.end_headers()
    for _ in range(1000):
        exchange.wfile.write(b" ")
        exchange.wfile.flush()
        time.sleep(0.1)


def after(seconds: float, script: Script = same_text) -> Script:
    """Do as the script, after a while."""

    def later(exchange: Exchange) -> None:
        time.sleep(seconds)
        script(exchange)

    return later


@contextmanager
def endpoint(script: Script = same_text) -> Iterator[Server]:
    """Run an endpoint."""
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
