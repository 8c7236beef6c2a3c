"""Packed counts of correct lengths by bin, as the records of problems, groups and observations hold them.

A packed value has two sizes in bytes (16 bits each), then counts (a bin in one byte, its count in two; bins
ascending), then single rollouts (a bin in one byte each). Empty bytes mean no lengths. Single rollouts are
cheap to add; they are merged into the counts when there are more than `MOST_SINGLE` of them, and when a problem's
counts are halved. How a value is divided between the two has no meaning: `unpack_counts` returns the sums.
``stores/lua/lengths.lua`` has the same operations.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable

BINS = 233
"""Bins that lengths are counted in; their bounds are `shaping.lengths.EDGES`."""
HALVED_AFTER = 16
"""After this many visits of a problem (steps that brought correct lengths) its counts are halved, rounded down."""
MOST_SINGLE = 512
"""Single rollouts of a packed value. So it has at most 4 + 3 * BINS + MOST_SINGLE = 1,215 bytes."""
MOST_COUNT = 0xFFFF
"""Largest count of a bin; more are not counted."""

Counts = tuple[tuple[int, int], ...]
"""(bin, correct rollouts in it), bins ascending, no count of 0."""

_SIZES = struct.Struct("<HH")
_COUNT = struct.Struct("<BH")
_PAIR = struct.Struct("<BHHHH")
"""Visits; sizes of counts before the step, of single rollouts before it, of those added, of counts added."""
EMPTY = _SIZES.pack(0, 0)


def pack_bins(bins: bytes) -> bytes:
    """Return the packed lengths of single rollouts, given by one byte each."""
    if len(bins) > MOST_SINGLE:
        return pack_counts(Counter(bins).items())
    return _SIZES.pack(0, len(bins)) + bins if bins else b""


def pack_counts(counts: Iterable[tuple[int, int]]) -> bytes:
    """Return packed lengths, given by (bin, count)."""
    packed = b"".join([_COUNT.pack(index, min(count, MOST_COUNT)) for index, count in sorted(counts) if count])
    return _SIZES.pack(len(packed), 0) + packed if packed else b""


def unpack_counts(packed: bytes) -> Counts:
    """Return the counts by bin.

    Raises:
        ValueError: The value is not one of these.
    """
    return tuple(sorted(_counter(packed).items()))


def joined(one: bytes, other: bytes) -> bytes:
    """Return the sum of two packed values."""
    if not one or not other:
        return one or other
    counts, singles = _SIZES.unpack_from(one)
    other_counts, other_singles = _SIZES.unpack_from(other)
    if other_counts or singles + other_singles > MOST_SINGLE:
        return pack_counts((_counter(one) + _counter(other)).items())
    return _SIZES.pack(counts, singles + other_singles) + one[4:] + other[4:]


def folded(visits: int, before: bytes, added: bytes) -> tuple[int, bytes]:
    """Return (visits since the last halving, lengths) after a step that added these lengths to a problem."""
    if not added:
        return visits, before
    if visits + 1 < HALVED_AFTER:
        return visits + 1, joined(before, added)
    total = _counter(before) + _counter(added)
    return 0, pack_counts((index, min(count, MOST_COUNT) // 2) for index, count in total.items())


def pack_pair(visits: int, before: bytes, added: bytes) -> bytes:
    """Return the end of a problem's record: its visits, its lengths before the step of its tally, and those added.

    The single rollouts of both lie side by side, so that a step is usually added by changing the sizes and appending.
    """
    if not (visits or before or added):
        return b""
    (counts, singles), (added_counts, added_singles) = (
        _SIZES.unpack_from(before or EMPTY),
        _SIZES.unpack_from(added or EMPTY),
    )
    cut = 4 + added_counts
    head = _PAIR.pack(visits, counts, singles, added_singles, added_counts)
    return head + before[4:] + added[cut:] + added[4:cut]


def unpack_pair(data: bytes, at: int) -> tuple[int, bytes, bytes]:
    """Return (visits, before, added) of a problem's record, from offset `at` to its end."""
    if len(data) == at:
        return 0, b"", b""
    visits, counts, singles, added_singles, added_counts = _PAIR.unpack_from(data, at)
    start = at + _PAIR.size
    middle = start + counts + singles
    end = middle + added_singles
    before = _SIZES.pack(counts, singles) + data[start:middle]
    added = _SIZES.pack(added_counts, added_singles) + data[end:] + data[middle:end]
    return visits, b"" if before == EMPTY else before, b"" if added == EMPTY else added


def _counter(packed: bytes) -> Counter[int]:
    if not packed:
        return Counter()
    counts, singles = _SIZES.unpack_from(packed)
    if len(packed) != 4 + counts + singles or counts % 3:
        raise ValueError("the sizes of packed lengths do not agree with them")
    total = Counter(packed[4 + counts :])
    for index, count in _COUNT.iter_unpack(packed[4 : 4 + counts]):
        total[index] = min(total[index] + count, MOST_COUNT)
    if any(index >= BINS or not count for index, count in total.items()):
        raise ValueError("packed lengths have a bin that does not exist, or one without rollouts")
    return total
