"""Latency of this checkout's service against another checkout's, in one run, request by request in turn.

    python bench/against.py ../old/.venv/bin/python

Both serve from SQLite with one process and the default number of verifier workers. Each request goes to one service
and then to the other, the order changing from request to request, so that a busy machine slows both. Prints the
median of each, and the ratio of the medians (below 1: this checkout is faster). At last, CONCURRENT requests are sent
at once to one service and then to the other, with an API key; the figure is the time until all are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx
import orjson

from servers import Service

ANSWER = "We add the two parts, and then divide by their number. " * 40
SIZES = {"score 1 group of 8": (1, 400), "score 64 groups of 8": (64, 120), "shape 64 groups of 8": (64, 60)}
"""Groups of a request, and the number of requests."""
CONCURRENT, ROUNDS = 100, 20
KEY = "the key of the bench"
HEADERS = {"Authorization": f"Bearer {KEY}"}


class Other(Service):
    """A service of another checkout."""

    def __init__(self, state_url: str, python: str) -> None:
        super().__init__(state_url)
        self._python = python

    def start(self) -> None:
        """Start it with the interpreter of its checkout."""
        command = ["serve", "--port", str(self.port), "--state-url", self.state_url]
        self._process = subprocess.Popen(
            [self._python, "-m", "deepcompress_service", *command],
            env={**os.environ, "DEEPCOMPRESS_LOG_LEVEL": "error", "DEEPCOMPRESS_API_KEYS": KEY},
        )


def body(kind: str, run: str, step: int, groups: int) -> bytes:
    """Return a request of `groups` groups of 8 rollouts, half of them correct, at one step of a run."""
    rows = []
    for group in range(groups):
        lengths = [200 + 37 * ((group + index) % 11) for index in range(8)]
        if kind == "score":
            text = [f"{ANSWER}\\boxed{{{7 if index % 2 else 8}}}" for index in range(8)]
            rollouts = [{"response": t, "tokens": n} for t, n in zip(text, lengths, strict=True)]
            rows.append({"problem_id": f"p{group}", "gold": "7", "rollouts": rollouts})
        else:
            rollouts = [{"correct": index % 2 == 1, "tokens": n} for index, n in enumerate(lengths)]
            rows.append({"problem_id": f"p{group}", "rollouts": rollouts})
    # The epoch, as the client sends it; the first request creates the run and cannot name one.
    return orjson.dumps({"run": run, "step": step, "groups": rows, **({"epoch": 0} if step else {})})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="interpreter of the other checkout")
    other_python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = Other(f"sqlite:///{folder / 'here.sqlite3'}", sys.executable)
        other = Other(f"sqlite:///{folder / 'other.sqlite3'}", other_python)
        try:
            for one in (here, other):
                one.start()
                one.wait_until_ready()
            with httpx.Client(timeout=60, headers=HEADERS) as client:
                for title, (groups, requests) in SIZES.items():
                    compare(client, here, other, title, groups, requests)
            asyncio.run(compare_concurrent(here, other))
        finally:
            here.stop()
            other.stop()


def compare(client: httpx.Client, here: Service, other: Service, title: str, groups: int, requests: int) -> None:
    """Send the requests to both services in turn, and print the medians in milliseconds and their ratio."""
    kind = title.split()[0]
    times: dict[str, list[float]] = {here.url: [], other.url: []}
    for step in range(requests):
        request = body(kind, f"{kind}-{groups}", step, groups)
        for url in (here.url, other.url) if step % 2 else (other.url, here.url):
            began = time.perf_counter()
            client.post(f"{url}/v1/{kind}", content=request).raise_for_status()
            times[url].append(time.perf_counter() - began)
    ours, theirs = (1000 * median(times[url][requests // 10 :]) for url in (here.url, other.url))
    print(f"{title}: {ours:.2f} ms here, {theirs:.2f} ms there, ratio {ours / theirs:.2f} ({requests} requests each)")


async def compare_concurrent(here: Service, other: Service) -> None:
    """Send CONCURRENT requests at once to each service in turn; print the medians of the times for all of them."""
    item = {"items": [{"gold": "7", "response": "So \\boxed{7}"}]}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    times: dict[str, list[float]] = {here.url: [], other.url: []}
    async with httpx.AsyncClient(timeout=120, headers=HEADERS, limits=limits) as client:
        for turn in range(ROUNDS):
            for url in (here.url, other.url) if turn % 2 else (other.url, here.url):
                began = time.perf_counter()
                answers = await asyncio.gather(
                    *(client.post(f"{url}/v1/verify", json=item) for _ in range(CONCURRENT))
                )
                times[url].append(time.perf_counter() - began)
                assert {answer.status_code for answer in answers} == {200}
    ours, theirs = (1000 * median(times[url][2:]) for url in (here.url, other.url))
    print(f"{CONCURRENT} verify at once: {ours:.1f} ms here, {theirs:.1f} ms there, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
