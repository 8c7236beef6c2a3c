"""The hostile rows: no code runs, no hack is rewarded, nothing hangs.

    python bench/verification_hostile.py [--rows PATH] [--peer] [--list]

Every row goes through a pool as the service uses it, one at a time, after the prefix @MARKERS@ is replaced by a
new folder; a file in that folder afterwards shows that code ran. Times are wall clock from the call to the verdict.
`--peer` gives math-verify the same rows in the same run, with a kill from outside after 25 s of wall clock (that
takes some minutes). Exit status 1 if a requirement is missed: nothing executed, no hack paid, p99 of the fast rows
under 100 ms, none over 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress_verify import Check, PoolStats, VerifierPool

SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))

AFTER_TAMPERING = (("x+1", "x+2"), (r"\frac{1}{2}", r"\frac{1}{3}"), (r"\sqrt{2}", r"\pi^2"), ("1", "2"))
"""Pairs that are not equal; a checker whose state was corrupted may find them equal."""

FORMATS = ("boxed", "one_boxed", "final_answer")


@dataclass
class Outcome:
    row: dict[str, Any]
    correct: bool
    status: str
    reason: str
    wall_s: float


def read_rows(path: Path, markers: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        for field in ("gold", "response"):
            row[field] = row[field].replace("@MARKERS@", str(markers))
    return rows


async def ours(rows: list[dict[str, Any]]) -> tuple[list[Outcome], PoolStats, float, bool]:
    """Return the outcomes, the pool's counters, the seconds for all rows at once, and if the pool still works."""
    pool = VerifierPool(workers=2)
    await pool.start()
    await asyncio.sleep(3)  # so that the computer algebra worker is up as well, as in a service that runs
    outcomes = []
    for row in rows:
        check = Check((row["gold"],), row["response"])
        started = time.perf_counter()
        (verdict,) = await pool.verify_many([check])
        wall = time.perf_counter() - started
        outcomes.append(Outcome(row, verdict.correct, verdict.status, verdict.reason, wall))
    for answer_format in FORMATS:
        started = time.perf_counter()
        checks = [Check((row["gold"],), row["response"], answer_format) for row in rows]  # type: ignore[arg-type]
        verdicts = await pool.verify_many(checks)
        together = time.perf_counter() - started
        if answer_format == "boxed":
            batch = together
        else:
            for row, verdict in zip(rows, verdicts, strict=True):
                if verdict.correct and row["must"] in ("false", "fast-false") and not row.get("policy"):
                    named = {**row, "id": f"{row['id']} ({answer_format})"}
                    outcomes.append(Outcome(named, True, verdict.status, verdict.reason, 0.0))
    after = await pool.verify_many([Check((gold,), rf"\boxed{{{answer}}}") for gold, answer in AFTER_TAMPERING])
    stats = pool.stats()
    await pool.close()
    return outcomes, stats, batch, not any(verdict.correct for verdict in after)


def theirs(rows: list[dict[str, Any]]) -> list[Outcome]:
    from peers import Peer

    outcomes = []
    with Peer() as peer:
        for row in rows:
            said = peer.verify(row["gold"], row["response"].encode("utf-8", "replace").decode(), limit_s=25)
            status = "killed" if said.killed else "correct" if said.correct else "wrong"
            outcomes.append(Outcome(row, said.correct, status, "", said.wall_s))
    return outcomes


def report(name: str, outcomes: list[Outcome], markers: Path, show: bool) -> dict[str, float]:
    gate = [outcome for outcome in outcomes if not outcome.row.get("policy")]
    fast = sorted(
        (outcome.wall_s, outcome.row["id"])
        for outcome in gate
        if outcome.row["must"].startswith("fast") and outcome.wall_s
    )
    missed = [outcome for outcome in gate if outcome.row["must"] == "fast-true" and not outcome.correct]
    paid = [outcome for outcome in gate if outcome.row["must"] in ("false", "fast-false") and outcome.correct]
    ran = sorted(path.name for path in markers.iterdir())
    print(f"\n{name}: {len(outcomes)} rows")
    print(f"  code executed            {len(ran)} {' '.join(ran)}")
    print(f"  hacks that pay           {len(paid)} {' '.join(outcome.row['id'] for outcome in paid)}")
    print(f"  fast-true not true       {len(missed)} {' '.join(outcome.row['id'] for outcome in missed)}")
    p99 = fast[min(len(fast) - 1, int(0.99 * len(fast)))][0]
    print(f"  fast-* rows ({len(fast)})         p50 {1e3 * fast[len(fast) // 2][0]:.1f} ms, "
          f"p99 {1e3 * p99:.1f} ms, max {1e3 * fast[-1][0]:.1f} ms ({fast[-1][1]})")  # fmt: skip
    kinds: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.wall_s:
            kinds[outcome.row["kind"]].append(outcome.wall_s)
    print(
        "  max ms by kind           " + ", ".join(f"{kind} {1e3 * max(times):.1f}" for kind, times in kinds.items())
    )
    if show:
        for outcome in outcomes:
            print(f"    {outcome.row['id']:<22} {outcome.row['must']:<10} {outcome.status:<12} "
                  f"{1e3 * outcome.wall_s:8.1f} ms  {outcome.reason[:110]!r}")  # fmt: skip
    return {"ran": len(ran), "paid": len(paid), "missed": len(missed), "p99": p99, "max": fast[-1][0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=SHARED / "data" / "hostile_dev.jsonl.gz")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--list", action="store_true", help="print every row's outcome")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="markers") as folder:
        markers = Path(folder)
        rows = read_rows(options.rows, markers)
        outcomes, stats, batch, sound = asyncio.run(ours(rows))
        figures = report("deepcompress", outcomes, markers, options.list)
        print(f"  the whole file as one batch: {batch:.2f} s; workers killed {stats.killed}, crashed {stats.crashed};"
              f" largest worker {stats.peak_memory_bytes / 2**20:.0f} MiB; "
              f"judges as before afterwards: {'yes' if sound else 'NO'}")  # fmt: skip
    met = (
        figures["ran"] == figures["paid"] == 0
        and figures["p99"] < 0.1
        and figures["max"] < 1.0
        and stats.peak_memory_bytes < 400e6
        and sound
    )
    print(f"  bars met: {'yes' if met else 'NO'}")
    if options.peer:
        with tempfile.TemporaryDirectory(prefix="markers") as folder:
            report("math-verify", theirs(read_rows(options.rows, Path(folder))), Path(folder), options.list)
    sys.exit(not met)


if __name__ == "__main__":
    main()
