"""Readers beside a trainer: the time of a `shape` of one group while exports are read slowly, or not at all.

    python bench/readers.py [--exports 600] [--problems 20000]

One reader opens many exports of a large run and reads none of them. Meanwhile another API key shapes groups one by
one. The figures are the median and the longest time of a shape, idle and beside the exports, in the same run, and the
descriptors of the server before and after. Exit status 1 if the median beside the exports is over five times the idle
one (and over 50 ms), or if descriptors stay open.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx

from processes import resident
from servers import Service, service

KEYS = """
[[key]]
name = "trainer"
key = "trainer-key"
[[key]]
name = "reader"
key = "reader-key"
access = "read"
"""


def fill(client: httpx.Client, problems: int) -> None:
    for start in range(0, problems, 5000):
        groups = [
            {"problem_id": f"problem-{n}", "rollouts": [{"correct": c, "tokens": 9} for c in (True, False)]}
            for n in range(start, min(problems, start + 5000))
        ]
        answer = client.post("/v1/shape", json={"run": "large", "step": start // 5000, "groups": groups})
        answer.raise_for_status()


def shapes(client: httpx.Client, run: str, count: int) -> list[float]:
    took = []
    for step in range(count):
        group = {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 5}, {"correct": False, "tokens": 9}]}
        began = time.perf_counter()
        client.post("/v1/shape", json={"run": run, "step": step, "groups": [group]}).raise_for_status()
        took.append(time.perf_counter() - began)
    return took


def report(name: str, took: list[float]) -> None:
    print(f"{name:<24} median {1e3 * median(took):7.1f} ms, longest {1e3 * max(took):7.1f} ms")


def measure(server: Service, options: argparse.Namespace) -> bool:
    headers = {"Authorization": "Bearer trainer-key"}
    folder = f"/proc/{server.pid}/fd"
    with httpx.Client(base_url=server.url, headers=headers, timeout=300) as client:
        fill(client, options.problems)
        idle = shapes(client, "idle", options.shapes)
        report("shape, idle", idle)
        before, memory = len(os.listdir(folder)), resident(server.pid)
        sockets = []
        for _ in range(options.exports):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", server.port))
            one.sendall(b"GET /v1/runs/large/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader-key\r\n\r\n")
            sockets.append(one)
        beside = shapes(client, "beside", options.shapes)
        report(f"beside {options.exports} exports", beside)
        print(f"memory {(resident(server.pid) - memory) / 2**20:+.0f} MiB")
        for one in sockets:
            one.close()
        late = time.monotonic() + 30
        while (left := len(os.listdir(folder)) - before) > 8 and time.monotonic() < late:
            time.sleep(0.2)
        report("shape, idle again", shapes(client, "again", options.shapes))
    print(f"descriptors {before} before the exports, {left:+d} after them")
    return left <= 8 and median(beside) <= max(5 * median(idle), 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=int, default=600)
    parser.add_argument("--problems", type=int, default=20_000)
    parser.add_argument("--shapes", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        keys = Path(name, "keys.toml")
        keys.write_text(KEYS)
        os.environ["DEEPCOMPRESS_API_KEYS_FILE"] = str(keys)
        with service(f"sqlite:///{name}/state.sqlite3") as server:
            fine = measure(server, options)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
