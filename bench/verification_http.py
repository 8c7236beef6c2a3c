"""A whole batch through `POST /v1/score` on two verifier workers, compared with one process of math-verify.

    python bench/verification_http.py [--repeats 5] [--load PATH] [--peer-rate N | --no-peer]

A new server is started for every repetition, so no gold or verdict is in its caches. There are two measurements:
`first`, after a small request of other problems, and `next`, after a batch of the same size of other problems too, as
in a training. The clock runs from the first byte sent to the last byte
received, over one plain socket; the body is encoded before. math-verify runs the same rollouts in the same run, in
one process, texts in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from peers import whole_file
from verification_speed import SHARED, WARM_UP, WARM_UP_ROUNDS, agreement, read_load


@contextlib.contextmanager
def server(workers: int, folder: Path) -> Iterator[int]:
    """Start a server on a free port; end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "DEEPCOMPRESS_VERIFIER_WORKERS": str(workers), "DEEPCOMPRESS_LOG_LEVEL": "error"}
    command = ["serve", "--port", str(port), "--state-url", f"sqlite:///{folder}/state.sqlite3"]
    with subprocess.Popen(
        [sys.executable, "-m", "deepcompress_service", *command], env=environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    if request(port, "GET", "/readyz", b"")[0] == 200:
                        break
                time.sleep(0.1)
            else:
                raise RuntimeError("the server did not become ready")
            time.sleep(2)  # let spare and computer algebra workers finish starting
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def request(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes, float]:
    """Return status, body, and the seconds from the first byte sent to the last received."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        started = time.perf_counter()
        sock.sendall(head)
        sock.sendall(body)
        answer = bytearray()
        while piece := sock.recv(1 << 20):
            answer += piece
        seconds = time.perf_counter() - started
    header, _, content = bytes(answer).partition(b"\r\n\r\n")
    status = int(header.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" in header.lower():
        content = _dechunked(content)
    return status, content, seconds


def _dechunked(content: bytes) -> bytes:
    parts = []
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        parts.append(content[:length])
        content = content[length + 2 :]
        if not length:
            break
    return b"".join(parts)


def score_body(rows: list[dict[str, Any]], run: str, step: int) -> bytes:
    groups = []
    for problem, members in groupby(rows, key=lambda row: row["problem_id"]):
        listed = list(members)
        rollouts = [
            {"response": row["response"], "tokens": row["tokens"], "truncated": row["truncated"]} for row in listed
        ]
        groups.append({"problem_id": problem, "gold": listed[0]["gold"], "rollouts": rollouts})
    body = {"run": run, "step": step, "answer_format": "boxed", "groups": groups}
    return json.dumps(body).encode()


def warm_up_rows() -> list[dict[str, Any]]:
    return [
        {
            "problem_id": f"warm-{k}",
            "gold": gold,
            "response": rf"so \boxed{{{text}}}",
            "tokens": 9,
            "truncated": False,
        }
        for k, (gold, answer) in enumerate(WARM_UP[:-1])  # the last is for the computer algebra system
        for text in (answer, gold, "1")
    ]


def other_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rollouts of the same number and lengths, of problems that are not in the load."""
    line = "Then the next term is added to what is there, and the sum is written down again. "
    others = []
    for row in rows:
        text = line * (len(row["response"]) // len(line)) + rf"So it is \boxed{{{len(others) % 97} + \sqrt{{101}}}}."
        gold = rf"{sum(map(ord, row['problem_id'])) % 89} + \sqrt{{101}}"
        others.append({**row, "problem_id": f"other {row['problem_id']}", "gold": gold, "response": text})
    return others


def one_batch(workers: int, before: list[bytes], body: bytes) -> tuple[float, list[dict[str, Any]]]:
    """Return seconds and verdicts of the batch on a new server, after the requests in `before`."""
    with tempfile.TemporaryDirectory() as folder, server(workers, Path(folder)) as port:
        for request_before in before:
            status, answer, _ = request(port, "POST", "/v1/score", request_before)
            if status != 200:
                sys.exit(f"the warm-up got {status}: {answer[:500].decode()}")
        status, answer, wall = request(port, "POST", "/v1/score", body)
        if status != 200:
            sys.exit(f"the server answered {status}: {answer[:500].decode()}")
    return wall, [verdict for group in json.loads(answer)["groups"] for verdict in group["verdicts"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, default=SHARED / "data" / "load_dev.jsonl.gz")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-rate", type=float, help="math-verify's verdicts a second, measured elsewhere")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()

    rows = read_load(options.load)
    body = score_body(rows, "bench", 1)
    seconds: dict[str, list[float]] = {"first": [], "next": []}
    shares, undecided, peer_rates = [], [], []
    for _ in range(options.repeats):
        for kind, walls in seconds.items():
            before = [score_body(warm_up_rows(), "warm", step) for step in range(WARM_UP_ROUNDS)]
            if kind == "next":
                before.append(score_body(other_rows(rows), "warm", WARM_UP_ROUNDS))
            wall, verdicts = one_batch(options.workers, before, body)
            walls.append(wall)
            shares.append(agreement(rows, [verdict["correct"] for verdict in verdicts]))
            undecided.append(sum(verdict["status"] == "undecided" for verdict in verdicts))
        if not options.no_peer and options.peer_rate is None:
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as plain:
                plain.writelines(json.dumps(row) + "\n" for row in rows)
                plain.flush()
                peer = whole_file(Path(plain.name))
            peer_rates.append(peer.rows / peer.wall_s)

    print(f"{len(rows)} rollouts, {len(body) / 1e6:.1f} MB, {options.workers} verifier workers")
    print(f"agreement with the labels (without nobox_prose): {100 * min(shares):.2f}%; undecided {max(undecided)}")
    peer_rate = options.peer_rate or (statistics.median(peer_rates) if peer_rates else None)
    if peer_rate:
        print(f"math-verify, one process: {peer_rate:.0f} verdicts/s")
    for kind, walls in seconds.items():
        median = statistics.median(walls)
        rate = len(rows) / median
        ratio = f"; {rate / peer_rate:.1f} times math-verify" if peer_rate else ""
        listed = " ".join(f"{value:.3f}" for value in walls)
        print(f"{kind} batch: median {median:.3f} s, all {listed}; {rate:.0f} verdicts/s{ratio}")


if __name__ == "__main__":
    main()
