"""Record the state of an older version, and its answers to the requests that follow: `tests/data/upgrade`.

    OLD/.venv/bin/python scripts/record_upgrade_state.py --out tests/data/upgrade

Run it with the interpreter of the older version, on a machine with redis-server; only HTTP, `DEEPCOMPRESS_*`
variables and `deepcompress_service serve` are used. The data in the repository is of commit 6112358. Never record it
again; record a later version into another folder.

The service is started on an empty store, gets the first half of the requests, and is stopped; the store is copied,
and the service is started again for the second half. The files, each compressed:

    state.sqlite3.gz, rendezvous.sqlite3.gz    SQLite after the first half
    redis.json.gz                              Redis after the first half: type, content, milliseconds to live
    export.ndjson.gz                           the export of one run after the first half
    answers.jsonl.gz                           the second half: method, path, body, status and answer a line

SQLite and Redis must give the same answers. CPU times and sizes are left out.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

Row = dict[str, Any]
Request = tuple[str, str, Row | None]
"""Method, path, body."""

WAIT_SECONDS = "0.3"
"""Time that `POST /v1/rollouts` waits for the rest of its group."""
TEXTS = ("so \\boxed{0.75}", "so \\boxed{3/4}", "so \\boxed{1/8}", "no answer: \u00e9\u4e16\U0001f600")


# --- requests -----------------------------------------------------------------------------------------------


def shape_groups(draw: random.Random, size: int = 4) -> list[Row]:
    """Return three groups with every input that a strategy may need."""
    groups = []
    for name in ("p/0", "p/1", "p/2"):
        rollouts = [
            {
                "correct": draw.random() < 0.6,
                "tokens": draw.randrange(1, 4000),
                "truncated": draw.random() < 0.1,
                "thinking": draw.random() < 0.6,
                "repetitive": draw.random() < 0.2,
            }
            for _ in range(size)
        ]
        groups.append(
            {
                "problem_id": name,
                "reference_accuracy": round(draw.random(), 3),
                "reference_tokens": float(draw.randrange(100, 5000)),
                "target_tokens": float(draw.randrange(100, 5000)),
                "rollouts": rollouts,
            }
        )
    return groups


def score_group(name: str, *order: int, **more: object) -> Row:
    """Return a group with texts, `order` naming the texts."""
    rollouts = [{"response": TEXTS[index], "tokens": 30 + 11 * index + len(name)} for index in order]
    return {"problem_id": name, "gold": ["\\frac{3}{4}", "0.75"], "rollouts": rollouts, **more}


def rollout(run: str, index: int, **more: object) -> Request:
    """Return a request with one rollout of a group of four."""
    body = {
        "run": run,
        "step": 1,
        "problem_id": "p7",
        "group_size": 4,
        "rollout_index": index,
        "gold": "\\frac{3}{4}",
        "response": TEXTS[index],
        "tokens": 30 + 11 * index,
        **more,
    }
    return "POST", "/v1/rollouts", body


def verify(run: str, step: int, problem: str, *indices: int) -> Request:
    """Return a request that observes rollouts of one group."""
    items = [
        {
            "gold": "3/4",
            "response": TEXTS[index],
            "run": run,
            "step": step,
            "problem_id": problem,
            "group_id": f"{step}-{problem}",
            "rollout_id": f"{step}-{problem}-{index}",
            "tokens": 40 + 9 * index,
        }
        for index in indices
    ]
    return "POST", "/v1/verify", {"items": items}


def put(run: str, config: Row) -> Request:
    """Return a request that creates a run."""
    return "PUT", f"/v1/runs/{run}", config


def shape(run: str, step: int | str | None, groups: list[Row], **more: object) -> Request:
    """Return a request for rewards."""
    return "POST", "/v1/shape", {"run": run, "step": step, "groups": groups, **more}


def score(run: str, step: int | None, *groups: Row, **more: object) -> Request:
    """Return a request for verdicts and rewards."""
    return "POST", "/v1/score", {"run": run, "step": step, "groups": list(groups), **more}


def strategy_requests(name: str) -> tuple[list[Request], list[Request]]:
    """Return the requests of a run with this strategy, before and after the upgrade."""
    draw = random.Random(name)
    config: Row = {"strategy": {"name": name}, "length_weight": draw.choice((1.0, 0.3, -0.7))}
    if draw.random() < 0.5:
        config["overlong"] = {"max_tokens": 3500, "buffer_tokens": 1500}
    run, steps = f"s-{name}", [shape_groups(draw) for _ in range(4)]
    before = [put(run, config), shape(run, 0, steps[0]), shape(run, 1, steps[1][:2])]
    after = [
        put(run, config),
        shape(run, 1, steps[1][:2]),
        shape(run, 1, steps[1][2:]),
        shape(run, 0, steps[0]),
        shape(run, 0, [{**steps[3][0], "group_id": "late"}]),
        shape(run, 2, steps[2]),
        ("GET", f"/v1/runs/{run}/history", None),
    ]
    return before, after


def other_requests() -> tuple[list[Request], list[Request]]:
    """Return the requests of the runs that have something special, before and after the upgrade."""
    draw = random.Random(6112358)
    groups = [shape_groups(draw) for _ in range(8)]
    shadows: Row = {
        "strategy": {"name": "deepcompress", "alpha": 0.15, "mode": "paper"},
        "length_weight": 0.25,
        "overlong": {"max_tokens": 3000, "buffer_tokens": 1000, "factor": 0.5, "variant": "verl"},
        "shadow": [
            {"name": "deepcompress", "label": "release", "mode": "release"},
            {"name": "grpo_lead", "outcome": {"correct": 1, "wrong": 0}},
            {"name": "alp"},
        ],
    }
    scored = [
        score("scored", step, score_group("a", 0, 2, 3, 1), score_group("b", 2, 2, 1), score_group("c", 0, 1))
        for step in range(4)
    ]
    waiting = [rollout("waiting", index) for index in range(4)]
    plain = [rollout("waiting-plain", index, step=None) for index in range(4)]
    before = [
        put("shadows", shadows),
        *(shape("shadows", step, groups[step]) for step in range(3)),
        put("scored", {"answer_format": "boxed"}),
        *scored[:3],
        ("POST", "/v1/runs/scored/checkpoints/two", {"step": 1}),
        put("stepless", {"groups_per_step": 4, "strategy": {"name": "deepcompress", "reference": "previous"}}),
        *(shape("stepless", None, groups[index], request_id=f"r{index}") for index in range(3)),
        put("fresh", {"strategy": {"name": "diet"}, "keep_steps": 5}),
        put("deleted", {}),
        shape("deleted", 3, groups[0]),
        ("DELETE", "/v1/runs/deleted", None),
        put("rewound", {"strategy": {"step_level": "last"}}),
        *(shape("rewound", step, groups[step], generation=0) for step in range(3)),
        ("POST", "/v1/runs/rewound/rewind", {"next_step": 2}),
        put("observed", {}),
        verify("observed", 1, "o", 0, 1, 2),
        verify("observed", 1, "n", 0, 1, 2, 3),
        verify("observed", 1, "never-shaped", 0, 1),
        shape("observed", 1, groups[0][:1]),
        verify("observed-new", 1, "o", 0, 2),
        *waiting[:2],
        *plain[:2],
    ]
    seen = [{"correct": index < 2, "tokens": 40 + 9 * index} for index in range(4)]
    after = [
        ("GET", "/v1/runs/shadows", None),
        put("shadows", shadows),
        shape("shadows", 2, groups[2]),
        shape("shadows", 3, groups[3]),
        shape("shadows", 1, [{**groups[5][0], "group_id": "late"}]),
        ("GET", "/v1/runs/shadows/history", None),
        ("GET", "/v1/runs/shadows/problems", None),
        put("scored", {"answer_format": "boxed"}),
        put("scored", {"answer_format": "bare"}),
        scored[2],
        scored[0],
        score("scored", 2, {**score_group("a", 0, 1, 3, 2)}),
        scored[3],
        ("GET", "/v1/runs/scored/checkpoints", None),
        ("GET", "/v1/runs/scored/history", None),
        ("POST", "/v1/runs/scored/restore", {"checkpoint": "two"}),
        ("GET", "/v1/runs/scored/problems", None),
        score("scored", 2, score_group("a", 1, 2), score_group("d", 0, 3)),
        score("scored", None, score_group("d", 0, 3), phase="eval"),
        shape("stepless", None, groups[2], request_id="r2"),
        shape("stepless", None, groups[0], request_id="r0"),
        shape("stepless", None, groups[4], request_id="r2"),
        shape("stepless", None, groups[4], request_id="r4"),
        ("GET", "/v1/runs/stepless/history", None),
        put("fresh", {"strategy": {"name": "diet"}, "keep_steps": 5}),
        shape("fresh", 0, groups[0]),
        put("deleted", {}),
        shape("deleted", 0, groups[1]),
        shape("rewound", 2, groups[6], generation=0),
        shape("rewound", 2, groups[6], generation=0),
        shape("rewound", 2, [{**one, "group_id": f"{one['problem_id']}-1"} for one in groups[7]], generation=1),
        ("GET", "/v1/runs/rewound/history", None),
        verify("observed", 1, "o", 0, 1, 2, 3),
        shape("observed", "observed", [{"group_id": "1-o", "rollouts": seen}]),
        shape("observed", 1, [{"problem_id": "n", "group_id": "1-n", "rollouts": seen}]),
        shape("observed", 2, groups[1]),
        ("GET", "/v1/runs/observed/history", None),
        ("GET", "/v1/runs/observed/problems", None),
        shape("observed-new", "observed", [{"group_id": "1-o", "rollouts": seen[:2]}]),
        shape("observed-new", 2, groups[2]),
        ("GET", "/v1/runs/observed-new/history", None),
        rollout("waiting", 1, response="another"),
        *waiting[2:],
        *waiting[:2],
        ("GET", "/v1/runs/waiting/history", None),
        *plain[1:],
        plain[0],
        ("GET", "/v1/runs", None),
    ]
    return before, after


# --- the service --------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port of this machine that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(folder: Path, state_url: str) -> Iterator[httpx.Client]:
    """Start the service of this interpreter, and yield a client of it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPCOMPRESS_")}
    environment |= {
        "DEEPCOMPRESS_PORT": str(port),
        "DEEPCOMPRESS_STATE_URL": state_url,
        "DEEPCOMPRESS_VERIFIER_WORKERS": "1",
        "DEEPCOMPRESS_LOG_LEVEL": "error",
        # Its name before 0.1 and after it.
        os.environ.get("WAIT_VARIABLE", "DEEPCOMPRESS_ROLLOUT_WAIT"): WAIT_SECONDS,
    }
    command = [sys.executable, "-m", "deepcompress_service", "serve"]
    with subprocess.Popen(command, env=environment, cwd=folder) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _until_ready(client)
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _until_ready(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the service did not become ready")


def comparable(value: object) -> object:
    """Return a JSON value without CPU times and sizes in a store."""
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items() if name not in ("cpu_ms", "bytes")}
    return [comparable(one) for one in value] if isinstance(value, list) else value


def send(client: httpx.Client, requests: list[Request]) -> list[Row]:
    """Send the requests one after the other; return a line for each."""
    lines = []
    for method, path, body in requests:
        answer = client.request(method, path, json=body)
        lines.append(
            {
                "method": method,
                "path": path,
                "body": body,
                "status": answer.status_code,
                "answer": comparable(answer.json()),
            }
        )
    return lines


def all_requests(client: httpx.Client) -> tuple[list[Request], list[Request]]:
    """Return the requests before and after the upgrade, with a run for each strategy of the service."""
    before, after = other_requests()
    for strategy in client.get("/v1/strategies").json()["strategies"]:
        first, second = strategy_requests(strategy["name"])
        before += first
        after += second
    return before, after


# --- stores -------------------------------------------------------------------------------------------------


def copy_sqlite(source: Path, out: Path) -> None:
    """Write a compressed copy of a database that is not in use."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(source)) as db:
        db.execute("vacuum into ?", (str(Path(folder, "copy")),))
        write(out, Path(folder, "copy").read_bytes())


def dump_redis(client: Redis) -> list[Row]:
    """Return every key with its type, content (base64) and milliseconds to live (-1: indefinitely)."""
    readers = {
        b"string": lambda key: [client.get(key)],
        b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
        b"set": lambda key: sorted(client.smembers(key)),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: [
            part
            for member, points in client.zrange(key, 0, -1, withscores=True)
            for part in (repr(points).encode(), member)
        ],
    }
    rows = []
    for key in sorted(client.keys()):
        kind = client.type(key)
        content = [base64.b64encode(part).decode() for part in readers[kind](key)]
        rows.append(
            {
                "key": base64.b64encode(key).decode(),
                "type": kind.decode(),
                "content": content,
                "pttl": client.pttl(key),
            }
        )
    return rows


def write(path: Path, content: bytes) -> None:
    """Write a compressed file whose bytes depend on the content alone."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def record_sqlite(folder: Path, out: Path) -> list[Row]:
    """Record on SQLite; return the answers of the second half."""
    url = f"sqlite:///{folder / 'state.sqlite3'}"
    with service(folder, url) as client:
        before, after = all_requests(client)
        for line in send(client, before):
            assert line["status"] < 300 or line["path"] == "/v1/rollouts", line
        write(out / "export.ndjson.gz", client.get("/v1/runs/shadows/export").content)
    copy_sqlite(folder / "state.sqlite3", out / "state.sqlite3.gz")
    copy_sqlite(folder / "state.sqlite3-rendezvous", out / "rendezvous.sqlite3.gz")
    with service(folder, url) as client:
        return send(client, after)


def record_redis(folder: Path, out: Path) -> list[Row]:
    """Record on Redis; return the answers of the second half."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            url = f"redis://127.0.0.1:{port}/0"
            with service(folder, url) as client:
                before, after = all_requests(client)
                send(client, before)
            rows = dump_redis(Redis(port=port))
            write(out / "redis.json.gz", json.dumps(rows, indent=0).encode())
            with service(folder, url) as client:
                return send(client, after)
        finally:
            server.kill()


def main() -> None:
    """Record both stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the recording")
    out: Path = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as sqlite_folder, tempfile.TemporaryDirectory() as redis_folder:
        lines = record_sqlite(Path(sqlite_folder), out)
        for line, other in zip(lines, record_redis(Path(redis_folder), out), strict=True):
            if line != other:
                raise SystemExit(f"the stores answered differently:\n{line}\n{other}")
    write(out / "answers.jsonl.gz", "".join(json.dumps(line) + "\n" for line in lines).encode())


if __name__ == "__main__":
    main()
