"""A TCP proxy between a store and its Redis that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import random

MODES = ("pass", "refuse", "cut_before", "cut_after", "delay", "hold")
"""pass: as it comes. refuse: no connection is made. cut_before: the request is not forwarded, the connection ends.
cut_after: the request is forwarded, then the connection ends before the answer. delay: answers come late. hold: they
never come."""


class Proxy:
    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.target = port
        self.mode = "pass"
        self.met = 0
        """Number of attempts to pass while the mode was not pass."""
        self.port = 0
        self._rng = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()

    def cut_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            self.met += 1
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target, limit=2**24)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream}
        pumps = [
            asyncio.create_task(self._pump(reader, upstream, writer, answers=False)),
            asyncio.create_task(self._pump(upstream_reader, writer, upstream, answers=True)),
        ]
        with contextlib.suppress(Exception):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for one in (writer, upstream):
            one.transport.abort()
            self._writers.discard(one)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                if self.mode != "pass" and (answers or self.mode == "cut_before"):
                    self.met += 1
                if not answers and self.mode == "cut_before":
                    return
                if answers and self.mode == "cut_after":
                    return
                if answers and self.mode == "delay":
                    await asyncio.sleep(self._rng.uniform(0, 1.0))
                while answers and self.mode == "hold":
                    await asyncio.sleep(0.05)
                sink.write(data)
                await sink.drain()
