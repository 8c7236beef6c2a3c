"""The record of a group in the store: the digest that identifies it, its verdicts, and its tallies.

A digest never changes for a request that was possible before: a new per-rollout field adds to it only if it is sent,
so that a retry across an upgrade is still a replay (tests/data/digests.json holds digests of the first version).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import fields
from itertools import compress
from operator import attrgetter
from typing import Any

import orjson
from blake3 import blake3
from pydantic import ValidationError

from deepcompress_client.wire import (
    GROUP_FIELDS,
    ROLLOUT_FIELDS,
    ROW_FIELDS,
    ScoreGroup,
    ScoreRollout,
    ShapeGroup,
    ShapeRollout,
)
from deepcompress_verify import Verdict
from deepcompress_verify.verdict import STATUSES

from ..difficulty.codec import pack_bins
from ..difficulty.model import GroupCommit
from ..difficulty.sources import source_name
from ..shaping.lengths import bin_of
from .batch import BatchGroup
from .errors import NewerConfigurationError, UnreadableRecordError
from .unchecked import checked_indices

_STATUS_CODE: dict[str | None, int] = {None: 255, **{status: code for code, status in enumerate(STATUSES)}}
_VERDICT_FIELDS = tuple(field.name for field in fields(Verdict))
_VERDICT_KINDS = (bool, str, str | None, str, str, int | float)
"""The kinds of the fields of a recorded verdict."""
MAX_PAYLOAD_BYTES = 128 << 20
"""Largest payload, unpacked: about 500 bytes for each rollout of the largest request by default."""
Json = Any
"""Decoded JSON."""
_FIXED = struct.Struct("<?qB?")
_FIXED_FIELDS = ("tokens", "truncated")
"""Fields that every digest includes."""
_FIRST_FIELDS = ("thinking", "repetitive")
"""Fields that a digest includes together, nulls too, if either is sent."""
_LATER_FIELDS = tuple(name for name in ROLLOUT_FIELDS if name not in (*_FIXED_FIELDS, *_FIRST_FIELDS))
"""Fields that a digest includes one by one, if sent."""
_PLAIN_FIELDS = frozenset((*_FIXED_FIELDS, "correct", "status", "response", "rollout_id"))
"""Fields of a rollout to whose digest the optional ones add nothing."""
_FIXED_GROUP_FIELDS = ("problem_id", "reference_accuracy", "reference_tokens", "target_tokens")
"""Fields of a group that every digest includes."""
_fixed_group_fields = attrgetter(*_FIXED_GROUP_FIELDS)
_LATER_GROUP_FIELDS = tuple(name for name in GROUP_FIELDS if name not in _FIXED_GROUP_FIELDS)
"""Per-group fields that a digest includes one by one, if sent."""


def pack_payload(verdicts: Sequence[Verdict] | None, more: Mapping[str, object]) -> bytes:
    """Return the verdicts that the service made, and `more` that the answer needs, as a payload that the store keeps.

    `whitening`: (mean, std) of its step, in a run that whitens advantages. `age`: (age, 1 if it is too old).
    """
    rows: object = None
    if verdicts is not None:
        rows = [(v.correct, v.status, v.answer, v.decided_by, v.reason, v.cpu_ms) for v in verdicts]
    if more:
        rows = {"verdicts": rows, **more}
    return b"" if rows is None else zlib.compress(orjson.dumps(rows), 1)


def unpack_verdicts(payload: bytes, count: int) -> list[Verdict]:
    """Return the verdicts of a payload that `pack_payload` of this or another version made for `count` rollouts.

    Raises:
        NewerConfigurationError: A verdict has a part that this version does not declare, and that is not null.
        UnreadableRecordError: The payload is not one of these.
    """
    rows = _kept(payload)
    if isinstance(rows, dict):
        rows = rows.get("verdicts") or []
    if not isinstance(rows, list) or len(rows) != count or not all(isinstance(row, list) for row in rows):
        raise UnreadableRecordError
    if any(part is not None for row in rows for part in row[len(_VERDICT_FIELDS) :]):
        raise NewerConfigurationError("a recorded verdict has a part")
    return [_verdict(row[: len(_VERDICT_FIELDS)]) for row in rows]


def _verdict(row: list[Json]) -> Verdict:
    if len(row) < len(_VERDICT_KINDS) or not all(map(isinstance, row, _VERDICT_KINDS)) or row[1] not in STATUSES:
        raise UnreadableRecordError
    return Verdict(*row)


def unpack_whitening(payload: bytes) -> tuple[float, float] | None:
    """Return the (mean, std) that whiten a group's advantages; None: counted before the run was configured.

    Raises:
        UnreadableRecordError: The payload is not one of `pack_payload`.
    """
    mean, std = _pair(payload, "whitening")
    if mean is None or std is None:
        return None
    if not isinstance(mean, int | float) or not isinstance(std, int | float):
        raise UnreadableRecordError
    return mean, std


def unpack_age(payload: bytes) -> tuple[int | None, bool]:
    """Return the age of a group and whether it is too old; (None, False) if it was recorded without an age.

    Raises:
        UnreadableRecordError: The payload is not one of `pack_payload`.
    """
    age, too_old = _pair(payload, "age")
    if age is not None and not isinstance(age, int):
        raise UnreadableRecordError
    return age, bool(too_old)


def _pair(payload: bytes, name: str) -> tuple[Json, Json]:
    kept = _kept(payload) if payload else None
    pair = (kept.get(name) if isinstance(kept, dict) else None) or (None, None)
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise UnreadableRecordError
    return pair[0], pair[1]


def _kept(payload: bytes) -> Json:
    """Return the decoded payload. An import may bring any bytes, so no more than MAX_PAYLOAD_BYTES are unpacked."""
    try:
        unpacker = zlib.decompressobj()
        rows = unpacker.decompress(payload, MAX_PAYLOAD_BYTES)
        if unpacker.eof:
            return orjson.loads(rows)
    except (zlib.error, ValueError):
        pass
    raise UnreadableRecordError


def stored_verdict(values: Mapping[str, Any]) -> Verdict:
    """Return a verdict that this or another version of the service kept with a waiting rollout.

    Raises:
        NewerConfigurationError: A field that this version does not declare is not null.
    """
    return Verdict(**_declared_only(values, _VERDICT_FIELDS, "the verdict of a rollout of this group"))


def stored_rollout(values: Mapping[str, Any]) -> ShapeRollout:
    """Return a rollout that this or another version of the service kept until its group was complete.

    Raises:
        NewerConfigurationError: A field that this version does not declare is not null, or a value is none of this
            version's.
    """
    subject = "a rollout of this group"
    try:
        return ShapeRollout.model_validate(_declared_only(values, ShapeRollout.model_fields, subject))
    except ValidationError as error:
        names = ", ".join(str(one["loc"][0]) for one in error.errors(include_input=False))
        raise NewerConfigurationError(f"{subject} has a value of {names}") from None


def _declared_only(values: Mapping[str, Any], declared: Container[str], subject: str) -> dict[str, Any]:
    """Return the values without the fields that a newer version added and left null."""
    for name, value in values.items():
        if name not in declared and value is not None:
            raise NewerConfigurationError(f"{subject} has {name}")
    return {name: value for name, value in values.items() if name in declared}


def shape_digest(group: ShapeGroup) -> bytes:
    """Return the 16 bytes that identify a group with verdicts: all fields sent, rollouts in order."""
    digest = _group_hash(group, b"shape")
    digest.update(b"".join([_rollout_bytes(r, r.correct, _STATUS_CODE[r.status]) for r in group.rollouts]))
    return bytes(digest.digest(16))


def score_digest(group: ScoreGroup) -> bytes:
    """Return the 16 bytes that identify a group with text: all fields sent, rollouts in order, no verdicts."""
    digest = _group_hash(group, b"score")
    digest.update(orjson.dumps([group.gold] if isinstance(group.gold, str) else group.gold))
    row = {name: value for name in ROW_FIELDS if (value := getattr(group, name)) is not None}
    if row:
        digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))
    pieces: list[bytes] = []
    for rollout in group.rollouts:
        text = rollout.response.encode()
        pieces += (_rollout_bytes(rollout, False, 255), struct.pack("<q", len(text)), text)
    # In one call: each call releases the interpreter lock and waits for it.
    digest.update(b"".join(pieces))
    return bytes(digest.digest(16))


def _group_hash(group: ShapeGroup | ScoreGroup, kind: bytes) -> blake3:
    """Return the hash of a group's own fields: BLAKE3, which is two to three times as fast as SHA-256."""
    digest = blake3(kind)
    digest.update(orjson.dumps(_fixed_group_fields(group)))
    for name in _LATER_GROUP_FIELDS:
        if (value := getattr(group, name)) is not None:
            digest.update(orjson.dumps({name: value}))
    return digest


def _rollout_bytes(rollout: ShapeRollout | ScoreRollout, correct: bool, status: int) -> bytes:
    tokens = -1 if rollout.tokens is None else rollout.tokens
    fixed = _FIXED.pack(correct, tokens, status, rollout.truncated)
    sent = rollout.model_fields_set
    if sent <= _PLAIN_FIELDS:
        return fixed
    if not sent.isdisjoint(_FIRST_FIELDS):
        first = {name: getattr(rollout, name) for name in _FIRST_FIELDS}
        if any(value is not None for value in first.values()):
            fixed += orjson.dumps(first)
    if not sent.isdisjoint(_LATER_FIELDS):
        for name in _LATER_FIELDS:
            if (value := getattr(rollout, name)) is not None:
                fixed += orjson.dumps({name: value}, option=orjson.OPT_SORT_KEYS)
    return fixed


def group_commit(group: BatchGroup, whitening: tuple[float, float] | None = None) -> GroupCommit:
    """Return a group's part of a commit: its name, its digest and its tallies.

    `whitening`: (mean, std) of the step, in a run that whitens advantages.
    """
    sent, correct, statuses = group.sent, group.correct, group.statuses
    tokens = [rollout.tokens for rollout in sent.rollouts]
    truncated = [rollout.truncated for rollout in sent.rollouts]
    counted = not group.too_old and "gold_unreadable" not in statuses
    if "unchecked" in statuses:
        # Left out of all tallies; without a checked rollout the group is recorded and counts nowhere.
        checked = checked_indices(statuses)
        counted = counted and bool(checked)
        kept = checked or range(len(tokens))
        tokens, truncated = [tokens[i] for i in kept], [truncated[i] for i in kept]
        correct = tuple(correct[i] for i in kept)
    lengths = [count for count in tokens if count is not None]
    if len(lengths) < len(tokens):
        lengths = []  # those of a group are counted together
    correct_lengths = list(compress(lengths, correct))
    name = sent.group_id or sent.problem_id
    assert name is not None
    more: dict[str, object] = {} if whitening is None else {"whitening": whitening}
    if group.age is not None:
        more["age"] = (group.age, int(group.too_old))
    return GroupCommit(
        group_id=name,
        problem_id=sent.problem_id,
        digest=group.digest,
        payload=pack_payload(group.verdicts, more),
        size=len(tokens),
        passes=sum(correct),
        counts=counted,
        truncated=sum(truncated),
        tokens_known=bool(lengths),
        tokens_sum=sum(lengths),
        correct_tokens_sum=sum(correct_lengths),
        correct_tokens_min=min(correct_lengths, default=None),
        lengths=pack_bins(bytes(map(bin_of, correct_lengths))),
        age=group.age,
        too_old=group.too_old,
        data_source=None if sent.data_source is None else source_name(sent.data_source),
    )
