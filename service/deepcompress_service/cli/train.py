"""``deepcompress train``: the bundled trainer with its plots and warm-up."""

from __future__ import annotations

import typer

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command that passes all its arguments to the trainer, --help included."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "train", help="Train a small model with the service: see `train --help`.", context_settings=PASS_THROUGH
    )(train)


def train(context: typer.Context) -> None:
    """Run the trainer with all arguments."""
    run(context.args)


def run(arguments: list[str]) -> None:
    """Run the trainer and end the command.

    Raises:
        Exit: always, with the trainer's status; SERVICE_ERROR if the trainer is not installed.
    """
    import importlib.util

    from .output import SERVICE_ERROR, fail

    # --help works without the packages of the extra [trainer].
    needed = () if {"-h", "--help"} & set(arguments) else ("torch", "transformers", "accelerate", "yaml")
    if any(importlib.util.find_spec(name) is None for name in needed):
        fail(
            'the trainer is not installed: pip install ".[service,trainer]" in a clone of deepcompress', SERVICE_ERROR
        )
    from deepcompress_trainer.__main__ import main

    raise typer.Exit(main(arguments))
