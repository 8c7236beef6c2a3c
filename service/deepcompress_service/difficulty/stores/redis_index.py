"""The packed form of a data set's index in Redis (`lua/dataset.lua`)."""

from __future__ import annotations

from collections.abc import Iterable

from ..bins import PLACE_BITS, Stratum, source_of_stratum
from ..dataset import Entry
from ..names import encode
from .redis_link import Argument


def score_of(entry: Entry) -> int:
    """Return the score of a problem in the index (`lua/dataset.lua`)."""
    return (entry.stratum << PLACE_BITS) + entry.place


def source_of(score: bytes | str) -> int:
    """Return the number of a problem's data source by its score."""
    return source_of_stratum(int(float(score)) >> PLACE_BITS)


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
    for stratum, count in sorted(counts.items()):
        yield stratum
        yield count


def counts_of(text: bytes) -> dict[Stratum, int]:
    """Return the number of problems of each stratum that has any."""
    flat = list(map(int, text.split()))
    found = dict(zip(flat[::2], flat[1::2], strict=True))
    return found if all(found.values()) else {stratum: count for stratum, count in found.items() if count > 0}
