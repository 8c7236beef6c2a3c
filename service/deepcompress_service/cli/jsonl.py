"""Reading JSONL files: one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LINE_BYTES = 128 * 1024 * 1024
"""Longest line, as large as the largest body of a request by default."""


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

    def name(self, field: str, default: str | None = None) -> str:
        """Return the name in a field, a text or a number; `default` if the field is missing or null.

        Raises:
            JsonlError: The field has neither, or is missing without a default.
        """
        name = self.fields.get(field)
        name = default if name is None else name
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise self.error(f"{field} is neither a text nor a number")
        return str(name)


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
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES + 1), b""), 1):
            row = Row(file, number, {})
            if len(line) > MAX_LINE_BYTES:
                raise row.error(f"longer than {MAX_LINE_BYTES} bytes")
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8", "surrogatepass"))
            except UnicodeDecodeError:
                raise row.error("not text in UTF-8; give a file with one JSON object per line") from None
            except (ValueError, RecursionError) as error:
                raise row.error(f"not JSON ({error}); give one JSON object per line") from None
            if not isinstance(value, dict):
                raise row.error("not a JSON object; give one object per line")
            empty = False
            yield Row(file, number, value)
    if empty:
        raise JsonlError(f"{file} has no rows; give one JSON object per line")
