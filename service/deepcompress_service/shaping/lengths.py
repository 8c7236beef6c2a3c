"""A problem's stored lengths: a histogram of its correct rollouts' tokens in fixed logarithmic bins.

Counts are whole numbers, so order, shards and retries change nothing. The bounds of the bins come from integer
arithmetic alone, so that every machine has the same ones.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BINS_PER_OCTAVE = 8
"""A bin is 2^(1/8) - 1 = 9 % wide; below 12 tokens every length has a bin of its own."""
MAX_TOKENS = 2**31 - 1


def _edge(index: int) -> int:
    """Return the least t with t^8 >= 2^index."""
    power = 1 << index
    low, high = 0, 1 << (index // BINS_PER_OCTAVE + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**BINS_PER_OCTAVE >= power:
            high = middle
        else:
            low = middle + 1
    return low


EDGES: tuple[int, ...] = (0, *sorted({_edge(index) for index in range(31 * BINS_PER_OCTAVE + 1)}))
"""Bin k holds the lengths from EDGES[k] to EDGES[k + 1] - 1; the last one has no upper bound."""


def bin_of(tokens: int) -> int:
    """Return the bin of a length."""
    return bisect.bisect_right(EDGES, tokens) - 1


@dataclass(frozen=True, slots=True)
class LengthRecord:
    """A problem's record before this step, over the visits that it still remembers."""

    attempts: int
    correct: int
    counts: tuple[tuple[int, int], ...]
    """(bin, correct rollouts in it), bins ascending, no count of 0."""

    @classmethod
    def of(cls, attempts: int, correct_tokens: Iterable[int]) -> LengthRecord:
        """Return the record of these correct lengths."""
        counts: dict[int, int] = {}
        for tokens in correct_tokens:
            counts[bin_of(tokens)] = counts.get(bin_of(tokens), 0) + 1
        return cls(attempts, sum(counts.values()), _sorted(counts))

    def quantile(self, share: float) -> float | None:
        """Return the length that `share` of the correct rollouts do not exceed, in tokens; None without lengths.

        It is interpolated on a straight line within its bin, from the bin's least length to its greatest.
        """
        total = sum(count for _, count in self.counts)
        if total == 0:
            return None
        wanted, below = share * total, 0
        for index, count in self.counts:
            if below + count >= wanted:
                low = EDGES[index]
                high = EDGES[index + 1] - 1 if index + 1 < len(EDGES) else MAX_TOKENS
                return low + (high - low) * max(0.0, (wanted - below) / count)
            below += count
        raise AssertionError(f"a share over 1: {share}")

    def after(self, attempts: int, correct_tokens: Iterable[int]) -> LengthRecord:
        """Return the record with the rollouts of a step added."""
        added = LengthRecord.of(attempts, correct_tokens)
        counts = dict(self.counts)
        for index, count in added.counts:
            counts[index] = counts.get(index, 0) + count
        return LengthRecord(self.attempts + added.attempts, self.correct + added.correct, _sorted(counts))

    def halved(self) -> LengthRecord:
        """Return the record with every count halved and rounded down, so that it forgets the start."""
        kept = {index: count // 2 for index, count in self.counts}
        return LengthRecord(self.attempts // 2, self.correct // 2, _sorted(kept))


def _sorted(counts: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((index, counts[index]) for index in sorted(counts) if counts[index] > 0)
