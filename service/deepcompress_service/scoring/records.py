"""What the store keeps of a group: the digest that identifies it, its verdicts, and its tallies.

A digest never changes for a request that was possible before: a new per-rollout field adds to it only if it is sent,
so that a retry across an upgrade is still a replay (tests/data/digests.json holds digests of the first version).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import orjson
from blake3 import blake3

from deepcompress_client.wire import ROLLOUT_FIELDS, ROW_FIELDS, ScoreGroup, ScoreRollout, ShapeGroup, ShapeRollout
from deepcompress_verify import Verdict

from ..difficulty.model import GroupCommit, ProblemState
from ..shaping import ProblemHistory

_STATUSES = ("correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided")
_STATUS_CODE: dict[str | None, int] = {None: 255, **{status: code for code, status in enumerate(_STATUSES)}}
_FIXED = struct.Struct("<?qB?")
_FIXED_FIELDS = ("tokens", "truncated")
"""Fields that are in every digest."""
_FIRST_FIELDS = ("thinking", "repetitive")
"""Fields that are in a digest together, nulls too, if either is sent."""
_LATER_FIELDS = tuple(name for name in ROLLOUT_FIELDS if name not in (*_FIXED_FIELDS, *_FIRST_FIELDS))
"""Fields that are each in a digest if sent."""


def gold_alternatives(gold: str | list[str]) -> tuple[str, ...]:
    """Return the gold answers of which any one suffices."""
    return (gold,) if isinstance(gold, str) else tuple(gold)


def pack_verdicts(verdicts: Sequence[Verdict]) -> bytes:
    """Return the verdicts as a payload that the store keeps."""
    rows = [(v.correct, v.status, v.answer, v.decided_by, v.reason, v.cpu_ms) for v in verdicts]
    return zlib.compress(orjson.dumps(rows), 1)


def unpack_verdicts(payload: bytes) -> list[Verdict]:
    """Return the verdicts of a payload that `pack_verdicts` made."""
    return [Verdict(*row) for row in orjson.loads(zlib.decompress(payload))]


def shape_digest(group: ShapeGroup) -> bytes:
    """Return the 16 bytes that identify a group with verdicts: all fields sent, rollouts in order."""
    digest = _group_hash(group, b"shape")
    digest.update(b"".join(_rollout_bytes(r, r.correct, _STATUS_CODE[r.status]) for r in group.rollouts))
    return bytes(digest.digest(16))


def score_digest(group: ScoreGroup) -> bytes:
    """Return the 16 bytes that identify a group with text: all fields sent, rollouts in order, no verdicts."""
    digest = _group_hash(group, b"score")
    digest.update(orjson.dumps(gold_alternatives(group.gold)))
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


def _group_hash(group: ShapeGroup | ScoreGroup, kind: bytes) -> Any:
    """Return the hash of a group's own fields: BLAKE3, which is two to three times as fast as SHA-256."""
    digest = blake3(kind)
    fixed = [group.problem_id, group.reference_accuracy, group.reference_tokens, group.target_tokens]
    digest.update(orjson.dumps(fixed))
    return digest


def _rollout_bytes(rollout: ShapeRollout | ScoreRollout, correct: bool, status: int) -> bytes:
    tokens = -1 if rollout.tokens is None else rollout.tokens
    fixed = _FIXED.pack(correct, tokens, status, rollout.truncated)
    sent = rollout.model_fields_set
    if not sent.isdisjoint(_FIRST_FIELDS):
        first = {name: getattr(rollout, name) for name in _FIRST_FIELDS}
        if any(value is not None for value in first.values()):
            fixed += orjson.dumps(first)
    for name in _LATER_FIELDS:
        if (value := getattr(rollout, name)) is not None:
            fixed += orjson.dumps({name: value})
    return fixed


def group_commit(
    group: ShapeGroup | ScoreGroup,
    digest: bytes,
    payload: bytes,
    correct: Sequence[bool],
    statuses: Sequence[str | None],
) -> GroupCommit:
    """Return what a commit counts of a group: its name, its digest and its tallies."""
    tokens = [rollout.tokens for rollout in group.rollouts]
    known = [count for count in tokens if count is not None]
    right = [count for count, ok in zip(tokens, correct, strict=True) if ok and count is not None]
    all_known = len(known) == len(tokens)
    name = group.group_id or group.problem_id
    assert name is not None
    return GroupCommit(
        group_id=name,
        problem_id=group.problem_id,
        digest=digest,
        payload=payload,
        size=len(tokens),
        passes=sum(correct),
        counts="gold_unreadable" not in statuses,
        truncated=sum(rollout.truncated for rollout in group.rollouts),
        tokens_known=all_known,
        tokens_sum=sum(known) if all_known else 0,
        correct_tokens_sum=sum(right) if all_known else 0,
        correct_tokens_min=min(right) if right and all_known else None,
    )


def problem_history(problem: ProblemState) -> ProblemHistory:
    """Return a problem's state before the step, as the strategies read it."""
    count = problem.correct_tokens_count
    return ProblemHistory(
        attempts=problem.attempts,
        passes=problem.passes,
        pass_ratio=problem.pass_ratio,
        shortest_correct_tokens=problem.shortest_correct_tokens,
        mean_correct_tokens=problem.correct_tokens_sum / count if count else None,
    )
