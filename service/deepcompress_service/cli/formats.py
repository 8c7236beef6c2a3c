"""The answer formats of the wire, as choices of a command-line option, and the option --checker."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, get_args

from deepcompress_client.wire import AnswerFormat

CheckerOption = str | dict[str, object] | None
"""A checker as the library takes it."""

if TYPE_CHECKING:  # type checkers need the members that the commands name

    class Format(StrEnum):
        """Rule by which an answer is extracted from a response."""

        boxed = "boxed"
        bare = "bare"
else:
    Format = StrEnum("Format", {name: name for name in get_args(AnswerFormat)})


def parse_checker(text: str | None) -> CheckerOption:
    """Return the value of an option --checker: a name, or a name with parameters as JSON."""
    if text is None or not text.lstrip().startswith("{"):
        return text
    return parse_object("--checker", text)


def parse_object(option: str, text: str | None) -> dict[str, object] | None:
    """Return the value of an option that is a JSON object; None if it is not given."""
    import json

    import typer

    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f'{option} is a JSON object such as \'{{"name": "number", "digits": 3}}\'')
    return value
