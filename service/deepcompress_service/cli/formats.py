"""The answer formats of the wire, as choices of a command-line option."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, get_args

from deepcompress_client.wire import AnswerFormat

if TYPE_CHECKING:  # type checkers need the members that the commands name

    class Format(StrEnum):
        """Rule by which an answer is extracted from a response."""

        boxed = "boxed"
        bare = "bare"
else:
    Format = StrEnum("Format", {name: name for name in get_args(AnswerFormat)})
