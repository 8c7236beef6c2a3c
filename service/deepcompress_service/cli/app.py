"""The command line: each command is a module of this package with a function ``register(app)``."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from . import audit, config, curves, demo, eval, profile, replay, runs, score, serve, train, verify
from .commands import Commands

app = typer.Typer(
    name="deepcompress",
    cls=Commands,
    help="A reward service for reinforcement learning of reasoning models: it checks answers "
    "and computes rewards.\n\nStart with [bold]deepcompress demo[/bold]; then "
    "[bold]deepcompress serve[/bold], and the page /docs of the server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (serve, demo, verify, score, audit, profile, runs, replay, curves, config, train, eval):
    _command.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"deepcompress {metadata.version('deepcompress-reward')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and end", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Read the options that come before the command."""
