"""Stepless requests (docs/design.md, 5.7): their records, by which a repeat is answered.

A record is the request's digest (16 bytes), its step (float64), then each packed group behind its length (32 bits).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from . import refusals
from .codec import pack_group, unpack_group
from .model import Commit
from .records import GroupRecord, RunRecord
from .run_transaction import RunTransaction

KEPT_REQUESTS = 10_000
"""Number of the latest stepless requests that are recognised by their request_id."""


def recorded_request(
    state: RunTransaction, run_record: RunRecord, request: Commit
) -> tuple[int, dict[str, GroupRecord]]:
    """Return the step of a request, and the records of its groups by group_id if it is a repeat.

    Raises:
        GroupConflict: The request_id is that of other groups.
    """
    request_id = request.request_id or ""
    data = state.request(request_id)
    if data is None:
        return run_record.closed + 1 if run_record.open is None else run_record.open, {}
    if data[:16] != request.request_digest:
        raise refusals.request_conflict(request_id)
    step, records = unpack_request(data)
    return step, {group.group_id: record for group, record in zip(request.groups, records, strict=True)}


def record_request(
    state: RunTransaction, run_record: RunRecord, request: Commit, step: int, records: Sequence[GroupRecord]
) -> None:
    """Record a new request of this step with the records of its groups, in the order sent."""
    run_record.sequence += 1
    packed = pack_request(request.request_digest, step, records)
    state.put_request(request.request_id or "", run_record.sequence, step, packed, KEPT_REQUESTS)


def is_full(run_record: RunRecord) -> bool:
    """Return True if the open step has as many groups as a step of the run gets."""
    groups = sum(bucket.groups for bucket in run_record.buckets.values())
    return groups >= (run_record.config.groups_per_step or 0)


def pack_request(digest: bytes, step: int, records: Sequence[GroupRecord]) -> bytes:
    """Return the record of a request."""
    parts = [digest, struct.pack("<d", step)]
    for record in records:
        data = pack_group(record)
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)


def unpack_request(data: bytes) -> tuple[int, list[GroupRecord]]:
    """Return the step and the group records of a packed request.

    Raises:
        ValueError: The record ends early.
    """
    (step,) = struct.unpack_from("<d", data, 16)
    at, records = 24, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise ValueError("a request's record ends early")
        records.append(unpack_group(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return int(step), records


def payloads_of_request(data: bytes | None, groups: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the payloads of the groups (group_id to digest) in the record of a request."""
    records = [] if data is None else unpack_request(data)[1]
    payloads = {record.digest: record.payload for record in records}
    return {name: payloads[digest] for name, digest in groups.items() if digest in payloads}
