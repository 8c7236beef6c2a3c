"""Five times the load that the service can serve: requests refused and served, response times, memory.

    python bench/overload.py [--times 5] [--seconds 30] [--groups 16] [--chars 2000] [--out FILE.json]

First it measures the capacity: the `score` requests a second of eight clients that wait for their answers. Then it
sends five times as many of the same requests at a fixed rate, without waiting for answers (an open loop). One greedy
run sends most of them; three modest runs send a fifth of the capacity each, which is less than a fair share. Every
request has new groups of one step, so the step's count of groups shows if each acknowledged one counted once.

Exit status 1 if an answer was neither 200 nor a 429 or 503 with Retry-After, if a modest run was not served, if the
served requests are less than half of the capacity, if memory was not released, or if the count is wrong. The client
runs on the same machine and uses part of its CPU, most of it for the requests that are refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from capacity import FILLER, answers
from processes import children, cpu, proportional
from servers import Service, redis_server, service

MIB = 2**20
MODEST = 3
MODEST_SHARE = 0.2
"""Requests of each modest run, as a share of the capacity."""
MARK = b"@@@@@@@@"


@dataclass(slots=True)
class Sent:
    """The results of the requests of one run."""

    offered: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    """Seconds of the answers that were 200."""
    unmeant: list[str] = field(default_factory=list)

    @property
    def served(self) -> int:
        return self.codes["200"]


class Load:
    """Requests of one size, made once; only the names of their groups differ."""

    def __init__(self, client: httpx.AsyncClient, groups: int, size: int, chars: int) -> None:
        self.client = client
        self.groups = groups
        self.rollouts = groups * size
        choice = random.Random(5)
        text = (FILLER * (chars // len(FILLER) + 1))[:chars]
        self._bodies = []
        for _ in range(16):
            body: list[dict[str, Any]] = []
            for number in range(groups):
                gold, _ = answers(choice)
                rollouts = [
                    {"response": f"{text} \\boxed{{{answers(choice)[1]}}}", "tokens": 100 + choice.randrange(900)}
                    for _ in range(size)
                ]
                body.append({"problem_id": f"{MARK.decode()}-{number}", "gold": gold, "rollouts": rollouts})
            self._bodies.append(json.dumps({"run": "RUN", "step": 1, "groups": body}).encode())
        self._number = 0

    async def send(self, run: str, into: Sent) -> None:
        self._number += 1
        body = self._bodies[self._number % len(self._bodies)]
        body = body.replace(MARK, b"%08d" % self._number).replace(b'"RUN"', f'"{run}"'.encode(), 1)
        into.offered += 1
        began = time.perf_counter()
        try:
            answer = await self.client.post("/v1/score", content=body)
        except httpx.TransportError as error:
            into.codes[type(error).__name__] += 1
            into.unmeant.append(repr(error)[:200])
            return
        into.codes[str(answer.status_code)] += 1
        if answer.status_code == 200:
            into.took.append(time.perf_counter() - began)
        elif answer.status_code not in (429, 503) or int(answer.headers.get("retry-after", 0)) < 1:
            into.unmeant.append(f"{answer.status_code} {answer.text[:200]}")


async def capacity(load: Load, seconds: float) -> tuple[float, Sent]:
    """Return the requests a second of eight clients that wait for their answers."""
    sent = Sent()
    end = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            await load.send("capacity", sent)

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(8)))
    return sent.served / (time.monotonic() - began), sent


async def offer(
    load: Load, rates: dict[str, float], seconds: float, console: Console
) -> tuple[dict[str, Sent], float]:
    """Send at a fixed rate; return the results, and the seconds until everything was answered."""
    sent = {run: Sent() for run in rates}
    clock = [(number / rate, run) for run, rate in rates.items() for number in range(max(3, int(rate * seconds)))]
    began = time.monotonic()
    tasks = []
    shown = track(sorted(clock), f"{len(clock):,} requests", console=console, disable=not console.is_terminal)
    for at, run in shown:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        tasks.append(asyncio.create_task(load.send(run, sent[run])))
    await asyncio.gather(*tasks)
    return sent, time.monotonic() - began


async def watch_memory(pid: int, into: list[int]) -> None:
    while True:
        into.append(await asyncio.to_thread(memory, pid))
        await asyncio.sleep(0.5)


def memory(pid: int) -> int:
    return sum(map(proportional, (pid, *children(pid))))


def quantile(took: list[float], share: float) -> float:
    return sorted(took)[int(share * (len(took) - 1))] if took else 0.0


async def run(service: Service, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=service.url, timeout=600, limits=limits) as client:
        load = Load(client, options.groups, 8, options.chars)
        await capacity(load, 3)  # warm
        rate, alone = await capacity(load, options.seconds / 2)
        console.print(f"capacity: {rate:,.1f} requests a second, {rate * load.rollouts:,.0f} rollouts a second")
        before = memory(service.pid)
        rates = {f"modest-{i}": MODEST_SHARE * rate for i in range(MODEST)}
        rates["greedy"] = options.times * rate - sum(rates.values())
        seen: list[int] = []
        watching = asyncio.create_task(watch_memory(service.pid, seen))
        spent = cpu(service.pid)
        sent, took = await offer(load, rates, options.seconds, console)
        spent = cpu(service.pid) - spent
        await asyncio.sleep(2)
        watching.cancel()
        # Once more: what the first one took for good (buffers, caches) is there now.
        again, _ = await offer(load, rates, options.seconds / 3, console)
        await asyncio.sleep(2)
        after = memory(service.pid)
        steps = {}
        for name in rates:
            answer = await client.get(f"/v1/runs/{name}/history")
            steps[name] = sum(step["groups"] for step in answer.json().get("steps", ()))
        refused = (await client.get("/metrics")).text
    figures: dict[str, Any] = {
        "times": options.times,
        "capacity_requests": rate,
        "capacity_rollouts": rate * load.rollouts,
        "alone_p50_s": quantile(alone.took, 0.5),
        "alone_p99_s": quantile(alone.took, 0.99),
        "seconds_until_all_answered": took,
        "goodput": sum(one.served for one in sent.values()) / took / rate,
        "server_cpu_s": spent,
        "memory_mib": {
            "before": before / MIB,
            "most": max(seen) / MIB,
            "after_once": seen[-1] / MIB,
            "after": after / MIB,
        },
        "refused": [line for line in refused.splitlines() if line.startswith("deepcompress_rejected_total")],
        "runs": {
            name: {
                "offered": one.offered,
                "codes": dict(one.codes),
                "served": one.served / max(1, one.offered),
                "p50_s": quantile(one.took, 0.5),
                "p99_s": quantile(one.took, 0.99),
                "max_s": quantile(one.took, 1.0),
                "unmeant": one.unmeant[:3],
                "counted_once": steps[name] == load.groups * (one.served + again[name].served),
            }
            for name, one in sent.items()
        },
    }
    tell(figures, console)
    return figures


def tell(figures: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{figures['times']:g} times the capacity", title_justify="left")
    for name in ("run", "offered", "served", "refused", "p50 s", "p99 s", "longest s", "each counted once"):
        table.add_column(name, justify="left" if name == "run" else "right")
    for name, one in figures["runs"].items():
        refused = ", ".join(f"{count:,} x {code}" for code, count in one["codes"].items() if code != "200")
        numbers = (f"{one[key]:.2f}" for key in ("p50_s", "p99_s", "max_s"))
        served = f"{one['codes'].get('200', 0):,} ({100 * one['served']:.0f}%)"
        table.add_row(name, f"{one['offered']:,}", served, refused, *numbers, "yes" if one["counted_once"] else "NO")
    console.print(table)
    held = figures["memory_mib"]
    console.print(
        f"carried {100 * figures['goodput']:.0f}% of the capacity meanwhile; alone an answer took "
        f"{figures['alone_p50_s']:.2f} s (p99 {figures['alone_p99_s']:.2f})"
    )
    console.print(
        f"memory of all processes (PSS): {held['before']:.0f} MiB before, {held['most']:.0f} at most, "
        f"{held['after_once']:.0f} after it, {held['after']:.0f} after a second time"
    )
    for problem in problems(figures):
        console.print(f"[bold red]{problem}[/bold red]")


def problems(figures: dict[str, Any]) -> list[str]:
    """Return a description of each requirement that is not fulfilled."""
    found = [f"{name}: {text}" for name, one in figures["runs"].items() for text in one["unmeant"]]
    found += [f"{name}: not each counted once" for name, one in figures["runs"].items() if not one["counted_once"]]
    for name, one in figures["runs"].items():
        if name != "greedy" and one["served"] < 0.95:
            found.append(f"{name}: only {100 * one['served']:.0f}% served of less than a fair share")
    if figures["goodput"] < 0.5:
        found.append("less than half of the capacity was served")
    held = figures["memory_mib"]
    if held["after"] > 1.1 * held["after_once"]:
        found.append("memory grows from one overload to the next")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=30.0, help="of overload (default: 30)")
    parser.add_argument("--groups", type=int, default=16, help="groups of 8 in a request (default: 16)")
    parser.add_argument("--chars", type=int, default=2000, help="text of each rollout (default: 2000)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    os.environ.setdefault("DEEPCOMPRESS_VERIFIER_WORKERS", "1")
    console = Console(width=120 if not sys.stdout.isatty() else None)
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as url, service(url) as served:
        figures = asyncio.run(run(served, options, console))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    if problems(figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
