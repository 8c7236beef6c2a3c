"""What the commands share in speaking to a person: one console, the colours of the words, safe text.

Text that a policy wrote is shown through `clean`, since a terminal obeys escape sequences.
"""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

STATUS_STYLE = {
    "correct": "bold green",
    "wrong": "bold red",
    "no_answer": "yellow",
    "unreadable": "yellow",
    "gold_unreadable": "bold magenta",
    "undecided": "bold magenta",
}
DIFFICULTY_STYLE = {"simple": "cyan", "hard": "red", "even": "dim", None: "dim"}

USAGE_ERROR = 2
"""Exit status: the arguments or the input file are wrong."""
SERVICE_ERROR = 3
"""Exit status: the service said no, or no service answered."""


def console() -> Console:
    """A console on standard output; colours and width follow the terminal, or none where it is a file."""
    return Console(soft_wrap=False, highlight=False)


def progress_console() -> Console:
    """A console on standard error, so that standard output holds results only."""
    return Console(stderr=True, highlight=False)


def clean(text: str, limit: int = 500) -> str:
    """`text` without control characters (they could drive the terminal), cut at `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "␤" if c == "\n" else "�" for c in cut)


def without_password(url: str) -> str:
    """A store's URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else f"{scheme}{separator}{rest}"


def fail(message: str, status: int = USAGE_ERROR) -> NoReturn:
    """One line on standard error, and the exit status."""
    Console(stderr=True, highlight=False).print("[bold red]error[/] ", end="")
    Console(stderr=True, highlight=False).print(clean(message, 2000), markup=False)
    raise typer.Exit(status)
