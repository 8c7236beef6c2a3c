"""Tables and pictures from the study's results, as Markdown.

    python bench/study/report.py STUDY/SIZE/runs.jsonl ... [--tables TABLE ...] [--pictures FOLDER]
    python bench/study/report.py bench/study/results/main.jsonl --pictures docs/pictures --into docs/study-tables.md

Per cell: means over seeds of the last evaluation. Against the baseline, and for the pairs the declaration names:
the mean difference of the same seeds, its 95 % t interval, and the p of an exact sign-flip test (with n seeds it
cannot be under 2^(1-n): 0.0625 for five). A table's cells are found by their settings, so one run serves several
tables.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from cells import METRICS, SEEDS, Table, key_of, settings_of, tables

Row = dict[str, Any]
BySeed = dict[int, Row]

T_95 = [
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
]
"""Two-sided 95 % points of Student's t by degrees of freedom, from 1."""
UNITS = {"sampled": (100, " %"), "greedy": (100, " %"), "tokens": (1, "")}
COLOURS = 10
"""Cells that a picture distinguishes by colour; those of larger tables are numbered."""
LEAST_SHOWN = 60.0
"""Percent: cells of a lower accuracy would leave the others no room."""
MECHANISM = (
    "length_share",
    "length_share_some",
    "correct_pushed_down",
    "groups_kept",
    "beta_mean",
    "level",
    "entropy",
)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1) / len(values))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval of a mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    half = T_95[min(len(values) - 1, len(T_95)) - 1] * standard_error(values)
    return mean(values) - half, mean(values) + half


def sign_flip(differences: Sequence[float]) -> float:
    """Exact two-sided p that the mean difference is 0: over all ways of turning the seeds' signs."""
    totals = np.zeros(1)
    for difference in differences:
        totals = np.concatenate([totals + difference, totals - difference])
    return float(np.mean(np.abs(totals) >= abs(sum(differences)) - 1e-9))


def last(row: Row, metric: str, bin_name: str = "all") -> float:
    return float(row["evals"][-1]["bins"][bin_name][metric])


def of_table(rows: Sequence[Row], table: Table, size: str) -> dict[str, BySeed]:
    """Return the runs of each cell by seed, for the cells that have any; only seeds of the table."""
    by_key: dict[str, BySeed] = defaultdict(dict)
    for row in rows:
        if table.counts(row["seed"]):
            by_key[row["key"]][row["seed"]] = row
    keys = {cell: key_of(settings_of(table, cell, size)) for cell in table.cells}
    return {cell: by_key[key] for cell, key in keys.items() if key in by_key}


def differences_of(these: BySeed, those: BySeed, metric: str, bin_name: str) -> list[float]:
    """Return the differences of the same seeds, in the metric's unit (accuracies in points)."""
    scale, _ = UNITS[metric]
    shared = sorted(set(these) & set(those))
    return [scale * (last(these[s], metric, bin_name) - last(those[s], metric, bin_name)) for s in shared]


def written(differences: Sequence[float]) -> str:
    """Return a mean difference with its interval; without one where there are two seeds.

    It is bold where the interval excludes 0 and the declared seeds are there.
    """
    if not differences:
        return ""
    found = interval(differences)
    if found is None or len(differences) < 3:
        return f"{mean(differences):+.1f}"
    text = f"{mean(differences):+.1f} [{found[0]:+.1f}, {found[1]:+.1f}]"
    return f"**{text}**" if len(differences) >= SEEDS and (found[0] > 0 or found[1] < 0) else text


def results_of(cells: dict[str, BySeed], table: Table) -> list[str]:
    """Return the main table: all held-out problems."""
    lines = [
        "| all | seeds | sampled | greedy | tokens | Δ sampled | Δ greedy | Δ tokens | p (sampled) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in table.cells:
        if cell not in cells:
            lines.append(f"| {cell} | not run | | | | | | | |")
            continue
        words = [cell, str(len(cells[cell]))]
        for metric in METRICS:
            scale, unit = UNITS[metric]
            words.append(f"{scale * mean([last(row, metric) for row in cells[cell].values()]):.1f}{unit}")
        words += compared(cells, cell, table.baseline)
        lines.append("| " + " | ".join(words) + " |")
    for cell, against in table.also:
        if cell in cells and against in cells:
            words = [f"{cell} minus {against}", str(len(set(cells[cell]) & set(cells[against]))), "", "", ""]
            lines.append("| " + " | ".join(words + compared(cells, cell, against)) + " |")
    return lines


def compared(cells: dict[str, BySeed], cell: str, against: str) -> list[str]:
    if cell == against or against not in cells:
        return ["", "", "", ""]
    found = [differences_of(cells[cell], cells[against], metric, "all") for metric in METRICS]
    return [*map(written, found), f"{sign_flip(found[0]):.3f}" if found[0] else ""]


def bins_of(cells: dict[str, BySeed], table: Table) -> list[str]:
    """Return sampled accuracy and tokens by bin, and how the hard bin differs from the baseline's."""
    names = [name for name in next(iter(next(iter(cells.values())).values()))["evals"][-1]["bins"] if name != "all"]
    hardest = names[-1]
    head = [f"{name}: sampled, tokens" for name in names] + [f"{hardest}: Δ sampled", f"{hardest}: Δ tokens"]
    lines = ["| by bin | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for cell in cells:
        seeds = list(cells[cell].values())
        words = [cell]
        for name in names:
            accuracy = 100 * mean([last(row, "sampled", name) for row in seeds])
            words.append(f"{accuracy:.1f} %, {mean([last(row, 'tokens', name) for row in seeds]):.1f}")
        for metric in ("sampled", "tokens"):
            known = cell != table.baseline and table.baseline in cells
            words.append(
                written(differences_of(cells[cell], cells[table.baseline], metric, hardest)) if known else ""
            )
        lines.append("| " + " | ".join(words) + " |")
    return lines


def mechanism_of(cells: dict[str, BySeed]) -> list[str]:
    """Return the diagnostics by thirds of the runs, means over seeds."""
    lines = ["| by thirds of the run | " + " | ".join(MECHANISM) + " |", "|---" * (len(MECHANISM) + 1) + "|"]
    for cell, seeds in cells.items():
        words = [cell]
        for name in MECHANISM:
            thirds = []
            for part in range(3):
                known = [
                    row["mechanism"][name][part] for row in seeds.values() if row["mechanism"][name][part] is not None
                ]
                thirds.append(f"{mean(known):.2f}" if known else "–")
            words.append("–" if set(thirds) == {"–"} else " ".join(thirds))
        lines.append("| " + " | ".join(words) + " |")
    return lines


def picture(cells: dict[str, BySeed], table: Table, file: Path) -> None:
    """Accuracy against tokens at the end (small: one seed; large: the mean), and the training by step, the band from
    the lowest seed to the highest.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(17, 4))
    titles = {"accuracy": "accuracy in training", "tokens": "tokens in training", "level": "the level"}
    for number, (cell, seeds) in enumerate(cells.items()):
        colour = plt.get_cmap("tab10")(number)
        ends = [(last(row, "tokens"), 100 * last(row, "sampled")) for row in seeds.values()]
        axes[0].scatter(*zip(*ends, strict=True), color=colour, s=14, alpha=0.5)
        axes[0].scatter(*map(mean, zip(*ends, strict=True)), color=colour, s=70, label=cell, edgecolors="black")
        for axis, metric in zip(axes[1:], titles, strict=True):
            curves = [row["curves"][metric] for row in seeds.values()]
            if any(value is None for curve in curves for value in curve):
                continue
            steps = [
                (part + 0.5) * row_steps / len(curves[0])
                for row_steps in [next(iter(seeds.values()))["settings"]["steps"]]
                for part in range(len(curves[0]))
            ]
            axis.plot(steps, [mean(values) for values in zip(*curves, strict=True)], color=colour)
            low, high = ([pick(v) for v in zip(*curves, strict=True)] for pick in (min, max))
            axis.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
    axes[0].set(xlabel="tokens, held out", ylabel="sampled accuracy, held out, %", title="at the end")
    for axis, title in zip(axes[1:], titles.values(), strict=True):
        axis.set(xlabel="step", title=title)
    axes[0].legend(fontsize=7)
    for axis in axes:
        axis.grid(alpha=0.25)
    figure.suptitle(table.title)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def frontier(cells: dict[str, BySeed], table: Table, file: Path) -> None:
    """Draw accuracy against tokens at the end of many cells, numbered: means over seeds with standard errors.

    Lines join the cells of one rule by their weights. Cells below LEAST_SHOWN are named only.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 6))
    ends = {
        cell: (
            [last(row, "tokens") for row in seeds.values()],
            [100 * last(row, "sampled") for row in seeds.values()],
        )
        for cell, seeds in cells.items()
    }
    numbered = []
    for number, (cell, (tokens, sampled)) in enumerate(ends.items(), 1):
        shown = mean(sampled) >= LEAST_SHOWN
        numbered.append(
            f"{number:2}  {cell}" + ("" if shown else f": {mean(sampled):.0f} %, {mean(tokens):.0f} tokens")
        )
        if not shown:
            continue
        where = (mean(tokens), mean(sampled))
        colour = "tab:orange" if cell == table.baseline else "tab:blue"
        x_error, y_error = standard_error(tokens), standard_error(sampled)
        axis.errorbar(*where, xerr=x_error, yerr=y_error, fmt="o", color=colour, elinewidth=0.7)
        axis.annotate(str(number), where, xytext=(4, 4), textcoords="offset points", fontsize=9)
    for line in table.curves:
        places = [[mean(ends[cell][axis_number]) for cell in line if cell in ends] for axis_number in (0, 1)]
        axis.plot(*places, color="grey", linewidth=0.8, zorder=0)
    axis.set(xlabel="tokens, held out", ylabel="sampled accuracy, held out, %", title=table.title)
    axis.grid(alpha=0.25)
    names = axis.text(1.02, 1, "\n".join(numbered), transform=axis.transAxes, fontsize=9, va="top")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80, bbox_inches="tight", bbox_extra_artists=[names])
    plt.close(figure)


def overview(rows: Sequence[Row], size: str, file: Path) -> None:
    """Every cell of every table once: accuracy against tokens at the end, means over seeds with standard errors."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(10, 7.5))
    seen: set[str] = set()
    numbered: list[str] = []
    for number, (name, table) in enumerate(tables(size).items()):
        named = False
        for cell, seeds in of_table(rows, table, size).items():
            key = key_of(settings_of(table, cell, size))
            if key in seen:
                continue
            seen.add(key)
            tokens = [last(row, "tokens") for row in seeds.values()]
            sampled = [100 * last(row, "sampled") for row in seeds.values()]
            axis.errorbar(
                mean(tokens),
                mean(sampled),
                xerr=standard_error(tokens),
                yerr=standard_error(sampled),
                fmt="*" if cell == table.baseline else "o",
                color=plt.get_cmap("tab10")(number),
                label=None if named else name,
                elinewidth=0.8,
            )
            named = True
            base = of_table(rows, table, size).get(table.baseline, seeds).values()
            away = abs(mean(tokens) / mean([last(row, "tokens") for row in base]) - 1) > 0.03
            if away or cell == table.baseline:  # the many that moved nothing lie on one another
                numbered.append(f"{len(numbered) + 1:2}  {name}: {cell}")
                where = (mean(tokens), mean(sampled))
                axis.annotate(str(len(numbered)), where, fontsize=9, xytext=(5, 4), textcoords="offset points")
    axis.set(xlabel="tokens, held out (logarithmic)", ylabel="sampled accuracy, held out, %", xscale="log")
    low, high = axis.get_xlim()
    ticks = [tick for tick in (15, 20, 25, 30, 40, 50, 60, 80) if low <= tick <= high]
    axis.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.25, which="both")
    legend = axis.legend(fontsize=9, title="table", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    names = axis.text(1.02, 0, "\n".join(numbered), transform=axis.transAxes, fontsize=8.5, va="bottom")
    figure.savefig(file, dpi=80, bbox_inches="tight", bbox_extra_artists=[legend, names])
    plt.close(figure)


def report(rows: Sequence[Row], name: str, size: str, pictures: Path | None) -> str:
    """One table's part of the page."""
    table = tables(size)[name]
    cells = of_table(rows, table, size)
    lines = [f"### {table.title} (`{name}`)", "", f"{table.question[0].upper()}{table.question[1:]}.", ""]
    others = {
        key_of(settings_of(other, cell, size))
        for other in tables(size).values()
        if other != table
        for cell in other.cells
    }
    # Nothing of its own was run; the cells of the confirmatory part are in the exploratory table as well.
    if not cells or (
        name != "confirmatory" and all(key_of(settings_of(table, cell, size)) in others for cell in cells)
    ):
        return "\n".join([*lines, "**Not run.**", ""])
    fewest = min(len(cells.get(cell, {})) for cell in table.cells)
    if fewest < table.seeds:
        lines += [f"**Incomplete: some cells have {fewest} of the {table.seeds} seeds declared.**", ""]
    lines += [*results_of(cells, table), "", *bins_of(cells, table), "", *mechanism_of(cells), ""]
    if pictures is not None:
        file = pictures / f"study-{size}-{name}.png"
        (picture if len(table.cells) <= COLOURS else frontier)(cells, table, file)
        lines += [f"![{table.title}]({pictures.name}/{file.name})", ""]
    return "\n".join(lines)


def merged(files: Sequence[Path]) -> list[Row]:
    """Return the rows of several result files of one size, each run once, seed by seed."""
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    if len({row["size"] for row in rows}) != 1:
        raise SystemExit("the results are of different sizes, or empty: give those of one")
    once = {(row["seed"], row["key"]): row for row in rows}
    return [once[name] for name in sorted(once)]


def marks(size: str) -> tuple[str, str]:
    """Return the comments in a page before and after the tables of a size."""
    return f"<!-- {size}: written by bench/study/report.py -->", f"<!-- {size}: end -->"


def put_into(page: str, size: str, text: str) -> str:
    """Return the page with `text` between the two comments of that size."""
    before, after = marks(size)
    begin, end = page.index(before) + len(before), page.index(after)
    return f"{page[:begin]}\n\n{text}\n{page[end:]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="STUDY/SIZE/runs.jsonl; several of one size are merged")
    parser.add_argument("--tables", nargs="*", help="only these; else every table")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures")
    parser.add_argument("--into", type=Path, help="a page with the size's two marks, instead of printing")
    parser.add_argument("--keep", type=Path, help="write the merged results there")
    asked = parser.parse_args()
    rows = merged(asked.results)
    size = rows[0]["size"]
    text = "\n".join(report(rows, name, size, asked.pictures) for name in asked.tables or tables(size))
    if asked.pictures and len(tables(size)) > 2:
        overview(rows, size, asked.pictures / f"study-{size}-all.png")
    if asked.into:
        asked.into.write_text(put_into(asked.into.read_text(), size, text))
    else:
        print(text)
    if asked.keep:
        asked.keep.parent.mkdir(parents=True, exist_ok=True)
        asked.keep.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
