"""Analysis of the confirmatory part, as declared in experiments/: one preset against outcome-only, paired by seed.

    python bench/study/confirm.py bench/study/results/overthinking.jsonl --into docs/study-details.md [--picture FILE]

Printed as Markdown: the pairs, the mean differences, the lower one-sided 95 % t bound of the accuracy difference
against -1 point, the seeds at -3 points or worse, and the change of tokens. A seed without both runs is left out and
counted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cells import key_of, settings_of, tables
from report import interval, last, mean, standard_error

T_ONE_SIDED_95 = [
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
]
"""One-sided 95 % points of Student's t by degrees of freedom, from 1."""
MARGIN, COLLAPSE = -1.0, -3.0
"""Points of accuracy: the margin of the bound, and the difference of a seed that counts as a collapse."""
WITHOUT_MARGIN = frozenset({"overthinking-long"})
"""Sizes whose declaration has no margin."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """The two runs of one seed."""

    seed: int
    outcome: Row
    preset: Row

    def points(self, metric: str = "sampled", bin_name: str = "all") -> float:
        """Return the difference of accuracy in points."""
        return 100 * (last(self.preset, metric, bin_name) - last(self.outcome, metric, bin_name))

    def tokens(self, bin_name: str = "all") -> float:
        """Return the change of tokens in percent."""
        return 100 * (last(self.preset, "tokens", bin_name) / last(self.outcome, "tokens", bin_name) - 1)


def pairs_of(rows: Sequence[Row]) -> list[Pair]:
    """Return the seeds that have both runs of one size, ascending."""
    (size,) = {row["size"] for row in rows}
    table = tables(size)["confirmatory"]
    outcome, preset = (key_of(settings_of(table, cell, size)) for cell in table.cells)
    by = {(row["key"], row["seed"]): row for row in rows}
    seeds = sorted({seed for _, seed in by if table.counts(seed)})
    return [
        Pair(seed, by[outcome, seed], by[preset, seed])
        for seed in seeds
        if (outcome, seed) in by and (preset, seed) in by
    ]


def lower_bound(differences: Sequence[float]) -> float:
    """Return the lower one-sided 95 % t bound of the mean; minus infinity with fewer than two values."""
    if len(differences) < 2:
        return -math.inf
    t = T_ONE_SIDED_95[min(len(differences) - 1, len(T_ONE_SIDED_95)) - 1]
    return mean(differences) - t * standard_error(differences)


def two_sided(values: Sequence[float]) -> str:
    found = interval(values)
    return f"{mean(values):+.1f}" + (f" [{found[0]:+.1f}, {found[1]:+.1f}]" if found else "")


def report(pairs: Sequence[Pair]) -> str:
    """Return the tables as Markdown."""
    points, tokens = [one.points() for one in pairs], [one.tokens() for one in pairs]
    bound = lower_bound(points)
    margin = ""
    if pairs[0].outcome["size"] not in WITHOUT_MARGIN:
        margin = f"; the margin of {MARGIN:g} is {'kept' if bound > MARGIN else 'not kept'}"
    lines = [
        "| | outcome-only | preset | difference |",
        "|---|---|---|---|",
    ]
    for name, metric, scale in (("sampled", "sampled", 100), ("greedy", "greedy", 100), ("tokens", "tokens", 1)):
        ends = [[scale * last(row, metric) for row in (one.outcome, one.preset)] for one in pairs]
        change = tokens if metric == "tokens" else [one.points(metric) for one in pairs]
        unit = " %" if metric != "tokens" else ""
        lines.append(
            f"| {name} | {mean([a for a, _ in ends]):.1f}{unit} | {mean([b for _, b in ends]):.1f}{unit} | "
            f"{two_sided(change)} {'%' if metric == 'tokens' else 'points'} |"
        )
    lines += [
        "",
        f"- pairs: {len(pairs)} (seeds {', '.join(str(one.seed) for one in pairs)})",
        f"- lower one-sided 95 % bound of the accuracy difference: {bound:+.2f} points{margin}",
        f"- seeds at {COLLAPSE:g} points or worse: {sum(value <= COLLAPSE for value in points)} of {len(pairs)}",
        "",
        "| by bin | outcome-only: sampled, tokens | preset: sampled, tokens | points | tokens, % |",
        "|---|---|---|---|---|",
    ]
    for name in pairs[0].outcome["evals"][-1]["bins"]:
        cells = []
        for which in ("outcome", "preset"):
            rows = [getattr(one, which) for one in pairs]
            accuracy = 100 * mean([last(row, "sampled", name) for row in rows])
            cells.append(f"{accuracy:.1f} %, {mean([last(row, 'tokens', name) for row in rows]):.1f}")
        changes = two_sided([one.points("sampled", name) for one in pairs])
        lines.append(
            f"| {name} | {cells[0]} | {cells[1]} | {changes} | {two_sided([one.tokens(name) for one in pairs])} |"
        )
    lines += ["", "| seed | points | tokens, % |", "|---|---|---|"]
    lines += [f"| {one.seed} | {one.points():+.2f} | {one.tokens():+.1f} |" for one in pairs]
    return "\n".join(lines)


def marks(size: str) -> tuple[str, str]:
    """Return the comments in a page before and after the analysis of a size."""
    return f"<!-- confirmatory, {size}: written by bench/study/confirm.py -->", f"<!-- confirmatory, {size}: end -->"


def put_into(page: str, size: str, text: str) -> str:
    """Return the page with `text` between the two marks of that size."""
    before, after = marks(size)
    begin, end = page.index(before) + len(before), page.index(after)
    return f"{page[:begin]}\n\n{text}\n\n{page[end:]}"


def picture(pairs: Sequence[Pair], file: Path) -> None:
    """Draw each seed from outcome-only to the preset: accuracy against tokens."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5))
    for one in pairs:
        ends = [(last(row, "tokens"), 100 * last(row, "sampled")) for row in (one.outcome, one.preset)]
        axes[0].plot(*zip(*ends, strict=True), color="grey", linewidth=0.7)
    for which, colour in (("outcome", "tab:blue"), ("preset", "tab:orange")):
        rows = [getattr(one, which) for one in pairs]
        ends = [(last(row, "tokens"), 100 * last(row, "sampled")) for row in rows]
        axes[0].scatter(*zip(*ends, strict=True), color=colour, s=18, label=f"{which}, one seed")
        centre = [mean(values) for values in zip(*ends, strict=True)]
        axes[0].scatter(*centre, color=colour, s=90, edgecolors="black", label=f"{which}, mean")
        bins = [name for name in rows[0]["evals"][-1]["bins"] if name != "all"]
        for offset, name in enumerate(bins):
            place = offset + (0.2 if which == "preset" else -0.2)
            axes[1].bar(place, mean([last(row, "tokens", name) for row in rows]), 0.36, color=colour)
            accuracy = 100 * mean([last(row, "sampled", name) for row in rows])
            height = mean([last(row, "tokens", name) for row in rows])
            axes[1].text(place, height, f"{accuracy:.1f} %", ha="center", va="bottom", fontsize=8)
        axes[1].set_xticks(range(len(bins)), bins)
    axes[0].set(xlabel="tokens, held out", ylabel="sampled accuracy, held out, %", title="each seed")
    axes[1].set(ylabel="tokens, held out", title="tokens and sampled accuracy by difficulty")
    axes[0].legend(fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.25)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--into", type=Path, help="a page with the two marks of this part, instead of printing")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.results.read_text().splitlines()]
    pairs = pairs_of(rows)
    if not pairs:
        raise SystemExit("no seed has both runs")
    if asked.into:
        asked.into.write_text(put_into(asked.into.read_text(), rows[0]["size"], report(pairs)))
    else:
        print(report(pairs))
    if asked.picture:
        picture(pairs, asked.picture)


if __name__ == "__main__":
    main()
