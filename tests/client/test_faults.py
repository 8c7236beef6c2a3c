"""A service that dies, stalls or cuts connections, over real sockets: the client gets its answer all the same, and
the service receives the same request each time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from deepcompress_client import Client, Retry, _async_client, _client, _transport, errors

from ..ports import free_port
from .both import QUICK
from .stub import Stub

GROUP = {"problem_id": "p", "gold": "7", "rollouts": [{"response": "7", "tokens": 3}]}
Fault = Callable[[socket.socket], bool]
"""Does its harm to a connection on which a request has just been read; True: no answer is to be sent."""


class Server:
    """HTTP/1.1 by hand, so that it can misbehave between any two bytes. `faults` befall the first requests,
    one each; the rest are answered by a `Stub`.
    """

    def __init__(self, *faults: Fault) -> None:
        self.stub = Stub()
        self.faults = list(faults)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def listen_on(self, port: int) -> None:
        """Leave the old port for this one."""
        listener = socket.create_server(("127.0.0.1", port))
        self._listener.close()
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (header := lines.readline()) != b"\r\n":
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", 0)))
                with self._lock:
                    self.bodies.append(body)
                    self.headers.append(headers)
                    fault = self.faults.pop(0) if self.faults else None
                if fault is not None and fault(connection):
                    return
                answer = self.stub(httpx.Request(method, self.url + target, content=body))
                head = f"HTTP/1.1 {answer.status_code} OK\r\ncontent-length: {len(answer.content)}\r\n\r\n"
                try:
                    connection.sendall(head.encode() + answer.content)
                except OSError:
                    return


@contextmanager
def serving(*faults: Fault | None) -> Iterator[Server]:
    server = Server(*faults)
    try:
        yield server
    finally:
        server.close()


def cut(connection: socket.socket) -> bool:
    return True


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    return True


def half_an_answer(connection: socket.socket) -> bool:
    connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"verdicts": [')
    return True


def half_a_head(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 O")
    return True


def busy(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 503 Later\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n")
    return True


def drip(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)
    return True


def drip_a_head(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(200):
            connection.sendall(b"x-drop: 1\r\n")
            time.sleep(0.05)
    return True


def page_of_a_proxy(connection: socket.socket) -> bool:
    page = b"<html>\x1b[31mwait\x1b[0m\r\n\x9b</html>"
    connection.sendall(b"HTTP/1.1 502 Bad\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page))
    return True


def stall(connection: socket.socket) -> bool:
    return not connection.recv(1)  # until the client leaves


@pytest.mark.parametrize("fault", [cut, reset, half_an_answer, half_a_head, busy], ids=lambda f: f.__name__)
def test_a_lost_answer_is_asked_for_again(client: Callable[..., Any], fault: Fault) -> None:
    with serving(fault, fault, fault) as server:
        answer = client(server.url).score([GROUP], run="r", step=0)
        assert answer.groups[0].correct == [True]
        assert len(server.bodies) == 4
        assert len(set(server.bodies)) == 1


def test_silence_is_a_lost_answer(client: Callable[..., Any]) -> None:
    with serving(stall) as server:
        assert client(server.url, timeout_s=0.5).verify_one("7", "7").correct
        assert len(server.bodies) >= 2
        assert len(set(server.bodies)) == 1


def test_a_service_that_comes_back_is_found_again(client: Callable[..., Any]) -> None:
    port = free_port()

    def start_late() -> None:
        time.sleep(0.3)
        server.listen_on(port)

    with serving() as server:
        late = threading.Thread(target=start_late)
        late.start()
        assert client(f"http://127.0.0.1:{port}").verify_one("7", "7").correct
        late.join()


def test_a_service_that_stays_away_is_given_up_in_time(client: Callable[..., Any]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.TransportError, match="ConnectError"):
        client(url, retry=Retry(max_elapsed_s=0.5, first_wait_s=0.05)).verify_one("7", "7")


def test_a_deadline_is_used_to_its_end_and_no_attempt_goes_beyond_it(
    client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    left: list[tuple[float, float]] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        left.append((now, request.extensions["timeout"]["read"]))
        return httpx.Response(503, json={"type": "x", "title": "x", "status": 503, "detail": "away"})

    def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def pass_by_async(seconds: float) -> None:
        pass_by(seconds)

    for module in (_client, _async_client, _transport):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, time=time.time))
    monkeypatch.setattr(_client, "sleep", pass_by)
    monkeypatch.setattr(_async_client, "sleep", pass_by_async)
    retry = Retry(deadline_s=2.0, first_wait_s=0.05, max_wait_s=0.1)
    with pytest.raises(errors.Unavailable):
        client("http://service", handler=refuse, timeout_s=120.0, retry=retry).verify_one("7", "7")
    assert len(left) > 10
    assert all(at + timeout == pytest.approx(1002.0) for at, timeout in left)
    assert left[-1][0] > 1001.8


def test_an_answer_in_drops_does_not_outlast_the_deadline(client: Callable[..., Any], tmp_path: Path) -> None:
    with serving(None, drip, drip) as server:
        one = client(server.url, retry=Retry(deadline_s=2.0))
        run = one.run("r")
        with pytest.raises(errors.TransportError, match="ReadTimeout"):
            one.verify_one("7", "7")
        with pytest.raises(errors.TransportError, match="ReadTimeout"):
            run.export_to(tmp_path / "r.jsonl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
def test_a_head_in_drops_does_not_outlast_the_deadline(client: Callable[..., Any], kept: bool) -> None:
    """Without the deadline, the attempt would end with the drops, as a RemoteProtocolError."""
    with serving(*([None] if kept else []), drip_a_head) as server:
        one = client(server.url, retry=Retry(deadline_s=2.0))
        if kept:
            assert one.verify_one("7", "7").correct
        with pytest.raises(errors.TransportError, match="ReadTimeout"):
            one.verify_one("7", "7")
        assert server.connections == 1


def test_an_error_within_a_deadline_is_the_error_itself(client: Callable[..., Any]) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise TimeoutError("of the transport")

    with pytest.raises(TimeoutError, match="of the transport"):
        client("http://service", handler=fail, retry=Retry(deadline_s=60.0)).verify_one("7", "7")


def test_the_page_of_a_proxy_in_an_error_has_no_escape_sequences(client: Callable[..., Any]) -> None:
    with serving(page_of_a_proxy) as server, pytest.raises(errors.ServiceError) as raised:
        client(server.url, retry=Retry(max_elapsed_s=0)).verify_one("7", "7")
    assert str(raised.value).isprintable()
    assert "wait" in str(raised.value)


def test_connections_are_kept_and_used_again(client: Callable[..., Any]) -> None:
    with serving() as server:
        one = client(server.url)
        for _ in range(20):
            one.verify_one("7", "7")
        assert server.connections == 1


def test_one_client_serves_many_threads() -> None:
    with serving(cut, busy, reset, cut) as server, Client(server.url, retry=QUICK) as one:
        found: list[bool] = []
        threads = [
            threading.Thread(target=lambda: found.extend(one.verify_one("7", "7").correct for _ in range(10)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 80


def _ask_ten_times(one: Client) -> None:
    for _ in range(10):
        assert one.verify_one("7", "7").correct


def test_a_client_may_be_used_after_a_fork() -> None:
    with serving() as server, Client(server.url, retry=QUICK) as one:
        one.verify_one("7", "7")
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=_ask_ten_times, args=(one,)) for _ in range(2)]
        for child in children:
            child.start()
        _ask_ten_times(one)
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0, 0]
