"""The time of a commit in each difficulty store, by groups in the request and problems in the run.

    python bench/store_speed.py [--groups 1,8,64,512,2048] [--problems 1000,10000,100000,1000000]
                                [--stores redis,sqlite] [--payloads 0,400] [--sources 0] [--fsync always]

Times are of `store.commit`: one request after the other over one connection, each a new step with 16 rollouts a
group. The payload of a group is empty for `shape`; for `score` it is the packed verdicts, about 400 bytes for 16
rollouts. For Redis the table also has a lower bound, the floor: all bytes that the request leaves in Redis, sent to
the same server as one pipelined HSET right after the request, and timed in the same way. redis-server runs with
`appendonly yes` and `appendfsync always`, as the guarantee requires; `--fsync no` leaves out the disk and shows the
only CPU work. Redis would rewrite its log after the filling, and a rewrite slows every write; it is switched off
unless `--rewrites` is given.

Each line has the median and the minimum of the repeats, and the median CPU time of one request in this process and in
Redis: on a shared machine the CPU time is the most reliable. After the lines of a store: the CPU time of a group by
the size of the request, and of a request by the number of problems. After each number of problems: the memory of
their records in Redis, and the time of a page of 100 of them: the first (which makes the index of their names), the
next, and one by pass ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import shutil
import socket
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from deepcompress_service.difficulty.codec import pack_bins, pack_problem
from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit, ProblemState
from deepcompress_service.difficulty.records import ProblemRecord, StepDelta
from deepcompress_service.difficulty.store import DifficultyStore, open_store
from deepcompress_service.difficulty.stores.redis_commit import REQUEST, groups_of_request

G = 16
RUN = "bench"
AT_ONCE = 5000
KINDS = {0: "shape"}
"""The kind of request by its payload in bytes; any other payload is a score."""


@dataclass
class Series:
    """Seconds of each repeat: wall clock and CPU time."""

    clock: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)

    @asynccontextmanager
    async def measure(self, client: Redis | None) -> AsyncIterator[None]:
        cpu = await cpu_seconds(client)
        start = time.perf_counter()
        yield
        self.clock.append(time.perf_counter() - start)
        self.cpu.append(await cpu_seconds(client) - cpu)

    def row(self) -> str:
        return f"{1e3 * median(self.clock):9.2f} {1e3 * min(self.clock):8.2f} {1e3 * median(self.cpu):7.2f}"


async def cpu_seconds(client: Redis | None) -> float:
    """CPU time of this process and of Redis."""
    if client is None:
        return time.process_time()
    used = await client.info("cpu")
    return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@dataclass(frozen=True)
class Line:
    """One measurement: the requests, and the lower bound after each."""

    problems: int
    groups: int
    payload: int
    request: Series = dataclasses.field(default_factory=Series)
    floor: Series = dataclasses.field(default_factory=Series)


def name_of(problem: int) -> str:
    return f"problem-{problem:07}"


def a_group(rng: random.Random, problem: int, payload: bytes, sources: int = 0) -> GroupCommit:
    passes = rng.randrange(G + 1)
    return GroupCommit(
        group_id=name_of(problem),
        problem_id=name_of(problem),
        digest=rng.randbytes(16),
        payload=payload,
        size=G,
        passes=passes,
        tokens_sum=G * 1000,
        correct_tokens_sum=passes * 1000,
        correct_tokens_min=1000 if passes else None,
        lengths=pack_bins(bytes(rng.choices(range(100, 120), k=passes))),
        data_source=f"source-{problem % sources}" if sources else None,
    )


async def begin(store: DifficultyStore) -> None:
    """Create the run, its first two steps, and the first problem."""
    for step in (0, 1):
        group = a_group(random.Random(step), 0, b"")
        await store.commit(Commit(RUN, (group,), step=step, config=DifficultyConfig(keep_steps=8), config_text="{}"))


def records(problems: int) -> Iterator[list[tuple[str, bytes]]]:
    """Write all problems but the first as step 0 would have left them, in portions: by requests it takes minutes."""
    rng = random.Random(0)
    kinds = [
        pack_problem(
            ProblemRecord(ProblemState(""), StepDelta(0, G, passes, 1000 if passes else None, passes * 1000, passes))
        )
        for passes in range(G + 1)
    ]
    for start in range(1, problems, AT_ONCE):
        yield [(name_of(i), rng.choice(kinds)) for i in range(start, min(start + AT_ONCE, problems))]


async def fill_redis(client: Redis, problems: int, run: str = RUN) -> None:
    for some in records(problems):
        await client.hset(f"dc:{{{run}}}:p", mapping=dict(some))
    await client.hset(f"dc:{{{run}}}:m", "problems", str(problems))


def fill_sqlite(path: str, problems: int, run: str = RUN) -> None:
    with sqlite3.connect(path, timeout=60) as connection:
        for some in records(problems):
            connection.executemany(
                "INSERT INTO problems SELECT space, ?, ? FROM spaces WHERE run = ?", [(*row, run) for row in some]
            )
        connection.execute("UPDATE spaces SET meta = json_set(meta, '$.problems', ?) WHERE run = ?", (problems, run))
    connection.close()


async def time_commits(
    store: DifficultyStore,
    step: int,
    groups: int,
    problems: int,
    payload: int,
    repeats: int,
    client: Redis | None = None,
    sources: int = 0,
) -> Line:
    """Time each request, and the floor right after it, so that a busy machine affects both alike."""
    rng = random.Random(groups)
    line = Line(problems, groups, payload)
    for i in range(repeats):
        names = rng.sample(range(problems), groups)
        sent = tuple(a_group(rng, name, bytes(payload), sources) for name in names)
        commit = Commit(RUN, sent, step=step + i)
        async with line.request.measure(client):
            await store.commit(commit)
        if client is not None:
            flat = await stored_by(client, RUN, step + i, groups)
            async with line.floor.measure(client), client.pipeline(transaction=False) as pipe:
                pipe.execute_command("HSET", "floor", *flat)
                await pipe.execute()
            await client.unlink("floor")
    return line


async def stored_by(client: Redis, run: str, step: int, groups: int) -> list[Any]:
    """Return the data of the last request: fields and values of its groups, undo, problems and the run."""
    prefix = f"dc:{{{run}}}:"
    flat: list[Any] = []
    of_groups = await client.hgetall(f"{prefix}g:{step}")
    names = [name for name, _ in groups_of_request(of_groups[REQUEST])]
    assert len(names) == groups
    flat += (b"n", b"".join(await client.lrange(f"{prefix}n:{step}", 0, -1)))
    for key in (f"{prefix}g:{step}", f"{prefix}u:{step}", f"{prefix}m", f"{prefix}t"):
        for field, value in (await client.hgetall(key)).items():
            flat += (key[-8:].encode() + field, value)
    flat += (b"b", b"".join(await client.zrangebyscore(f"{prefix}b", step, step)))
    for field, value in zip(names, await client.hmget(f"{prefix}p", names), strict=True):
        flat += (b"p:" + field, value)
    return flat


async def time_pages(store: DifficultyStore) -> str:
    taken = []
    cursor: str | None = None
    for _ in range(2):
        start = time.perf_counter()
        _, cursor = await store.problems(RUN, limit=100, cursor=cursor)
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    await store.problems(RUN, limit=100, sort="pass_ratio")
    taken.append(time.perf_counter() - start)
    first, following, by_ratio = (f"{1e3 * seconds:.1f} ms" for seconds in taken)
    return f"a page of 100: the first {first}, the next {following}, by pass ratio {by_ratio}"


@asynccontextmanager
async def redis_server(fsync: str, *, rewrites: bool = False) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = f"redis-server --port {port} --bind 127.0.0.1 --dir {folder} --save --appendonly yes"
        server = await asyncio.create_subprocess_exec(
            *command.split(),
            *("--appendfsync", fsync, "--auto-aof-rewrite-percentage", "100" if rewrites else "0"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            url = f"redis://127.0.0.1:{port}/0"
            async with Redis.from_url(url, retry=Retry(ConstantBackoff(0.1), 100)) as client:
                await client.ping()
            yield url
        finally:
            server.kill()
            await server.wait()


HEADER = (
    "store   kind    problems groups  requests/s       ms    least     cpu"
    "  floor ms    least     cpu   ratio  least    cpu"
)


def say(store: str, line: Line) -> Line:
    kind, request, floor = KINDS.get(line.payload, "score"), line.request, line.floor
    text = f"{store:7} {kind:6} {line.problems:9,} {line.groups:6,} {1 / median(request.clock):11.1f}{request.row()}"
    if floor.clock:
        ratios = (
            median(request.clock) / median(floor.clock),
            min(request.clock) / min(floor.clock),
            median(request.cpu) / median(floor.cpu),
        )
        text += f" {floor.row()} {ratios[0]:7.2f} {ratios[1]:6.2f} {ratios[2]:6.2f}"
    print(text, flush=True)
    return line


def conclude(store: str, lines: Sequence[Line]) -> None:
    """Print the CPU time of a group by groups, and that of a request by problems."""
    cost = {(line.payload, line.problems, line.groups): median(line.request.cpu) for line in lines}
    for payload in sorted({line.payload for line in lines}):
        of_kind = [line for line in lines if line.payload == payload]
        most = max(line.problems for line in of_kind)
        sizes = sorted({line.groups for line in of_kind if line.problems == most})
        each = ", ".join(f"{groups:,}: {1e6 * cost[payload, most, groups] / groups:.0f}" for groups in sizes)
        kind = f"{store} {KINDS.get(payload, 'score')}"
        print(f"{kind}: processor time of a group in µs, by groups, {most:,} problems known: {each}")
        for groups in sizes:
            known = sorted({line.problems for line in of_kind if line.groups == groups})
            each = ", ".join(f"{problems:,}: {1e3 * cost[payload, problems, groups]:.2f}" for problems in known)
            print(f"{kind}: processor time of {groups:,} groups in ms, by problems known: {each}")


async def bench(
    store: DifficultyStore, name: str, problems: int, arguments: argparse.Namespace, client: Redis | None
) -> list[Line]:
    assert (await store.get_run(RUN)).problems == problems, "the filling and the store do not agree"
    lines, step = [], 2
    for payload in arguments.payloads:
        for groups in (n for n in arguments.groups if n <= problems):
            line = await time_commits(
                store, step, groups, problems, payload, arguments.repeats, client, arguments.sources
            )
            step += arguments.repeats
            lines.append(say(name, line))
    return lines


async def bench_redis(problems: int, arguments: argparse.Namespace) -> list[Line]:
    async with redis_server(arguments.fsync, rewrites=arguments.rewrites) as url:
        store, client = open_store(url, timeout_s=60.0), Redis.from_url(url)
        await store.open()
        await begin(store)
        await fill_redis(client, problems)
        lines = await bench(store, "redis", problems, arguments, client)
        key = f"dc:{{{RUN}}}:"
        needed = await client.memory_usage(f"{key}p", samples=0)
        pages = await time_pages(store)
        index = await client.memory_usage(f"{key}i", samples=0)
        print(
            f"        {problems:,} problem records: {needed / 1e6:.1f} MB ({needed / problems:.0f} bytes each),"
            f" the index of their names {index / 1e6:.1f} MB; {pages}"
        )
        await store.close()
        await client.aclose()
    return lines


async def bench_sqlite(problems: int, arguments: argparse.Namespace) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "state.sqlite3")
        store = open_store(f"sqlite:///{path}")
        await store.open()
        await begin(store)
        fill_sqlite(path, problems)
        lines = await bench(store, "sqlite", problems, arguments, None)
        print(f"        {problems:,} problems: {await time_pages(store)}")
        await store.close()
    return lines


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=numbers, default="1,8,64,512,2048")
    parser.add_argument("--problems", type=numbers, default="1000,10000,100000,1000000")
    parser.add_argument("--stores", default="redis,sqlite")
    parser.add_argument("--payloads", type=numbers, default="0,400", help="bytes a group keeps beside its numbers")
    parser.add_argument("--sources", type=int, default=0, help="data sources of the groups (none by default)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fsync", default="always", choices=("always", "everysec", "no"))
    parser.add_argument("--rewrites", action="store_true", help="let Redis rewrite its log as it grows")
    arguments = parser.parse_args()
    if "redis" in arguments.stores and not shutil.which("redis-server"):
        parser.error("redis-server is not installed: --stores sqlite leaves it out")
    print(HEADER)
    for name, run in (("redis", bench_redis), ("sqlite", bench_sqlite)):
        if name in arguments.stores:
            conclude(name, [line for problems in arguments.problems for line in await run(problems, arguments)])


if __name__ == "__main__":
    asyncio.run(main())
