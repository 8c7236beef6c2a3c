"""Arguments and reply of the commit script (`lua/commit_arguments.lua`, `lua/commit.lua`).

Everything that does not depend on the state is computed here, to keep Redis' share of the work small.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from ..codec import (
    GROUP_HEAD_BYTES,
    HAS_LENGTHS,
    NONE32,
    PORTION,
    STATE_BYTES,
    config_to_json,
    pack_lengths,
    unpack_counts,
    unpack_group,
    unpack_state,
    unpack_states,
)
from ..engine import recorded_outcome
from ..model import Commit, CommitOutcome, DifficultyConfig, GroupOutcome, SourceSums
from ..names import decode, encode, encoded
from ..records import new_incarnation
from ..sources import add_alike, pack_sources
from .redis_link import Argument

TOKEN_BYTES = 8
"""Random: distinguishes the requests whose groups are kept for one step."""
SHARED = b"\xff"
"""Before a request's token, the field with what its groups were answered from."""
PAYLOADS = b"\xfe"
"""Before a request's token, the field with the payloads of its groups, where they have any."""
LENGTHS = b"\xfd"
"""Before a request's token, the field with the lengths of its groups' problems, in runs that keep them."""
REQUEST = b"\xfc"
"""The field with all groups of one request, until single groups of their step are looked for (`lua/groups.lua`)."""
_KINDS = (SHARED, PAYLOADS, LENGTHS)
SharedFields = tuple[bytes | None, bytes | None, bytes | None]
"""The fields that the groups of one request share, in the order of `_KINDS`."""
_NO_COUNTS = b"\0\0"
"""The start of packed lengths that have only single rollouts, whose number follows."""
_SIZES_BYTES = 4
"""Bytes of packed lengths before the lengths."""
_NUMBERS = struct.Struct("<BId")
_ADDED = struct.Struct("<HIIIdI")
"""The addition of a group to its problem, behind its length."""
ADDED_BYTES = _ADDED.size - 2
_ADDED_SINGLES = struct.Struct("<HIIIdIBB")
"""The same with the head of a portion of lengths, which follows."""
_SINGLES_AT = _ADDED_SINGLES.size - 2
_BUCKET = struct.Struct("<IIIddddd")
_AGE = struct.Struct("<IB")
_REQUEST = struct.Struct(f"<{TOKEN_BYTES}sI")
"""The start of the packed groups of a request (`lua/groups.lua`); their digests follow."""
_DIGEST_BYTES = 16
_TAIL = struct.Struct(f"<{TOKEN_BYTES}sIB{_DIGEST_BYTES}sH")
"""A group's tail, up to the problem_id."""
_LENGTHS = [struct.pack("<H", length) for length in range(256)]
_OWN = struct.Struct(f"<{TOKEN_BYTES}sIB")
"""The start of a group's tail; the end of its whole record follows."""


def arguments(commit: Commit) -> list[Argument]:
    """Return ARGV of the commit script, in the order of `lua/commit_arguments.lua`."""
    token = os.urandom(TOKEN_BYTES)
    group_ids = [g.group_id for g in commit.groups]
    problem_ids = [g.problem_id or "" for g in commit.groups]
    ids = encoded(group_ids)
    same = group_ids == problem_ids
    names = ids if same else encoded(problem_ids)
    numbers: list[bytes] = []
    additions: list[bytes] = []
    buckets: _Buckets = {}
    counted = 0
    only_singles = True
    pack_numbers, pack_added, pack_singles = _NUMBERS.pack, _ADDED.pack, _ADDED_SINGLES.pack
    for g in commit.groups:
        size, passes, truncated, counts = g.size, g.passes, g.truncated, g.counts
        key = (g.data_source, size, passes)
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = [0, 0, 0, 0, 0]
        bucket[0] += 1
        bucket[1] += truncated
        counted += counts
        total, lengths = g.tokens_sum, b""
        least, correct, count = None, 0, 0
        if g.tokens_known:
            least, correct, count, lengths = g.correct_tokens_min, g.correct_tokens_sum, passes, g.lengths
            bucket[2] += total
            bucket[3] += 1
            bucket[4] += correct
            numbers.append(pack_numbers(counts | 2, truncated, total))
        else:
            numbers.append(pack_numbers(counts, truncated, total))
        shortest = NONE32 if least is None else least
        if not lengths:
            additions.append(pack_added(ADDED_BYTES, size, passes, shortest, correct, count))
        elif lengths[:2] == _NO_COUNTS:
            n = len(lengths) - _SIZES_BYTES
            additions.append(
                pack_singles(_SINGLES_AT + n, size, passes, shortest, correct, count, PORTION + (n >> 8), n & 255)
            )
            additions.append(lengths[_SIZES_BYTES:])
        else:
            only_singles, end = False, pack_lengths(0, b"", lengths)
            additions.append(pack_added(ADDED_BYTES + len(end), size, passes, shortest, correct, count))
            additions.append(end)
    different = set(ids)
    duplicate = b"" if len(different) == len(ids) else _first_duplicate(ids)
    if not same:
        different = set(names)
    plain = counted == len(names) == len(different) and b"" not in different
    return [
        "" if commit.step is None else commit.step,
        "" if commit.epoch is None else commit.epoch,
        "" if commit.expected_epoch is None else commit.expected_epoch,
        commit.generation or 0,
        encode(commit.request_id or ""),
        commit.request_digest,
        _config_text(commit.config) if commit.config else "",
        commit.config_text,
        duplicate,
        b"1" if plain else b"0",
        token,
        _packed_buckets(buckets),
        b"".join(numbers),
        b"".join(
            [
                _REQUEST.pack(token, len(ids)),
                *[g.digest for g in commit.groups],
                *_behind_lengths(ids),
                *(() if same else _behind_lengths(names)),
            ]
        ),
        _packed([g.payload for g in commit.groups]),
        commit.incarnation or "",
        "" if commit.version is None else commit.version,
        new_incarnation(),
        (b"1" if only_singles else b"0") + b"".join(additions),
        _ages(commit),
        *_sources(commit, buckets),
    ]


_Buckets = dict[tuple[str | None, int, int], list[int]]
"""(groups, truncated, tokens, groups of known lengths, correct tokens) by (data source, size, passes)."""


def _packed_buckets(buckets: _Buckets) -> bytes:
    """Return the buckets of all data sources together."""
    joined: dict[tuple[int, int], list[int]] = {}
    for (_, size, passes), bucket in buckets.items():
        before = joined.get((size, passes))
        joined[size, passes] = bucket if before is None else [a + b for a, b in zip(before, bucket, strict=True)]
    return b"".join([_pack_bucket(key, bucket) for key, bucket in joined.items()])


def _sources(commit: Commit, buckets: _Buckets) -> tuple[bytes, bytes]:
    """Return the number of each group's data source among those of the request, and their sums; empty without any."""
    names = dict.fromkeys(name for name, _, _ in buckets if name is not None)
    if not names:
        return b"", b""
    sums = {name: SourceSums() for name in names}
    for (name, size, passes), (groups, truncated, tokens, known, correct) in buckets.items():
        if name is not None:
            add_alike(sums[name], size, passes, groups, truncated, tokens, known, correct)
    numbers = {None: 0} | {name: number for number, name in enumerate(names, 1)}
    return struct.pack(f"<{len(commit.groups)}I", *[numbers[g.data_source] for g in commit.groups]), pack_sources(
        sums
    )


def _ages(commit: Commit) -> bytes:
    """Return the age of each group and 1 if it is too old; empty if none has an age."""
    if not any(g.too_old or g.age is not None for g in commit.groups):
        return b""
    return b"".join([_AGE.pack(NONE32 if g.age is None else g.age, g.too_old) for g in commit.groups])


def _packed(payloads: list[bytes]) -> bytes:
    """Return the offsets of the payloads (32 bits each) and the payloads; empty if all are."""
    if not any(payloads):
        return b""
    ends = list(accumulate(map(len, payloads), initial=4 * len(payloads) + 4))
    return struct.pack(f"<{len(ends)}I", *ends) + b"".join(payloads)


def _part(packed: bytes, index: int) -> bytes:
    """Return part `index` of what `_packed` made."""
    begin, end = struct.unpack_from("<II", packed, 4 * index)
    return packed[begin:end]


def is_group(field: bytes) -> bool:
    """Return whether a field of a step's hash is a group; the other kinds do not begin like UTF-8."""
    return not field.startswith((*_KINDS, REQUEST))


def groups_of_request(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the group_id and the tail of each group of a packed request.

    Raises:
        ValueError: The value is not one of these.
    """
    token, n = _REQUEST.unpack_from(packed)
    digests = _REQUEST.size
    group_ids, at = _cut_up(packed, n, digests + _DIGEST_BYTES * n)
    names = _cut_up(packed, n, at)[0] if at < len(packed) else group_ids
    for index, (group_id, name) in enumerate(zip(group_ids, names, strict=True)):
        start = digests + _DIGEST_BYTES * index
        yield group_id, _TAIL.pack(token, index, 1, packed[start : start + _DIGEST_BYTES], len(name)) + name


def _cut_up(packed: bytes, count: int, at: int) -> tuple[list[bytes], int]:
    """Return `count` values, each behind its length, from offset `at` on; and the offset behind them."""
    values = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(packed[at : at + 2], "little")
        if end > len(packed):
            raise ValueError("the groups of a request end early")
        values.append(packed[at + 2 : end])
        at = end
    return values, at


def _behind_lengths(values: list[bytes]) -> list[bytes]:
    return [(_LENGTHS[len(one)] if len(one) < 256 else struct.pack("<H", len(one))) + one for one in values]


def shared_fields(tokens: Sequence[bytes]) -> list[bytes]:
    """Return the fields that hold what the groups of these requests share."""
    return [kind + token for token in tokens for kind in _KINDS]


def by_token(tokens: Sequence[bytes], found: Sequence[bytes | None]) -> dict[bytes, SharedFields]:
    """Return the values of `shared_fields(tokens)` by token."""
    values = iter(found)
    return dict(zip(tokens, zip(values, values, values, strict=True), strict=True))


def _pack_bucket(key: tuple[int, int], bucket: Sequence[int]) -> bytes:
    size, passes = key
    groups, truncated, tokens, known, correct = bucket
    return _BUCKET.pack(size, passes, groups, truncated, tokens, known * size, correct, known * passes)


@lru_cache(maxsize=64)
def _config_text(config: DifficultyConfig) -> str:
    return config_to_json(config)


def _first_duplicate(ids: Sequence[bytes]) -> bytes:
    """Return the first value that occurs twice; one does."""
    seen: set[bytes] = set()
    for one in ids:
        if one in seen:
            return one
        seen.add(one)
    raise AssertionError("fewer different ones, and none twice")


def outcome(commit: Commit, reply: Sequence[Any]) -> CommitOutcome:
    """Return the script's reply as an outcome."""
    _, epoch, step, created, config_text, step_level, mean, stale, replayed, shared, rest, *identity = reply
    incarnation, version, created_step, lengths = identity
    level, accumulators, states = _head(shared) if shared else (0.0, (), 0)
    is_stale = bool(stale)
    if not replayed:
        ids = [g.problem_id or "" for g in commit.groups]
        groups = [
            GroupOutcome(g.group_id, state.problem_id, level, accumulators, state, g.payload, False, is_stale)
            for g, state in zip(commit.groups, unpack_states(ids, shared[states:]), strict=True)
        ]
        if lengths:
            for index, group in enumerate(groups):
                group.problem.lengths = unpack_counts(_part(lengths, index))
    else:
        entries, groups = iter(rest), []
        for index, (g, again) in enumerate(zip(commit.groups, replayed, strict=True)):
            if again == 49:  # "1": its whole record is among the entries
                groups.append(recorded_outcome(g.group_id, unpack_group(next(entries)), True))
                continue
            problem_id = g.problem_id or decode(next(entries))
            state = unpack_state(problem_id, shared, states + index * STATE_BYTES)
            if lengths:
                state.lengths = unpack_counts(_part(lengths, index))
            groups.append(
                GroupOutcome(g.group_id, problem_id, level, accumulators, state, g.payload, False, is_stale)
            )
    return CommitOutcome(
        commit.run,
        int(epoch),
        int(step),
        float(step_level),
        float(mean),
        tuple(groups),
        created=bool(created),
        config_text=decode(config_text),
        incarnation=decode(incarnation),
        version=int(version),
        created_step=int(created_step) if created_step else None,
    )


def _head(shared: bytes) -> tuple[float, tuple[float, ...], int]:
    """Return the level for beta, the further accumulators before the step, and the offset of the problems' states."""
    extras = shared[GROUP_HEAD_BYTES - 1]
    (level,) = struct.unpack_from("<d", shared)
    accumulators = struct.unpack_from(f"<{extras}d", shared, GROUP_HEAD_BYTES)
    return level, accumulators, GROUP_HEAD_BYTES + 8 * extras


def join_group(
    tail: bytes, shared: bytes | None, payloads: bytes | None = None, lengths: bytes | None = None
) -> bytes:
    """Return the whole record of a group (`codec.GroupRecord`).

    It is joined from the group's tail and the fields that its request's groups share. An imported group has its
    lengths and its payload at the end of its tail.
    """
    assert shared is not None
    _, index, counts = _OWN.unpack_from(tail)
    states = GROUP_HEAD_BYTES + 8 * shared[GROUP_HEAD_BYTES - 1]
    at = states + STATE_BYTES * index
    head = bytearray(shared[:states])
    head[GROUP_HEAD_BYTES - 2] |= counts << 1
    parts: list[bytes | bytearray] = [head, shared[at : at + STATE_BYTES], tail[_OWN.size :]]
    own = _part(lengths, index) if lengths else b""
    if own:
        head[GROUP_HEAD_BYTES - 2] |= HAS_LENGTHS
        parts += (struct.pack("<H", len(own)), own)
    if payloads:
        parts.append(_part(payloads, index))
    return b"".join(parts)


def split_group(record: bytes, token: bytes) -> tuple[bytes, bytes]:
    """Return the tail and the shared field of a group that is alone in its request: the inverse of `join_group`."""
    at = GROUP_HEAD_BYTES + 8 * record[GROUP_HEAD_BYTES - 1] + STATE_BYTES
    shared = bytearray(record[:at])
    counts = shared[GROUP_HEAD_BYTES - 2] >> 1 & 1
    shared[GROUP_HEAD_BYTES - 2] &= 1 | HAS_LENGTHS
    return _OWN.pack(token, 0, counts) + record[at:], bytes(shared)
