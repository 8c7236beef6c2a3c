"""``deepcompress runs ...``: list, show, rewind, save, restore, move and delete the runs of a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .helptext import teach
from .remote import DEFAULT_URL, service_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from deepcompress_client.wire import HistoryEntry, RunInfo

_HELP = """\
List and show the runs of a service; rewind, save, restore, move and delete them.

The service is --url, else DEEPCOMPRESS_URL, else http://127.0.0.1:8321.

  deepcompress runs ls
  deepcompress runs create exp-13 --preset compress
  deepcompress runs show exp-12 --steps 20
  deepcompress runs history exp-12
  deepcompress runs problems exp-12 --difficulty hard
  deepcompress runs plot exp-12 --out exp-12.png
  deepcompress runs rewind exp-12 401
  deepcompress runs export exp-12 > exp-12.jsonl

In the tables, an open step still takes groups. Stale groups arrived after their step was closed: they were rewarded
and not counted. Side changes are changes of a problem between simple and hard. The epoch of a run rises when it is
rewound, restored, imported or deleted.

Exit status: 0 success, 1 not confirmed, 2 invalid arguments, 3 the service rejected the request or is not reachable.
"""

_runs = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
PROBLEM_COLUMNS = (
    *("problem", "pass\nratio", "beta", "difficulty", "rollouts", "shortest\ncorrect"),
    *("side\nchanges", "last\nstep"),
)

Url = Annotated[
    str | None,
    typer.Option(envvar="DEEPCOMPRESS_URL", help=f"URL of the service; default: {DEFAULT_URL}", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="DEEPCOMPRESS_API_KEY", help="API key, if the service requires one", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(help="name of the run", show_default=False)]


def _check_checkpoint(name: str) -> str:
    """Return the name of a checkpoint, or end the command if no checkpoint can have it."""
    import re

    from .output import clean, fail

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name):
        rule = "1 to 128 letters, digits, dots, underscores and hyphens"
        fail(f"the name of a checkpoint has {rule}: {clean(name, 150)!r} is none")
    return name


Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="name of the checkpoint", callback=_check_checkpoint, show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.add_typer(_runs, name="runs", help=teach(_HELP))


@_runs.command("ls")
def list_runs(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per run instead of a table")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List all runs with their levels and open steps."""
    from .output import console, narrow_table

    with service_client(url, key) as client:
        if as_json:
            for run in client.runs():
                typer.echo(run.to_json())
            return
        table = narrow_table()
        for name in ("run", "strategy"):
            table.add_column(name, overflow="fold")
        for name in ("step", "level", "pass\nratio", "problems", "epoch"):
            table.add_column(name, justify="right", no_wrap=True)
        for run in client.runs():
            ratio = "-" if run.batch_pass_ratio is None else f"{run.batch_pass_ratio:.3f}"
            step = "-" if run.step is None else str(run.step)
            strategy = run.config.strategy.name
            table.add_row(run.run, strategy, step, f"{run.level:.4f}", ratio, str(run.problems), str(run.epoch))
        console().print(table)


def _list_presets(value: str | None) -> str | None:
    """Print all presets and end the command, if the value is `list`."""
    from deepcompress_client.presets import PRESETS

    if value != "list":
        return value
    for one in PRESETS:
        typer.echo(f"{one.id:14}{one.summary}")
    raise typer.Exit


@_runs.command("create")
def create(
    name: Name,
    preset: Annotated[
        str | None,
        typer.Option(
            help="NAME or NAME@VERSION; --preset list prints all",
            show_default=False,
            is_eager=True,  # so that --preset list needs no name of a run
            callback=_list_presets,
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="JSON object of other fields of the configuration", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Create a run with a preset or a configuration, or confirm the one of a run without steps."""
    import json

    from deepcompress_client import errors
    from deepcompress_client.wire import RunConfig

    from .output import SERVICE_ERROR, console, fail

    try:
        fields = json.loads(config or "{}")
    except (ValueError, RecursionError) as error:
        fail(f"--config is not JSON: {error}")
    if not isinstance(fields, dict):
        fail("--config must be a JSON object")
    if unknown := sorted(set(fields) - set(RunConfig.model_fields)):
        fail(f"--config: no such field: {', '.join(unknown)}")
    strategy = fields.pop("strategy", None)
    if preset is not None:
        fields["preset"] = preset
    with service_client(url, key) as client:
        try:
            info = client.run(name, strategy=strategy, **fields).info()
        except errors.RunInUse:
            fail(f"run {name} was trained with: use another name, or delete it with `runs rm {name}`", SERVICE_ERROR)
    out = console()
    out.print(_line(info), markup=False)
    out.print(json.dumps(info.config.model_dump(exclude_none=True)), markup=False, soft_wrap=True)


@_runs.command("show")
def show(
    name: Name,
    steps: Annotated[int, typer.Option(min=1, help="number of steps, from the newest")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="print one JSON object: the run, its steps, its checkpoints")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Show one run: its configuration, its newest steps, its checkpoints."""
    import json

    from .output import clean, console

    with service_client(url, key) as client:
        run = client.run(name, join=True)
        info = run.info()
        history, checkpoints = run.history(limit=steps), run.checkpoints()
    if as_json:
        rows = [step.to_dict() for step in history.steps]
        typer.echo(json.dumps({**info.to_dict(), "steps": rows, "checkpoints": checkpoints}))
        return
    out = console()
    out.print(_line(info), markup=False)
    # Without line ends of the terminal's width, so that it can be copied.
    out.print(json.dumps(info.config.model_dump(exclude_none=True)), markup=False, soft_wrap=True)
    out.print(_steps_table(history.steps))
    for saved in checkpoints:
        out.print(f"checkpoint {clean(str(saved['name']))} at the end of step {saved['step']}", markup=False)


@_runs.command("history")
def history(
    name: Name,
    since: Annotated[int, typer.Option(min=0, help="first step")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per step instead of a table")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Show the level and the statistics of each step."""
    from .output import console

    with service_client(url, key) as client:
        steps = client.run(name, join=True).history(since=since).steps
    if as_json:
        for step in steps:
            typer.echo(step.to_json())
    else:
        console().print(_steps_table(steps))


@_runs.command("plot")
def plot(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG file to write; default: RUN.png", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Draw the level, the pass ratio and the lengths by step."""
    from .output import fail, prepare_file, require_pictures

    require_pictures()
    file = out or Path(f"{name}.png")
    prepare_file(file)
    from .run_picture import draw_run

    with service_client(url, key) as client:
        steps = client.run(name, join=True).history().steps
    if not steps:
        fail(f"run {name} has no steps yet")
    typer.echo(f"wrote {draw_run(name, steps, file)}")


@_runs.command("problems")
def problems(
    name: Name,
    difficulty: Annotated[str | None, typer.Option(help="simple or hard", show_default=False)] = None,
    search: Annotated[str | None, typer.Option(help="part of the problem_id", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=0, help="most problems listed; 0: all")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="print one JSON object per problem instead of a table")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the problems of a run, lowest pass ratio first."""
    from itertools import islice
    from typing import Literal, cast

    from rich.text import Text

    from .output import DIFFICULTY_STYLE, clean, console, fail, narrow_table, progress_console

    if difficulty not in (None, "simple", "hard"):
        fail("--difficulty must be simple or hard")
    side = cast('Literal["simple", "hard"] | None', difficulty)
    with service_client(url, key) as client:
        listed = client.run(name, join=True).problems(
            difficulty=side, sort="pass_ratio", search=search, page_size=min(limit or 1000, 1000)
        )
        shown = list(islice(listed, limit or None))
        more = next(listed, None) is not None
    if as_json:
        for problem in shown:
            typer.echo(problem.to_json())
    else:
        table = narrow_table()
        for column in PROBLEM_COLUMNS:
            justify: Literal["left", "right"] = "left" if column in ("problem", "difficulty") else "right"
            table.add_column(column, justify=justify, no_wrap=column != "problem", overflow="fold")
        for problem in shown:
            table.add_row(
                Text(clean(problem.problem_id, 60)),
                "-" if problem.pass_ratio is None else f"{problem.pass_ratio:.3f}",
                "-" if problem.last_beta is None else f"{problem.last_beta:+.3f}",
                Text(problem.difficulty or "-", DIFFICULTY_STYLE[problem.difficulty]),
                str(problem.attempts),
                "-" if problem.shortest_correct_tokens is None else str(problem.shortest_correct_tokens),
                str(problem.turns),
                str(problem.last_step),
            )
        console().print(table)
    if more:
        progress_console().print(f"There are more problems than these {limit}: --limit 0 lists all", markup=False)


@_runs.command("rewind")
def rewind(
    name: Name,
    next_step: Annotated[
        str, typer.Argument(help="the step that the trainer sends next, or 'all' to forget all steps")
    ],
    yes: Yes = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Forget all steps from one step on."""
    from .output import fail

    if next_step != "all" and not next_step.isdecimal():
        fail("NEXT_STEP must be a whole number from 0, or 'all'")
    _ask(f"Forget run {name} from {'its beginning' if next_step == 'all' else f'step {next_step}'} on?", yes)
    with service_client(url, key) as client:
        run = client.run(name, join=True)
        typer.echo(_line(run.rewind(None if next_step == "all" else int(next_step))))


@_runs.command("checkpoint")
def checkpoint(
    name: Name,
    checkpoint_name: Checkpoint,
    step: Annotated[int, typer.Argument(min=0, help="step at whose end the state is saved")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Save the state at the end of a step as a checkpoint."""
    with service_client(url, key) as client:
        saved = client.run(name, join=True).checkpoint(checkpoint_name, step)
        typer.echo(f"saved {saved['name']} at the end of step {saved['step']}, level {saved['level']:.4f}")


@_runs.command("restore")
def restore(
    name: Name,
    checkpoint_name: Checkpoint,
    yes: Yes = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Replace the state of a run by a checkpoint."""
    _ask(f"Replace the state of run {name} by checkpoint {checkpoint_name}?", yes)
    with service_client(url, key) as client:
        typer.echo(_line(client.run(name, join=True).restore(checkpoint_name)))


@_runs.command("export")
def export(
    name: Name,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="file to write; default: standard output")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write the whole state of a run as lines of JSON."""
    import shutil
    import sys
    import tempfile

    from .output import prepare_file

    prepare_file(out)
    with service_client(url, key) as client:
        run = client.run(name, join=True)
        if out is not None:
            run.export_to(out)
            return
        with tempfile.TemporaryDirectory() as folder:  # print no part of an export that fails
            path = Path(folder) / "export.jsonl"
            run.export_to(path)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


@_runs.command("import")
def import_state(
    name: Name,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="file written by export")],
    yes: Yes = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Replace a run's state by an export, or create the run."""
    _ask(f"Replace the state of run {name} by {file}?", yes)
    with service_client(url, key) as client:
        typer.echo(_line(client.import_run(name, file)))


@_runs.command("rm")
def delete(name: Name, yes: Yes = False, url: Url = None, key: Key = None) -> None:
    """Delete a run and its checkpoints."""
    _ask(f"Delete run {name}, its state and its checkpoints?", yes)
    with service_client(url, key) as client:
        client.delete_run(name)
        typer.echo(f"deleted {name}")


def _steps_table(steps: Sequence[HistoryEntry]) -> Table:
    from .output import narrow_table

    table = narrow_table()
    counted = ("groups", "simple", "hard")
    for column in ("step", "level", "pass\nratio", *counted, "tokens\ncorrect", "tokens\nwrong", "stale"):
        table.add_column(column, justify="right", no_wrap=True)
    for step in steps:
        lengths = (step.mean_tokens_correct, step.mean_tokens_wrong)
        table.add_row(
            f"{step.step}{'' if step.closed else ' open'}",
            f"{step.level:.4f}",
            "-" if step.batch_pass_ratio is None else f"{step.batch_pass_ratio:.3f}",
            str(step.groups),
            str(step.simple),
            str(step.hard),
            *("-" if length is None else f"{length:.0f}" for length in lengths),
            str(step.stale_groups),
        )
    return table


def _ask(question: str, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True)


def _line(run: RunInfo) -> str:
    from .output import counted

    step = "no open step" if run.step is None else f"step {run.step}"
    return f"{run.run}: epoch {run.epoch}, {step}, level {run.level:.4f}, {counted(run.problems, 'problem')}"
