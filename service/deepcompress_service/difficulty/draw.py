"""Drawing a sample out of the index of a data set (docs/design.md, 5.12). Pure, and the same for every store.

A stratum has the problems of one data source and one bin, in the order of their places. A draw has three parts:

1. Quotas. Each problem is due with a chance in proportion to the weight of its bin, at most 1. The sum over a stratum
   is rounded by systematic sampling (Madow 1949) with one random start, so that the quotas add up to n exactly.
2. Windows. A stratum that its quota nearly fills is read whole. Of a large one, short windows of places are read, at
   random positions that are independent of each other, so that each problem is in a window with the same chance.
3. Order. The problems found are ordered by a hash of (seed, step, problem_id). The first of each stratum are drawn.

All random numbers are hashes of (seed, step, purpose), so the same state and the same request give the same sample.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from .bins import PLACES

Stratum = tuple[int, int]
"""(number of the data source, bin)"""
Window = tuple[Stratum, int, int]
"""A stratum, its first place, and the place after its last."""
WEIGHT_ONE = 1 << 32
"""The largest weight of a draw as an integer: quotas are computed exactly."""
IN_WINDOW = 8
"""Problems that a window has on average."""
ROUNDS = 4
"""Rounds of windows after which a stratum is read whole. The first is enough in about 95 of 100."""


class SeededHash:
    """Random numbers that depend on a seed and a step alone."""

    def __init__(self, seed: bytes, step: int) -> None:
        self._numbers = hashlib.blake2b(b"%d:#" % step, digest_size=16, key=seed, person=b"dc-sample")
        self._orders = hashlib.blake2b(b"%d:@" % step, digest_size=16, key=seed, person=b"dc-sample")

    def number(self, purpose: bytes, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        hashed = self._numbers.copy()
        hashed.update(purpose)
        return int.from_bytes(hashed.digest(), "big") * below >> 128

    def orders(self, problem_ids: Iterable[str]) -> dict[str, bytes]:
        """Return the 16 bytes by which each problem is ordered."""
        start, found = self._orders.copy, {}
        for problem_id in problem_ids:
            hashed = start()
            hashed.update(problem_id.encode("utf-8", "surrogatepass"))
            found[problem_id] = hashed.digest()
        return found


def integer_weights(weights: Sequence[float]) -> list[int]:
    """Return weights as integers in proportion, the greatest WEIGHT_ONE; one above 0 is at least 1."""
    greatest = max(weights)
    return [max(1, round(weight / greatest * WEIGHT_ONE)) if weight > 0 else 0 for weight in weights]


def quotas(available: Mapping[Stratum, int], weights: Sequence[int], n: int, start: SeededHash) -> dict[Stratum, int]:
    """Return how many problems are drawn from each stratum; `available` are its problems, in the order of the strata.

    `weights` has one integer a bin. If fewer than n problems have a weight, all of them are drawn.
    """
    left = {stratum: count for stratum, count in available.items() if count and weights[stratum[1]]}
    if sum(left.values()) <= n:
        return left
    found: dict[Stratum, int] = {}
    while True:
        rest = n - sum(found.values())
        total = sum(count * weights[stratum[1]] for stratum, count in left.items())
        full = [stratum for stratum in left if rest * weights[stratum[1]] >= total]
        if not full:
            break
        for stratum in full:
            found[stratum] = left.pop(stratum)
    if not rest:
        return found
    offset = start.number(b"quota", total)
    before = 0
    for stratum, count in left.items():
        after = before + count * weights[stratum[1]]
        quota = (rest * after + offset) // total - (rest * before + offset) // total
        if quota:
            found[stratum] = quota
        before = after
    return found


@dataclass(slots=True)
class _StratumDraw:
    """A stratum of which problems are drawn."""

    quota: int
    problems: int
    """Problems of the stratum, those that must not be drawn included."""
    excluded: int
    name: bytes
    """Name of the stratum in the random numbers: that of its source, since numbers of sources have no meaning."""
    found: dict[str, bytes] = field(default_factory=dict)
    """Order of each problem that was found and may be drawn."""
    rounds: int = 0
    """Rounds of windows read so far."""
    read_whole: bool = False
    """True once the whole stratum was read."""


class IncompleteIndex(Exception):
    """A stratum of the index has fewer problems than its count says."""


class Draw:
    """One sample: a store reads `windows()` and gives them to `add` until `done`.

    Args:
        seed: The seed of the data set.
        step: The step that is sampled for.
        n: The number of problems.
        weights: [BINS] Weight of each bin, finite and not negative, one of them above 0.
        counts: Problems of each stratum, of the sources that take part.
        names: Name of each data source by its number.
        excluded: Problems that must not be drawn, with their strata.
    """

    def __init__(
        self,
        seed: bytes,
        step: int,
        n: int,
        weights: Sequence[float],
        counts: Mapping[Stratum, int],
        names: Sequence[str | None],
        excluded: Mapping[str, Stratum],
    ) -> None:
        self._random = SeededHash(seed, step)
        self._excluded = excluded
        barred: dict[Stratum, int] = {}
        for stratum in excluded.values():
            barred[stratum] = barred.get(stratum, 0) + 1
        order = sorted(counts, key=lambda stratum: (names[stratum[0]] or "", stratum[1]))
        available = {stratum: counts[stratum] - barred.get(stratum, 0) for stratum in order}
        self._strata = {
            stratum: _StratumDraw(
                quota,
                counts[stratum],
                barred.get(stratum, 0),
                b"%d:%s" % (stratum[1], (names[stratum[0]] or "").encode("utf-8", "surrogatepass")),
            )
            for stratum, quota in quotas(available, integer_weights(weights), n, self._random).items()
        }

    @property
    def done(self) -> bool:
        """True once every stratum has as many problems as its quota."""
        return not self._missing()

    def _missing(self) -> list[Stratum]:
        return [stratum for stratum, draw in self._strata.items() if len(draw.found) < draw.quota]

    def windows(self) -> list[Window]:
        """Return the windows to be read next.

        Raises:
            IncompleteIndex: A whole stratum was read, and problems of its quota are missing.
        """
        return [window for stratum in self._missing() for window in self._windows_of(stratum)]

    def _windows_of(self, stratum: Stratum) -> list[Window]:
        draw = self._strata[stratum]
        if draw.read_whole:
            raise IncompleteIndex
        wanted = draw.quota + 1.5 * math.sqrt(draw.quota) + 0.5
        share = wanted / (draw.problems - draw.excluded)
        if share >= 0.5 or draw.rounds == ROUNDS:
            draw.read_whole = True
            return [(stratum, 0, PLACES)]
        number = math.ceil(wanted / IN_WINDOW)
        # Windows may overlap: those of x times the places cover a part of 1 - exp(-x) of them.
        width = int(-math.log1p(-share) * PLACES / number)
        result: list[Window] = []
        for index in range(draw.rounds * number, (draw.rounds + 1) * number):
            first = self._random.number(b"place %d %s" % (index, draw.name), PLACES)
            last = first + width
            if last <= PLACES:
                result.append((stratum, first, last))
            else:
                result += [(stratum, first, PLACES), (stratum, 0, last - PLACES)]
        draw.rounds += 1
        return result

    def add(self, windows: Sequence[Window], found: Sequence[Sequence[str]]) -> None:
        """Add the problems of each window that was read."""
        for (stratum, _, _), ids in zip(windows, found, strict=True):
            draw = self._strata[stratum]
            new = ids if not self._excluded else [one for one in ids if one not in self._excluded]
            draw.found |= self._random.orders(new)

    def result(self) -> list[tuple[str, int]]:
        """Return the sample, in its order: (problem_id, number of its source)."""
        drawn: list[tuple[bytes, str, int]] = []
        for (source, _), draw in self._strata.items():
            first = sorted(draw.found.items(), key=itemgetter(1))[: draw.quota]
            drawn += [(order, problem_id, source) for problem_id, order in first]
        return [(problem_id, source) for _, problem_id, source in sorted(drawn)]
