"""``deepcompress eval``: a model's accuracy and length on held-out problems, checked by the service."""

from __future__ import annotations

import typer

from .train import EVERYTHING, run


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("eval", help="Evaluate a model with the service: see `eval --help`.", context_settings=EVERYTHING)(
        evaluate
    )


def evaluate(context: typer.Context) -> None:
    run(["eval", *context.args])
