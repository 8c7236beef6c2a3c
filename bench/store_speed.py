"""How fast the difficulty stores take a request, against groups in it and problems known.

    python bench/store_speed.py [--groups 1,8,64,512,2048] [--problems 1000,10000,100000,1000000]
                                [--stores redis,sqlite] [--fsync always]

Times are of `store.commit`, one request after the other over one connection, each a new step with 16 rollouts a
group and a payload of `--payload` bytes (about what the verdicts of 16 rollouts take). Beside Redis stands the
floor: all bytes that such a request leaves in Redis, sent as one pipelined HSET to the same server, timed at the
client's call too. redis-server runs with `appendonly yes`, `appendfsync always`, as the guarantee needs; with
`--fsync no` the disk is left out, which shows the work alone. After each size: what a problem takes in Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.redis_commit import SHARED
from deepcompress_service.difficulty.store import DifficultyStore, open_store

G = 16


def a_group(rng: random.Random, name: int, payload: bytes) -> GroupCommit:
    passes = rng.randrange(G + 1)
    return GroupCommit(
        group_id=f"problem-{name:07}",
        problem_id=f"problem-{name:07}",
        digest=rng.randbytes(16),
        payload=payload,
        size=G,
        passes=passes,
        tokens_sum=G * 1000,
        correct_tokens_sum=passes * 1000,
        correct_tokens_min=1000 if passes else None,
    )


async def fill(store: DifficultyStore, run: str, problems: int) -> int:
    """Make the run know so many problems; the next step."""
    rng = random.Random(0)
    step = 0
    for start in range(0, problems, 10_000):
        batch = tuple(a_group(rng, i, b"") for i in range(start, min(start + 10_000, problems)))
        await store.commit(Commit(run, batch, step=step, config=DifficultyConfig(keep_steps=8), config_text="{}"))
        step += 1
    return step


async def time_commits(
    store: DifficultyStore,
    run: str,
    step: int,
    groups: int,
    problems: int,
    arguments: argparse.Namespace,
    client: Redis | None = None,
) -> tuple[list[float], list[float]]:
    """Seconds of each commit, and of the floor right after it, so that a busy machine troubles both alike."""
    rng = random.Random(groups)
    times, floor = [], []
    for i in range(arguments.repeats):
        names = rng.sample(range(problems), groups)
        payload = bytes(arguments.payload)
        commit = Commit(run, tuple(a_group(rng, name, payload) for name in names), step=step + i)
        start = time.perf_counter()
        await store.commit(commit)
        times.append(time.perf_counter() - start)
        if client is not None:
            floor.append(await time_floor(client, await stored_by(client, run, step + i, groups)))
    return times, floor


async def stored_by(client: Redis, run: str, step: int, groups: int) -> list[Any]:
    """What the last request left: fields and values of its groups, undo, problems, and the run's own keys."""
    prefix = f"dc:{{{run}}}:"
    flat: list[Any] = []
    names = [name for name in await client.hgetall(f"{prefix}g:{step}") if not name.startswith(SHARED)]
    flat += (b"n", b"".join(await client.lrange(f"{prefix}n:{step}", 0, -1)))
    for key in (f"{prefix}g:{step}", f"{prefix}u:{step}", f"{prefix}m", f"{prefix}t"):
        for field, value in (await client.hgetall(key)).items():
            flat += (key[-8:].encode() + field, value)
    for field, value in zip(names, await client.hmget(f"{prefix}p", names), strict=True):
        flat += (b"p:" + field, value)
    return flat


async def time_floor(client: Redis, flat: list[Any]) -> float:
    start = time.perf_counter()
    async with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("HSET", "floor", *flat)
        await pipe.execute()
    taken = time.perf_counter() - start
    await client.unlink("floor")
    return taken


@asynccontextmanager
async def redis_server(fsync: str) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = f"redis-server --port {port} --bind 127.0.0.1 --dir {folder} --save --appendonly yes"
        server = await asyncio.create_subprocess_exec(
            *command.split(), "--appendfsync", fsync, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            url = f"redis://127.0.0.1:{port}/0"
            async with Redis.from_url(url, retry=Retry(ConstantBackoff(0.1), 100)) as client:
                await client.ping()
            yield url
        finally:
            server.kill()
            await server.wait()


def say(store: str, problems: int, groups: int, times: list[float], floor: Sequence[float] = ()) -> None:
    middle = statistics.median(times)
    line = f"{store:7} {problems:9,} {groups:6,} {1 / middle:9.1f} {middle * 1e3:9.2f} {max(times) * 1e3:9.2f}"
    if floor:
        least = statistics.median(floor)
        line += f" {least * 1e3:9.2f} {middle / least:6.2f}"
    print(line, flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="1,8,64,512,2048")
    parser.add_argument("--problems", default="1000,10000,100000,1000000")
    parser.add_argument("--stores", default="redis,sqlite")
    parser.add_argument("--payload", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fsync", default="always", choices=("always", "everysec", "no"))
    arguments = parser.parse_args()
    sizes = [int(n) for n in arguments.groups.split(",")]
    known = [int(n) for n in arguments.problems.split(",")]
    print("store    problems groups  requests/s  median ms    max ms  floor ms  ratio")
    if "redis" in arguments.stores and shutil.which("redis-server"):
        async with redis_server(arguments.fsync) as url:
            store, client = open_store(url, timeout_s=60.0), Redis.from_url(url)
            await store.open()
            for problems in known:
                run = f"bench-{problems}"
                step = await fill(store, run, problems)
                for groups in (n for n in sizes if n <= problems):
                    times, floor = await time_commits(store, run, step, groups, problems, arguments, client)
                    step += arguments.repeats
                    say("redis", problems, groups, times, floor)
                needed = await client.memory_usage(f"dc:{{{run}}}:p", samples=0)
                print(
                    f"        {problems:,} problem records: {needed / 1e6:.1f} MB"
                    f" ({needed / problems:.0f} bytes each)"
                )
                await store.delete_run(run)
            await store.close()
            await client.aclose()
    if "sqlite" in arguments.stores:
        with tempfile.TemporaryDirectory() as folder:
            for problems in known:
                store = open_store(f"sqlite:///{folder}/{problems}.sqlite3")
                await store.open()
                step = await fill(store, "bench", problems)
                for groups in (n for n in sizes if n <= problems):
                    times, _ = await time_commits(store, "bench", step, groups, problems, arguments)
                    step += arguments.repeats
                    say("sqlite", problems, groups, times)
                await store.close()


if __name__ == "__main__":
    asyncio.run(main())
