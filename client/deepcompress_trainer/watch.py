"""Watching a run: progress in the terminal, metrics as JSONL, TensorBoard where it is installed.

    OUT/NAME/metrics.jsonl    one line a step; what depends on the machine's speed is under "time"
    OUT/NAME/evals.jsonl      one line an evaluation, by bin, with the samples
    OUT/NAME/tensorboard/

A resumed run cuts both files back to its checkpoint, so that no step is in them twice.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .checkpoint import write_settings
from .config import TrainConfig
from .evaluate import Evaluation


class Watch:
    """Where a run's numbers go. Does nothing in processes other than the main one."""

    def __init__(self, config: TrainConfig, *, next_step: int, active: bool) -> None:
        self._active = active
        self._folder = config.folder
        self._steps = config.steps
        self._console = Console()
        self._board: Any = None
        self._warned: set[str] = set()
        self._first: Evaluation | None = None
        self._last: Evaluation | None = None
        if not active:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        write_settings(config)
        for name in ("metrics.jsonl", "evals.jsonl"):
            _cut_back(self._folder / name, next_step)
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=next_step)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._progress.add_task(config.name, total=config.steps, completed=next_step, numbers="")
        self._progress.start()

    def step(self, metrics: dict[str, Any]) -> None:
        """One training step."""
        if not self._active:
            return
        _append(self._folder / "metrics.jsonl", metrics)
        step = metrics["step"]
        if self._board:
            for name, value in [*metrics.items(), *metrics["time"].items()]:
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(_tag(name), value, step)
        level = "" if metrics["level"] is None else f"  level {metrics['level']:.3f}"
        numbers = (
            f"right {metrics['accuracy']:.0%}  tokens {metrics['tokens']:.1f}{level}  "
            f"kept {metrics['groups_kept']}/{metrics['groups_drawn']}  {metrics['time']['step_s']:.1f} s"
        )
        self._progress.update(self._task, completed=step + 1, numbers=numbers)
        if not self._console.is_terminal and (step % 10 == 0 or step == self._steps - 1):
            self._console.print(f"step {step:4d}  {numbers}", highlight=False)
        for warning in metrics.get("warnings", ()):
            slug = warning.partition(":")[0]
            if slug not in self._warned:  # metrics.jsonl has them all
                self._warned.add(slug)
                self._progress.console.print(f"[yellow]step {step}: {warning}[/]", highlight=False)

    def evaluation(self, step: int, found: Evaluation) -> None:
        """One evaluation; `step` is the last one trained, -1 before the first."""
        if not self._active:
            return
        self._first, self._last = self._first or found, found
        _append(self._folder / "evals.jsonl", {"step": step, "bins": found.as_dict(), "samples": found.samples})
        if self._board:
            for name, result in found.as_dict().items():
                for key, value in result.items():
                    if isinstance(value, int | float):
                        self._board.add_scalar(f"eval_{key}/{name}", value, step + 1)
        every = found.bins["all"]
        self._progress.console.print(
            f"[bold]held out[/] after {step + 1} steps: sampled {every.sampled:.1%} in {every.tokens:.1f} tokens, "
            f"greedy {every.greedy:.1%} in {every.greedy_tokens:.1f}",
            highlight=False,
        )

    def close(self) -> None:
        """End the progress; show where the run began and where it ended."""
        if not self._active:
            return
        self._progress.stop()
        if self._board:
            self._board.close()
        if self._first and self._last and self._first is not self._last:
            self._console.print(comparison(self._first, self._last))
            for before, after in zip(self._first.samples, self._last.samples, strict=False):
                self._console.print(f"\n[bold]{before['bin']}[/] {_shown(before['prompt'])}", highlight=False)
                for when, sample in (("before", before), ("after", after)):
                    mark = "[green]right[/]" if sample["greedy"]["correct"] else "[red]wrong[/]"
                    text = _shown(sample["greedy"]["text"])
                    self._console.print(f"  {when:6s} {mark} ", end="", highlight=False)
                    self._console.print(text, markup=False, highlight=False)


def comparison(first: Evaluation, last: Evaluation) -> Table:
    """A table of two evaluations, by bin; +- is half a 95 % interval."""
    table = Table(title="held-out problems, before and after")
    for heading in ("bin", "sampled", "greedy", "tokens", "truncated"):
        table.add_column(heading, justify="left" if heading == "bin" else "right")
    for name, before in first.bins.items():
        after = last.bins[name]
        half = (after.sampled_interval[1] - after.sampled_interval[0]) / 2
        table.add_row(
            name,
            f"{before.sampled:.1%} → {after.sampled:.1%} ± {half:.1%}",
            f"{before.greedy:.1%} → {after.greedy:.1%}",
            f"{before.tokens:.1f} → {after.tokens:.1f}",
            f"{before.truncated:.1%} → {after.truncated:.1%}",
        )
    return table


def results(found: Evaluation) -> None:
    """Print one evaluation."""
    table = Table(title="held-out problems")
    for heading in ("bin", "n", "sampled", "greedy", "tokens", "greedy tokens", "cut"):
        table.add_column(heading, justify="left" if heading == "bin" else "right")
    for name, one in found.bins.items():
        table.add_row(
            name,
            str(one.problems),
            _with_interval(one.sampled, one.sampled_interval),
            _with_interval(one.greedy, one.greedy_interval),
            f"{one.tokens:.1f}",
            f"{one.greedy_tokens:.1f}",
            f"{one.truncated:.1%}",
        )
    Console().print(table)


def _with_interval(share: float, interval: tuple[float, float]) -> str:
    return f"{share:.1%} ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def _shown(text: str, limit: int = 400) -> str:
    """Text without control characters: a terminal would obey them."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else " " for c in cut).replace("[", "\\[")


def _tag(name: str) -> str:
    """TensorBoard's group and name: accuracy_hard is accuracy/hard."""
    head, _, rest = name.partition("_")
    return f"{head}/{rest or 'all'}"


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def _cut_back(file: Path, next_step: int) -> None:
    """Keep the lines of steps before `next_step`; a line that a kill cut short goes too."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        # A new training (next_step 0) evaluates before its first step again.
        if row["step"] < next_step and next_step > 0:
            kept.append(line + "\n")
    file.write_text("".join(kept), encoding="utf-8")
