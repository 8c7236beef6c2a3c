"""Verdicts a second: the library and the pool beside math-verify, on load_dev, in one run.

    python bench/verification_speed.py [--repeats 5] [--load PATH] [--no-peer]
    python bench/verification_speed.py --against ../other-checkout [--repeats 9]

Texts are in memory. Every repetition is a new process without caches; it warms up on other rows (hand-written,
below), so that imports are not counted. The same holds for math-verify. Repetitions of the two alternate; ratios are
of medians.

`library` is `verify` in a loop in one process (with its computer algebra worker, where a row needs it);
`pool` is `VerifierPool(workers=1)`, which extracts answers in one process and compares in another, and
compares identical (gold, answer) pairs of one batch once; `drop-in` is `parse` and `verify` of
`deepcompress_verify.math_verify` in a loop, called as math-verify is.

With `--against`, the `library` of this checkout and that of another take turns, and the ratio of the medians of their
CPU times is printed (above 1: this checkout is faster).
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from peers import PeerRun, whole_file

SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))

WARM_UP = (
    (r"\frac{11}{7}", r"\frac{22}{14}"),
    ("0.125", "1/8"),
    (r"2\sqrt{7}", r"\sqrt{28}"),
    (r"x^2+3x+2", r"(x+1)(x+2)"),
    (r"\sin(2x)", r"2\sin x\cos x"),
    (r"[2,9)", r"2 \le x < 9"),
    (r"\{5,6\}", r"\{6,5\}"),
    (r"\begin{pmatrix}1\\8\end{pmatrix}", r"\begin{bmatrix}1\\8\end{bmatrix}"),
    (r"y=4x+1", r"4x-y+1=0"),
    (r"\sum_{k=1}^{\infty}\frac{1}{k^4}", r"\frac{\pi^4}{90}"),
)

WARM_UP_ROUNDS = 20
"""Rounds over the warm-up rows, so that the interpreter has specialised its hot paths, as in a long-lived worker."""


def read_load(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def one_repetition(kind: str, path: Path) -> dict[str, Any]:
    """Return the figures of this project for the whole load; runs in a process of its own."""
    from deepcompress_verify import Check, Verdict, VerifierPool, verify

    rows = read_load(path)
    warm = [(gold, rf"so \boxed{{{answer}}}") for gold, answer in WARM_UP] * WARM_UP_ROUNDS

    if kind == "library":
        for gold, response in warm:
            verify(gold, response)
        wall, cpu = time.perf_counter(), time.process_time()
        verdicts = [verify(row["gold"], row["response"], truncated=row["truncated"]) for row in rows]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        cas = sum(verdict.decided_by == "cas" for verdict in verdicts)
    elif kind == "drop-in":
        from deepcompress_verify import math_verify as pair

        for gold, response in warm:
            pair.verify(pair.parse(rf"\boxed{{{gold}}}"), pair.parse(response))
        wall, cpu = time.perf_counter(), time.process_time()
        correct = [pair.verify(pair.parse(rf"\boxed{{{row['gold']}}}"), pair.parse(row["response"])) for row in rows]
        return {
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "correct": correct,
        }
    else:
        checks = [Check((row["gold"],), row["response"], truncated=row["truncated"]) for row in rows]

        async def pooled() -> tuple[float, float, int, list[Verdict]]:
            pool = VerifierPool(workers=1)
            await pool.start()
            await pool.verify_many([Check((gold,), response) for gold, response in warm])
            before = pool.stats()
            wall, cpu = time.perf_counter(), time.process_time()
            verdicts = await pool.verify_many(checks)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            after = pool.stats()
            cas = after.cas_checks - before.cas_checks
            cpu += after.cpu_s - before.cpu_s
            await pool.close()
            return wall, cpu, cas, verdicts

        wall, cpu, cas, verdicts = asyncio.run(pooled())
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "cas": cas,
        "correct": [verdict.correct for verdict in verdicts],
        "undecided": sum(verdict.status == "undecided" for verdict in verdicts),
        "decided_by": Counter(verdict.decided_by for verdict in verdicts),
        "slowest_ms": max(verdict.cpu_ms for verdict in verdicts),
    }


def in_new_process(kind: str, path: Path, checkout: Path | None = None) -> dict[str, Any]:
    checkout = checkout or Path(__file__).resolve().parents[1]
    script = checkout / "bench" / "verification_speed.py"
    command = [sys.executable, str(script), "--repetition", kind, "--load", str(path)]
    env = {**os.environ, "PYTHONPATH": str(checkout / "service")}
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout)
    return answer


def against(other: Path, load: Path, repeats: int) -> None:
    """Print the CPU time of a verdict of this checkout and of another, and their ratio."""
    here = Path(__file__).resolve().parents[1]
    runs: dict[Path, list[dict[str, Any]]] = {here: [], other: []}
    for turn in range(repeats):
        for checkout in (here, other) if turn % 2 else (other, here):
            runs[checkout].append(in_new_process("library", load, checkout))
    ours, theirs = (1e6 * statistics.median(run["cpu_s"] for run in done) for done in runs.values())
    count = len(runs[here][0]["correct"])
    differ = sum(a != b for a, b in zip(runs[here][0]["correct"], runs[other][0]["correct"], strict=True))
    print(
        f"library: {ours / count:.1f} µs of CPU time a verdict here, {theirs / count:.1f} there; speed "
        f"{theirs / ours:.2f} of the other's ({repeats} repetitions each); {differ} verdicts differ"
    )


def agreement(rows: list[dict[str, Any]], correct: list[bool]) -> float:
    counted = [(row, said) for row, said in zip(rows, correct, strict=True) if row["mode"] != "nobox_prose"]
    return sum(row["label"] == said for row, said in counted) / len(counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, default=SHARED / "data" / "load_dev.jsonl.gz")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout only")
    parser.add_argument("--repetition", choices=("library", "pool", "drop-in"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repetition:
        print(json.dumps(one_repetition(options.repetition, options.load)))
        return
    if options.against:
        against(options.against.resolve(), options.load, options.repeats)
        return

    rows = read_load(options.load)
    count = len(rows)
    runs: dict[str, list[dict[str, Any]]] = {"library": [], "pool": [], "drop-in": []}
    peers: list[PeerRun] = []
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "rows.jsonl"
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for _ in range(options.repeats):
            for kind, done in runs.items():
                done.append(in_new_process(kind, options.load))
            if not options.no_peer:
                peers.append(whole_file(plain))

    characters = sum(len(row["response"]) for row in rows) / 1e6
    print(f"{count} rollouts, {characters:.1f} M characters, medians of {options.repeats} repetitions")
    print(f"{'':12} {'verdicts/s':>11} {'x peer':>7} {'a CPU s':>9} {'x peer':>7} {'agree %':>8}")
    peer_rate = statistics.median(peer.rows / peer.wall_s for peer in peers) if peers else None
    peer_cpu_rate = statistics.median(peer.rows / peer.cpu_s for peer in peers) if peers else None
    for name, done in runs.items():
        rate = statistics.median(count / run["wall_s"] for run in done)
        cpu_rate = statistics.median(count / run["cpu_s"] for run in done)
        ratio = f"{rate / peer_rate:7.1f}" if peer_rate else f"{'':7}"
        cpu_ratio = f"{cpu_rate / peer_cpu_rate:7.1f}" if peer_cpu_rate else f"{'':7}"
        agree = 100 * agreement(rows, done[0]["correct"])
        print(f"{name:12} {rate:11.0f} {ratio} {cpu_rate:9.0f} {cpu_ratio} {agree:8.2f}")
    if peers:
        agree = 100 * agreement(rows, peers[0].correct)
        print(f"{'math-verify':12} {peer_rate:11.0f} {'':7} {peer_cpu_rate:9.0f} {'':7} {agree:8.2f}   "
              f"(without its {max(peer.slow_rows for peer in peers)} rows over 1 s)")  # fmt: skip
    ours, pooled = runs["library"][0], runs["pool"][0]
    print(f"reached the computer algebra system: {ours['cas']} rows ({100 * ours['cas'] / count:.2f}%) one by one, "
          f"{pooled['cas']} distinct pairs in the pool; undecided {ours['undecided']}; "
          f"slowest verdict {ours['slowest_ms']:.1f} ms")  # fmt: skip
    print("decided by:", ", ".join(f"{name} {number}" for name, number in Counter(ours["decided_by"]).most_common()))


if __name__ == "__main__":
    main()
