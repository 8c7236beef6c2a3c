"""Pictures of runs: ``deepcompress train plot RUNS...``.

Runs that differ only in name and seed are one line with a band, from the smallest to the largest seed.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]
NOT_A_DIFFERENCE = frozenset({"name", "seed", "out", "threads", "device"})
BANDS_MIN_RUNS = 2


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The contents of a run's folder."""

    folder: Path
    config: dict[str, Any]
    metrics: Rows
    evals: Rows


def read_run(folder: Path) -> RunFiles:
    """Return the settings, metrics and evaluations of a run.

    Raises:
        ValueError: its settings cannot be read.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{file} has no settings")
    return RunFiles(folder, config, read_rows(folder / "metrics.jsonl"), read_rows(folder / "evals.jsonl"))


def read_rows(file: Path) -> Rows:
    """Return the rows of a run's file, or none without a file. Lines that are no rows (cut by a kill) are omitted."""
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def families(runs: Iterable[RunFiles]) -> dict[str, list[RunFiles]]:
    """Group runs with equal settings, under a label of the settings that differ between the groups."""
    keyed: dict[str, list[RunFiles]] = defaultdict(list)
    for run in runs:
        deciding = {name: value for name, value in run.config.items() if name not in NOT_A_DIFFERENCE}
        keyed[json.dumps(deciding, sort_keys=True)].append(run)
    settings = {key: json.loads(key) for key in keyed}
    names = sorted({name for one in settings.values() for name in one})
    differing = [name for name in names if len({json.dumps(one.get(name)) for one in settings.values()}) > 1]
    labels: dict[str, list[RunFiles]] = {}
    for key, one in settings.items():
        words = [f"{name}={_short(one.get(name))}" for name in differing]
        labels[", ".join(words) or keyed[key][0].config["name"]] = keyed[key]
    return labels


def _short(value: object) -> str:
    if isinstance(value, dict):
        rest = ",".join(f"{k}={v}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}{'(' + rest + ')' if rest else ''}"
    return str(value)


def plot_runs(folders: Sequence[Path], out: Path) -> Path:
    """Write one picture of the runs: held-out accuracy and tokens by step and bin, the level, the length share.

    Raises:
        ValueError: a run has no evaluation yet, or a row that no training writes.
    """
    try:
        return _plot_runs(folders, out)
    except (KeyError, TypeError, AttributeError) as error:
        files = ", ".join(map(str, folders))
        raise ValueError(
            f"a row of metrics.jsonl or evals.jsonl in {files} is not of a training: {error!r}"
        ) from None


def _plot_runs(folders: Sequence[Path], out: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    every = [read_run(folder) for folder in folders]
    for run in every:
        if not run.evals:
            raise ValueError(f"{run.folder} has no evaluation yet: plot it once its first one is done")
    grouped = families(every)
    bins = [
        name
        for name in next(iter(grouped.values()))[0].evals[-1]["bins"]
        if name == "all" or len(next(iter(grouped.values()))[0].evals[-1]["bins"]) > 1
    ]
    panels: list[tuple[str, Callable[[dict[str, Any]], float | None]]] = [
        ("level P_b", lambda entry: entry["level"]),
        ("share of the advantage's variance\nfrom the length term", lambda entry: entry["length_share"]),
        ("entropy of the rollouts\nwith an advantage", lambda entry: entry["entropy"]),
        ("groups kept", lambda entry: entry["groups_kept"] / entry["groups_drawn"]),
    ]
    columns = max(len(bins), len(panels))
    figure, axes = plt.subplots(3, columns, figsize=(4.2 * columns, 9.5), squeeze=False)
    colours = plt.get_cmap("tab10")
    for number, (label, runs) in enumerate(grouped.items()):
        colour = colours(number % 10)
        for column, name in enumerate(bins):
            for row, key in enumerate(("sampled", "tokens")):

                def of(entry: dict[str, Any], name: str = name, key: str = key) -> float | None:
                    return entry["bins"].get(name, {}).get(key)

                _band(axes[row][column], [run.evals for run in runs], of, colour, label, shift=1)
        for column, (title, value) in enumerate(panels):
            _band(axes[2][column], [run.metrics for run in runs], value, colour, label, smooth=7)
            axes[2][column].set_title(title, fontsize=10)
    for column, name in enumerate(bins):
        axes[0][column].set_title(f"{name}: accuracy, sampled", fontsize=10)
        axes[1][column].set_title(f"{name}: tokens", fontsize=10)
        axes[0][column].set_ylim(0, 1)
        axes[1][column].set_ylim(0, 1.08 * axes[1][column].get_ylim()[1])
    for axis in axes.flat:
        axis.set_visible(axis.has_data())  # a grid is as wide as its widest row
        axis.grid(alpha=0.25)
        axis.set_xlabel("step", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=1, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.03 + 0.022 * len(grouped), 1, 1))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out


def _band(
    axis: Axes,
    runs: Sequence[Rows],
    value: Callable[[dict[str, Any]], float | None],
    colour: tuple[float, float, float, float],
    label: str,
    *,
    smooth: int = 1,
    shift: int = 0,
) -> None:
    """Draw the mean over seeds as a line, and their range as a band."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for rows in runs:
        values = [(row["step"] + shift, value(row)) for row in rows]
        known = [(step, float(v)) for step, v in values if v is not None]
        for index, (step, _) in enumerate(known):
            near = [v for _, v in known[max(0, index - smooth + 1) : index + 1]]
            by_step[step].append(sum(near) / len(near))
    steps = sorted(by_step)
    means = [sum(by_step[step]) / len(by_step[step]) for step in steps]
    axis.plot(steps, means, color=colour, label=f"{label} ({len(runs)} run{'s' if len(runs) > 1 else ''})")
    if len(runs) >= BANDS_MIN_RUNS:
        low = [min(by_step[step]) for step in steps]
        high = [max(by_step[step]) for step in steps]
        axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
