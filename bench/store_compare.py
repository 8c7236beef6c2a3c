"""The processor time of a commit in this checkout, divided by that in another one.

    python bench/store_compare.py CHECKOUT [--stores redis,sqlite] [--groups 512] [--problems 10000,1000]
                                  [--steps-before 4] [--repeats 60]

CHECKOUT has an environment of its own in `.venv`. Both checkouts train in a process of their own, in turn, one step
at a time: so a busy machine affects them alike. The requests are those of `store_speed.py`. Redis runs with
`appendfsync no`.

Columns: the median processor time of a request in ms (this process and Redis) there and here, the ratio of the
medians, the median of the ratios pair by pair, the ratio of the means, and that of the medians by the clock. For
Redis also the memory at the end in bytes, there and here: of a problem's record with its name, and of a group in the
last step.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import mean, median

HERE = Path(__file__).resolve().parents[1]


async def train(name: str, problems: int, groups: int, before: int) -> None:
    """Train in the checkout that is the working directory: a step for each line of the input; print its times."""
    sys.path.insert(0, "bench")
    from redis.asyncio import Redis

    import store_speed as speed
    from deepcompress_service.difficulty.model import Commit

    async with AsyncExitStack() as stack:
        client = None
        if name == "redis":
            url = await stack.enter_async_context(speed.redis_server("no"))
            client = Redis.from_url(url)
        else:
            path = f"{stack.enter_context(tempfile.TemporaryDirectory())}/state.sqlite3"
            url = f"sqlite:///{path}"
        store = speed.open_store(url, timeout_s=60.0)
        await store.open()
        await speed.begin(store)
        if client is not None:
            await speed.fill_redis(client, problems)
        else:
            speed.fill_sqlite(path, problems)
        rng, step = random.Random(groups), 2
        while step < 2 + before or sys.stdin.readline().strip():
            names = rng.sample(range(problems), groups)
            commit = Commit(speed.RUN, tuple(speed.a_group(rng, name, b"") for name in names), step=step)
            series = speed.Series()
            async with series.measure(client):
                await store.commit(commit)
            if step >= 2 + before:
                print(series.cpu[0], series.clock[0], flush=True)
            step += 1
        await store.close()
        if client is not None:
            of_problems = await client.memory_usage(f"dc:{{{speed.RUN}}}:p", samples=0)
            of_groups = await client.memory_usage(f"dc:{{{speed.RUN}}}:g:{step - 1}", samples=0)
            print(f"{of_problems / problems:.0f}", f"{of_groups / groups:.0f}")
            await client.aclose()


def compare(checkout: Path, name: str, problems: int, options: argparse.Namespace) -> None:
    """Print the line of one store and one number of problems."""
    arguments = ["--train", name, "--problems", str(problems), "--groups", str(options.groups)]
    arguments += ["--steps-before", str(options.steps_before)]
    workers = [
        subprocess.Popen(
            [str(folder / ".venv/bin/python"), __file__, ".", *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in (checkout, HERE)
    ]
    times: tuple[list[tuple[float, ...]], ...] = ([], [])
    for repeat in range(options.repeats):
        for index in (0, 1) if repeat % 2 else (1, 0):
            worker = workers[index]
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write("step\n")
            worker.stdin.flush()
            times[index].append(tuple(map(float, worker.stdout.readline().split())))
    memory = [worker.communicate("\n")[0].split() for worker in workers]
    there, here = ([cpu for cpu, _ in one] for one in times)
    paired = median(one / other for one, other in zip(here, there, strict=True))
    clock = median(one for _, one in times[1]) / median(one for _, one in times[0])
    text = f"{name:7} {problems:9,} {1e3 * median(there):9.2f} {1e3 * median(here):9.2f}"
    ratios = (median(here) / median(there), paired, mean(here) / mean(there), clock)
    each = (f"{before:>6} {now:>6}" for before, now in zip(*memory, strict=True))
    print(text, *(f"{ratio:8.2f}" for ratio in ratios), *each, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--stores", default="redis,sqlite")
    parser.add_argument("--groups", type=int, default=512)
    parser.add_argument("--problems", default="10000,1000")
    parser.add_argument(
        "--steps-before", type=int, default=4, help="steps of the training before the first that counts"
    )
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        asyncio.run(train(options.train, int(options.problems), options.groups, options.steps_before))
        return
    print("store    problems     there      here   median   paired     mean    clock    a problem      a group")
    for name in options.stores.split(","):
        for problems in map(int, options.problems.split(",")):
            compare(options.checkout.resolve(), name, problems, options)


if __name__ == "__main__":
    main()
