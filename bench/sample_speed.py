"""The time of a sample in each difficulty store, and what a data set adds to a commit, by problems in the data set.

    python bench/sample_speed.py [--n 512] [--problems 1000,10000,100000,1000000] [--stores redis,sqlite]
                                 [--policies uniform,signal,mastered] [--repeats 15] [--fsync always]

Each repeat is a step of a training: `store.sample` draws n problems, the floor reads n records of random problems
that have one, raw (one HMGET on the same server; one SELECT on the same file), `store.commit` counts a group of each
problem drawn, which closes the step before; then the same groups are counted in a second run that has the same
problems and no data set. All are timed one after the other, so that a busy machine affects them alike. Half of the
problems have a record, a tenth a prior, and there are four data sources. With `--floor drawn` the floor asks for the
records of the problems drawn, of which only a part has one. With 1,000 problems the floor is the 500 that there are.

Columns: medians in ms by the clock of sample and floor, their ratio, and the ratio of the CPU times of this process
and Redis; the same for the commits with and without data set. After each number of problems: the time to register
the data set, and the bytes of its index (MEMORY USAGE, or growth of the file).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from deepcompress_service.curriculum import resolve
from deepcompress_service.difficulty.bins import RATIOS
from deepcompress_service.difficulty.dataset import DatasetProblem
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.samples import Retirement, SampleRequest
from deepcompress_service.difficulty.store import DifficultyStore, open_store
from store_speed import Series, a_group, fill_redis, fill_sqlite, name_of, numbers, redis_server

RUN, PLAIN = "bench", "plain"
Floor = Callable[[list[str]], object]


async def problems_of(count: int) -> AsyncIterator[list[DatasetProblem]]:
    rng = random.Random(count)
    for start in range(0, count, 1000):
        yield [
            DatasetProblem(name_of(i), f"source {i % 4}", *((rng.random(), 8) if i % 10 == 0 else ()))
            for i in range(start, min(start + 1000, count))
        ]


@dataclasses.dataclass
class Line:
    """One measurement: samples, their floor, and commits with and without a data set."""

    sample: Series = dataclasses.field(default_factory=Series)
    floor: Series = dataclasses.field(default_factory=Series)
    commit: Series = dataclasses.field(default_factory=Series)
    plain: Series = dataclasses.field(default_factory=Series)


async def measure(
    store: DifficultyStore,
    policy: str,
    arguments: argparse.Namespace,
    client: Redis | None,
    step: int,
    floor: Floor,
    recorded: int,
) -> Line:
    resolved = resolve(policy)
    rest = None if resolved.retirement is None else Retirement(*resolved.retirement)
    line, rng = Line(), random.Random(step)
    for i in range(step, step + arguments.repeats):
        request = SampleRequest(RUN, i, arguments.n, resolved.weights(RATIOS), policy, rest)
        async with line.sample.measure(client):
            drawn = await store.sample(request)
        names = [name for name, _ in drawn.problems]
        read = names
        if arguments.floor == "records":
            read = [name_of(one) for one in rng.sample(range(recorded), min(arguments.n, recorded))]
        async with line.floor.measure(client):
            found = floor(read)
            if asyncio.iscoroutine(found):
                await found
        groups = tuple(a_group(rng, int(name[-7:]), b"") for name in names)
        order = [(RUN, line.commit), (PLAIN, line.plain)]
        for run, series in order if i % 2 else order[::-1]:
            async with series.measure(client):
                await store.commit(Commit(run, groups, step=i))
    return line


def say(store: str, problems: int, policy: str, line: Line) -> None:
    text = f"{store:7} {problems:9,} {policy:9}"
    for one, other in ((line.sample, line.floor), (line.commit, line.plain)):
        ratio = median(one.clock) / median(other.clock)
        text += f" {1e3 * median(one.clock):9.2f} {1e3 * median(other.clock):9.2f} {ratio:6.2f}"
        text += f" {median(one.cpu) / median(other.cpu):6.2f}"
    print(text, flush=True)


async def begin(store: DifficultyStore, run: str) -> None:
    for step in (0, 1):
        group = a_group(random.Random(step), 0, b"")
        config = DifficultyConfig(keep_steps=64)
        await store.commit(Commit(run, (group,), step=step, config=config, config_text="{}"))


async def register(store: DifficultyStore, problems: int) -> str:
    start = time.perf_counter()
    await store.put_dataset(RUN, problems_of(problems))
    return f"registered in {time.perf_counter() - start:.1f} s"


async def bench(
    store: DifficultyStore,
    name: str,
    problems: int,
    arguments: argparse.Namespace,
    client: Redis | None,
    floor: Floor,
) -> None:
    step = 2
    for policy in arguments.policies.split(","):
        say(name, problems, policy, await measure(store, policy, arguments, client, step, floor, problems // 2))
        step += arguments.repeats


async def bench_redis(problems: int, arguments: argparse.Namespace) -> None:
    async with redis_server(arguments.fsync) as url:
        store, client = open_store(url, timeout_s=60.0), Redis.from_url(url, socket_timeout=300)
        await store.open()
        for run in (RUN, PLAIN):
            await begin(store, run)
            await fill_redis(client, problems // 2, run)
        taken = await register(store, problems)
        key = f"dc:{{{RUN}}}:p"
        await bench(store, "redis", problems, arguments, client, lambda names: client.hmget(key, names))
        sizes = {name: await client.memory_usage(f"dc:{{{RUN}}}:{name}", samples=0) or 0 for name in ("dx", "dp")}
        each = ", ".join(f"{name} {size / problems:.0f}" for name, size in sizes.items())
        print(f"        {taken}; bytes of the index for each problem: {each}")
        await store.close()
        await client.aclose()


async def bench_sqlite(problems: int, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.sqlite3"
        store = open_store(f"sqlite:///{path}", timeout_s=60.0)
        await store.open()
        for run in (RUN, PLAIN):
            await begin(store, run)
            fill_sqlite(str(path), problems // 2, run)
        reader = sqlite3.connect(path)
        before = pages(reader)
        taken = await register(store, problems)
        grown = pages(reader) - before
        statement = (
            "SELECT problem_id, record FROM problems WHERE space = (SELECT space FROM spaces WHERE run = ?)"  # noqa: S608 - marks only
            f" AND problem_id IN ({','.join('?' * arguments.n)})"
        )

        def floor(names: list[str]) -> object:
            padded = [*names, *[""] * (arguments.n - len(names))]
            return reader.execute(statement, (RUN, *padded)).fetchall()

        await bench(store, "sqlite", problems, arguments, None, floor)
        print(f"        {taken}; bytes of the index for each problem: {grown / problems:.0f}")
        reader.close()
        await store.close()


def pages(connection: sqlite3.Connection) -> int:
    """Return the size of the database in bytes."""
    (count,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(count * size)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--problems", type=numbers, default="1000,10000,100000,1000000")
    parser.add_argument("--stores", default="redis,sqlite")
    parser.add_argument("--policies", default="uniform,signal,mastered")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--floor", default="records", choices=("records", "drawn"))
    parser.add_argument("--fsync", default="always", choices=("always", "everysec", "no"))
    arguments = parser.parse_args()
    print("store    problems policy       sample     floor  ratio    cpu    commit   without  ratio    cpu")
    for name, run in (("redis", bench_redis), ("sqlite", bench_sqlite)):
        if name in arguments.stores:
            for problems in arguments.problems:
                await run(problems, arguments)


if __name__ == "__main__":
    asyncio.run(main())
