"""The profile of a reference policy: accuracy and mean length of each problem, from `deepcompress profile`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from ._core import describe
from ._rows import invalid
from .wire import DatasetProblem, ScoreGroup, ShapeGroup


class Profile:
    """The figures of each problem, which groups get as ``reference_accuracy`` and ``reference_tokens``."""

    def __init__(self, problems: Iterable[DatasetProblem]) -> None:
        self._figures = {one.problem_id: (one.pass_ratio, one.tokens or None) for one in problems}

    def __len__(self) -> int:
        return len(self._figures)

    @classmethod
    def read(cls, file: str | Path) -> Profile:
        """Return the profile in a file of `deepcompress profile`.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidRequest: a line is not valid.
        """
        with Path(file).open("rb") as lines:
            return cls(
                _problem(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
            )

    def fill(self, groups: Iterable[ShapeGroup | ScoreGroup]) -> None:
        """Set the reference fields of groups that do not have them, where the profile has the problem."""
        for group in groups:
            accuracy, tokens = self._figures.get(group.problem_id or "", (None, None))
            if group.reference_accuracy is None and accuracy is not None:
                group.reference_accuracy = accuracy
            if group.reference_tokens is None and tokens is not None:
                group.reference_tokens = tokens


def _problem(line: bytes, where: str) -> DatasetProblem:
    try:
        return DatasetProblem.model_validate_json(line)
    except ValidationError as error:
        raise invalid(where, f"no line of a profile ({describe(error)}); `deepcompress profile` makes one") from None
