"""``deepcompress eval``: a model's accuracy and length on held-out problems, checked by the service."""

from __future__ import annotations

import typer

from .train import PASS_THROUGH, run


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("eval", help="Evaluate a model with the service: see `eval --help`.", context_settings=PASS_THROUGH)(
        evaluate
    )


def evaluate(context: typer.Context) -> None:
    """Run the evaluation of the trainer package with all arguments."""
    run(["eval", *context.args])
