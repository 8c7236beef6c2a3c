"""Output of the commands: consoles, colours, and safe text.

Responses and other texts from files are printed with `clean`, since terminals execute escape sequences.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

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


def narrow_table() -> Table:
    """Return a table whose columns fit a terminal of 80 characters: without lines between them."""
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def progress_console() -> Console:
    """Return a console on standard error, so that standard output contains results only."""
    return Console(stderr=True, highlight=False)


def read_text(limit_bytes: int) -> str:
    """Return standard input as text, at most `limit_bytes` of it."""
    return sys.stdin.buffer.read(limit_bytes).decode("utf-8", "replace")


def clean(text: str, limit: int = 500) -> str:
    """Return `text` without control characters, which terminals execute, cut at `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "␤" if c == "\n" else "�" for c in cut)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 gold", "2,000 golds"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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


def print_error(message: str) -> None:
    """Print an error on standard error, in one line. A closed standard error is no further error."""
    text = clean(" ".join(message.split()), 2000)
    try:
        out = Console(stderr=True, highlight=False, soft_wrap=True)
        out.print("[bold red]error[/] ", end="")
        out.print(text, markup=False)
    except OSError:
        return


def fail(message: str, status: int = USAGE_ERROR) -> NoReturn:
    """Print an error on standard error and end the command.

    Raises:
        Exit: always, with `status`.
    """
    print_error(message)
    raise typer.Exit(status)


def prepare_file(path: Path | None) -> None:
    """Make the folder of a file that a command will write, and end the command if it cannot be written.

    It is called before the work, so that no result is lost. None and ``-`` are standard output.
    """
    if path is None or str(path) == "-":
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except (OSError, ValueError) as error:
        fail(f"cannot write {clean(str(path))}: {_cause(error)}")


def prepare_folder(path: Path) -> None:
    """Make a folder that a command will fill, and end the command if it cannot be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except (OSError, ValueError) as error:
        fail(f"cannot write to the folder {clean(str(path))}: {_cause(error)}")


@contextmanager
def output_file(path: Path) -> Iterator[TextIO]:
    """Yield a file to write as UTF-8; ``-`` is standard output. An error of writing names the file."""
    if str(path) == "-":
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8") as sink:
            yield sink
    except OSError as error:
        fail(f"cannot write {clean(str(path))}: {_cause(error)}")


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
