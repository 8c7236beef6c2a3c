"""Picture of a run: level and pass ratio, lengths in tokens, simple and hard groups, by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepcompress_client.wire import HistoryEntry

from .pictures import HARD, PLAIN, SIMPLE, save


def draw_run(name: str, steps: Sequence[HistoryEntry], path: Path) -> Path:
    """Write three panels over the steps of a run as a PNG file. Return `path`."""
    figure = Figure(figsize=(8, 8))
    ratios, lengths, counts = figure.subplots(3, 1, sharex=True)
    x = [step.step for step in steps]
    _line(ratios, x, [step.level for step in steps], "level P_b", PLAIN, width=2.0)
    _line(ratios, x, [step.batch_pass_ratio for step in steps], "batch pass ratio", SIMPLE)
    ratios.set_ylim(-0.03, 1.03)
    ratios.set_title(f"run {name}".replace("$", r"\$"), loc="left")
    _line(lengths, x, [step.mean_tokens_simple for step in steps], "simple problems", SIMPLE)
    _line(lengths, x, [step.mean_tokens_hard for step in steps], "hard problems", HARD)
    _line(lengths, x, [step.mean_tokens for step in steps], "all", PLAIN, width=0.8)
    lengths.set_ylabel("mean tokens per response")
    _line(counts, x, [step.simple for step in steps], "simple", SIMPLE)
    _line(counts, x, [step.hard for step in steps], "hard", HARD)
    counts.set_ylabel("groups")
    counts.set_xlabel("step")
    for axis in (ratios, lengths, counts):
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    return save(figure, path)


def _line(
    axis: Axes, x: Sequence[int], y: Sequence[float | None], label: str, colour: str, *, width: float = 1.3
) -> None:
    """Draw a line without its unknown values, with markers if it has few points."""
    values = [float("nan") if value is None else value for value in y]
    axis.plot(x, values, label=label, color=colour, linewidth=width, marker="." if len(x) < 60 else None)
