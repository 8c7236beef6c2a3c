"""Drawing a sample out of the index of a data set (docs/design.md, 5.12). Pure, and the same for every store.

A stratum has the problems of one data source and one bin, in the order of their places. A draw has three parts:

1. Quotas. Each problem is due with a chance in proportion to the weight of its bin, at most 1. The sum over a stratum
   is rounded by systematic sampling (Madow 1949) with one random start, so that the quotas add up to n exactly.
   Strata with a share below UNIT problems get none or about UNIT at once, in the same way: reading few problems of
   each of many strata takes longer.
2. Windows. A stratum that its quota nearly fills is read whole. Of a large one, short windows of places are read, at
   random positions that are independent of each other, so that each problem is in a window with the same chance. A
   store reads them in rounds, until they have as many problems as the quota (`read_stratum`).
3. Order. The problems found get random numbers, in the order in which they are found: that of their places, which are
   hashes of their ids. Those with the least are drawn.

All random numbers are hashes of (seed, step, purpose), so the same state and the same request give the same sample.
Floats go through +, -, *, / and square roots alone, which are the same to the last bit on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .bins import PLACE_BITS, PLACES, STRATUM_BINS, Stratum

Name = TypeVar("Name", str, bytes)
"""A problem_id, encoded or not."""
WEIGHT_ONE = 1 << 32
"""The largest weight of a draw as an integer: quotas are computed exactly."""
UNIT = 8
"""Problems that are drawn at once from a stratum with a smaller share."""
THIN = 2 * UNIT
"""Least number of problems of such a stratum."""
IN_WINDOW = 16
"""Most problems that a window has on average."""
ROUNDS = 6
"""Rounds of windows after which a stratum is read whole. The first is enough in about 95 of 100."""


class RandomNumbers:
    """Random numbers that depend on a seed, a step and a purpose alone."""

    def __init__(self, seed: bytes, step: int) -> None:
        self._start = hashlib.shake_128(b"dc-sample%s%d:" % (seed, step))

    def _bytes(self, purpose: bytes, count: int) -> bytes:
        hashed = self._start.copy()
        hashed.update(purpose)
        return hashed.digest(count)

    def number(self, purpose: bytes, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        return int.from_bytes(self._bytes(purpose, 16), "little") * below >> 128

    def numbers(self, purpose: bytes, count: int) -> NDArray[np.uint64]:
        """Return [count] numbers of 64 bits."""
        return np.frombuffer(self._bytes(purpose, 8 * count), "<u8")


def integer_weights(weights: Sequence[float]) -> list[int]:
    """Return weights as integers in proportion, the greatest WEIGHT_ONE; one above 0 is at least 1."""
    greatest = max(weights)
    return [max(1, round(weight / greatest * WEIGHT_ONE)) if weight > 0 else 0 for weight in weights]


def quotas(
    available: NDArray[np.int64], weights: NDArray[np.int64], n: int, random: RandomNumbers
) -> NDArray[np.int64]:
    """Return how many problems are drawn from each stratum.

    If fewer than n problems have a weight, all of them are drawn. A mass is a number of problems times their weight.

    Args:
        available: [strata] Problems of each stratum, in the order of the strata.
        weights: [strata] Weight of a problem of each stratum, at most WEIGHT_ONE.
        n: The number of problems.
        random: The random numbers of the sample.
    """
    left = (available > 0) & (weights > 0)
    masses = available * weights
    found = np.where(left, available, 0)
    rest, certain = n - int(found.sum()), left
    if rest >= 0:
        return found
    rest = n
    while certain.any() and rest:
        # Problems of this weight or a greater one are due with certainty.
        certain = left & (weights >= -(-int(masses[left].sum()) // rest))
        rest -= int(available[certain].sum())
        left &= ~certain
    found[left] = 0
    if not rest:
        return found
    total = int(masses[left].sum())
    enough = -(-UNIT * total // rest)  # the mass with a share of UNIT problems
    is_thin = left & (available >= THIN) & (masses < enough)
    own, thin = left & ~is_thin, masses[is_thin]
    found[own] = systematic(masses[own], rest, total, random.number(b"quota", total))
    in_units = rest - int(found[own].sum())
    if len(thin) and in_units:
        units, mass = -(-in_units // UNIT), int(thin.sum())
        size, larger = divmod(in_units, units)
        turn = random.number(b"larger", units)
        ends = np.cumsum(systematic(thin, units, mass, random.number(b"units", mass)))
        is_larger = (np.arange(units) + turn) % units < larger
        at_end = np.concatenate(([0], np.cumsum(size + is_larger)))[ends]
        found[is_thin] = np.diff(at_end, prepend=0)
    return found


def systematic(masses: NDArray[np.int64], n: int, total: int, offset: int) -> NDArray[np.int64]:
    """Return the number of n evenly spaced points that are in each part of a line of length `total`."""
    ends = np.cumsum(masses)
    if n * total + offset < 1 << 63:
        return np.diff((n * ends + offset) // total, prepend=offset // total)
    points = [(n * end + offset) // total for end in ends.tolist()]
    return np.diff(points, prepend=offset // total)


@dataclass(frozen=True, slots=True)
class StratumRead:
    """The part of a stratum that a store reads."""

    stratum: Stratum
    quota: int
    number: int
    """Windows of a round; 0: the stratum is read whole."""
    width: int
    """Places of a window."""
    places: Sequence[int]
    """[ROUNDS * number] First places of the windows."""


def read_stratum(
    part: StratumRead,
    window: Callable[[Stratum, int, int], list[str]],
    free: Callable[[Stratum, list[str]], list[str]],
) -> list[str]:
    """Return the problems of a stratum that may be drawn, in the order in which they are found.

    `stores/lua/sample_draw.lua` is the same for Redis.

    Args:
        part: What is read.
        window: Returns the problems whose place is at least the first number and below the second.
        free: Returns those of the problems that may be drawn.
    """
    stratum, found = part.stratum, list[str]()
    seen: dict[str, None] = {}
    for start in range(0, len(part.places), part.number or 1):
        for first in part.places[start : start + part.number]:
            last = first + part.width
            ids = window(stratum, first, min(last, PLACES))
            if last > PLACES:
                ids += window(stratum, 0, last - PLACES)
            new = [one for one in ids if one not in seen]
            seen.update(dict.fromkeys(new))
            found += free(stratum, new)
        if len(found) >= part.quota:
            return found
    return found + free(stratum, [one for one in window(stratum, 0, PLACES) if one not in seen])


class IncompleteIndex(Exception):
    """A stratum of the index has fewer problems than its count says."""


class Draw:
    """One sample: a store reads the strata as `reads` has it, and gives what it found to `choose`.

    Redis has the same from `plan` and `order` (`stores/lua/sample_draw.lua`).

    Args:
        seed: The seed of the data set.
        step: The step that is sampled for.
        n: The number of problems.
        weights: [BINS] Weight of each bin, finite and not negative, one of them above 0.
        counts: Problems of each stratum, of the sources that take part.
        names: Name of each data source by its number.
        retired: Problems of each stratum that must not be drawn.
    """

    def __init__(
        self,
        seed: bytes,
        step: int,
        n: int,
        weights: Sequence[float],
        counts: Mapping[Stratum, int],
        names: Sequence[str | None],
        retired: Mapping[Stratum, int],
    ) -> None:
        self._random = RandomNumbers(seed, step)
        rank = np.empty(len(names), np.int64)
        rank[sorted(range(len(names)), key=lambda number: names[number] or "")] = np.arange(len(names))
        strata = np.fromiter(counts, np.int64, len(counts))
        strata = strata[np.argsort(rank[strata // STRATUM_BINS] * STRATUM_BINS + strata % STRATUM_BINS)]
        keys = strata.tolist()
        problems = np.array([counts[stratum] for stratum in keys], np.int64)
        available = problems
        if retired:
            available = problems - np.array([retired.get(stratum, 0) for stratum in keys], np.int64)
        weight_of = np.array(integer_weights(weights), np.int64)
        due = quotas(available, weight_of[strata % STRATUM_BINS], n, self._random)
        drawn = due > 0
        self._strata, self._quotas, self._counts = strata[drawn], due[drawn], problems[drawn]
        wanted = self._quotas + 1.5 * np.sqrt(self._quotas) + 0.5
        share = wanted / available[drawn]
        self._number = np.where(share < 0.5, np.ceil(wanted / IN_WINDOW), 0).astype(np.int64)
        # Windows may overlap: those of x times the places cover a part of 1 - exp(-x) of them. x is nearly this.
        part = np.where(share < 0.5, share, 0)
        times = part * (6 - part) / (6 - 4 * part)
        self._width = (times * PLACES / np.maximum(self._number, 1)).astype(np.int64)
        numbers = self._random.numbers(b"places", ROUNDS * int(self._number.sum()))
        self._places = (numbers >> np.uint64(64 - PLACE_BITS)).astype(np.int64)

    @property
    def sources(self) -> list[int]:
        """Numbers of the data sources that problems are drawn from, ascending."""
        return sorted(set((self._strata // STRATUM_BINS).tolist()))

    @property
    def expected(self) -> int:
        """A number of problems that the reads find less than once in a thousand draws."""
        found = np.where(self._number > 0, 1.25 * self._quotas + 2 * np.sqrt(self._quotas) + 2, self._counts)
        return 64 + int(found.sum())

    def plan(self, numbers: Mapping[int, int]) -> tuple[bytes, bytes]:
        """Return the reads, as float64.

        Args:
            numbers: The number that the sample's record has for each data source.

        Returns:
            (stratum, quota, number, width, problems, number of its source in the record) of each stratum, and the
            first places of all windows.
        """
        of = [numbers[source] for source in (self._strata // STRATUM_BINS).tolist()]
        table = np.column_stack((self._strata, self._quotas, self._number, self._width, self._counts, of))
        return table.astype("<f8").tobytes(), self._places.astype("<f8").tobytes()

    def order(self, count: int) -> bytes:
        """Return the order of `count` problems found (item 3 above), as places from 1 on of 32 bits.

        The order of fewer is that without the places that they do not have.
        """
        keys = self._random.numbers(b"order", count)
        order = np.argsort(keys)
        if (np.diff(keys[order]) == 0).any():
            order = np.argsort(keys, kind="stable")  # takes longer
        return (order + 1).astype("<u4").tobytes()

    @property
    def reads(self) -> Iterable[StratumRead]:
        """The reads of each stratum."""
        places, at = self._places.tolist(), 0
        columns = (self._strata, self._quotas, self._number, self._width)
        for stratum, quota, number, width in zip(*(column.tolist() for column in columns), strict=True):
            yield StratumRead(stratum, quota, number, width, places[at : at + ROUNDS * number])
            at += ROUNDS * number

    def choose(self, found: Sequence[Sequence[Name]]) -> list[tuple[Name, int]]:
        """Return the sample, in its order: (problem_id, number of its source).

        Args:
            found: The problems of each stratum that were found and may be drawn.

        Raises:
            IncompleteIndex: A stratum has fewer than its quota.
        """
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        if (sizes < self._quotas).any():
            raise IncompleteIndex
        ids = list(chain.from_iterable(found))
        owner = np.repeat(np.arange(len(found)), sizes)
        keys = self._random.numbers(b"order", len(ids))
        ranked = np.lexsort((keys, owner))
        rank = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        drawn = ranked[rank < self._quotas[owner]]
        drawn = drawn[np.argsort(keys[drawn], kind="stable")]
        sources = (self._strata[owner[drawn]] // STRATUM_BINS).tolist()
        return [(ids[i], source) for i, source in zip(drawn.tolist(), sources, strict=True)]
