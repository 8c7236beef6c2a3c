"""The packed form of a data set's index in Redis (`lua/dataset.lua`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..bins import PLACE_BITS, PLACES
from ..codec import encode
from ..dataset import Entry
from ..draw import Stratum
from .redis_link import Argument

STRATUM_BINS = 64
"""Numbers of bins in a score, some of them unused."""


def score_of(entry: Entry) -> int:
    """Return the score of a problem in the index (`lua/dataset.lua`)."""
    return (entry.source * STRATUM_BINS + entry.bin << PLACE_BITS) + entry.place


def stratum_of(score: bytes | str) -> Stratum:
    """Return the stratum of a problem by its score."""
    source, index = divmod(int(float(score)) >> PLACE_BITS, STRATUM_BINS)
    return source, index


def entry_commands(prefix: str, entries: dict[str, Entry]) -> list[list[Argument]]:
    """Return the commands that add problems to a data set, without their numbers by stratum."""
    scores: list[Argument] = []
    priors: list[Argument] = []
    for name, entry in entries.items():
        field = encode(name)
        scores += (score_of(entry), field)
        if entry.prior:
            priors += (field, entry.prior)
    commands: list[list[Argument]] = []
    if scores:
        commands.append(["ZADD", f"{prefix}dx", "NX", *scores])
    if priors:
        commands.append(["HSET", f"{prefix}dp", *priors])
    return commands


def strata_arguments(counts: dict[Stratum, int]) -> Iterable[int]:
    """Return the fields of the hash that has the number of problems of each stratum, flat."""
    for (source, index), count in sorted(counts.items()):
        yield source * STRATUM_BINS + index
        yield count


def counts_of(flat: Sequence[bytes | str]) -> dict[Stratum, int]:
    """Return the number of problems of each stratum that has any."""
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {divmod(int(number), STRATUM_BINS): int(count) for number, count in pairs if int(count) > 0}


def score_range(stratum: Stratum, first: int, last: int) -> tuple[int, int]:
    """Return the first score of a window, and the score after its last."""
    start = (stratum[0] * STRATUM_BINS + stratum[1]) * PLACES
    return start + first, start + last
