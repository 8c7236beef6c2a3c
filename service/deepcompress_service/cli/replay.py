"""``deepcompress replay``: the rewards of several strategies for the rollouts of a finished run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .formats import Format
from .helptext import teach

if TYPE_CHECKING:
    from deepcompress_client.wire import AnswerFormat

    from ..shaping.replay import ReplayedStep, Summary
    from .rollouts import Judge

_HELP = """\
Compute the rewards of several strategies for logged rollouts of many steps, offline, and compare them.

ROLLOUTS.jsonl has one JSON object per line; rows of one step and problem_id are one group:

  {"step": 0, "problem_id": "p7", "correct": true, "tokens": 812}
  {"step": 0, "problem_id": "p7", "gold": "3/4", "response": "...", "tokens": 900}

A row has correct, or gold and response. It may have group_id, status, thinking, repetitive, target_tokens,
reference_accuracy and reference_tokens, for strategies that use them. Levels, histories and controllers are those
of a run with that strategy.

  deepcompress replay run.jsonl --strategy kimi_k1.5 --strategy hapo
  deepcompress replay run.jsonl -s '{"name": "deepcompress", "ema": 0.9}' --pictures pics/

The table has a row for each strategy, with its published outcome rewards. The default, deepcompress, is always
included:

  reward     mean over the rollouts of simple and of hard groups (by the default's difficulty)
  shorter    rank correlation of reward with brevity among the correct rollouts
             of a group: +1 if shorter rollouts always get more
  agreement  rank correlation with the default's rewards within a group
  below 0    share of correct rollouts with a negative group advantage: in all
             groups, and in those with right and wrong rollouts
  spread     standard deviation of the rewards within a group

Exit status: 0 success, 2 the file or a strategy is invalid.
"""

DEFAULT = "deepcompress"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("replay", help=teach(_HELP))(replay)


def replay(
    rollouts: Annotated[Path, typer.Argument(help="the file; - reads standard input", show_default=False)],
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", "-s", help="a strategy's name, or a JSON object with name and parameters; may be repeated"
        ),
    ] = None,
    answer_format: Annotated[
        Format, typer.Option("--format", "-f", help="answer format of the responses")
    ] = Format.boxed,
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures of the comparison, as PNG")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="write the statistics to this file as JSON; - for standard output"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the statistics as one JSON object instead of a table")
    ] = False,
) -> None:
    """Compare strategies on logged rollouts. Exit status 2 if the file or a strategy is invalid."""
    from ..shaping import ShapingError
    from ..shaping import replay as offline
    from .output import fail, output_file, prepare_file, prepare_folder, progress_console, reason, require_pictures
    from .rollouts import read_rows, steps_of
    from .strategies import rewards_of

    if pictures is not None:
        require_pictures()
        prepare_folder(pictures)
    prepare_file(out)
    try:
        rows = read_rows(rollouts)
        rewards = rewards_of([DEFAULT, *(strategy or [])])
    except (OSError, ShapingError, ValueError) as error:
        fail(reason(error))
    log = steps_of(rows, make_judge(rows, answer_format.value))
    try:
        walks = offline.replay(log, rewards)
    except ShapingError as error:
        fail(str(error))
    default = walks[DEFAULT]
    sides = [[shaped.difficulty for shaped in step.shaped] for step in default]
    summaries = {name: offline.summarise(log, walk, default, sides) for name, walk in walks.items()}
    if out is not None:
        with output_file(out) as sink:
            json.dump(figures(walks, summaries), sink, indent=1)
            sink.write("\n")
    if as_json and str(out) != "-":
        typer.echo(json.dumps(figures(walks, summaries)))
    elif str(out) != "-":
        print_table(len(rows), sides, summaries)
    if pictures is not None:
        from .pictures import draw_replay

        for path in draw_replay(pictures, log, walks, summaries):
            progress_console().print(f"wrote {path}", markup=False)


def make_judge(rows: Sequence[dict[str, Any]], answer_format: AnswerFormat) -> Judge:
    """Check the answers of rows without `correct`, with a progress bar on standard error. Return the results."""
    from rich.progress import track

    from deepcompress_verify import verify

    from .output import progress_console

    unjudged = [row for row in rows if "correct" not in row]
    verdicts: dict[int, tuple[bool, str | None]] = {}
    for row in track(unjudged, "checking", console=progress_console(), transient=True, disable=not unjudged):
        cut = row.get("truncated", False)
        verdict = verify(row["gold"], row["response"], answer_format=answer_format, truncated=cut)
        verdicts[id(row)] = (verdict.correct, verdict.status)
    return lambda row: verdicts[id(row)]


def figures(walks: dict[str, list[ReplayedStep]], summaries: dict[str, Summary]) -> dict[str, Any]:
    """Return the summary of each strategy, with the level and the mean reward of each step, for JSON."""
    return {
        name: {
            **asdict(summaries[name]),
            "steps": [
                {"step": step.step, "level": step.level, "mean_reward": mean_reward(step)} for step in walks[name]
            ],
        }
        for name in walks
    }


def mean_reward(step: ReplayedStep) -> float:
    """Return the mean reward over the rollouts of the step."""
    rewards = [reward for shaped in step.shaped for reward in shaped.rewards]
    return sum(rewards) / len(rewards)


def print_table(rollouts: int, sides: Sequence[Sequence[str | None]], summaries: dict[str, Summary]) -> None:
    """Print a row for each strategy. `sides` has the difficulty of each group, [steps][groups]."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from .output import console, counted

    flat = [side for step in sides for side in step]
    counts = ", ".join(f"{flat.count(side)} {side}" for side in ("simple", "hard", "even") if side in flat)
    title = f"{counted(rollouts, 'rollout')}, {counted(len(sides), 'step')}, {counted(len(flat), 'group')}: {counts}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("strategy", overflow="fold", min_width=18)
    columns = (
        "reward\nsimple",
        "reward\nhard",
        "shorter\nsimple",
        "shorter\nhard",
        "agree-\nment",
        "below 0\nall",
        "below 0\nmixed",
        "spread",
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, s in summaries.items():
        table.add_row(
            Text(name),
            _signed(s.reward_simple),
            _signed(s.reward_hard),
            _signed(s.shorter_simple),
            _signed(s.shorter_hard),
            _signed(s.agreement),
            _share(s.negative_correct),
            _share(s.negative_correct_mixed),
            "-" if s.spread is None else f"{s.spread:.2f}",
        )
    console().print(table)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
