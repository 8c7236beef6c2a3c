"""The longest callbacks of the server's event loop: how long a request keeps all others waiting.

    python bench/loop_stall.py [--rollouts 16384] [--chars 2000]

The service runs in a process of its own, with asyncio's event loop, of which every callback is timed in CPU time of
its thread. Requests of each route are sent one after the other: small and large ones, and hostile ones (many small
values, deep JSON, long integers, a compressed body, a nested gold). For each is printed:

- callback: the longest callback of the loop;
- turn: the longest time between two turns of the loop, in CPU time of the whole process, so that work in another
  thread that holds the interpreter lock counts as well;
- healthz: the longest answer time of `/healthz` meanwhile, in wall time, which depends on the machine's load.

Exit status 1 if a request was answered with an error of the server, or if a hostile one took more than `--most`
milliseconds in one callback (default: 100; the goal is 50).
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from servers import free_port

SERVER = """
import asyncio, json, sys, threading, time
from asyncio import events
longest = [0.0, "", 0.0]
run = events.Handle._run

def timed(self):
    began = time.thread_time()
    run(self)
    took = time.thread_time() - began
    if took > longest[0]:
        longest[:2] = took, repr(self._callback)[:160]

events.Handle._run = timed
import uvicorn
from deepcompress_service.app import create_app
from deepcompress_service.settings import Settings

def report():
    for _ in sys.stdin:
        print(json.dumps(longest), flush=True)
        longest[:] = 0.0, "", 0.0

async def turns():
    while True:
        before = time.process_time()
        await asyncio.sleep(0.002)
        longest[2] = max(longest[2], time.process_time() - before)

threading.Thread(target=report, daemon=True).start()
settings = Settings(state_url=sys.argv[2], log_level="error", verifier_workers=2)
from deepcompress_service.server.http_protocol import BoundedHttpProtocol
config = uvicorn.Config(
    create_app(settings), port=int(sys.argv[1]), loop="asyncio", http=BoundedHttpProtocol, log_config=None
)

async def main():
    task = asyncio.create_task(turns())
    await uvicorn.Server(config).serve()
    task.cancel()

asyncio.run(main())
"""


class Measured:
    """A running service, and the longest callback since the last question."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def longest(self) -> tuple[float, str, float]:
        """Return the longest callback in seconds of CPU, its name, and the longest turn."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, callback, turn = json.loads(self.process.stdout.readline())
        return seconds, callback, turn


@contextmanager
def measured() -> Iterator[Measured]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", SERVER, str(port), f"sqlite:///{folder}/state.sqlite3"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            url = f"http://127.0.0.1:{port}"
            while True:
                try:
                    httpx.get(f"{url}/readyz", timeout=5).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            try:
                yield Measured(process, url)
            finally:
                process.terminate()


class Probe:
    """Requests `/healthz` without a pause, in a thread; `longest` is the longest answer time in seconds."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self._url = url
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=600) as client:
            while not self._end.is_set():
                began = time.perf_counter()
                client.get("/healthz")
                self.longest = max(self.longest, time.perf_counter() - began)
                time.sleep(0.005)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def requests(options: argparse.Namespace) -> Iterator[tuple[str, bool, str, str, bytes, dict[str, str]]]:
    """Yield (name, hostile, method, path, body, headers)."""
    many, text = options.rollouts, "Let me think. " * (options.chars // 14)
    rollouts = [{"response": f"{text}\\boxed{{{n % 7}}}", "tokens": 100 + n % 50} for n in range(many)]
    groups = [
        {"problem_id": f"p{n}", "gold": "3", "rollouts": rollouts[n * 16 : n * 16 + 16]} for n in range(many // 16)
    ]

    def score(run: str, step: int, some: list[dict[str, object]]) -> bytes:
        return json.dumps({"run": run, "step": step, "groups": some}).encode()

    plain: dict[str, str] = {}
    yield "score, 1,024 rollouts", False, "POST", "/v1/score", score("a", 0, groups[:64]), plain
    yield f"score, {many:,} rollouts", False, "POST", "/v1/score", score("a", 1, groups), plain
    zipped = gzip.compress(score("a", 2, groups), 1)
    yield "the same, gzip", False, "POST", "/v1/score", zipped, {"content-encoding": "gzip"}
    shaped = [
        {"problem_id": f"p{n}", "rollouts": [{"correct": bool(k % 3), "tokens": 9 + k} for k in range(16)]}
        for n in range(many // 16)
    ]
    yield f"shape, {many:,} rollouts", False, "POST", "/v1/shape", score("b", 0, shaped), plain
    most = [
        {"problem_id": f"p{n}", "rollouts": [{"correct": bool(k % 3), "tokens": 9 + k} for k in range(16)]}
        for n in range(16_000)
    ]
    yield "shape, 256,000 rollouts", True, "POST", "/v1/shape", score("c", 0, most), plain
    observed = json.dumps({"run": "d", "step": 0, "groups": most}).encode()
    yield "observe, 256,000 rollouts", True, "POST", "/v1/observe", observed, plain
    wide = [{"problem_id": f"p{n}", "rollouts": most[0]["rollouts"] * 1024} for n in range(15)]
    yield "shape, 15 groups of 16,384", True, "POST", "/v1/shape", score("e", 0, wide), plain
    short = [
        {
            "problem_id": f"p{n}",
            "gold": "3",
            "rollouts": [{"response": f"\\boxed{{{k}}}", "tokens": 9 + k} for k in range(16)],
        }
        for n in range(16_000)
    ]
    short_scored = json.dumps({"run": "f", "step": 0, "groups": short}).encode()
    yield "score, 256,000 short rollouts", True, "POST", "/v1/score", short_scored, plain
    short_items = [{"gold": "3", "response": f"\\boxed{{{n % 999}}}"} for n in range(256_000)]
    yield (
        "verify, 256,000 short items",
        True,
        "POST",
        "/v1/verify",
        json.dumps({"items": short_items}).encode(),
        plain,
    )
    items = [{"gold": "3", "response": r["response"]} for r in rollouts]
    yield f"verify, {many:,} items", False, "POST", "/v1/verify", json.dumps({"items": items}).encode(), plain
    yield "history", False, "GET", "/v1/runs/b/history", b"", plain
    yield "a page of problems", False, "GET", "/v1/runs/b/problems?limit=1000&sort=pass_ratio", b"", plain
    yield "export", False, "GET", "/v1/runs/b/export", b"", plain
    rows = [{"reward": n % 2, **{f"f{k}": n * k for k in range(8)}, "_ng_task_index": n} for n in range(40_000)]
    body = json.dumps({"verify_responses": rows}).encode()
    yield "aggregate_metrics, 40,000 rows", True, "POST", "/compat/nemo_gym/aggregate_metrics", body, plain
    deep = b'{"response":"x","label":' + b"[" * 400 + b"1" + b"]" * 400 + b"}"
    yield "nested label", True, "POST", "/compat/slime/rm", deep, plain
    yield "long integer", True, "POST", "/compat/slime/rm", b'{"response":"x","label":' + b"9" * 4000 + b"}", plain
    yield "deep JSON", True, "POST", "/v1/score", b'{"groups":' + b"[" * 900_000, plain
    yield "many numbers", True, "POST", "/v1/shape", b'{"groups":[' + b"1," * 8_000_000 + b"1]}", plain
    yield "many empty objects", True, "POST", "/v1/verify", b'{"items":[' + b"{}," * 250_000 + b"{}]}", plain
    yield "one text of 64 MiB", True, "POST", "/v1/verify", _item("x" * (64 << 20)), plain
    yield "a million boxes", True, "POST", "/v1/verify", _item(r"\boxed{1}" * 700_000), plain
    yield "open braces", True, "POST", "/v1/verify", _item(r"\boxed{" * 900_000), plain
    yield "lone surrogates", True, "POST", "/v1/verify", _item("\ud800" * 1_000_000), plain
    yield (
        "zeros, gzip",
        True,
        "POST",
        "/v1/verify",
        gzip.compress(_item(" " * (100 << 20))),
        {"content-encoding": "gzip"},
    )
    yield "free body, 16 MiB", True, "POST", "/compat/nemo_gym/verify", _free(400_000), plain
    yield "free body, 250,000 objects", True, "POST", "/compat/nemo_gym/verify", _free(2_500_000), plain
    cohort = "/compat/nemo_gym/verify?run=g&cohort=1&groups_per_step=1"
    yield (
        "the same, in a cohort",
        True,
        "POST",
        cohort,
        _free(2_500_000, _ng_task_index=0, _ng_rollout_index=0),
        plain,
    )


def _item(text: str) -> bytes:
    return json.dumps({"items": [{"gold": "1", "response": text}]}).encode()


def _free(values: int, **more: int) -> bytes:
    extra = [{"a": n, "b": "x" * 20} for n in range(values // 10)]
    response = {"id": "r", "output": [], "usage": {"output_tokens": 9}}
    return json.dumps({"response": response, "expected_answer": "1", "extra": extra, **more}).encode()


async def measure(options: argparse.Namespace) -> bool:
    fine = True
    print(f"{'request':<34}{'status':>7}{'seconds':>9}{'callback ms':>13}{'turn ms':>9}{'healthz ms':>12}")
    with measured() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:
            for name, hostile, method, path, body, headers in requests(options):
                if options.only not in name:
                    continue
                server.longest()
                began = time.perf_counter()
                with Probe(server.url) as probe:
                    answer = await client.request(method, path, content=body or None, headers=headers)
                took = time.perf_counter() - began
                longest, callback, turn = server.longest()
                print(
                    f"{name:<34}{answer.status_code:>7}{took:>9.2f}{1e3 * longest:>13.0f}{1e3 * turn:>9.0f}"
                    f"{1e3 * probe.longest:>12.0f}  {callback if options.callbacks else ''}"
                )
                fine = fine and answer.status_code < 500 and not (hostile and 1e3 * longest > options.most)
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=16_384)
    parser.add_argument("--chars", type=int, default=2_000)
    parser.add_argument("--most", type=float, default=100.0)
    parser.add_argument("--only", default="", help="only requests whose name has this text")
    parser.add_argument("--callbacks", action="store_true", help="print the longest callback itself")
    options = parser.parse_args()
    os.environ.pop("DEEPCOMPRESS_API_KEYS", None)
    sys.exit(not asyncio.run(measure(options)))


if __name__ == "__main__":
    main()
