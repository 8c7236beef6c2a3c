"""CPU time of `POST /v1/score` and `POST /v1/shape` against another checkout, in process, request by request in turn.

    python bench/request_cpu.py ../old [--only shape] [--rounds 1]

`../old` is a checkout; both run with this interpreter, each in a process of its own, with SQLite and one verifier
worker. A request is a new step of a run and carries the epoch, as the client's do. Its CPU time is that of all
threads of the service's process until the work after its answer has ended; the worker's is not included. Printed are
the medians in milliseconds and their ratio (below 1: this checkout needs less).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message

ROOT = Path(__file__).resolve().parents[1]
SIZES = {(1, 8): 300, (16, 8): 120, (64, 16): 40, (512, 8): 16}
"""(groups, rollouts of each group): number of requests of each checkout in a round."""
TEXT = "We add the two parts, and then divide by their number. " * 20


def body(kind: str, run: str, step: int, groups: int, size: int) -> bytes:
    """Return a request of groups that are all wrong, all correct or mixed."""
    source = random.Random(f"{run} {step}")
    rows: list[dict[str, Any]] = []
    for group in range(groups):
        share = source.choice((0.0, 0.25, 0.5, 0.75, 1.0))
        rollouts: list[dict[str, Any]] = []
        for index in range(size):
            correct, tokens = source.random() < share, source.randint(100, 3000)
            verdict = {"correct": correct}
            text = {"response": f"{TEXT}The answer is $\\boxed{{{7 if correct else 8 + index}}}$."}
            rollouts.append({**(verdict if kind == "shape" else text), "tokens": tokens})
        rows.append({"problem_id": f"p{group}", "rollouts": rollouts, **({"gold": "7"} if kind == "score" else {})})
    return json.dumps({"run": run, "step": step, "groups": rows, **({"epoch": 0} if step else {})}).encode()


async def cpu_ms(app: FastAPI, path: str, content: bytes) -> float:
    """Send one request to the app; return its CPU time in milliseconds."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not messages:
            await asyncio.sleep(3600)  # the client stays connected
        return messages.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
    }
    began = time.process_time()
    await app(scope, receive, send)
    spent = time.process_time() - began
    assert sent[0]["status"] == 200, sent
    return 1e3 * spent


async def serve() -> None:
    """Answer each line of standard input, [kind, groups, size], with the CPU time of one such request."""
    from deepcompress_service.app import create_app

    app = create_app()
    steps: dict[str, int] = {}
    async with app.router.lifespan_context(app):
        while line := await asyncio.to_thread(sys.stdin.readline):
            kind, groups, size = json.loads(line)
            run = f"{kind}-{groups}-{size}"
            steps[run] = step = steps.get(run, -1) + 1
            print(await cpu_ms(app, f"/v1/{kind}", body(kind, run, step, groups, size)), flush=True)


class Served:
    """A process that serves a checkout."""

    def __init__(self, checkout: Path, folder: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DEEPCOMPRESS_")}
        settings = {
            "PYTHONPATH": f"{checkout / 'client'}{os.pathsep}{checkout / 'service'}",
            "DEEPCOMPRESS_STATE_URL": f"sqlite:///{folder}/state.sqlite3",
            "DEEPCOMPRESS_VERIFIER_WORKERS": "1",
            "DEEPCOMPRESS_LOG_LEVEL": "error",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(checkout)],
            env=kept | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, kind: str, groups: int, size: int) -> float:
        """Return the CPU time of one request in milliseconds."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([kind, groups, size]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="the other checkout")
    parser.add_argument("--only", choices=("score", "shape"), help="one of the two routes")
    parser.add_argument("--rounds", type=int, default=1, help="times that all requests are sent")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        here, other = Served(ROOT, one), Served(options.checkout.resolve(), two)
        for kind in [options.only] if options.only else ["score", "shape"]:
            for (groups, size), count in SIZES.items():
                times: dict[Served, list[float]] = {here: [], other: []}
                for turn in range(count * options.rounds):
                    for served in (here, other) if turn % 2 else (other, here):
                        times[served].append(served.measure(kind, groups, size))
                ours, theirs = (median(times[served][len(times[served]) // 10 :]) for served in (here, other))
                print(f"{kind} {groups}x{size}: {ours:.2f} ms here, {theirs:.2f} ms there, ratio {ours / theirs:.3f}")
        here.stop()
        other.stop()


if __name__ == "__main__":
    main()
