"""``deepcompress demo``: the method step by step, with a service that the command starts.

A small set of prepared rollouts (`demo_rollouts.json`) is scored over a few steps, in which the level changes and a
problem turns from hard to simple. The smoothing factor of the level is smaller than in training (see EMA): otherwise
no problem would turn in a few steps. The output of the demo explains this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .helptext import teach

if TYPE_CHECKING:
    from rich.console import Console

    from deepcompress_client.wire import ScoreAnswer, ScoredGroup

EMA = 0.6
"""Smoothing factor of the level. With 0.99, as in training, the same change takes about a hundred steps."""

_HELP = """\
Demonstrate the method: a few steps of prepared rollouts, scored by a real service.

Starts a service with its state in a temporary folder, scores simple, hard and hostile problems over five steps and
prints pass ratio, level, beta, difficulty, tokens and rewards. Takes seconds, needs no network and leaves no files.

  deepcompress demo
  deepcompress demo --json | jq .groups[0]
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo", help=teach(_HELP))(demo)


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="print the service's responses, one JSON object per step")
    ] = False,
) -> None:
    """Start a service, score the prepared rollouts and print the results."""
    from deepcompress_client import Client

    from .embedded import embedded_service
    from .output import console

    data = json.loads(resources.files(__package__).joinpath("demo_rollouts.json").read_text("utf-8"))
    out = console()
    if not as_json:
        out.print("[bold]deepcompress demo[/]: starting a service with its state in a temporary folder ...")
    with embedded_service() as url, Client(url) as client:
        run = client.run("demo", strategy={"name": "deepcompress", "ema": EMA})
        answers = []
        if not as_json:
            _print_how_to_read(out)
        for step in range(data["steps"]):
            answers.append(run.score(step=step, groups=list(groups_of(data, step))))
            if as_json:
                print(answers[-1].to_json())
            else:
                _print_step(out, answers[-1], answers[-2] if step else None, data)
        again = run.score(step=0, groups=list(groups_of(data, 0)))
        if not as_json:
            _print_path(out, answers)
            _print_verdicts(out, answers, data)
            _print_end(out, answers[0], again)


def groups_of(data: dict[str, Any], step: int) -> Iterator[dict[str, Any]]:
    """Yield the groups of one step for a score request."""
    for problem in data["problems"]:
        drawn = [problem["responses"][i] for i in problem["steps"][step]]
        yield {"problem_id": problem["problem_id"], "gold": problem["gold"], "rollouts": drawn}


def _print_how_to_read(out: Console) -> None:
    out.print(
        "\nSix problems, four rollouts each, five steps. Every step the [bold]level[/] follows the batch's mean "
        "pass ratio; beta = pass ratio - level. Above 0 a problem is [cyan]simple[/]: its shorter correct answers "
        "earn more. Below 0 it is [red]hard[/]: its longer correct answers earn more. Wrong answers earn -1; a "
        "problem with only right or only wrong answers has no length reward.\n"
        f"[dim]The level's smoothing factor is {EMA} here, so that five steps suffice; in training it is 0.99, and "
        "the same change takes about 100 steps: first explore, then compress.[/]"
    )


def _print_step(out: Console, answer: ScoreAnswer, before: ScoreAnswer | None, data: dict[str, Any]) -> None:
    from rich.table import Table

    from .output import DIFFICULTY_STYLE

    table = Table(
        title=f"step {answer.step}: batch pass ratio {answer.batch_pass_ratio:.3f}, level {answer.level:.4f}",
        title_justify="left",
        title_style="bold",
        padding=(0, 1),
    )
    table.add_column("problem", no_wrap=True)
    table.add_column("pass", justify="right", no_wrap=True)
    table.add_column("beta", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("tokens and rewards", no_wrap=True)
    previous = {} if before is None else {group.group_id: group.difficulty for group in before.groups}
    assert answer.step is not None
    for group, problem in zip(answer.groups, data["problems"], strict=True):
        drawn = [problem["responses"][i] for i in problem["steps"][answer.step]]
        before_this = previous.get(group.group_id, group.difficulty)
        changed = f"\n[bold yellow]was {before_this}[/]" if before_this != group.difficulty else ""
        style = DIFFICULTY_STYLE[group.difficulty]
        table.add_row(
            group.problem_id,
            f"{group.pass_ratio:.2f}",
            f"{group.beta:+.3f}",
            f"[{style}]{group.difficulty}[/]{changed}",
            _rollouts(group, [rollout["tokens"] for rollout in drawn]),
        )
    out.print()
    out.print(table)


def _rollouts(group: ScoredGroup, tokens: list[int]) -> str:
    lengths = " ".join(f"{count:>7}" for count in tokens)
    rewards = " ".join(
        f"[{'green' if ok else 'red'}]{reward:>+7.3f}[/]"
        for ok, reward in zip(group.correct, group.rewards, strict=True)
    )
    return f"[dim]{lengths}[/]\n{rewards}"


def _print_path(out: Console, answers: list[ScoreAnswer]) -> None:
    from rich.table import Table

    table = Table(title="all steps", title_justify="left", title_style="bold")
    for name in ("step", "level", "batch pass ratio", "simple", "even", "hard"):
        table.add_column(name, justify="right")
    for answer in answers:
        sides = [group.difficulty for group in answer.groups]
        table.add_row(
            str(answer.step),
            f"{answer.level:.4f}",
            f"{answer.batch_pass_ratio:.3f}",
            str(sides.count("simple")),
            str(sides.count("even")),
            str(sides.count("hard")),
        )
    out.print()
    out.print(table)


def _print_verdicts(out: Console, answers: list[ScoreAnswer], data: dict[str, Any]) -> None:
    """Print each response once, with its verdict, among them answers in other forms and hostile ones."""
    from rich.table import Table
    from rich.text import Text

    from .output import STATUS_STYLE, clean

    table = Table(title="verdicts", title_justify="left", title_style="bold")
    for name in ("gold", "extracted answer", "verdict", "reason"):
        table.add_column(name)
    shown = set()
    for answer in answers:
        assert answer.step is not None
        for group, problem in zip(answer.groups, data["problems"], strict=True):
            for i, verdict in zip(problem["steps"][answer.step], group.verdicts, strict=True):
                if (problem["problem_id"], i) in shown:
                    continue
                shown.add((problem["problem_id"], i))
                table.add_row(
                    Text(problem["gold"]),
                    Text(clean(verdict.answer or "-", 40)),
                    Text(verdict.status, STATUS_STYLE[verdict.status]),
                    Text(clean(verdict.reason, 90)),
                )
    out.print()
    out.print(table)


def _print_end(out: Console, first: ScoreAnswer, again: ScoreAnswer) -> None:
    same = [a.rewards == b.rewards and b.replayed for a, b in zip(first.groups, again.groups, strict=True)]
    out.print(
        f"\nStep 0 sent again: {sum(same)} of {len(same)} groups were answered from their records with identical "
        "rewards, and not counted again.\nNext: [bold]deepcompress serve[/], then /docs in a browser; "
        "[bold]deepcompress score FILE.jsonl[/] for your own rollouts."
    )
