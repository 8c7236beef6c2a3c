"""Functions that both TRL rewards share: the supported versions, the columns of the data, the end tokens."""

from __future__ import annotations

from typing import Any

from ._audit import ROWS
from ._common import FrameworkObject
from ._versions import check_version

TESTED = ("0.24", "1.16")
"""The oldest and the newest version of TRL in which trainings of the tests passed (docs/integrations/README.md)."""
LEAVES_NONE_OUT = (1, 6)
"""The first version of TRL that leaves a completion without a reward out; earlier ones train it as 0."""


def trains_none_as_0() -> bool:
    """Check the installed version of TRL; return True if it trains a missing reward as 0.

    Raises:
        RuntimeError: the installed version is too old.
    """
    installed = check_version("trl", *TESTED)
    return installed is not None and installed < LEAVES_NONE_OUT


def check_columns(name: str, data: FrameworkObject, required: tuple[str | None, ...]) -> None:
    """Check that a data set, or each of a dict of data sets, has the columns.

    Raises:
        ValueError: it has not.
    """
    for part in data.values() if isinstance(data, dict) else [data]:
        columns = getattr(part, "column_names", None)  # None for streams: checked at the first batch
        if columns is None:
            continue
        for column in required:
            if column is not None and column not in columns:
                raise ValueError(f"{name} has no column {column!r}, only {sorted(columns)}")


def first_values(data: FrameworkObject, column: str) -> list[Any]:
    """Return the first values of a column of a data set; none of a stream, which may not be read twice."""
    parts = list(data.values()) if isinstance(data, dict) else [data]
    return [
        value
        for part in parts
        if getattr(part, "column_names", None) is not None and hasattr(part, "__len__")
        for value in part[:ROWS][column]
    ]


def end_tokens(trainer: FrameworkObject) -> set[int]:
    """Return the tokens that end a completion, as the trainer counts them for its clipped ratio."""
    tokenizer = getattr(trainer, "_tokenizer", None) or trainer.processing_class
    ends = {tokenizer.pad_token_id, tokenizer.eos_token_id, *getattr(trainer, "eos_token_ids", ())}
    return {token for token in ends if token is not None}


def replies(completion: FrameworkObject) -> int | None:
    """Return the number of the policy's messages in a completion; None if it is text."""
    if isinstance(completion, str):
        return None
    return sum(message.get("role") == "assistant" for message in completion) or None
