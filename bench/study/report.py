"""Tables and pictures from the study's results: python bench/study/report.py RESULTS.jsonl... [--pictures FOLDER]

Prints Markdown. Per cell: means over seeds of the last evaluation; against the baseline: the mean difference of
the same seeds, its 95 % t interval, and the p of an exact sign-flip test (with n seeds it cannot be under 2^(1-n)).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cells import METRICS, SEEDS, SIZES, Table, tables

T_95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131]
"""Two-sided 95 % points of Student's t by degrees of freedom, from 1."""
UNITS = {"sampled": (100, "%"), "greedy": (100, "%"), "tokens": (1, "")}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t interval of a mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    variance = sum((v - centre) ** 2 for v in values) / (len(values) - 1)
    half = T_95[min(len(values) - 1, len(T_95)) - 1] * math.sqrt(variance / len(values))
    return centre - half, centre + half


def sign_flip(differences: Sequence[float]) -> float:
    """Exact two-sided p that the mean difference is 0: over all ways of turning the seeds' signs."""
    observed = abs(sum(differences)) - 1e-12
    flips = itertools.product((1, -1), repeat=len(differences))
    totals = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    return sum(total >= observed for total in totals) / len(totals)


def last(row: dict[str, Any], metric: str, bin_name: str = "all") -> float:
    return float(row["evals"][-1]["bins"][bin_name][metric])


def table_of(rows: list[dict[str, Any]], table: Table, bin_name: str) -> list[str]:
    """One Markdown table of a bin."""
    by_cell: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_cell[row["cell"]][row["seed"]] = row
    base = by_cell.get(table.baseline, {})
    lines = [
        f"| {bin_name} | seeds | sampled | greedy | tokens | Δ sampled | Δ greedy | Δ tokens | p (sampled) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in table.cells:
        seeds = by_cell.get(cell)
        if not seeds:
            lines.append(f"| {cell} | not run | | | | | | | |")
            continue
        words = [cell, str(len(seeds))]
        for metric in METRICS:
            scale, unit = UNITS[metric]
            words.append(f"{scale * mean([last(row, metric, bin_name) for row in seeds.values()]):.1f}{unit}")
        paired = sorted(set(seeds) & set(base)) if cell != table.baseline else []
        for metric in METRICS:
            scale, _ = UNITS[metric]
            differences = [
                scale * (last(seeds[s], metric, bin_name) - last(base[s], metric, bin_name)) for s in paired
            ]
            found = interval(differences)
            words.append(
                f"{mean(differences):+.1f} [{found[0]:+.1f}, {found[1]:+.1f}]"
                if found
                else (f"{mean(differences):+.1f}" if differences else "")
            )
        differences = [last(seeds[s], "sampled", bin_name) - last(base[s], "sampled", bin_name) for s in paired]
        words.append(f"{sign_flip(differences):.3f}" if differences else "")
        lines.append("| " + " | ".join(words) + " |")
    return lines


def mechanism_of(rows: list[dict[str, Any]], table: Table) -> list[str]:
    """The diagnostics by thirds of the runs, means over seeds."""
    names = ("length_share_some", "length_share_all", "correct_pushed_down", "groups_kept", "beta_mean", "entropy")
    lines = ["| by thirds of the run | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for cell in table.cells:
        of_cell = [row["mechanism"] for row in rows if row["cell"] == cell]
        if not of_cell:
            continue
        words = [cell]
        for name in names:
            thirds = []
            for part in range(3):
                known = [m[name][part] for m in of_cell if m[name][part] is not None]
                thirds.append(f"{mean(known):.2f}" if known else "–")
            words.append(" ".join(thirds))
        lines.append("| " + " | ".join(words) + " |")
    return lines


def picture(rows: list[dict[str, Any]], table: Table, file: Path) -> None:
    """Accuracy against tokens at the end (one dot a seed), and both by step."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for number, cell in enumerate(cell for cell in table.cells if any(row["cell"] == cell for row in rows)):
        colour = plt.get_cmap("tab10")(number)
        of_cell = [row for row in rows if row["cell"] == cell]
        axes[0].scatter(
            [last(r, "tokens") for r in of_cell], [last(r, "sampled") for r in of_cell], color=colour, label=cell
        )
        steps = [entry["step"] + 1 for entry in of_cell[0]["evals"]]
        for axis, metric in ((axes[1], "sampled"), (axes[2], "tokens")):
            curves = [[entry["bins"]["all"][metric] for entry in r["evals"]] for r in of_cell]
            axis.plot(steps, [mean(values) for values in zip(*curves, strict=True)], color=colour)
            low, high = ([pick(v) for v in zip(*curves, strict=True)] for pick in (min, max))
            axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes[0].set(xlabel="tokens", ylabel="sampled accuracy", title="at the end, one dot a seed")
    axes[1].set(xlabel="step", title="sampled accuracy")
    axes[2].set(xlabel="step", title="tokens")
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.25)
    figure.suptitle(table.title)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the pictures")
    asked = parser.parse_args()
    for file in asked.results:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        size = file.parent.name if file.parent.name in SIZES else "cpu"
        table = tables(SIZES[size]["steps"])[file.stem]
        seeds = max((len({r["seed"] for r in rows if r["cell"] == cell}) for cell in table.cells), default=0)
        print(f"### {table.title} ({size})\n\n{table.question}.\n")
        if seeds < SEEDS:
            print(f"**{seeds} seeds of the {SEEDS} declared: a look at the machinery, not a result.**\n")
        bins = list(rows[0]["evals"][-1]["bins"])
        for bin_name in bins:
            print("\n".join(table_of(rows, table, bin_name)) + "\n")
        print("\n".join(mechanism_of(rows, table)) + "\n")
        if asked.pictures:
            name = asked.pictures / f"study-{size}-{file.stem}.png"
            picture(rows, table, name)
            print(f"![{table.title}]({name.name})\n")


if __name__ == "__main__":
    main()
