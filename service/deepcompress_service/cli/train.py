"""``deepcompress train``: the bundled trainer, and its plots and warm-up, all of whose help is the trainer's own."""

from __future__ import annotations

import typer

EVERYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""What follows the command goes to the trainer as it stands, --help too."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "train", help="Train a small model with the service: see `train --help`.", context_settings=EVERYTHING
    )(train)


def train(context: typer.Context) -> None:
    run(context.args)


def run(arguments: list[str]) -> None:
    """Hand over to the trainer, where it is installed; exit with its status."""
    import importlib.util

    from .output import SERVICE_ERROR, fail

    # Its help is read without its heavy packages.
    needed = ("yaml",) if {"-h", "--help"} & set(arguments) else ("torch", "transformers", "accelerate", "yaml")
    if any(importlib.util.find_spec(name) is None for name in needed):
        fail(
            'the trainer is not installed: pip install ".[service,trainer]" in a clone of deepcompress', SERVICE_ERROR
        )
    from deepcompress_trainer.__main__ import main

    raise typer.Exit(main(arguments))
