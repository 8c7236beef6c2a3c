"""Packed counts of correct lengths by bin, as the records of problems, groups and observations hold them.

A packed value has two sizes in bytes (16 bits each), then counts (a bin in one byte, its count in two; bins
ascending), then single rollouts (a bin in one byte each). Empty bytes mean no lengths. Single rollouts are
cheap to add; they are merged into the counts when there are more than `MOST_SINGLE` of them, and when a problem's
counts are halved. How a value is divided between the two has no meaning: `unpack_counts` returns the sums.

A problem's record ends with its lengths, in a form that a step adds to without reading it: portions, the newest
first, are the single rollouts of a step behind their number; then there is what came before. Portions are counted,
and counts halved, when they are read, or when they take more than half of the end (`closed`).
``stores/lua/lengths.lua`` has the same operations.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Sequence

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
PORTION = 0xF0
"""Added to the high byte of a portion's number of rollouts."""
DENSE, WIDE = 0xE0, 0xE1
"""First bytes of counts of adjacent bins, of one byte or two each. `pack_pair` begins with a lower one."""
MOST_BYTES = 96
"""Length of the end of a record above which portions are counted, if they are more than half of it."""
_NO_PORTION = bytes((PORTION, 0))


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


def unpack_pair(data: bytes, at: int = 0) -> tuple[int, bytes, bytes]:
    """Return (visits, before, added) of a problem's record, from offset `at` to its end.

    Raises:
        ValueError: The record ends early.
    """
    portions: list[bytes] = []
    while at < len(data) and data[at] >= PORTION:
        end = _portion_end(data, at)
        portions.append(data[at + 2 : end])
        at = end
    visits, before, added = _unpack_base(data, at)
    if not portions:
        return visits, before, added
    visits, before = folded(visits, before, added)
    singles: list[bytes] = []
    for portion in portions[:0:-1]:
        if portion:
            singles.append(portion)
            visits += 1
        if visits == HALVED_AFTER:
            visits, before = folded(visits - 1, before, pack_bins(b"".join(singles)))
            singles = []
    return visits, joined(before, pack_bins(b"".join(singles))), pack_bins(portions[0])


def _portion_end(data: bytes, at: int) -> int:
    end = at + 2 + ((data[at] - PORTION) << 8 | data[at + 1] if at + 1 < len(data) else len(data))
    if end > len(data):
        raise ValueError("a portion of lengths ends early")
    return end


def _unpack_base(data: bytes, at: int) -> tuple[int, bytes, bytes]:
    """Return (visits, before, added) of what `pack_pair` made, from offset `at` on."""
    if len(data) == at:
        return 0, b"", b""
    if data[at] >= DENSE:
        visits, first, counts = _unpack_dense(data, at)
        return visits, pack_counts(enumerate(counts, first)), b""
    visits, size, singles, added_singles, added_size = _PAIR.unpack_from(data, at)
    start = at + _PAIR.size
    middle = start + size + singles
    end = middle + added_singles
    before = _SIZES.pack(size, singles) + data[start:middle]
    added = _SIZES.pack(added_size, added_singles) + data[end:] + data[middle:end]
    return visits, b"" if before == EMPTY else before, b"" if added == EMPTY else added


def _unpack_dense(data: bytes, at: int) -> tuple[int, int, Sequence[int]]:
    """Return (visits, first bin, counts of the bins from it on) of what `_pack_dense` made, from offset `at` on."""
    kind, visits, first, n = data[at : at + 4]
    values = data[at + 4 :]
    if kind > WIDE or len(values) != n * (kind - DENSE + 1):
        raise ValueError("the number of counts of lengths does not agree with them")
    return visits, first, values if kind == DENSE else struct.unpack(f"<{n}H", values)


def _pack_dense(visits: int, counts: list[int]) -> bytes:
    """Return counts, of all bins, as the end of a record."""
    try:
        from_first = bytes(counts).lstrip(b"\0")
    except ValueError:  # a count over 255
        used = [index for index, count in enumerate(counts) if count]
        some = [min(count, MOST_COUNT) for count in counts[used[0] : used[-1] + 1]]
        return bytes((WIDE, visits, used[0], len(some))) + struct.pack(f"<{len(some)}H", *some)
    narrow = from_first.rstrip(b"\0")
    return bytes((DENSE, visits, len(counts) - len(from_first) if narrow else 0, len(narrow))) + narrow


def closed(end: bytes) -> bytes:
    """Return the end of a problem's record as a later step begins: what the step of its tally added is counted."""
    size = len(end)
    if size <= MOST_BYTES:
        return end and _NO_PORTION + end
    at, portions = 0, []
    while at < size and (high := end[at]) >= PORTION:
        start = at + 2
        at = start + ((high - PORTION) << 8 | (end[at + 1] if start <= size else size))
        portions.append(end[start:at])
    if at > size:
        raise ValueError("a portion of lengths ends early")
    if 2 * at < size:
        return _NO_PORTION + end
    if at < size and end[at] >= DENSE:
        visits, first, known = _unpack_dense(end, at)
    else:
        visits, before = folded(*_unpack_base(end, at))
        by_bin = dict(unpack_counts(before))
        first = min(by_bin, default=0)
        known = [by_bin.get(index, 0) for index in range(first, max(by_bin, default=-1) + 1)]
    counts = [0] * 256
    counts[first : first + len(known)] = known
    for portion in reversed(portions):
        for index in portion:
            counts[index] += 1
        visits += portion != b""
        if visits == HALVED_AFTER:
            visits, counts = 0, [count and min(count, MOST_COUNT) >> 1 for count in counts]
    return _NO_PORTION + _pack_dense(visits, counts)


def extended(end: bytes, added: bytes) -> bytes:
    """Return the end of a problem's record with lengths added to the step of its tally."""
    if not added:
        return end
    if added.startswith(b"\0\0") and end[:2] in (b"", _NO_PORTION):
        singles = len(added) - len(EMPTY)
        return bytes((PORTION + (singles >> 8), singles & 0xFF)) + added[4:] + end[2:]
    visits, before, last = unpack_pair(end)
    return pack_pair(visits, before, joined(last, added))


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
