"""A real server process on a real socket: how it stops, how it bears slow and vanishing callers, and load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..ports import free_port, listens
from ..waiting import eventually
from .conftest import shape_body

P7 = ("p7", [True, False], [10, 20])


class Server:
    """``deepcompress serve`` as a user starts it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            **os.environ,
            "DEEPCOMPRESS_STATE_URL": f"sqlite:///{folder / 'state.sqlite3'}",
            "DEEPCOMPRESS_VERIFIER_WORKERS": "1",
            **{f"DEEPCOMPRESS_{name.upper()}": str(value) for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "deepcompress_service", "serve", "--port", str(self.port)]
        self.log = folder / f"server-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.wait(200)

    def wait(self, status: int) -> None:
        eventually(lambda: self._readiness() == status, self.log.read_text, 240)

    def _readiness(self) -> int | None:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return None

    def in_progress(self) -> int:
        """Requests that the server reads or works on."""
        page = httpx.get(f"{self.url}/metrics", timeout=60).text
        (line,) = [line for line in page.splitlines() if line.startswith("deepcompress_inflight_requests ")]
        return int(float(line.split()[1]))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    started = Server(tmp_path, **getattr(request, "param", {}))
    yield started
    started.stop()


def answered(send: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Send until the answer has this status, as the server takes its time to read or to miss other callers."""
    answers: list[httpx.Response] = []

    def sent() -> bool:
        answers[:] = [send()]
        return answers[0].status_code == status

    eventually(sent, lambda: answers[0].text)
    return answers[0]


def raw_request(port: int, path: str, length: int, method: str = "POST") -> socket.socket:
    """The head of a request whose body is still to come."""
    caller = socket.create_connection(("127.0.0.1", port))
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    caller.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
    return caller


@pytest.mark.parametrize("server", [{"drain_seconds": 10}], indirect=True)
def test_sigterm_drops_readiness_first_and_finishes_what_is_in_flight(server: Server) -> None:
    body = json.dumps(shape_body("drained", 1, P7)).encode()
    caller = raw_request(server.port, "/v1/shape", len(body))
    caller.sendall(body[:20])
    eventually(lambda: server.in_progress() == 1)
    server.process.send_signal(signal.SIGTERM)
    server.wait(503)
    assert "draining" in httpx.get(f"{server.url}/readyz").json()["why"]["service"]
    # Not ready, but still serving: a balancer may not have noticed yet.
    assert httpx.post(f"{server.url}/v1/shape", json=shape_body("drained", 1, ("q", [True], [5]))).status_code == 200
    eventually(lambda: not listens(server.port))
    caller.sendall(body[20:])
    caller.settimeout(60)
    answer = caller.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    # uvicorn ends by the signal that it was sent, once everything is finished.
    assert server.process.wait(60) in (0, -signal.SIGTERM)


def test_a_stop_waits_for_no_body_and_for_no_group(server: Server) -> None:
    """Neither may ever come; the caller sends the request again, to another replica."""
    rollout = {"run": "held", "step": 1, "problem_id": "p", "group_size": 2, "rollout_index": 0}
    body = json.dumps({**rollout, "gold": "1", "response": "\\boxed{1}", "tokens": 5}).encode()
    held = raw_request(server.port, "/v1/rollouts", len(body))
    held.sendall(body)
    answered(lambda: httpx.get(f"{server.url}/v1/runs/held"), 200)
    eventually(lambda: server.in_progress() == 0)  # a rollout that waits for its group is none
    upload = raw_request(server.port, "/v1/shape", 1000)
    imported = raw_request(server.port, "/v1/runs/r/import", 1000, "PUT")
    eventually(lambda: server.in_progress() == 2)
    server.process.send_signal(signal.SIGTERM)
    for caller in (upload, imported, held):
        caller.settimeout(60)
        assert caller.recv(4096).startswith(b"HTTP/1.1 503")  # after 30 s they would be cut off
    assert server.process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("server", [{"body_timeout_seconds": 0.5}], indirect=True)
def test_a_body_that_does_not_arrive_is_a_408(server: Server) -> None:
    with raw_request(server.port, "/v1/shape", 1000) as caller:
        caller.sendall(b"{")
        caller.settimeout(60)
        assert caller.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("server", [{"max_inflight_requests": 4}], indirect=True)
def test_more_requests_than_the_limit_are_a_503_with_retry_after(server: Server) -> None:
    callers = [raw_request(server.port, "/v1/shape", 1000) for _ in range(4)]
    refused = answered(lambda: httpx.post(f"{server.url}/v1/shape", json=shape_body("r", 1, P7)), 503)
    assert refused.json()["type"].endswith(":overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    for caller in callers:
        caller.close()
    assert answered(lambda: httpx.post(f"{server.url}/v1/shape", json=shape_body("r", 1, P7)), 200)


def test_callers_that_disconnect_take_no_place(server: Server) -> None:
    text = "x" * 1000 + "\\boxed{1}"
    body = json.dumps({"items": [{"gold": "1", "response": text}] * 2000}).encode()
    for _ in range(40):
        caller = raw_request(server.port, "/v1/verify", len(body))
        caller.sendall(body)
        caller.close()
    answer = httpx.post(f"{server.url}/v1/verify", content=body, timeout=120)
    assert answer.status_code == 200
    assert all(verdict["correct"] for verdict in answer.json()["verdicts"])


@pytest.mark.parametrize("server", [{"workers": 2}], indirect=True)
def test_two_processes_share_one_state(server: Server) -> None:
    """Each group is sent by several connections at once; it counts once, and every answer is the same."""
    rewards: list[Any] = []

    def send() -> None:
        with httpx.Client() as client:
            for step in range(5):
                got = client.post(f"{server.url}/v1/shape", json=shape_body("shared", step, P7), timeout=120)
                rewards.append((step, got.json()["groups"][0]["rewards"]))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rewards) == 20
    for step in range(5):
        assert len({tuple(got) for at, got in rewards if at == step}) == 1
    assert httpx.get(f"{server.url}/v1/runs/shared/problems/p7").json()["attempts"] == 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose kernel signals the end of a parent process")
@pytest.mark.parametrize("server", [{"workers": 2}], indirect=True)
def test_server_processes_end_when_their_supervisor_is_killed(server: Server) -> None:
    """They would hold the port otherwise, and the next start would fail."""
    server.process.kill()
    server.process.wait()
    eventually(lambda: not listens(server.port), "a process still listens")


def test_a_wrong_setting_is_an_error_that_names_its_variable(tmp_path: Path) -> None:
    environment = {**os.environ, "DEEPCOMPRESS_STATE_URL": "memory://", "DEEPCOMPRESS_WORKERS": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "deepcompress_service", "serve"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "DEEPCOMPRESS_STATE_URL" in done.stderr


BLOCKED_THREAD = """\
import concurrent.futures, signal, sys, time
if "serve" in sys.orig_argv:
    concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 90)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as for the first process of a container
"""


def test_a_thread_that_waits_does_not_delay_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter waits for its threads, of which one may wait for a name service."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED_THREAD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = Server(tmp_path)
    monkeypatch.delenv("PYTHONPATH")
    server.process.send_signal(signal.SIGTERM)
    try:
        assert server.process.wait(80) == 0  # the thread waits for 90 s
    finally:
        server.stop()
    assert "waiting for threads" in server.log.read_text()
