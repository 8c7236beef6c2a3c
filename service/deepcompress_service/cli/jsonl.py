"""Reading JSONL files: one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class JsonlError(ValueError):
    """A file has invalid content; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file."""

    file: str
    number: int
    """Number of the line, from 1."""
    fields: dict[str, Any]

    def error(self, message: str) -> JsonlError:
        """Return an error that names the file and this line."""
        return JsonlError(f"{self.file}, line {self.number}: {message}")


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, without its blank lines. The path ``-`` is standard input.

    Raises:
        OSError: the file cannot be read.
        JsonlError: a line is not a JSON object, or the file has no rows.
    """
    stdin = str(path) == "-"
    file = "standard input" if stdin else path.name
    empty = True
    with nullcontext(sys.stdin.buffer) if stdin else path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = Row(file, number, {})
            try:
                value = json.loads(line.decode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError) as error:
                raise row.error(f"not JSON: {error}") from None
            if not isinstance(value, dict):
                raise row.error("not a JSON object")
            empty = False
            yield Row(file, number, value)
    if empty:
        raise JsonlError(f"{file} has no rows")
