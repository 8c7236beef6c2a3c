"""Rollouts until a training reaches outcome-only's final accuracy, by sampling policy (table `sampling`).

    python bench/study/run.py sampling --size curriculum --seeds 5
    python bench/study/reach.py study/curriculum/runs.jsonl

The declaration is experiments/2026-11-29-curriculum.md.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

Row = dict[str, Any]
BASELINE, REFERENCE = "shuffled", "uniform"


def sampling_of(row: Row) -> str:
    """Return how a run chose its problems: a policy of the service, or the trainer's own order."""
    return str(row["settings"].get("sampling", BASELINE))


def final_accuracy(row: Row) -> float:
    """Return the sampled accuracy of the last evaluation."""
    return float(row["evals"][-1]["bins"]["all"]["sampled"])


def rollouts_to(row: Row, target: float) -> float:
    """Return the rollouts generated until two evaluations in succession are at the target, or the last one is.

    Infinity if there are none. The first evaluation, before any training, counts as one.
    """
    settings = row["settings"]
    a_step = settings["problems_per_step"] * settings["group_size"]
    reached = [entry["bins"]["all"]["sampled"] >= target for entry in row["evals"]]
    for index, (entry, ok) in enumerate(zip(row["evals"], reached, strict=True)):
        if ok and all(reached[index + 1 : index + 2]):
            return float((entry["step"] + 1) * a_step)
    return math.inf


def by_seed(rows: list[Row]) -> dict[int, dict[str, float]]:
    """Return the rollouts of each run of the table by seed and sampling, for seeds with an outcome-only run."""
    chosen = [row for row in rows if row["size"] == "curriculum"]
    targets = {row["seed"]: final_accuracy(row) for row in chosen if sampling_of(row) == BASELINE}
    found: dict[int, dict[str, float]] = {}
    for row in chosen:
        if row["seed"] in targets:
            found.setdefault(row["seed"], {})[sampling_of(row)] = rollouts_to(row, targets[row["seed"]])
    return dict(sorted(found.items()))


def mean_log_ratio(found: dict[int, dict[str, float]], cell: str) -> tuple[float, int, int] | None:
    """Return (ratio of the geometric means of rollouts, cell / uniform, seeds that reached in both, pairs)."""
    pairs = [(one[cell], one[REFERENCE]) for one in found.values() if cell in one and REFERENCE in one]
    both = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b) and a and b]
    if not both:
        return None
    return math.exp(sum(math.log(a / b) for a, b in both) / len(both)), len(both), len(pairs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    rows = [json.loads(line) for line in parser.parse_args().runs.read_text().splitlines()]
    found = by_seed(rows)
    cells = sorted({cell for one in found.values() for cell in one})
    print("| seed | " + " | ".join(cells) + " |")
    print("|---" * (len(cells) + 1) + "|")
    for seed, one in found.items():
        texts = [f"{one[cell]:,.0f}" if math.isfinite(one.get(cell, math.inf)) else "not reached" for cell in cells]
        print(f"| {seed} | " + " | ".join(texts) + " |")
    for cell in cells:
        if cell not in (REFERENCE, BASELINE) and (ratio := mean_log_ratio(found, cell)) is not None:
            print(
                f"\n{cell} / {REFERENCE}: {ratio[0]:.2f} of the rollouts ({ratio[1]} of {ratio[2]} seeds reached it)"
            )


if __name__ == "__main__":
    main()
