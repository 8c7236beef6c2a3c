"""Packed formats of the stores, in Python; the Lua scripts mirror them (``stores/lua/layout.lua``).

Binary values are little-endian and unaligned, so that Python's ``struct`` and the ``struct`` library of Redis' Lua
read and write the same bytes. Integers are exact, doubles are the 8 bytes of a float64: nothing is rounded.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from .model import Accumulator, DifficultyConfig, ProblemState
from .names import decode
from .records import (
    AGE_INTEGERS,
    STEP_INTEGERS,
    GroupRecord,
    PassCountBucket,
    ProblemRecord,
    RunRecord,
    StepDelta,
    StepRecord,
)

NONE32 = 0xFFFFFFFF
"""The value for None in a 32-bit token length (lengths are at most 2^31 - 1)."""
_STATE = struct.Struct("<IIdddIBIdId")
STATE_BYTES = _STATE.size
_DELTA = struct.Struct("<dIIIdI")
PROBLEM_BYTES = STATE_BYTES + _DELTA.size
"""A problem's record without its lengths."""
_HEAD = struct.Struct("<dddBB")
_LENGTH = struct.Struct("<H")
HAS_LENGTHS = 4
"""Flag of a group's record that has lengths, behind its problem_id."""
GROUP_HEAD_BYTES = _HEAD.size
_CONFIG_FIELDS = tuple(field.name for field in dataclass_fields(DifficultyConfig))
_ACCUMULATOR_FIELDS = tuple(field.name for field in dataclass_fields(Accumulator))
_ASYNCHRONOUS = ("asynchronous", "max_age")
_SIDES: tuple[Literal["simple", "hard"] | None, ...] = (None, "simple", "hard")
_SIDE_FLAGS = {side: index << 2 for index, side in enumerate(_SIDES)}
_step_integers = attrgetter(*STEP_INTEGERS)
age_integers = attrgetter(*AGE_INTEGERS)
"""Returns the integers of `AGE_INTEGERS` of a step's record."""
bucket_integers = attrgetter(
    "groups", "truncated", "tokens_sum", "tokens_count", "correct_tokens_sum", "correct_tokens_count"
)
"""Returns the six integers of a `PassCountBucket`, in the order of its fields."""


def pack_state(state: ProblemState) -> bytes:
    """Return a problem's state as STATE_BYTES bytes, without its problem_id."""
    flags = (state.pass_ratio is not None) | (state.last_beta is not None) << 1 | _SIDE_FLAGS[state.last_side]
    return _STATE.pack(
        state.attempts,
        state.passes,
        state.pass_ratio or 0.0,
        state.last_pass_ratio or 0.0,
        state.last_beta or 0.0,
        state.turns,
        flags,
        NONE32 if state.shortest_correct_tokens is None else state.shortest_correct_tokens,
        float(state.correct_tokens_sum),
        state.correct_tokens_count,
        -1.0 if state.last_step is None else float(state.last_step),
    )


def unpack_state(problem_id: str, data: bytes, offset: int = 0) -> ProblemState:
    """Return the state packed at `offset` of `data`."""
    return _make_state(problem_id, _STATE.unpack_from(data, offset))


def unpack_states(problem_ids: Iterable[str], data: bytes) -> list[ProblemState]:
    """Return the states packed one after the other."""
    return [_make_state(name, fields) for name, fields in zip(problem_ids, _STATE.iter_unpack(data), strict=True)]


def _make_state(problem_id: str, fields: tuple[Any, ...]) -> ProblemState:
    attempts, passes, ratio, last, beta, turns, flags, shortest, total, count, step = fields
    if not attempts:
        return ProblemState(problem_id)
    known = flags & 1
    return ProblemState(
        problem_id,
        attempts,
        passes,
        ratio if known else None,
        last if known else None,
        beta if flags & 2 else None,
        turns,
        _SIDES[flags >> 2],
        None if shortest == NONE32 else shortest,
        int(total),
        count,
        None if step < 0 else int(step),
    )


def pack_problem(record: ProblemRecord, before: bytes | None = None) -> bytes:
    """Return a problem's record as bytes, without its problem_id.

    `before`: its state before the step, if it is packed already.
    """
    delta = record.delta
    return (
        (before or pack_state(record.before))
        + _DELTA.pack(
            float(delta.step),
            delta.attempts,
            delta.passes,
            NONE32 if delta.shortest is None else delta.shortest,
            float(delta.correct_tokens_sum),
            delta.correct_tokens_count,
        )
        + record.end
    )


def unpack_problem(problem_id: str, data: bytes) -> ProblemRecord:
    """Return the problem's record packed in `data`."""
    step, attempts, passes, shortest, total, count = _DELTA.unpack_from(data, _STATE.size)
    least = None if shortest == NONE32 else shortest
    delta = StepDelta(int(step), attempts, passes, least, int(total), count)
    return ProblemRecord(_make_state(problem_id, _STATE.unpack_from(data)), delta, data[PROBLEM_BYTES:])


def pack_group(record: GroupRecord, problem: bytes | None = None) -> bytes:
    """Return a group's record as bytes. `problem`: its problem's state, if it is packed already."""
    name = record.problem.problem_id.encode("utf-8", "surrogatepass")
    count = len(record.accumulators)
    return b"".join(
        (
            _HEAD.pack(
                record.level,
                record.step_level,
                record.batch_pass_ratio,
                record.stale | record.counts << 1 | (HAS_LENGTHS if record.lengths else 0),
                count,
            ),
            struct.pack(f"<{count}d", *record.accumulators) if count else b"",
            problem or pack_state(record.problem),
            record.digest,
            _LENGTH.pack(len(name)),
            name,
            _LENGTH.pack(len(record.lengths)) + record.lengths if record.lengths else b"",
            record.payload,
        )
    )


def unpack_group(data: bytes) -> GroupRecord:
    """Return the group's record packed in `data`."""
    level, step_level, mean, flags, count = _HEAD.unpack_from(data)
    at = _HEAD.size
    accumulators = struct.unpack_from(f"<{count}d", data, at)
    at += 8 * count
    tail = at + _STATE.size + 16
    (length,) = _LENGTH.unpack_from(data, tail)
    end = tail + 2 + length
    name, lengths = decode(data[tail + 2 : end]), b""
    if flags & HAS_LENGTHS:
        (size,) = _LENGTH.unpack_from(data, end)
        lengths, end = data[end + 2 : end + 2 + size], end + 2 + size
    return GroupRecord(
        level=level,
        step_level=step_level,
        batch_pass_ratio=mean,
        stale=bool(flags & 1),
        counts=bool(flags & 2),
        accumulators=accumulators,
        problem=unpack_state(name, data, at),
        digest=data[tail - 16 : tail],
        payload=data[end:],
        lengths=lengths,
    )


def group_digest(data: bytes) -> bytes:
    """Return the digest of a packed group, without unpacking the rest."""
    at = _HEAD.size + 8 * data[_HEAD.size - 1] + _STATE.size
    return data[at : at + 16]


def format_step(record: StepRecord) -> str:
    """``mean|integers|before|after``: doubles with all their digits, `-` for no mean."""
    ages = age_integers(record)
    integers = ",".join(map(str, (*_step_integers(record), *(ages if any(ages) else ()))))
    before = " ".join(map(repr, record.before))
    after = " ".join(map(repr, record.after))
    return f"{'-' if record.mean is None else repr(record.mean)}|{integers}|{before}|{after}"


def parse_step(text: str) -> StepRecord:
    """Return the step record that `format_step` wrote."""
    mean, integers, before, after = text.split("|")
    return StepRecord(
        tuple(map(float, before.split())),
        tuple(map(float, after.split())),
        None if mean == "-" else float(mean),
        *map(int, integers.split(",")),
    )


def config_to_json(config: DifficultyConfig) -> str:
    """Return the configuration as canonical JSON."""
    return json.dumps(_config_fields(config), sort_keys=True, separators=(",", ":"))


def _config_fields(config: DifficultyConfig) -> dict[str, Any]:
    """Return a configuration as plain values; without the fields of asynchronous runs for all others."""
    fields = {name: getattr(config, name) for name in _CONFIG_FIELDS}
    accumulators = [
        {name: getattr(one, name) for name in _ACCUMULATOR_FIELDS} for one in (config.level, *config.extra)
    ]
    fields["level"], fields["extra"] = accumulators[0], accumulators[1:]
    return fields if config.asynchronous else {name: fields[name] for name in fields if name not in _ASYNCHRONOUS}


@lru_cache(maxsize=64)
def config_from_json(text: str | bytes) -> DifficultyConfig:
    """Return the configuration that `config_to_json` wrote."""
    return _config_from(json.loads(text))


def _config_from(fields: dict[str, Any]) -> DifficultyConfig:
    fields["level"] = Accumulator(**fields["level"])
    fields["extra"] = tuple(Accumulator(**extra) for extra in fields["extra"])
    return DifficultyConfig(**fields)


IDENTITY = ("incarnation", "version", "created_step")
"""Fields of a run's record that are no part of an export."""


def run_record_to_json(run_record: RunRecord) -> str:
    """Return the run's record as JSON, the format of SQLite's meta column and of an export's header."""
    fields = {
        name: getattr(run_record, name)
        for name in ("config_text", "kind", "open", "closed", "pruned", "first", "values", "problems")
    }
    fields |= {"ratio_sum": run_record.ratio_sum, "start": run_record.start, "sequence": run_record.sequence}
    fields["revisits"] = run_record.revisits
    if any(run_record.ages):
        fields["ages"] = run_record.ages
    fields |= {name: getattr(run_record, name) for name in IDENTITY}
    if run_record.dataset:
        fields["dataset"] = True
    if run_record.begun:
        fields["begun"] = run_record.begun
    fields["config"] = _config_fields(run_record.config)
    fields["cells"] = [[*key, *bucket_integers(bucket)] for key, bucket in run_record.buckets.items()]
    return json.dumps(fields, separators=(",", ":"))


def run_record_from_json(text: str | bytes) -> RunRecord:
    """Return the record that `run_record_to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    fields["config"] = _config_from(fields["config"])
    fields["values"] = tuple(fields["values"])
    fields["start"] = tuple(fields["start"])
    fields["revisits"] = tuple(fields.get("revisits", (0, 0, 0)))  # absent in the record of an older version
    fields["ages"] = tuple(fields.get("ages", (0, 0, 0, 0, 0)))
    fields["begun"] = tuple(fields.get("begun", ()))
    fields["buckets"] = {tuple(row[:3]): PassCountBucket(*row[3:]) for row in fields.pop("cells")}
    return RunRecord(**fields)


# --- lengths ----------------------------------------------------------------------------------------------
#
# Packed counts of correct lengths by bin, as the records of problems, groups and observations hold them.
#
# A packed value has two sizes in bytes (16 bits each), then counts (a bin in one byte, its count in two; bins
# ascending), then single rollouts (a bin in one byte each). Empty bytes mean no lengths. Single rollouts are
# cheap to add; they are merged into the counts when there are more than `MOST_SINGLE` of them, and when a problem's
# counts are halved. How a value is divided between the two has no meaning: `unpack_counts` returns the sums.
#
# A problem's record ends with its lengths, in a form that a step adds to without reading it: portions, the newest
# first, are the single rollouts of a step behind their number; then there is what came before. Portions are counted,
# and counts halved, when they are read, or when they take more than half of the end (`closed_lengths`).
# ``stores/lua/lengths.lua`` has the same operations.

LENGTH_BINS = 233
"""Bins that lengths are counted in; their bounds are `shaping.lengths.EDGES`."""
HALVED_AFTER = 16
"""After this many visits of a problem (steps that brought correct lengths) its counts are halved, rounded down."""
MOST_SINGLE = 512
"""Single rollouts of a packed value. So it has at most 4 + 3 * LENGTH_BINS + MOST_SINGLE = 1,215 bytes."""
MOST_COUNT = 0xFFFF
"""Largest count of a bin; more are not counted."""

Counts = tuple[tuple[int, int], ...]
"""(bin, correct rollouts in it), bins ascending, no count of 0."""

_LENGTH_SIZES = struct.Struct("<HH")
_LENGTH_COUNT = struct.Struct("<BH")
_LENGTHS = struct.Struct("<BHHHH")
"""Visits; sizes of counts before the step, of single rollouts before it, of those added, of counts added."""
NO_LENGTHS = _LENGTH_SIZES.pack(0, 0)
PORTION = 0xF0
"""Added to the high byte of a portion's number of rollouts."""
DENSE, WIDE = 0xE0, 0xE1
"""First bytes of counts of adjacent bins, of one byte or two each. `pack_lengths` begins with a lower one."""
MOST_BYTES = 96
"""Length of the end of a record above which portions are counted, if they are more than half of it."""
_NO_PORTION = bytes((PORTION, 0))


def pack_bins(bins: bytes) -> bytes:
    """Return the packed lengths of single rollouts, given by one byte each."""
    if len(bins) > MOST_SINGLE:
        return pack_counts(Counter(bins).items())
    return _LENGTH_SIZES.pack(0, len(bins)) + bins if bins else b""


def pack_counts(counts: Iterable[tuple[int, int]]) -> bytes:
    """Return packed lengths, given by (bin, count)."""
    packed = b"".join([_LENGTH_COUNT.pack(index, min(count, MOST_COUNT)) for index, count in sorted(counts) if count])
    return _LENGTH_SIZES.pack(len(packed), 0) + packed if packed else b""


def unpack_counts(packed: bytes) -> Counts:
    """Return the counts by bin.

    Raises:
        ValueError: The value is not one of these.
    """
    return tuple(sorted(_counter(packed).items()))


def joined_lengths(one: bytes, other: bytes) -> bytes:
    """Return the sum of two packed values."""
    if not one or not other:
        return one or other
    counts, singles = _LENGTH_SIZES.unpack_from(one)
    other_counts, other_singles = _LENGTH_SIZES.unpack_from(other)
    if other_counts or singles + other_singles > MOST_SINGLE:
        return pack_counts((_counter(one) + _counter(other)).items())
    return _LENGTH_SIZES.pack(counts, singles + other_singles) + one[4:] + other[4:]


def folded_lengths(visits: int, before: bytes, added: bytes) -> tuple[int, bytes]:
    """Return (visits since the last halving, lengths) after a step that added these lengths to a problem."""
    if not added:
        return visits, before
    if visits + 1 < HALVED_AFTER:
        return visits + 1, joined_lengths(before, added)
    total = _counter(before) + _counter(added)
    return 0, pack_counts((index, min(count, MOST_COUNT) // 2) for index, count in total.items())


def pack_lengths(visits: int, before: bytes, added: bytes) -> bytes:
    """Return the end of a problem's record: its visits, its lengths before the step of its tally, and those added.

    The single rollouts of both lie side by side, so that a step is usually added by changing the sizes and appending.
    """
    if not (visits or before or added):
        return b""
    (counts, singles), (added_counts, added_singles) = (
        _LENGTH_SIZES.unpack_from(before or NO_LENGTHS),
        _LENGTH_SIZES.unpack_from(added or NO_LENGTHS),
    )
    cut = 4 + added_counts
    head = _LENGTHS.pack(visits, counts, singles, added_singles, added_counts)
    return head + before[4:] + added[cut:] + added[4:cut]


def unpack_lengths(data: bytes, at: int = 0) -> tuple[int, bytes, bytes]:
    """Return (visits, before, added) of a problem's record, from offset `at` to its end.

    Raises:
        ValueError: The record ends early.
    """
    portions, at = _portions(data, at)
    visits, before, added = _unpack_base(data, at)
    if not portions:
        return visits, before, added
    visits, before = folded_lengths(visits, before, added)
    singles: list[bytes] = []
    for portion in portions[:0:-1]:
        if portion:
            singles.append(portion)
            visits += 1
        if visits == HALVED_AFTER:
            visits, before = folded_lengths(visits - 1, before, pack_bins(b"".join(singles)))
            singles = []
    return visits, joined_lengths(before, pack_bins(b"".join(singles))), pack_bins(portions[0])


def _portions(data: bytes, at: int = 0) -> tuple[list[bytes], int]:
    """Return the portions from offset `at` on, the newest first, and the offset behind them."""
    size, found = len(data), []
    while at < size and (high := data[at]) >= PORTION:
        start = at + 2
        at = start + ((high - PORTION) << 8 | (data[at + 1] if start <= size else size))
        found.append(data[start:at])
    if at > size:
        raise ValueError("a portion of lengths ends early")
    return found, at


def _unpack_base(data: bytes, at: int) -> tuple[int, bytes, bytes]:
    """Return (visits, before, added) of what `pack_lengths` made, from offset `at` on."""
    if len(data) == at:
        return 0, b"", b""
    if data[at] >= DENSE:
        visits, first, counts = _unpack_dense(data, at)
        return visits, pack_counts(enumerate(counts, first)), b""
    visits, size, singles, added_singles, added_size = _LENGTHS.unpack_from(data, at)
    start = at + _LENGTHS.size
    middle = start + size + singles
    end = middle + added_singles
    before = _LENGTH_SIZES.pack(size, singles) + data[start:middle]
    added = _LENGTH_SIZES.pack(added_size, added_singles) + data[end:] + data[middle:end]
    return visits, b"" if before == NO_LENGTHS else before, b"" if added == NO_LENGTHS else added


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


def closed_lengths(end: bytes) -> bytes:
    """Return the end of a problem's record as a later step begins: what the step of its tally added is counted."""
    size = len(end)
    if size <= MOST_BYTES:
        return end and _NO_PORTION + end
    portions, at = _portions(end)
    if 2 * at < size:
        return _NO_PORTION + end
    if at < size and end[at] >= DENSE:
        visits, first, known = _unpack_dense(end, at)
    else:
        visits, before = folded_lengths(*_unpack_base(end, at))
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


def extended_lengths(end: bytes, added: bytes) -> bytes:
    """Return the end of a problem's record with lengths added to the step of its tally."""
    if not added:
        return end
    if added.startswith(b"\0\0") and end[:2] in (b"", _NO_PORTION):
        singles = len(added) - len(NO_LENGTHS)
        return bytes((PORTION + (singles >> 8), singles & 0xFF)) + added[4:] + end[2:]
    visits, before, last = unpack_lengths(end)
    return pack_lengths(visits, before, joined_lengths(last, added))


def _counter(packed: bytes) -> Counter[int]:
    if not packed:
        return Counter()
    counts, singles = _LENGTH_SIZES.unpack_from(packed)
    if len(packed) != 4 + counts + singles or counts % 3:
        raise ValueError("the sizes of packed lengths do not agree with them")
    total = Counter(packed[4 + counts :])
    for index, count in _LENGTH_COUNT.iter_unpack(packed[4 : 4 + counts]):
        total[index] = min(total[index] + count, MOST_COUNT)
    if any(index >= LENGTH_BINS or not count for index, count in total.items()):
        raise ValueError("packed lengths have a bin that does not exist, or one without rollouts")
    return total
