"""Comparisons of strategies as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..shaping import Reward
from ..shaping.curves import against_tokens, against_z, example_group
from ..shaping.replay import Log, ReplayedStep, Summary, order_signs

mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10})

SIMPLE, HARD, PLAIN = "#1b7f8c", "#c0392b", "#4a5568"


def save(figure: Figure, path: Path) -> Path:
    """Write the figure, as PNG unless the name ends in another format, and make its folder. Return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.removeprefix(".").lower()
    known = kind in figure.canvas.get_supported_filetypes()
    figure.savefig(path, dpi=120, bbox_inches="tight", format=kind if known else "png")
    return path


def draw_replay(
    folder: Path, log: Log, walks: Mapping[str, Sequence[ReplayedStep]], summaries: Mapping[str, Summary]
) -> list[Path]:
    """Write four pictures: statistics by strategy, agreement of all pairs, steps, and reward against length."""
    return [
        save(_bars(summaries), folder / "figures.png"),
        save(_agreement(walks), folder / "agreement.png"),
        save(_steps(walks), folder / "steps.png"),
        save(_scatter(log, walks), folder / "lengths.png"),
    ]


def _bars(summaries: Mapping[str, Summary]) -> Figure:
    """Draw the mean reward of simple and hard groups by strategy, and the ranking of rollouts within groups."""
    names = list(summaries)
    figure = Figure(figsize=(11, 1.6 + 0.35 * len(names)))
    panels: list[tuple[str, list[tuple[str, str, Callable[[Summary], float | None]]]]] = [
        (
            "mean reward",
            [("simple", SIMPLE, lambda s: s.reward_simple), ("hard", HARD, lambda s: s.reward_hard)],
        ),
        (
            "rewards shorter rollouts (rank correlation)",
            [("simple", SIMPLE, lambda s: s.shorter_simple), ("hard", HARD, lambda s: s.shorter_hard)],
        ),
        ("correct below 0 (share)", [("all groups", PLAIN, lambda s: s.negative_correct)]),
        ("spread within a group", [("all groups", PLAIN, lambda s: s.spread)]),
    ]
    axes = figure.subplots(1, len(panels), sharey=True)
    positions = np.arange(len(names))
    for axis, (title, series) in zip(axes, panels, strict=True):
        height = 0.8 / len(series)
        for i, (label, colour, of) in enumerate(series):
            values = [of(summaries[name]) or 0.0 for name in names]
            axis.barh(positions + (i - (len(series) - 1) / 2) * height, values, height, color=colour, label=label)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.set_title(title)
        if len(series) > 1:
            axis.legend(frameon=False, fontsize=7)
    axes[0].set_yticks(positions, names)
    axes[0].invert_yaxis()
    figure.tight_layout()
    return figure


def _agreement(walks: Mapping[str, Sequence[ReplayedStep]]) -> Figure:
    """Draw the mean rank correlation within groups for each pair of strategies."""
    names = list(walks)
    total = np.zeros((len(names), len(names)))
    counted = np.zeros_like(total)
    for steps in zip(*walks.values(), strict=True):
        for of_group in zip(*(step.shaped for step in steps), strict=True):
            orders = np.stack([order_signs(np.array(shaped.rewards)) for shaped in of_group])
            ranked = (orders != 0).any(axis=1).astype(np.float64)
            total += orders @ orders.T
            counted += np.outer(ranked, ranked)
    table = np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)
    side = 2.2 + 0.5 * len(names)
    figure = Figure(figsize=(side + 1, side))
    axis = figure.subplots()
    image = axis.imshow(table, vmin=-1, vmax=1, cmap="RdBu")
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    for i in range(len(names)):
        for j in range(len(names)):
            if np.isfinite(table[i, j]):
                colour = "white" if abs(table[i, j]) > 0.6 else "black"
                axis.text(j, i, f"{table[i, j]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_title("rank agreement within groups (Kendall's tau-b)")
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def _steps(walks: Mapping[str, Sequence[ReplayedStep]]) -> Figure:
    """Draw the level and the mean reward by step."""
    figure = Figure(figsize=(10, 4))
    levels, rewards = figure.subplots(1, 2)
    for (name, walk), colour in zip(walks.items(), cycle(mpl.color_sequences["tab20"]), strict=False):
        steps = [step.step for step in walk]
        look = {"marker": "o" if len(steps) < 20 else None, "markersize": 3, "color": colour, "label": name}
        if any(shaped.beta is not None for step in walk for shaped in step.shaped):
            levels.plot(steps, [step.level for step in walk], **look)
        means = [float(np.mean([r for s in step.shaped for r in s.rewards])) for step in walk]
        rewards.plot(steps, means, **look)
    levels.set_title("level, of strategies with a beta")
    rewards.set_title("mean reward")
    for axis in (levels, rewards):
        axis.set_xlabel("step")
    rewards.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure


def _scatter(log: Log, walks: Mapping[str, Sequence[ReplayedStep]]) -> Figure:
    """Draw the length term of correct rollouts against length / group mean, with a panel for each strategy."""
    columns = min(4, len(walks))
    rows = -(-len(walks) // columns)
    figure = Figure(figsize=(3 * columns, 2.6 * rows))
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(walks) :]:
        axis.set_visible(False)
    default = next(iter(walks.values()))
    for axis, (name, walk) in zip(axes.flat, walks.items(), strict=False):
        points: dict[str, tuple[list[float], list[float]]] = {"simple": ([], []), "hard": ([], [])}
        for (_, logged), step, default_step in zip(log, walk, default, strict=True):
            for one, shaped, seen in zip(logged, step.shaped, default_step.shaped, strict=True):
                if seen.difficulty not in points or one.group.tokens is None or not sum(one.group.tokens):
                    continue
                mean = sum(one.group.tokens) / len(one.group.tokens)
                for tokens, correct, term in zip(
                    one.group.tokens, one.group.correct, shaped.length_term, strict=True
                ):
                    if correct:
                        points[seen.difficulty][0].append(tokens / mean)
                        points[seen.difficulty][1].append(term)
        for side, colour in (("simple", SIMPLE), ("hard", HARD)):
            axis.plot(*points[side], ".", markersize=3, alpha=0.5, color=colour, label=side)
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("length / group mean", fontsize=7)
    axes[0][0].set_ylabel("length term of correct rollouts", fontsize=7)
    axes[0][0].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    return figure


def draw_curves(
    path: Path,
    rewards: Mapping[str, Reward],
    betas: Sequence[float],
    lengths: Sequence[int],
    correct: Sequence[bool],
    level: float,
) -> Path:
    """Write two panels for each strategy: reward without outcome against z for each beta, and against tokens."""
    figure = Figure(figsize=(10, 3.5 * len(rewards)))
    axes: Any = figure.subplots(len(rewards), 2, squeeze=False)
    for (by_z, by_tokens), (name, reward) in zip(axes, rewards.items(), strict=True):
        _draw_z(by_z, name, reward, betas)
        _draw_tokens(by_tokens, reward, lengths, correct, level)
    figure.tight_layout()
    return save(figure, path)


def _draw_z(axis: Axes, name: str, reward: Reward, betas: Sequence[float]) -> None:
    shades = mpl.colormaps["coolwarm_r"]
    for beta in betas:
        colour = shades(0.5 + beta / 2)
        for correct, style in ((True, "-"), (False, "--")):
            curve = against_z(reward, beta, correct=correct)
            label = f"{beta:+g}" if beta else "0"
            axis.plot(curve.z, curve.terms, style, color=colour, label=label if correct else None)
    axis.set_title(f"{name}: one rollout of 16", pad=20)
    axis.set_xlabel("shorter than the group  ←  z  →  longer")
    axis.set_ylabel("reward - outcome")
    _legend_above(axis, "beta: ")


def _draw_tokens(axis: Axes, reward: Reward, lengths: Sequence[int], correct: Sequence[bool], level: float) -> None:
    group = example_group(reward, lengths, correct, level)
    shaped = reward.shape([group])[0]
    longest = max(max(lengths), 1)
    grid = sorted({round(1.3 * longest * i / 160) for i in range(161)})
    for index, (tokens, right) in enumerate(zip(lengths, correct, strict=True)):
        colour = SIMPLE if right else HARD
        curve = against_tokens(reward, group, index, grid)
        axis.plot(curve.tokens, curve.terms, "-" if right else "--", color=colour, alpha=0.35, linewidth=1)
        axis.plot(
            tokens, shaped.rewards[index] - shaped.components["outcome"][index], "o", color=colour, markersize=4
        )
    share = sum(correct) / len(correct)
    axis.set_title(f"a group of {len(lengths)}: pass ratio {share:.2f}, level {level:g}", pad=20)
    axis.set_xlabel("tokens")
    for colour, style, label in ((SIMPLE, "-", "correct rollouts"), (HARD, "--", "wrong rollouts")):
        axis.plot([], [], style, color=colour, marker="o", markersize=4, linewidth=1, label=label)
    _legend_above(axis)


def _legend_above(axis: Axes, title: str = "") -> None:
    """Add a legend in one row between the title and the lines, so that it covers no line."""
    handles, labels = axis.get_legend_handles_labels()
    if title:
        handles, labels = [Line2D([], [], linestyle="none"), *handles], [title, *labels]
    look: dict[str, Any] = {
        "frameon": False,
        "fontsize": 7,
        "borderaxespad": 0.2,
        "columnspacing": 1.2,
        "handlelength": 1.6,
    }
    axis.legend(handles, labels, ncols=len(labels), loc="lower center", bbox_to_anchor=(0.5, 1), **look)
