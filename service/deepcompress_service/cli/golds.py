"""Parts of commands that read gold answers from files: their options, and the gold and the checker of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .formats import CheckerOption, parse_checker, parse_object
from .jsonl import Row

if TYPE_CHECKING:
    from rich.progress import Progress

GoldField = Annotated[str, typer.Option(help="field of the gold answer")]
IdField = Annotated[str, typer.Option(help="field of the problem's name")]
DefaultChecker = Annotated[
    str | None,
    typer.Option(
        "--checker",
        "-c",
        help="the checker of rows without a field 'checker': its name, or its name and parameters as JSON",
        show_default="math",
    ),
]
SourceCheckers = Annotated[
    str | None,
    typer.Option(help="JSON object with the checker of each data_source, for rows without a field 'checker'"),
]


def gold_of(row: Row, name: str) -> tuple[str, ...]:
    """Return the gold answers of a row: a text, a number, or a list of texts in its field `name`.

    Raises:
        JsonlError: The field is none of these.
    """
    gold = row.fields.get(name)
    if isinstance(gold, str | int | float) and not isinstance(gold, bool):
        return (str(gold),)
    if isinstance(gold, list) and all(isinstance(text, str) for text in gold):
        return tuple(gold)
    raise row.error(f"{name!r} is not a string or a list of strings (use --gold-field for another field)")


def options_of(row: Row) -> tuple[str, ...]:
    """Return the choices of a row.

    Raises:
        JsonlError: They are no list of texts.
    """
    options = row.fields.get("options") or ()
    if not isinstance(options, list | tuple) or not all(isinstance(text, str) for text in options):
        raise row.error("'options' is not a list of strings")
    return tuple(options)


@dataclass(frozen=True, slots=True)
class Routing:
    """The checkers of rows that have no field of their own: by data_source, else the default."""

    default: CheckerOption
    by_source: Mapping[str, object]
    remote: frozenset[str]

    @classmethod
    def of_options(cls, checker: str | None, checkers: str | None) -> Routing:
        """Return the routing of the options --checker and --checkers, with the remote checkers of the settings.

        Raises:
            BadParameter: An option is not valid.
            ValueError: The file of the remote checkers, or a setting, is not valid.
        """
        from .endpoints import configured_endpoints

        by_source = parse_object("--checkers", checkers) or {}
        return cls(parse_checker(checker), by_source, frozenset(configured_endpoints()))

    def of(self, row: Row) -> tuple[CheckerOption, bool]:
        """Return (checker, True if it is remote) of a row.

        Raises:
            JsonlError: There is no such checker.
        """
        from deepcompress_verify import CheckerError
        from deepcompress_verify.checkers import resolve_checker

        source = row.fields.get("data_source")
        checker: Any = row.fields.get("checker") or (self.by_source.get(source) if isinstance(source, str) else None)
        checker = checker or self.default
        if not isinstance(checker, str | dict | None):
            raise row.error("'checker' is neither a name nor an object")
        if self.remote:
            from ..scoring.plan import checker_name  # late: its imports take long

            if checker_name(checker) in self.remote:
                return None, True
        try:
            resolve_checker(checker)
        except (CheckerError, TypeError, ValueError) as error:
            others = f"; remote: {', '.join(sorted(self.remote))}" if self.remote else ""
            raise row.error(f"'checker': {error}{others}") from None
        return checker, False


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show progress bars on standard error until the block ends."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .output import progress_console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console(), transient=True) as progress:
        yield progress
