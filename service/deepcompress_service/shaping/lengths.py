"""A problem's stored lengths: a histogram of its correct rollouts' tokens in fixed logarithmic bins.

Counts are whole numbers, so order, shards and retries change nothing. The bounds of the bins come from integer
arithmetic alone, so that every machine has the same ones.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

BINS_PER_OCTAVE = 8
"""A bin is 2^(1/8) - 1 = 9 % wide; below 12 tokens every length has a bin of its own."""


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
"""Bin k holds the lengths from EDGES[k] to EDGES[k + 1] - 1. The last bin begins at 2^31 tokens, above every length
that a request may have."""

bin_of: Callable[[int], int] = partial(bisect.bisect_right, EDGES[1:])
"""The bin of a length."""


HALVED_AFTER = 16
"""After this many visits (steps that brought correct lengths) the counts are halved, to forget the start."""


@dataclass(frozen=True, slots=True)
class LengthRecord:
    """A problem's correct lengths before this step, as far as they are remembered."""

    counts: tuple[tuple[int, int], ...] = ()
    """(bin, correct rollouts in it), bins ascending, no count of 0."""
    visits: int = 0
    """Visits since the counts were halved."""

    @classmethod
    def of(cls, correct_tokens: Iterable[int]) -> LengthRecord:
        """Return the record of a problem after one visit with these correct lengths."""
        return cls().after(correct_tokens)

    @property
    def correct(self) -> int:
        """Number of correct rollouts that are remembered."""
        return sum(count for _, count in self.counts)

    def quantile(self, share: float) -> float | None:
        """Return the length that `share` of the correct rollouts do not exceed, in tokens; None without lengths.

        It is interpolated on a straight line within its bin, from the bin's least length to its greatest.
        """
        if not self.counts:
            return None
        wanted, below = share * self.correct, 0
        for index, count in self.counts:
            if below + count >= wanted:
                low = EDGES[index]
                high = EDGES[index + 1] - 1 if index + 1 < len(EDGES) else low
                return low + (high - low) * max(0.0, (wanted - below) / count)
            below += count
        raise AssertionError(f"a share over 1: {share}")

    def after(self, correct_tokens: Iterable[int]) -> LengthRecord:
        """Return the record after a step with these correct lengths; one without any is no visit."""
        counts = Counter(map(bin_of, correct_tokens))
        if not counts:
            return self
        visits, halved = (0, 2) if self.visits + 1 == HALVED_AFTER else (self.visits + 1, 1)
        counts.update(dict(self.counts))
        kept = {index: count // halved for index, count in counts.items()}
        return LengthRecord(tuple((index, kept[index]) for index in sorted(kept) if kept[index]), visits)
