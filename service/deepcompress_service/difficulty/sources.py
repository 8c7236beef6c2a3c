"""Sums of each step by data source (docs/design.md, 5.13).

A step's record has every name that the run has had up to this step, in the order of their first groups, each with its
sums in the step. So the newest record is all that the next step needs. ``stores/lua/sources.lua`` has the same
operations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from operator import attrgetter

from .arithmetic import RATIO_ONE
from .model import GroupCommit, SourceSums
from .names import decode, encode
from .run_transaction import RunTransaction

MAX_SOURCES = 16
"""Most data sources of a run with sums of their own: those whose groups came first."""
OTHER = "other"
"""The name under which the groups of all further data sources are counted. One of this name is always among them."""
MAX_NAME = 80
"""Characters of a data source's name by which it is counted."""

_LENGTH = struct.Struct("<H")
SOURCE_INTEGERS = (
    "groups",
    "rollouts",
    "correct",
    "truncated",
    "tokens_sum",
    "tokens_count",
    "correct_tokens_sum",
    "correct_tokens_count",
    "pass_ratio_sum",
)
"""The integers of a `SourceSums`, in order."""
source_integers = attrgetter(*SOURCE_INTEGERS)
"""Returns the integers of a `SourceSums`, in the order of `SOURCE_INTEGERS`."""


def source_name(sent: str | None) -> str | None:
    """Return the name by which a data source is counted: its first characters, with an ellipsis if it was cut."""
    return sent if sent is None or len(sent) <= MAX_NAME else sent[: MAX_NAME - 1] + "…"


def add_groups(sums: dict[str, SourceSums], groups: Iterable[GroupCommit]) -> None:
    """Add groups to the sums of their data sources; a name beyond `MAX_SOURCES` is counted as `OTHER`.

    `sums` has all names of the run so far. Every group has a data source.
    """
    for g in groups:
        name = g.data_source
        assert name is not None
        if name not in sums and len(sums) - (OTHER in sums) >= MAX_SOURCES:
            name = OTHER
        one = sums.setdefault(name, SourceSums())
        tokens, correct_tokens = (g.tokens_sum, g.correct_tokens_sum) if g.tokens_known else (0, 0)
        add_alike(one, g.size, g.passes, 1, g.truncated, tokens, g.tokens_known, correct_tokens)


def add_alike(
    one: SourceSums,
    size: int,
    passes: int,
    groups: int,
    truncated: int,
    tokens: int,
    known: int,
    correct_tokens: int,
) -> None:
    """Add a number of groups of one size and number of passes; `known` of them have the length of each rollout.

    A pass ratio is added in units of 2^-30, rounded, so that the sum is exact in any order.
    """
    one.groups += groups
    one.rollouts += groups * size
    one.correct += groups * passes
    one.truncated += truncated
    one.tokens_sum += tokens
    one.tokens_count += known * size
    one.correct_tokens_sum += correct_tokens
    one.correct_tokens_count += known * passes
    one.pass_ratio_sum += groups * int(passes / size * RATIO_ONE + 0.5)


def mean_pass_ratio(one: SourceSums) -> float:
    """Return the mean of the group pass ratios."""
    return one.pass_ratio_sum / RATIO_ONE / one.groups


def count_sources(state: RunTransaction, step: int, groups: Sequence[GroupCommit], *, opened: bool) -> None:
    """Add new groups of the open step to its sums by data source.

    `opened`: these groups opened the step. Its record is then one that an older version of the service left when it
    rewound the run.
    """
    named = [group for group in groups if group.counts and group.data_source is not None]
    if not named:
        return
    sums: dict[str, SourceSums] = {}
    if newest := state.newest_sources(step):
        of_step, record = newest
        sums = unpack_sources(record)
        if of_step != step or opened:
            sums = {name: SourceSums() for name in sums}
    add_groups(sums, named)
    state.put_sources(step, pack_sources(sums))


def pack_sources(sums: dict[str, SourceSums]) -> bytes:
    """Return a step's record: each name and its integers as text, both behind their lengths (16 bits).

    The text of a name without a group in the step is empty.
    """
    parts = []
    for name, one in sums.items():
        text = " ".join(map(str, source_integers(one))) if one.groups else ""
        parts += [pack_text(encode(name)), pack_text(text.encode())]
    return b"".join(parts)


def unpack_sources(record: bytes) -> dict[str, SourceSums]:
    """Return the sums of every name in a step's record.

    Raises:
        ValueError, TypeError, struct.error: The record is not one of these.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(record):
        (length,) = _LENGTH.unpack_from(record, at)
        at += 2 + length
        if at > len(record):
            raise ValueError("a record of data sources ends early")
        parts.append(record[at - length : at])
    names, texts = parts[::2], parts[1::2]
    return {decode(name): SourceSums(*map(int, text.split())) for name, text in zip(names, texts, strict=True)}


def counted_sources(record: bytes) -> dict[str, SourceSums]:
    """Return the sums of the data sources that have a group in the step; `OTHER` is the last."""
    found = {name: one for name, one in unpack_sources(record).items() if one.groups}
    if OTHER in found:
        found[OTHER] = found.pop(OTHER)
    return found


def pack_text(text: bytes) -> bytes:
    """Return a text behind its length in 16 bits."""
    return _LENGTH.pack(len(text)) + text
