"""Mixed traffic over a long time: rollouts a second, response times by batch size, wrong answers, growth of memory.

    python bench/soak.py [--minutes 30] [--hostile 0.01] [--rate 0] [--out FOLDER]

One service and a Redis with `appendfsync always`. Eight runs train at once: `score` with batches of 1 to 2,048
rollouts, `verify` then `shape`, single `rollouts` that wait for their group; plain `verify` beside them, three
dashboards that follow the event streams, a scrape of the metrics every 15 seconds. One rollout in a hundred is
hostile. Every verdict is compared with the verdict of an idle service for that row, and every level and reward with
the paper's formula, computed again in this file.

Before the load, each run gets as many small steps, and verdicts of each status, as the process keeps of a run: its
tables are full then.
Memory is judged by the rules of `soak_memory.py`.

Response times are those of this machine with this client on it: on a busy machine they are meaningless. Exit status 1
if a rule is broken or an answer was wrong.
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
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from deepcompress_service.activity.course import MAX_COURSE
from deepcompress_service.activity.recent import MAX_VERDICTS
from deepcompress_service.dashboard.board import MAX_STEPS
from processes import children, cpu, proportional, resident
from servers import Service, redis_server, service
from soak_memory import MIB, WARM_UP, Sample, in_use, verdict
from traffic import Findings, Row, Traffic, encoded, load, next_level

SCORED = (1, 16, 128, 512, 2048)
VERIFIED = (1, 64)
OBSERVED = (16, 128)
SENDERS = len(SCORED) + len(VERIFIED) + len(OBSERVED) + 1
EVERY_S = 5.0


@dataclass(slots=True)
class Soak:
    """The measurements so far."""

    traffic: Traffic
    share: float
    rate: float
    client: httpx.AsyncClient
    findings: Findings = field(default_factory=Findings)
    took: defaultdict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    codes: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    rollouts: int = 0
    hostile: int = 0
    events: int = 0
    began: float = field(default_factory=time.monotonic)
    filled: dict[str, tuple[int, float]] = field(default_factory=dict)
    """(step, level) of each run when the load begins."""

    async def send(self, verb: str, size: int, path: str, body: dict[str, Any]) -> Any:
        """Return the answer to a request. One that is not a 200 is recorded, and None is returned."""
        content = encoded(body)
        began = time.perf_counter()
        try:
            answer = await self.client.post(path, content=content)
        except httpx.TransportError as error:
            self.codes[f"{path} {type(error).__name__}"] += 1
            return None
        if verb:
            self.took[verb, size].append(time.perf_counter() - began)
        self.codes[str(answer.status_code)] += 1
        if answer.status_code != 200:
            self.findings.note(f"status {answer.status_code}", answer.text[:200])
            return None
        return answer.json()

    async def pace(self, began: float, rollouts: int, hostile: int) -> None:
        """Count the rollouts answered since `began`, and wait if a rate is set."""
        self.rollouts += rollouts
        self.hostile += hostile
        share = self.rate / SENDERS
        await asyncio.sleep(max(0.0, began + rollouts / share - time.monotonic()) if share else 0.0)


WATCHED = ("score-128", "score-1")
"""Runs that a dashboard shows."""
STREAMS = ("/dashboard/events", *(f"/dashboard/runs/{run}/events" for run in WATCHED))
RUNS = (*(f"score-{size}" for size in SCORED), *(f"verify-shape-{size}" for size in OBSERVED), "rollouts")


async def fill(soak: Soak) -> None:
    """Train each run for as many small steps as the process keeps of it, and check rows of every status."""

    async def train(run: str) -> None:
        level = 1.0
        steps = (MAX_STEPS if run in WATCHED else MAX_COURSE) + 20
        for step in range(steps):
            group = {"problem_id": "fill", "rollouts": [{"correct": step % 3 == 0, "tokens": 100}]}
            answer = await soak.client.post("/v1/shape", json={"run": run, "step": step, "groups": [group]})
            level = answer.raise_for_status().json()["level"]
        soak.filled[run] = steps, level
        answer = await soak.client.post("/v1/score", json={"run": run, "phase": "eval", "groups": groups})
        answer.raise_for_status()

    by_status: defaultdict[str, list[Row]] = defaultdict(list)
    for row in soak.traffic.rows():
        by_status[row.status].append(row)
    # As many verdicts of each status as are kept, of few rows: equal ones of a batch are compared once.
    rows = [row for of_status in by_status.values() for row in (of_status[:4] * MAX_VERDICTS)[:MAX_VERDICTS]]
    groups = [{"gold": row.gold, "rollouts": rollouts_of([row], True)} for row in rows]
    items = [{"gold": row.gold, "response": row.response, "truncated": row.truncated} for row in rows]
    (await soak.client.post("/v1/verify", json={"items": items})).raise_for_status()
    streams = [asyncio.create_task(watching(soak, path)) for path in STREAMS]
    try:
        await asyncio.gather(*map(train, RUNS))
    finally:
        for stream in streams:
            stream.cancel()


# --- who sends ---------------------------------------------------------------------------------------------


def rollouts_of(rows: Sequence[Row], text: bool) -> list[dict[str, Any]]:
    return [
        {"tokens": row.tokens, "truncated": row.truncated, **({"response": row.response} if text else {})}
        for row in rows
    ]


async def scoring(soak: Soak, size: int) -> None:
    """Run a trainer that sends whole batches."""
    run, choice = f"score-{size}", random.Random(size)
    step, level = soak.filled[run]
    while True:
        step, began = step + 1, time.monotonic()
        groups = soak.traffic.groups(choice, size, soak.share)
        body = [
            {
                "problem_id": rows[0].problem,
                "group_id": str(at),
                "gold": rows[0].gold,
                "rollouts": rollouts_of(rows, True),
            }
            for at, rows in enumerate(groups)
        ]
        answer = await soak.send("score", size, "/v1/score", {"run": run, "step": step, "groups": body})
        if answer is None:
            return  # the level is unknown from here on; noted
        level = next_level(level, answer["groups"])
        if abs(level - answer["level"]) > 1e-9:
            soak.findings.note("level", f"{run} step {step}: {answer['level']} instead of {level}")
            level = answer["level"]
        for rows, group in zip(groups, answer["groups"], strict=True):
            soak.findings.verdicts(rows, group["verdicts"])
            soak.findings.group(group, [row.tokens for row in rows])
        await soak.pace(began, *_count(groups))


async def verify_and_shape(soak: Soak, size: int) -> None:
    """Run a trainer that verifies as rollouts come, with identity, and shapes at the end of the step."""
    run, choice = f"verify-shape-{size}", random.Random(-size)
    step, _ = soak.filled[run]
    while True:
        step, began = step + 1, time.monotonic()
        groups = soak.traffic.groups(choice, size, soak.share)
        items = [
            _identified(row, run, step, at, place) for at, rows in enumerate(groups) for place, row in enumerate(rows)
        ]
        verified = await soak.send("verify, observed", size, "/v1/verify", {"items": items})
        if verified is None:
            return
        verdicts = iter(verified["verdicts"])
        body = []
        for at, rows in enumerate(groups):
            of_group = [next(verdicts) for _ in rows]
            soak.findings.verdicts(rows, of_group)
            if not all(verdict["recorded"] for verdict in of_group):
                soak.findings.note("observation", f"{run} step {step} group {at} was not recorded")
            sent = [
                {**one, "correct": verdict["correct"], "status": verdict["status"]}
                for one, verdict in zip(rollouts_of(rows, False), of_group, strict=True)
            ]
            body.append({"problem_id": rows[0].problem, "group_id": str(at), "rollouts": sent})
        answer = await soak.send("shape", size, "/v1/shape", {"run": run, "step": step, "groups": body})
        if answer is None:
            return
        for rows, group in zip(groups, answer["groups"], strict=True):
            soak.findings.group(group, [row.tokens for row in rows])
        await soak.pace(began, *_count(groups))


def _identified(row: Row, run: str, step: int, group: int, place: int) -> dict[str, Any]:
    item: dict[str, Any] = {"run": run, "step": step, "problem_id": row.problem, "group_id": str(group)}
    item |= {"rollout_id": f"{group}-{place}", "gold": row.gold, "response": row.response}
    return item | {"tokens": row.tokens, "truncated": row.truncated}


async def single_rollouts(soak: Soak) -> None:
    """Run a trainer whose every rollout is a request of its own, held until its group is complete."""
    choice = random.Random(3)
    step, _ = soak.filled["rollouts"]
    while True:
        step, began = step + 1, time.monotonic()
        (rows,) = soak.traffic.groups(choice, 8, soak.share)
        body: dict[str, Any] = {
            "run": "rollouts",
            "step": step,
            "problem_id": rows[0].problem,
            "group_size": len(rows),
        }
        body["gold"] = rows[0].gold
        answers = await asyncio.gather(
            *(
                soak.send("rollouts", 1, "/v1/rollouts", {**body, "rollout_index": place, **sent})
                for place, sent in enumerate(rollouts_of(rows, True))
            )
        )
        if None in answers:
            return
        soak.findings.verdicts(rows, [answer["verdict"] for answer in answers])
        first = answers[0]
        group = {"group_id": first["group_id"], "level": first["level"]}
        group["correct"] = [answer["correct"] for answer in answers]
        group["rewards"] = [answer["reward"] for answer in answers]
        soak.findings.group(group, [row.tokens for row in rows])
        await soak.pace(began, *_count([rows]))


async def verifying(soak: Soak, size: int) -> None:
    """Run a client that requests verdicts only."""
    choice = random.Random(100 + size)
    while True:
        began = time.monotonic()
        groups = soak.traffic.groups(choice, size, soak.share)
        rows = [row for of_group in groups for row in of_group]
        items = [{"gold": r.gold, "response": r.response, "truncated": r.truncated} for r in rows]
        answer = await soak.send("verify", size, "/v1/verify", {"items": items})
        if answer is None:
            return
        soak.findings.verdicts(rows, answer["verdicts"])
        await soak.pace(began, *_count(groups))


async def watching(soak: Soak, path: str) -> None:
    """Read what a dashboard reads."""
    while True:
        try:
            async with soak.client.stream("GET", path) as stream:
                soak.codes[f"stream {stream.status_code}"] += 1
                async for line in stream.aiter_lines():
                    soak.events += line.startswith("event:")
        except httpx.TransportError as error:
            soak.codes[f"stream {type(error).__name__}"] += 1
        await asyncio.sleep(1)


async def scraping(soak: Soak) -> None:
    """Prometheus, and a client that pages through a run."""
    while True:
        for path in ("/metrics", "/v1/runs/score-16/history?limit=500", "/v1/runs/score-16/problems", "/readyz"):
            answer = await soak.client.get(path)
            soak.codes[str(answer.status_code)] += 1
            # The run may not have begun.
            if answer.status_code != 200 and not (answer.status_code == 404 and "score-16" in path):
                soak.findings.note(f"status {answer.status_code}", path)
        await asyncio.sleep(15)


def _count(groups: Sequence[Sequence[Row]]) -> tuple[int, int]:
    return sum(map(len, groups)), sum(len(rows) for rows in groups if rows[0].hostile)


# --- samples -----------------------------------------------------------------------------------------------


async def sampling(soak: Soak, pid: int) -> None:
    while True:
        soak.samples.append(await asyncio.to_thread(look, soak, pid))
        await asyncio.sleep(EVERY_S)


def look(soak: Soak, pid: int) -> Sample:
    below = children(pid)
    return Sample(
        at=time.monotonic() - soak.began,
        server=proportional(pid),
        verifiers=sum(map(proportional, below)),
        resident=resident(pid) + sum(map(resident, below)),
        largest=max(map(resident, below), default=0),
        done=soak.rollouts,
    )


def draw(soak: Soak, path: Path) -> None:
    """Draw memory over time, and rollouts a second."""
    from matplotlib.figure import Figure

    minutes = [one.at / 60 for one in soak.samples]
    figure = Figure(figsize=(9, 5.5))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for name, of, colour in (
        ("all processes", lambda one: one.total, "#4a5568"),
        ("server", lambda one: one.server, "#1b7f8c"),
        ("verifier workers", lambda one: one.verifiers, "#c0392b"),
    ):
        upper.plot(minutes, [of(one) / MIB for one in soak.samples], label=name, color=colour, linewidth=1)
    upper.axvspan(0, WARM_UP * minutes[-1], color="#eeeeee", label="warm-up")
    upper.set_ylabel("memory, MiB (PSS)")
    upper.set_ylim(bottom=0)
    upper.legend(frameon=False, fontsize=8, ncols=4, loc="upper right")
    # A big batch is counted when it is answered: the rate over half a minute.
    reach = max(1, round(30 / EVERY_S))
    pairs = list(zip(soak.samples, soak.samples[reach:], strict=False))
    lower.plot(
        [b.at / 60 for _, b in pairs],
        [(b.done - a.done) / (b.at - a.at) for a, b in pairs],
        color="#1b7f8c",
        linewidth=1,
    )
    lower.set_ylabel("rollouts a second")
    lower.set_xlabel("minutes")
    lower.set_ylim(bottom=0)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def report(
    soak: Soak, seconds: float, core_seconds: float, memory: dict[str, Any], console: Console
) -> dict[str, Any]:
    table = Table(title="Times of answers", title_justify="left")
    for name in ("verb", "rollouts", "requests", "p50 ms", "p99 ms", "longest ms"):
        table.add_column(name, justify="left" if name == "verb" else "right")
    rows = []
    for (verb, size), took in sorted(soak.took.items()):
        took.sort()
        p50, p99, longest = (1000 * took[int(q * (len(took) - 1))] for q in (0.5, 0.99, 1.0))
        rows.append(
            {"verb": verb, "rollouts": size, "requests": len(took), "p50_ms": p50, "p99_ms": p99, "max_ms": longest}
        )
        table.add_row(verb, f"{size:,}", f"{len(took):,}", f"{p50:,.1f}", f"{p99:,.1f}", f"{longest:,.1f}")
    console.print(table)
    console.print(
        f"{soak.rollouts:,} rollouts in {seconds / 60:.1f} minutes: {soak.rollouts / seconds:,.0f} a second, "
        f"{1e6 * core_seconds / max(1, soak.rollouts):,.0f} µs of CPU each; {soak.hostile:,} hostile "
        f"({100 * soak.hostile / max(1, soak.rollouts):.2f}%); {soak.events:,} events streamed"
    )
    console.print(
        f"in use after the warm-up: malloc {memory['malloc_mib']:.1f} MiB, {100 * memory['malloc_growth']:+.1f}% "
        f"from end to end; {memory['blocks']:,.0f} blocks of Python, {100 * memory['blocks_growth']:+.1f}%"
    )
    console.print(
        f"resident, all processes: median {memory['median_mib']:.0f} MiB, at most {memory['most_mib']:.0f} of "
        f"{memory['planned_mib']:.0f}; server in the first third {memory['server_first_third_mib']:.0f}, in the last "
        f"{memory['server_last_third_mib']:.0f}; slope {memory['slope_mib_per_hour']:+.1f} "
        f"± {memory['slope_error_mib_per_hour']:.1f} MiB an hour; largest verifier "
        f"{memory['largest_verifier_mib']:.0f}"
    )
    for rule, holds in memory["kept"].items():
        console.print(f"[bold]{'yes' if holds else 'NO '}[/bold]  {rule}")
    console.print(f"answers by code: {dict(soak.codes)}")
    wrong = dict(soak.findings.wrong)
    console.print(
        f"wrong: {wrong or 'nothing'}; undecided where an idle service decides: {soak.findings.undecided:,}"
    )
    for example in soak.findings.examples:
        console.print(f"  {example}", markup=False, highlight=False)
    unlike = soak.traffic.mislabelled
    console.print(f"rows whose verdict is not their label, before the load: {len(unlike)} {unlike[:8]}", markup=False)
    return {
        "source": soak.traffic.source,
        "seconds": seconds,
        "rollouts": soak.rollouts,
        "rollouts_per_s": soak.rollouts / seconds,
        "cpu_us_per_rollout": 1e6 * core_seconds / max(1, soak.rollouts),
        "hostile": soak.hostile,
        "events": soak.events,
        "rows": rows,
        "memory": memory,
        "codes": dict(soak.codes),
        "wrong": wrong,
        "undecided_under_load": soak.findings.undecided,
        "unlike_their_label": unlike,
        "samples": [[round(s.at, 1), s.server, s.verifiers, s.resident, s.done] for s in soak.samples],
    }


async def run(service: Service, options: argparse.Namespace, probe: Path, console: Console) -> dict[str, Any]:
    traffic = load()
    console.print(f"rows: {len(traffic.problems)} problems, {len(traffic.hostile)} hostile; {traffic.source}")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=300, limits=limits) as client:
        await traffic.learn(client)
        pids = [service.pid, *children(service.pid)]
        soak = Soak(traffic, options.hostile, options.rate, client)
        await fill(soak)
        console.print(f"filled the tables of {len(RUNS)} runs in {time.monotonic() - soak.began:.0f} s")
        before, since = sum(map(cpu, pids)), time.time()
        soak.began = time.monotonic()
        work: list[Awaitable[None]] = [scoring(soak, size) for size in SCORED]
        work += [verifying(soak, size) for size in VERIFIED]
        work += [*(verify_and_shape(soak, size) for size in OBSERVED), single_rollouts(soak)]
        work += [watching(soak, path) for path in STREAMS]
        work += [scraping(soak), sampling(soak, service.pid)]
        tasks = [asyncio.ensure_future(one) for one in work]
        await show(soak, 60 * options.minutes, console)
        seconds = time.monotonic() - soak.began
        soak.samples.append(look(soak, service.pid))
        spent = sum(map(cpu, {*pids, *children(service.pid)})) - before
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error
        memory = verdict(soak.samples, *in_use(probe, since))
        figures = report(soak, seconds, spent, memory, console)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "soak.json").write_text(json.dumps(figures) + "\n")
        draw(soak, options.out / "soak.png")
        console.print(f"written: {options.out}/soak.json, {options.out}/soak.png")
    return figures


async def show(soak: Soak, seconds: float, console: Console) -> None:
    """Show a progress bar until the end; without a terminal, print a line a minute."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    said = 0.0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=seconds)
        while (at := time.monotonic() - soak.began) < seconds:
            await asyncio.sleep(min(1.0, seconds - at))
            memory = soak.samples[-1].total / MIB if soak.samples else 0.0
            wrong = sum(soak.findings.wrong.values())
            text = f"{soak.rollouts:,} rollouts, {memory:.0f} MiB, {wrong} wrong"
            progress.update(bar, completed=at, description=text)
            if not console.is_terminal and at - said >= 60:
                said = at
                console.print(f"{at / 60:5.1f} min  {text}")


@contextmanager
def probed(file: Path) -> Iterator[Path]:
    """Let the processes that start in the block write their memory in use to a file."""
    os.environ["SOAK_PROBE"] = str(file)
    paths = [str(Path(__file__).parent / "probe"), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    yield file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hostile", type=float, default=0.01, help="share of hostile groups (default: 0.01)")
    parser.add_argument("--rate", type=float, default=0.0, help="rollouts a second; 0: as many as it takes (default)")
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.png")
    options = parser.parse_args()
    os.environ.setdefault("DEEPCOMPRESS_VERIFIER_WORKERS", "2")
    console = Console(width=120 if not sys.stdout.isatty() else None)
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server(Path(name)) as url,
        probed(Path(name) / "probe.txt") as probe,
        service(url) as served,
    ):
        figures = asyncio.run(run(served, options, probe, console))
    if figures["wrong"] or not all(figures["memory"]["kept"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
