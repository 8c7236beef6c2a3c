"""The cost of a rollout: CPU time of every process that handles it, memory, and the memory of a run in Redis.

    python bench/capacity.py [--seconds 8] [--out FILE.json]

One service (one server process, one verifier worker) on a Redis with `appendfsync always`, and one client that
sends batch after batch of new groups. CPU time is read from the kernel per process before and after, so the
figures per rollout are valid on a busy machine too. The response times are not, and are only printed. Answers are
drawn from many values and forms, so that most comparisons are new to the service.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import redis

from processes import children, cpu, resident
from servers import Service, redis_server, service

FILLER = "First we expand the product and collect the terms, then we compare both sides and solve for the unknown. "


@dataclass(frozen=True)
class Row:
    """The measurements of one kind of request."""

    verb: str
    groups: int
    group_size: int
    response_chars: int
    rollouts: int
    server_us: float
    verifier_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float

    @property
    def per_core(self) -> float:
        """Rollouts a second that the CPU time of one core suffices for, without Redis."""
        return 1e6 / (self.server_us + self.verifier_us)


def answers(choice: random.Random) -> tuple[str, str]:
    """Return a gold answer, and an answer that may equal it in another form."""
    a, b, c = choice.randrange(2, 9999), choice.randrange(2, 999), choice.randrange(2, 99)
    gold, same, other = choice.choice(
        (
            (str(a), f"{a}.0", str(a + 1)),
            (f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}", f"\\frac{{{b}}}{{{a}}}"),
            (f"{c}\\sqrt{{{b}}}", f"\\sqrt{{{c * c * b}}}", f"\\sqrt{{{b}}}"),
            (f"x^2 - {c}x + {b}", f"{b} - {c}x + x^2", f"x^2 + {c}x + {b}"),
            (f"({a}, {b})", f"\\left({a},{b}\\right)", f"({b}, {a})"),
            (f"[{c}, {c + b})", f"[{c}, {c + b})", f"({c}, {c + b})"),
        )
    )
    return gold, same if choice.random() < 0.5 else other


def body(choice: random.Random, verb: str, run: str, step: int, groups: int, size: int, chars: int) -> bytes:
    sent = []
    for number in range(groups):
        gold, _ = answers(choice)
        rollouts: list[dict[str, Any]] = []
        for _ in range(size):
            tokens = max(1, chars // 4)
            if verb == "shape":
                rollouts.append({"correct": choice.random() < 0.5, "tokens": tokens + choice.randrange(1000)})
            else:
                text = (FILLER * (chars // len(FILLER) + 1))[:chars]
                rollouts.append({"response": f"{text} \\boxed{{{answers(choice)[1]}}}", "tokens": tokens})
        group = {"problem_id": f"p{choice.randrange(20_000)}-{number}", "rollouts": rollouts}
        sent.append(group if verb == "shape" else {**group, "gold": gold})
    return json.dumps({"run": run, "step": step, "groups": sent}).encode()


def measure(
    service: Service, pids: dict[str, list[int]], seconds: float, verb: str, shape: tuple[int, int, int]
) -> Row:
    groups, size, chars = shape
    choice = random.Random(f"{verb}{shape}")
    run = f"{verb}-{groups}-{chars}"
    bodies = [body(choice, verb, run, step, groups, size, chars) for step in range(1, 6)]
    with httpx.Client(base_url=service.url, timeout=120) as client:
        warm = client.post(f"/v1/{verb}", content=body(choice, verb, f"{run}-warm", 1, groups, size, chars))
        assert warm.status_code == 200, warm.text
        before = {kind: sum(map(cpu, which)) for kind, which in pids.items()}
        took, step, end = [], 0, time.monotonic() + seconds
        while time.monotonic() < end or step < 3:
            if step == len(bodies):
                bodies.append(body(choice, verb, run, step + 1, groups, size, chars))
            began = time.perf_counter()
            answer = client.post(f"/v1/{verb}", content=bodies[step])
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
            step += 1
        spent = {kind: sum(map(cpu, which)) - before[kind] for kind, which in pids.items()}
    rollouts = step * groups * size
    micro = {kind: 1e6 * used / rollouts for kind, used in spent.items()}
    took.sort()
    return Row(
        *(verb, groups, size, chars, rollouts, micro["server"], micro["verifier"], micro["redis"]),
        p50_ms=1000 * statistics.median(took),
        p99_ms=1000 * took[int(0.99 * (len(took) - 1))],
    )


def redis_bytes(service: Service, url: str) -> dict[str, float]:
    """Return the bytes that problems and stored groups use, as Redis reports them."""
    client = redis.Redis.from_url(url)

    def used() -> int:
        return int(client.info("memory")["used_memory"])

    def send(run: str, step: int, names: list[str], keep: int) -> None:
        groups = [
            {"problem_id": name, "rollouts": [{"correct": i % 2 == 0, "tokens": 100 + i} for i in range(8)]}
            for name in names
        ]
        httpx.put(f"{service.url}/v1/runs/{run}", json={"keep_steps": keep}, timeout=60).raise_for_status()
        sent = {"run": run, "step": step, "groups": groups}
        httpx.post(f"{service.url}/v1/shape", json=sent, timeout=120).raise_for_status()

    names = [f"dataset/train/{number:07d}" for number in range(40_000)]
    before = used()
    for step in range(10):
        send("bytes", step + 1, names[4000 * step : 4000 * (step + 1)], 1)
    # Two steps more, of one group each: the records of the others are beyond keep_steps then.
    send("bytes", 11, names[:1], 1)
    send("bytes", 12, names[:1], 1)
    problems = used() - before
    before = used()
    for step in range(4):
        send("kept", step + 1, names[:4000], 64)
    kept = used() - before - problems * 4000 / 40_000
    return {"problem": problems / 40_000, "kept_group": kept / 16_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each kind of request (default: 8)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    os.environ["DEEPCOMPRESS_VERIFIER_WORKERS"] = "1"
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as url, service(url) as served:
        figures = run_all(served, url, options.seconds)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


def run_all(service: Service, url: str, seconds: float) -> dict[str, Any]:
    main_pid = service.pid
    pids = {
        "server": [main_pid],
        "verifier": children(main_pid),
        "redis": [int(redis.Redis.from_url(url).info("server")["process_id"])],
    }
    rows = []
    print(
        "verb   groups  size   chars | us of CPU a rollout: server verifier  redis | a core carries |  p50 ms  p99 ms"
    )
    kinds = [
        ("score", (16, 8, 2000)),
        ("score", (128, 8, 2000)),
        ("score", (512, 8, 2000)),
        ("score", (128, 8, 40_000)),
    ]
    for verb, shape in [*kinds, ("shape", (16, 8, 2000)), ("shape", (512, 8, 2000))]:
        row = measure(service, pids, seconds, verb, shape)
        rows.append({**asdict(row), "per_core": row.per_core})
        print(
            f"{verb:6} {row.groups:6} {row.group_size:5} {row.response_chars:7} | {row.server_us:27.1f} "
            f"{row.verifier_us:8.1f} {row.redis_us:6.1f} | {row.per_core:12,.0f}/s | "
            f"{row.p50_ms:7.1f} {row.p99_ms:7.1f}",
            flush=True,
        )
    memory = {"server": resident(main_pid), "verifiers": sum(map(resident, pids["verifier"]))}
    mib = {name: size / 2**20 for name, size in memory.items()}
    print(f"memory: server {mib['server']:.0f} MiB, its verifier processes {mib['verifiers']:.0f} MiB")
    held = redis_bytes(service, url)
    print(f"Redis: {held['problem']:.0f} bytes a problem, {held['kept_group']:.0f} bytes a group of a kept step")
    return {"rows": rows, "memory": memory, "redis": held}


if __name__ == "__main__":
    main()
