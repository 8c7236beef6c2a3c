"""The path of one `POST /v1/score`: its functions, files, moves between files, and store transactions.

    PYTHON bench/request_path.py [--epoch] [--list]     PYTHON: the interpreter of a checkout

Tasks in the background (metrics, a log that is copied, the watch over the workers) may run beside a request and
would be counted with it. So REQUESTS requests are counted, each for a step of its own, and the one with the fewest
calls, and of these the fewest moves, is shown.

Only `create_app` and `DEEPCOMPRESS_*` variables are used, so one copy of this file serves all versions.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import itertools
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message, Receive, Scope, Send

REQUESTS = 10
"""Requests that are counted."""
PAUSE_S = 0.37
"""Seconds between two requests: what is recorded after an answer ends in them. No period of a task."""
_RESUMABLE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@dataclass
class RequestPath:
    """The calls and statements of one request."""

    calls: list[tuple[int, str, str, int]] = field(default_factory=list)
    """(thread, file, function, first line) of each call, in order."""
    entered: list[str] = field(default_factory=list)
    """The file of each call, in order, without those that resume a coroutine or a generator where it waited."""
    statements: list[str] = field(default_factory=list)
    """Each statement that SQLite ran."""

    @property
    def moves(self) -> int:
        """Pairs of successive calls of different files."""
        return sum(one[1] != other[1] for one, other in itertools.pairwise(self.calls))


class CallCounter:
    """Profiler of this project's functions, in every thread that starts after it is installed."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = tuple(folders)
        self.active = False
        self.path = RequestPath()
        """The path of the present request."""

    def install(self) -> None:
        """Install the profiler and trace SQLite connections opened from now on; count while `active` is set."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        connect = sqlite3.connect

        def traced_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self._traced)
            return connection

        sqlite3.connect = traced_connect  # type: ignore[assignment]

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or not self.active:
            return
        code = frame.f_code
        if code.co_filename.startswith(self._folders):
            self.path.calls.append((threading.get_ident(), code.co_filename, code.co_qualname, code.co_firstlineno))
            resumes = code.co_flags & _RESUMABLE and frame.f_lineno != code.co_firstlineno
            if not resumes:
                self.path.entered.append(code.co_filename)

    def _traced(self, statement: str) -> None:
        if self.active:
            self.path.statements.append(statement)


def counts(epoch: bool, listed: bool) -> None:
    """Print the functions of this project that one POST /v1/score passes through: two rollouts of one group.

    Their step closes the one before.

    Counting ends when the answer begins to be sent: the records for dashboard and metrics are made after it.

    With `epoch` the request carries the run's epoch, as the client's do; with `listed` the functions are named.
    """
    with tempfile.TemporaryDirectory() as name:
        for variable in [one for one in os.environ if one.startswith("DEEPCOMPRESS_")]:
            del os.environ[variable]
        os.environ["DEEPCOMPRESS_STATE_URL"] = f"sqlite:///{name}/state.sqlite3"
        os.environ["DEEPCOMPRESS_VERIFIER_WORKERS"] = "1"
        os.environ["DEEPCOMPRESS_LOG_LEVEL"] = "error"
        package = importlib.import_module("deepcompress_service.app")
        client = importlib.import_module("deepcompress_client")
        folders = sorted({str(Path(str(one.__file__)).parents[1]) + os.sep for one in (package, client)})
        counter = CallCounter(folders)
        counter.install()
        path = asyncio.run(_shortest(package.create_app(), counter, epoch))
    ours = [call for call in path.calls if "<module>" not in call[2]]
    named = [call for call in ours if not call[2].endswith(">")]
    moves = sum(one[1] != other[1] for one, other in itertools.pairwise(ours))
    by_thread = 0
    for thread in {call[0] for call in ours}:
        mine = [call[1] for call in ours if call[0] == thread]
        by_thread += sum(one != other for one, other in itertools.pairwise(mine))
    begun = [statement for statement in path.statements if statement.upper().startswith("BEGIN")]
    print(f"{folders}")
    if listed:
        for name, file in itertools.groupby(
            sorted({(call[1], call[3], call[2]) for call in named}), lambda one: one[0]
        ):
            names = [function for _, _, function in file]
            print(f"{len(names):4} {name.removeprefix(folders[0])}: {', '.join(names)}")
    print(f"functions: {len({call[1:] for call in named})} ({len({call[1:] for call in ours})} with lambdas)")
    print(f"files: {len({call[1] for call in ours})}")
    entered = sum(one != other for one, other in itertools.pairwise(path.entered))
    print(f"moves between files: {moves} ({by_thread} within threads, {entered} without resumed coroutines)")
    print(f"calls: {len(ours)} in {len({call[0] for call in ours})} threads")
    print(f"store transactions: {len(begun)}; statements: {len(path.statements)}")


async def _shortest(app: FastAPI, counter: CallCounter, epoch: bool) -> RequestPath:
    """Return the path with the fewest calls of REQUESTS requests."""

    def body(step: int) -> dict[str, Any]:
        rollouts = [
            {"response": "Half and a quarter: \\boxed{0.75}", "tokens": 9},
            {"response": "Half of a quarter: \\boxed{1/8}", "tokens": 10},
        ]
        group = {"problem_id": "p7", "gold": "\\frac{3}{4}", "rollouts": rollouts}
        return {"run": "counted", "step": step, "groups": [group], **({"epoch": 0} if epoch and step > 1 else {})}

    async def until_answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            counter.active = False
            await send(message)

        await app(scope, receive, answer)

    transport = httpx.ASGITransport(app=until_answered)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        (await client.post("/v1/score", json=body(1))).raise_for_status()
        paths: list[RequestPath] = []
        for step in range(2, 2 + REQUESTS):
            await asyncio.sleep(PAUSE_S)
            counter.path = RequestPath()
            request = client.build_request("POST", "/v1/score", json=body(step))
            counter.active = True
            (await client.send(request)).raise_for_status()
            paths.append(counter.path)
    return min(paths, key=lambda path: (len(path.calls), path.moves))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epoch", action="store_true", help="send the run's epoch, as the client does")
    parser.add_argument("--list", dest="listed", action="store_true", help="name the functions, by file")
    options = parser.parse_args()
    counts(options.epoch, options.listed)


if __name__ == "__main__":
    main()
