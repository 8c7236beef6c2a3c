"""``deepcompress score ROLLOUTS.jsonl``: verdicts and rewards for a file of rollouts, as one training step."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from .formats import Format
from .helptext import teach
from .jsonl import Row, read_jsonl
from .remote import service_client

if TYPE_CHECKING:
    from deepcompress_client import Client, Run
    from deepcompress_client.wire import AnswerFormat, ShapeAnswer, Verdict

_HELP = """\
Score a file of rollouts: check every answer, then shape the rewards as one step of a run.

ROLLOUTS.jsonl has one JSON object per line; all rows of one problem_id are one group:

  {"problem_id": "p7", "gold": "\\\\frac{3}{4}", "response": "... \\\\boxed{0.75}", "tokens": 812}
  {"problem_id": "p7", "gold": "\\\\frac{3}{4}", "response": "... and so", "tokens": 4096, "truncated": true}

Without --url the command starts a service with empty state: the level is then the strategy's initial value, so most
groups are hard. With --url and --run the rollouts are counted in that run, at --step; a run that does not exist is
created with --strategy.

  deepcompress score rollouts.jsonl
  deepcompress score rollouts.jsonl --strategy '{"name": "deepcompress", "initial_level": 0.5, "ema": 0}'
  deepcompress score rollouts.jsonl --url http://gpu-host:8321 --run exp-12 --step 0 --out rewards.jsonl

The rows of --out are in the order of the file: verdict, reward and its components, beta, difficulty.

Exit status: 0 success, 2 the file or the configuration is invalid, 3 the service rejected the request or is not
reachable.
"""

CHECKED_FIELDS = ("gold", "response", "tokens", "truncated")
"""Fields of a row that are checked while the file is read, so that an error names its line."""
CHUNK = 256
"""Rollouts verified in one request: few, so that the progress bar is updated often."""


@dataclass(slots=True)
class Problem:
    """The gold answer of one problem, and the indices of its rows in the file."""

    gold: Any
    indices: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """The rows of the file, and its problems by name."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("score", help=teach(_HELP))(score)


def score(
    rollouts: Annotated[Path, typer.Argument(help="the file; - reads standard input", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="write one JSON object per rollout to this file; - for standard output"),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="a strategy's name, or a JSON object with its name and parameters")
    ] = "deepcompress",
    answer_format: Annotated[
        Format, typer.Option("--format", "-f", help="answer format of the responses")
    ] = Format.boxed,
    url: Annotated[str | None, typer.Option(help="URL of a service, instead of starting one")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="DEEPCOMPRESS_API_KEY", help="API key for --url")] = None,
    run: Annotated[
        str | None, typer.Option(help="run of --url in which the rollouts are counted; default: a temporary one")
    ] = None,
    step: Annotated[int, typer.Option(min=0, help="step of --run")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as one JSON object")] = False,
) -> None:
    """Score the rollouts of a file. Exit status 2 if the file or the configuration is invalid."""
    from .output import fail, output_file, prepare_file, reason
    from .strategies import parse_strategy

    if run is not None and url is None:
        fail("--run requires --url: otherwise the service and its state end with this command")
    prepare_file(out)
    try:
        batch = read_batch(rollouts)
        chosen = parse_strategy(strategy)
    except (OSError, ValueError) as error:
        fail(reason(error))

    began = time.perf_counter()
    with ExitStack() as stack:
        if url is None:
            from .embedded import embedded_service

            url = stack.enter_context(embedded_service())
        client = stack.enter_context(service_client(url, api_key))
        if run is None:
            training = client.run(f"score-{uuid.uuid4().hex}", strategy=chosen)
            stack.callback(training.delete)
        else:
            training = join_or_create(client, run, chosen)
        verdicts = verify_all(training, batch, answer_format.value, step)
        answer = training.shape(shape_groups(batch, verdicts), step=step)
    seconds = time.perf_counter() - began

    if out is not None:
        with output_file(out) as sink:
            write_rows(sink, batch, verdicts, answer)
    summary = summarise(batch, verdicts, answer, seconds)
    if as_json:
        typer.echo(json.dumps(summary), err=str(out) == "-")
    else:
        print_summary(summary, to_stderr=str(out) == "-")


def read_batch(file: Path) -> Batch:
    """Return the rows of a JSONL file, grouped by problem.

    Raises:
        OSError: the file cannot be read.
        JsonlError: a row is invalid.
    """
    batch = Batch()
    for row in read_jsonl(file):
        missing = [name for name in ("problem_id", "gold", "response") if name not in row.fields]
        if missing:
            raise row.error(f"no {', '.join(missing)}")
        name = row.name("problem_id")
        _check(row, name)
        problem = batch.problems.setdefault(name, Problem(row.fields["gold"]))
        if problem.gold != row.fields["gold"]:
            raise row.error(f"problem {name!r} had another gold on an earlier line")
        problem.indices.append(len(batch.rows))
        batch.rows.append({key: row.fields.get(key) for key in ("response", "tokens", "truncated")})
    return batch


def _check(row: Row, name: str) -> None:
    from pydantic import ValidationError

    from deepcompress_client.wire import VerifyItem

    given = {field: row.fields[field] for field in CHECKED_FIELDS if row.fields.get(field) is not None}
    try:
        VerifyItem.model_validate({**given, "problem_id": name})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise row.error(f"{first['loc'][0]}: {first['msg']}") from None


def join_or_create(client: Client, name: str, strategy: dict[str, Any]) -> Run:
    """Return the run of that name; it is created with the strategy if there is none."""
    from deepcompress_client.errors import NotFound

    from .output import progress_console

    try:
        return client.run(name, join=True)
    except NotFound:
        run = client.run(name, strategy=strategy)
    progress_console().print(f"created run {name} with strategy {strategy['name']}", markup=False)
    return run


def verify_all(training: Run, batch: Batch, answer_format: AnswerFormat, step: int) -> list[Verdict]:
    """Return the verdict of each row, [rows], with a progress bar on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import progress_console

    items: list[dict[str, Any]] = [{} for _ in batch.rows]
    for problem in batch.problems.values():
        for index in problem.indices:
            row = batch.rows[index]
            items[index] = {
                "gold": problem.gold,
                "response": row["response"],
                "truncated": bool(row["truncated"]),
            }
    verdicts: list[Verdict] = []
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console(), transient=True) as progress:
        bar = progress.add_task("checking", total=len(items))
        for start in range(0, len(items), CHUNK):
            part = items[start : start + CHUNK]
            verdicts += training.verify(part, step=step, answer_format=answer_format)
            progress.advance(bar, len(part))
    return verdicts


def shape_groups(batch: Batch, verdicts: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    """Yield the groups for a shape request, in order of first appearance."""
    for name, problem in batch.problems.items():
        rollouts = [
            {
                "correct": verdicts[index].correct,
                "status": verdicts[index].status,
                "tokens": batch.rows[index]["tokens"],
                "truncated": bool(batch.rows[index]["truncated"]),
            }
            for index in problem.indices
        ]
        yield {"problem_id": name, "rollouts": rollouts}


def write_rows(sink: TextIO, batch: Batch, verdicts: Sequence[Verdict], answer: ShapeAnswer) -> None:
    """Write one JSON object per rollout, in the order of the file."""
    rows: list[dict[str, Any]] = [{} for _ in batch.rows]
    for group, problem in zip(answer.groups, batch.problems.values(), strict=True):
        for i, index in enumerate(problem.indices):
            verdict = verdicts[index]
            rows[index] = {
                "problem_id": group.problem_id,
                "correct": verdict.correct,
                "status": verdict.status,
                "answer": verdict.answer,
                "decided_by": verdict.decided_by,
                "reason": verdict.reason,
                "reward": group.rewards[i],
                **{name: values[i] for name, values in vars(group.components).items()},
                **{f"scores.{name}": values[i] for name, values in (group.scores or {}).items()},
                "trainable": group.trainable[i],
                "pass_ratio": group.pass_ratio,
                "beta": group.beta,
                "difficulty": group.difficulty,
            }
    for row in rows:
        sink.write(json.dumps(row, ensure_ascii=True) + "\n")


def summarise(batch: Batch, verdicts: Sequence[Verdict], answer: ShapeAnswer, seconds: float) -> dict[str, Any]:
    """Return verdicts by status, means of the problems by difficulty, the level and the warnings."""
    sides = []
    for side in ("simple", "even", "hard", None):
        members = [
            (group, problem)
            for group, problem in zip(answer.groups, batch.problems.values(), strict=True)
            if group.difficulty == side
        ]
        if members:
            lengths = [batch.rows[index]["tokens"] for _, problem in members for index in problem.indices]
            known = [tokens for tokens in lengths if tokens is not None]
            rewards = [reward for group, _ in members for reward in group.rewards]
            sides.append(
                {
                    "difficulty": side,
                    "problems": len(members),
                    "mean_pass_ratio": sum(group.pass_ratio for group, _ in members) / len(members),
                    "mean_tokens": sum(known) / len(known) if known else None,
                    "mean_reward": sum(rewards) / len(rewards),
                }
            )
    return {
        "rollouts": len(verdicts),
        "problems": len(batch.problems),
        "seconds": seconds,
        "batch_pass_ratio": answer.batch_pass_ratio,
        "level": answer.level,
        "statuses": dict(Counter(verdict.status for verdict in verdicts)),
        "difficulties": sides,
        "warnings": list(answer.warnings),
        "unreadable_golds": [
            name for name, p in batch.problems.items() if verdicts[p.indices[0]].status == "gold_unreadable"
        ],
    }


def print_summary(summary: dict[str, Any], *, to_stderr: bool) -> None:
    """Print verdicts by status, problems by difficulty, and warnings."""
    from rich.table import Table

    from .output import DIFFICULTY_STYLE, STATUS_STYLE, clean, console, progress_console

    out = progress_console() if to_stderr else console()
    count, counts = summary["rollouts"], summary["statuses"]
    table = Table(title="verdicts", title_justify="left")
    table.add_column("status")
    table.add_column("rollouts", justify="right")
    table.add_column("share", justify="right")
    for status in STATUS_STYLE:
        if status in counts:
            share = f"{counts[status] / count:.1%}"
            table.add_row(f"[{STATUS_STYLE[status]}]{status}[/]", str(counts[status]), share)
    out.print(table)

    table = Table(title="problems", title_justify="left")
    for name in ("difficulty", "problems", "mean pass ratio", "mean tokens", "mean reward"):
        table.add_column(name, justify="left" if name == "difficulty" else "right")
    for row in summary["difficulties"]:
        side, tokens = row["difficulty"], row["mean_tokens"]
        table.add_row(
            f"[{DIFFICULTY_STYLE[side]}]{side or 'no difficulty'}[/]",
            str(row["problems"]),
            f"{row['mean_pass_ratio']:.3f}",
            "-" if tokens is None else f"{tokens:.0f}",
            f"{row['mean_reward']:+.4f}",
        )
    out.print(table)
    level = "none" if summary["level"] is None else f"{summary['level']:.4f}"
    seconds = summary["seconds"]
    out.print(
        f"rollouts: {count}, problems: {summary['problems']}, in {seconds:.1f} s "
        f"({count / seconds:.0f} per second); batch pass ratio {summary['batch_pass_ratio']:.4f}, level {level}"
    )
    for warning in summary["warnings"]:
        out.print("[yellow]warning[/] ", end="")
        out.print(clean(warning), markup=False)
    if unreadable := summary["unreadable_golds"]:
        out.print(f"[bold magenta]unreadable gold answers[/] ({len(unreadable)}): ", end="")
        more = f" and {len(unreadable) - 10} more (`deepcompress audit` lists all)" if len(unreadable) > 10 else ""
        out.print(clean(", ".join(unreadable[:10])) + more, markup=False)
