"""A proxy that loses requests and answers, at random from a seed, between a client and a real service."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

FATES = ("lose the request", "lose the answer", "cut the answer", "busy", "late")
ROUND = (*FATES, *["pass"] * 5)


class LossyProxy:
    """One request a connection; `happened` counts the fates. In ten requests each fate befalls one, in an order
    drawn from the seed; five pass untouched.
    """

    def __init__(self, upstream: str, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._random = random.Random(seed)
        self._left: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.happened: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._left:
                self._left = self._random.sample(ROUND, len(ROUND))
            fate = self._left.pop()
            self.happened[fate] += 1
            threading.Thread(target=self._carry, args=(connection, fate), daemon=True).start()

    def _carry(self, client: socket.socket, fate: str) -> None:
        with client:
            request = _message(client)
            if fate == "lose the request" or not request:
                return
            if fate == "busy":
                client.sendall(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            try:
                with socket.create_connection(self._upstream, timeout=30) as service:
                    service.sendall(request)
                    answer = _message(service)
            except OSError:
                return
            if fate == "late":
                time.sleep(0.05)
            if fate != "lose the answer":
                kept = answer[: len(answer) // 2] if fate == "cut the answer" else answer
                try:
                    client.sendall(kept.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
                except OSError:
                    return


def _message(source: socket.socket) -> bytes:
    """One HTTP message with a content-length, whole."""
    source.settimeout(30)
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(body) >= length:
                return data
        try:
            more = source.recv(65536)
        except OSError:
            return b""
        if not more:
            return data
        data += more
