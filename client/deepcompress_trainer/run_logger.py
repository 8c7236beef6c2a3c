"""The output of a run: progress in the terminal, metrics as JSONL, TensorBoard if it is installed.

    OUT/NAME/metrics.jsonl    one line a step; what depends on the machine's speed is under "time"
    OUT/NAME/evals.jsonl      one line an evaluation, by bin, with the samples
    OUT/NAME/tensorboard/

A resumed run truncates the files to its checkpoint, so that no step is in them twice. Its final comparison is with
the start of the run, not with the resume.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .checkpoint import write_settings
from .config import TrainConfig
from .evaluate import Evaluation
from .files import writing
from .plot import read_rows


class RunLogger:
    """Writes a run's metrics. Does nothing in processes other than the main one."""

    def __init__(self, config: TrainConfig, *, next_step: int, processes: int, active: bool) -> None:
        self._active = active
        self._open = active
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
        _truncate_rows(self._folder / "metrics.jsonl", next_step)
        evals = _truncate_rows(self._folder / "evals.jsonl", next_step)
        try:
            self._first = next(iter([Evaluation.from_row(row) for row in evals]), None)
        except ValueError as error:
            raise ValueError(f"{self._folder / 'evals.jsonl'} has a row that was not written here: {error}") from None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=next_step)
            for row in evals:
                if row["step"] + 1 >= next_step:  # before the checkpoint, but at the step where the purge begins
                    self._board_evaluation(row["step"], row["bins"])
        went = f"from step {next_step} to" if next_step else "to"
        self._console.print(
            f"{config.name}: {went} {config.steps} steps, {processes} process{'es' if processes > 1 else ''}",
            highlight=False,
            markup=False,
        )
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
        """Record one training step."""
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
                self._progress.console.print(f"[yellow]step {step}: {escape(warning)}[/]", highlight=False)

    def evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Record one evaluation; `step` is the last one trained, -1 before the first."""
        if not self._active:
            return
        self._first, self._last = self._first or evaluation, evaluation
        _append(
            self._folder / "evals.jsonl", {"step": step, "bins": evaluation.as_dict(), "samples": evaluation.samples}
        )
        if self._board:
            self._board_evaluation(step, evaluation.as_dict())
        every = evaluation.bins["all"]
        self._progress.console.print(
            f"[bold]held out[/] after {step + 1} steps: sampled {every.sampled:.1%} in {every.tokens:.1f} tokens, "
            f"greedy {every.greedy:.1%} in {every.greedy_tokens:.1f}",
            highlight=False,
        )

    def _board_evaluation(self, step: int, bins: dict[str, Any]) -> None:
        for name, result in bins.items():
            for key, value in result.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"eval_{key}/{name}", value, step + 1)

    def compare(self) -> None:
        """Print the first and the last evaluation side by side."""
        self._stop()
        if self._first and self._last and self._first is not self._last:
            self._console.print(comparison(self._first, self._last))
            for before, after in zip(self._first.samples, self._last.samples, strict=False):
                bin_name, prompt = escape(_printable(before["bin"])), escape(_printable(before["prompt"]))
                self._console.print(f"\n[bold]{bin_name}[/] {prompt}", highlight=False)
                for when, sample in (("before", before), ("after", after)):
                    mark = "[green]right[/]" if sample["greedy"]["correct"] else "[red]wrong[/]"
                    self._console.print(f"  {when:6s} {mark} ", end="", highlight=False)
                    self._console.print(_printable(sample["greedy"]["text"]), markup=False, highlight=False)

    def close(self) -> None:
        """End the progress and TensorBoard's file; a second call does nothing."""
        self._stop()
        if self._board:
            self._board.close()
            self._board = None

    def _stop(self) -> None:
        if self._open:
            self._progress.stop()
            self._open = False


def comparison(first: Evaluation, last: Evaluation) -> Table:
    """Return a table of two evaluations, by bin; in brackets the 95 % interval of the second."""
    table = Table(title="held-out problems, before and after")
    for heading in ("bin", "sampled (95 % interval)", "greedy", "tokens", "truncated"):
        table.add_column(heading, justify="left" if heading == "bin" else "right")
    for name, before in first.bins.items():
        after = last.bins[name]
        table.add_row(
            escape(name),
            f"{before.sampled:.1%} → {_with_interval(after.sampled, after.sampled_interval)}",
            f"{before.greedy:.1%} → {after.greedy:.1%}",
            f"{before.tokens:.1f} → {after.tokens:.1f}",
            f"{before.truncated:.1%} → {after.truncated:.1%}",
        )
    return table


def print_results(evaluation: Evaluation) -> None:
    """Print one evaluation."""
    table = Table(title="held-out problems")
    for heading in ("bin", "n", "sampled", "greedy", "tokens", "greedy tokens", "cut"):
        table.add_column(heading, justify="left" if heading == "bin" else "right")
    for name, result in evaluation.bins.items():
        table.add_row(
            escape(name),
            str(result.problems),
            _with_interval(result.sampled, result.sampled_interval),
            _with_interval(result.greedy, result.greedy_interval),
            f"{result.tokens:.1f}",
            f"{result.greedy_tokens:.1f}",
            f"{result.truncated:.1%}",
        )
    Console().print(table)


def _with_interval(share: float, interval: tuple[float, float] | None) -> str:
    """Return the share with its interval, in per cent; a single problem has no interval."""
    if interval is None:
        return f"{share:.1%} (one problem)"
    return f"{share:.1%} ({100 * interval[0]:.0f} to {100 * interval[1]:.0f})"


def _printable(text: str, limit: int = 400) -> str:
    """Return text without control characters, which a terminal would interpret."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else " " for c in cut)


def _tag(name: str) -> str:
    """Return TensorBoard's group and name: accuracy_hard is accuracy/hard."""
    if name == "entropy":
        return "entropy/trained"  # of the rollouts with an advantage, beside entropy/sampled of all
    head, _, rest = name.partition("_")
    return f"{head}/{rest or 'all'}"


def _append(file: Path, row: dict[str, Any]) -> None:
    with writing(file), file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def _truncate_rows(file: Path, next_step: int) -> list[dict[str, Any]]:
    """Remove the rows from `next_step` on; return the others.

    The file is replaced at the end, so a kill in between loses no row.
    """
    if not file.exists():
        return []
    # A new training (next_step 0) evaluates before its first step again.
    rows = [row for row in read_rows(file) if row["step"] < next_step] if next_step else []
    partial = file.with_suffix(".part")
    with writing(file):
        with partial.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    return rows
