"""Output of the commands: consoles, colours, and safe text.

Responses and other texts from files are printed with `clean`, since terminals execute escape sequences.
"""

from __future__ import annotations

import importlib.util
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
    "unchecked": "bold magenta",
}
DIFFICULTY_STYLE = {"simple": "cyan", "hard": "red", "even": "dim", None: "dim"}

USAGE_ERROR = 2
"""Exit status: the arguments or the input file are invalid."""
SERVICE_ERROR = 3
"""Exit status: the service rejected a request or is not reachable."""


def console() -> Console:
    """Return a console on standard output, with the colours and width of the terminal."""
    return Console(soft_wrap=False, highlight=False)


def progress_console() -> Console:
    """Return a console on standard error, so that standard output contains results only."""
    return Console(stderr=True, highlight=False)


def clean(text: str, limit: int = 500) -> str:
    """Return `text` without control characters, which terminals execute, cut at `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "␤" if c == "\n" else "�" for c in cut)


def without_password(url: str) -> str:
    """Return the URL of a store without user name and password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else f"{scheme}{separator}{rest}"


def reason(error: Exception) -> str:
    """Return the text of an error; for a file that cannot be read or written, its name and the cause."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def require_pictures() -> None:
    """End the command with status 2 if matplotlib is not installed, as in the image of the service."""
    if importlib.util.find_spec("matplotlib") is None:
        fail('pictures need matplotlib: pip install ".[service]" in a clone of deepcompress')


def fail(message: str, status: int = USAGE_ERROR) -> NoReturn:
    """Print an error on standard error and end the command.

    Raises:
        Exit: always, with `status`.
    """
    Console(stderr=True, highlight=False).print("[bold red]error[/] ", end="")
    Console(stderr=True, highlight=False).print(clean(message, 2000), markup=False)
    raise typer.Exit(status)
