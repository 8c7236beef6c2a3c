"""Honest rollouts beside costly ones in one batch: verdicts lost, and the time against the honest ones alone.

    python bench/hostile_batch.py [--honest 960] [--hostile 30] [--workers 2]

A pool with the service's limits checks the honest rollouts alone, then beside each family of costly ones, then alone
again. The family `spinning` has comparisons that never end, by a decider of this file: it shows the effect of answers
whose cost no other limit bounds. For each batch:

- wall: its time in seconds;
- quiet: the wall time without the time in which the busiest worker was ready to run and had no processor (Linux
  counts it, in /proc/PID/schedstat): an estimate of the time on a machine without other load;
- CPU: of the checks, and of all processes, with the start of workers that replace ended ones.

The load of the machine is printed first.

Exit status 1 if an honest rollout lost its verdict, or a batch took longer than `--most` seconds (default: 10) on
the quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from deepcompress_service.settings import Settings
from deepcompress_verify import Check, VerifierPool
from deepcompress_verify.tiers import decide_pair

SPIN = "1+1+1+1+1"
SAMPLE_S = 0.02


class Processes(threading.Thread):
    """Samples the processor time and the waiting time of this process and its workers."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._last: dict[int, tuple[int, int]] = {}
        self._times: dict[int, tuple[int, int]] = {}
        """Nanoseconds of (running, waiting) by worker, with its forks."""

    def restart(self) -> None:
        """Begin a batch."""
        self._times = {}

    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes in the batch."""
        return sum(ran for ran, _ in self._times.values()) / 1e9

    def waited_s(self) -> float:
        """Return the seconds that the busiest process of the batch waited for a processor."""
        return max(self._times.values(), key=sum, default=(0, 0))[1] / 1e9

    def run(self) -> None:
        while True:
            time.sleep(SAMPLE_S)
            self._sample(os.getpid(), os.getpid())
            for worker in children(os.getpid()):
                pending = [worker]
                while pending:
                    pid = pending.pop()
                    self._sample(pid, worker)
                    pending += children(pid)

    def _sample(self, pid: int, worker: int) -> None:
        try:
            ran, waited, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        except (OSError, ValueError):
            return
        last, times = self._last.get(pid, (0, 0)), self._times.get(worker, (0, 0))
        self._last[pid] = ran, waited
        self._times[worker] = times[0] + ran - last[0], times[1] + waited - last[1]


def children(pid: int) -> list[int]:
    """Return the ids of the children of a process."""
    try:
        texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(one) for text in texts for one in text.split()]


def spinning(gold: tuple[str, ...], answer: str | None, restated_answer: str | None) -> tuple[str, str, str]:
    """Decide as the service does, but never end for answers that begin with SPIN."""
    while answer is not None and answer.startswith(SPIN):
        pass
    return decide_pair(gold, answer, restated_answer)


def honest(choice: random.Random, count: int) -> list[Check]:
    checks = []
    for _ in range(count):
        a, b = choice.randrange(2, 90), choice.randrange(2, 90)
        gold, right = choice.choice(
            (
                (str(a), str(a)),
                (rf"\frac{{{a}}}{{{b}}}", f"{a}/{b}"),
                (rf"{a}x+{b}", f"{b}+{a}x"),
                (rf"\sqrt{{{a}}}", rf"\sqrt{{{a}}}"),
                (rf"({a},{b})", rf"({a}, {b})"),
                (rf"x^2-{a * a}", rf"(x-{a})(x+{a})"),
            )
        )
        wrong = choice.random() < 0.4
        checks.append(Check((gold,), f"So it is \\boxed{{{'1' + right if wrong else right}}}."))
    return checks


def _signs(n: int) -> str:
    return r"(" + ",".join(rf"\pm {k + 1}" for k in range(12 + n)) + ")"


FAMILIES: dict[str, Callable[[int], tuple[str, str]]] = {
    "signs in tuples": lambda n: ("42", _signs(n)),
    "unions of integrals": lambda n: (
        "[" + r"\cap ".join(["a_1"] * 40) + "]",
        "[" + r"\cap ".join([rf"\int_0^1 \int_0^1 {n} dx dx"] * 40) + "]",
    ),
    "lists of sums": lambda n: (
        ",".join(rf"\sin({k})+\sqrt{{{k}}}" for k in range(2, 50)),
        ",".join(rf"\sin({k})+\sqrt{{{k + 60}}}" for k in range(2 + n, 50 + n)),
    ),
    "ratios of maxima": lambda n: (
        "(" + ":".join([rf"\pi:\max((999)^3)! \bmod |f({n})|"] * 20) + ")",
        "(" + ":".join([rf"\pi:\max((999)^3)! \bmod |f(5\%+{n})|"] * 20) + ")",
    ),
    "integrals for the algebra system": lambda n: (
        rf"\frac{{\pi^2}}{{6}}+{n}",
        rf"\int_0^1 \sin(x+{n})\exp(x)\ln(x+1)\sqrt{{x+{n}}}dx",
    ),
    "towers of roots": lambda n: (
        rf"\sqrt{{2+\sqrt{{{n}+\sqrt{{5+\sqrt{{7}}}}}}}}",
        rf"\sum_{{k=1}}^{{60}}\frac{{\sqrt{{k+{n}}}}}{{k!}}",
    ),
    "spinning": lambda n: ("42", f"{SPIN}+{n}"),
}  # fmt: skip


def hostile(family: str, count: int) -> list[Check]:
    golds = [FAMILIES[family](number) for number in range(count)]
    return [Check((gold,), rf"I think \boxed{{{answer}}}") for gold, answer in golds]


async def measure(options: argparse.Namespace) -> bool:
    settings = Settings()
    pool = VerifierPool(
        workers=options.workers,
        item_budget_s=settings.item_cpu_seconds,
        batch_budget_s=settings.batch_cpu_seconds,
        memory_bytes=settings.verifier_memory_bytes,
        decider=f"{Path(__file__).stem}:spinning",
    )
    processes = Processes()
    processes.start()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    await pool.start()
    await asyncio.sleep(3)
    choice = random.Random(4)
    good = honest(choice, options.honest)
    fine = True

    async def batch(name: str, bad: list[Check]) -> float:
        nonlocal fine
        checks = [(check, True) for check in good] + [(check, False) for check in bad]
        random.Random(7).shuffle(checks)
        cpu, killed = pool.stats().cpu_s, pool.stats().killed + pool.stats().crashed
        await asyncio.sleep(2 * SAMPLE_S)
        processes.restart()
        began = time.perf_counter()
        verdicts = await pool.verify_many([check for check, _ in checks])
        took = time.perf_counter() - began
        await asyncio.sleep(2 * SAMPLE_S)
        all_cpu, quiet = processes.cpu_s(), max(0.0, took - processes.waited_s())
        lost = sum(v.status == "undecided" for v, (_, is_good) in zip(verdicts, checks, strict=True) if is_good)
        kinds = Counter(v.status for v, (_, is_good) in zip(verdicts, checks, strict=True) if not is_good)
        cpu, killed = pool.stats().cpu_s - cpu, pool.stats().killed + pool.stats().crashed - killed
        print(
            f"{name:<33} wall {took:6.2f} s  quiet {quiet:5.2f} s  CPU {cpu:5.2f} s, all {all_cpu:5.2f} s"
            f"  lost {lost:3d}  workers ended {killed:3d}  {dict(kinds)}",
            flush=True,
        )
        fine = fine and lost == 0 and quiet <= options.most
        return took

    await batch("honest alone (warm-up)", [])
    alone = await batch("honest alone", [])
    for family in FAMILIES:
        took = await batch(family, hostile(family, options.hostile))
        print(f"{'':<34} {took / alone:6.1f} times the honest batch alone")
    each = [check for family in FAMILIES for check in hostile(family, options.hostile // len(FAMILIES) + 1)]
    await batch("all families", each[: options.hostile])
    await batch("honest alone", [])
    await pool.close()
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--honest", type=int, default=960)
    parser.add_argument("--hostile", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--most", type=float, default=10.0, help="longest quiet time of a batch in seconds")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the workers import the decider above
    sys.exit(not asyncio.run(measure(options)))


if __name__ == "__main__":
    main()
