"""Between the wire and the domain: pure functions that turn requests into what the packages take, and
what they answer into rows of the answer.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import orjson
from blake3 import blake3

from deepcompress_client.wire import ScoreGroup, ScoreRollout, ShapeGroup, ShapeRollout
from deepcompress_verify import Verdict

from ..difficulty.model import GroupCommit, GroupOutcome, ProblemState
from ..shaping import Group, ProblemHistory, ShapedGroup

_STATUSES = ("correct", "wrong", "no_answer", "unreadable", "gold_unreadable", "undecided")
_STATUS_CODE: dict[str | None, int] = {None: 255, **{status: code for code, status in enumerate(_STATUSES)}}
_ROLLOUT = struct.Struct("<?qB?")


def golds(gold: str | list[str]) -> tuple[str, ...]:
    return (gold,) if isinstance(gold, str) else tuple(gold)


def correct_flags(verdicts: Sequence[tuple[Verdict, ...]]) -> list[tuple[bool, ...]]:
    return [tuple(verdict.correct for verdict in of_group) for of_group in verdicts]


def status_names(verdicts: Sequence[tuple[Verdict, ...]]) -> list[tuple[str | None, ...]]:
    return [tuple(verdict.status for verdict in of_group) for of_group in verdicts]


def pack_verdicts(verdicts: tuple[Verdict, ...]) -> bytes:
    rows = [(v.correct, v.status, v.answer, v.decided_by, v.reason, v.cpu_ms) for v in verdicts]
    return zlib.compress(orjson.dumps(rows), 1)


def unpack_verdicts(payload: bytes) -> tuple[Verdict, ...]:
    return tuple(Verdict(*row) for row in orjson.loads(zlib.decompress(payload)))


def _head(group: ShapeGroup | ScoreGroup, kind: bytes) -> Any:
    """The hash of what a group carries beside its rollouts. BLAKE3, cut to 16 bytes: as strong as SHA-256, at two or
    three times its speed, and a step carries many megabytes of text."""
    digest = blake3(kind)
    fixed = [group.problem_id, group.reference_accuracy, group.reference_tokens, group.target_tokens]
    digest.update(orjson.dumps(fixed))
    return digest


def _rollout_head(rollout: ShapeRollout | ScoreRollout, correct: bool, status: int) -> bytes:
    tokens = -1 if rollout.tokens is None else rollout.tokens
    head = _ROLLOUT.pack(correct, tokens, status, rollout.truncated)
    if rollout.thinking is None and rollout.repetitive is None:
        return head
    # Only where it was said: a field that a newer version knows must not change the identity of what lacks it.
    return head + orjson.dumps({"thinking": rollout.thinking, "repetitive": rollout.repetitive})


def shape_digest(group: ShapeGroup) -> bytes:
    """What identifies a shape group's content: everything sent, rollouts in order."""
    digest = _head(group, b"shape")
    digest.update(b"".join(_rollout_head(r, r.correct, _STATUS_CODE[r.status]) for r in group.rollouts))
    return bytes(digest.digest(16))


def score_digest(group: ScoreGroup) -> bytes:
    """What identifies a score group's content: everything sent, rollouts in order; verdicts are not part of it."""
    digest = _head(group, b"score")
    digest.update(orjson.dumps(golds(group.gold)))
    pieces: list[bytes] = []
    for rollout in group.rollouts:
        text = rollout.response.encode()
        pieces += (_rollout_head(rollout, False, 255), struct.pack("<q", len(text)), text)
    # In one call: each gives the interpreter lock away, and waits to get it back.
    digest.update(b"".join(pieces))
    return bytes(digest.digest(16))


def group_commit(
    group: ShapeGroup | ScoreGroup,
    digest: bytes,
    payload: bytes,
    correct: tuple[bool, ...],
    statuses: tuple[str | None, ...],
) -> GroupCommit:
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


def _history(problem: ProblemState) -> ProblemHistory:
    count = problem.correct_tokens_count
    return ProblemHistory(
        attempts=problem.attempts,
        passes=problem.passes,
        pass_ratio=problem.pass_ratio,
        shortest_correct_tokens=problem.shortest_correct_tokens,
        mean_correct_tokens=problem.correct_tokens_sum / count if count else None,
    )


def shaping_group(
    group: ShapeGroup | ScoreGroup,
    correct: tuple[bool, ...],
    statuses: tuple[str | None, ...],
    state: GroupOutcome | None,
    step: int | None,
) -> Group:
    tokens = tuple(rollout.tokens for rollout in group.rollouts)
    thinking = tuple(rollout.thinking for rollout in group.rollouts)
    repetitive = tuple(rollout.repetitive for rollout in group.rollouts)
    readable = "gold_unreadable" not in statuses
    return Group(
        correct=correct,
        tokens=None if None in tokens else tokens,  # type: ignore[arg-type]
        truncated=tuple(rollout.truncated for rollout in group.rollouts),
        trainable=tuple(readable and status != "undecided" for status in statuses),
        level=None if state is None else state.level,
        accumulators=() if state is None else state.accumulators,
        history=ProblemHistory() if state is None else _history(state.problem),
        step=step,
        reference_accuracy=group.reference_accuracy,
        reference_tokens=group.reference_tokens,
        target_tokens=group.target_tokens,
        thinking=None if None in thinking else thinking,  # type: ignore[arg-type]
        repetitive=None if None in repetitive else repetitive,  # type: ignore[arg-type]
        formatted=tuple(status != "no_answer" for status in statuses),
    )


def verdict_row(name: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": name,
        "correct": verdict.correct,
        "status": verdict.status,
        "answer": verdict.answer,
        "decided_by": verdict.decided_by,
        "reason": verdict.reason,
        "cpu_ms": verdict.cpu_ms,
    }


def group_row(problem_id: str, group_id: str, group: Group, shaped: ShapedGroup) -> dict[str, Any]:
    row: dict[str, Any] = {
        "problem_id": problem_id,
        "group_id": group_id,
        "pass_ratio": shaped.pass_ratio,
        "level": group.level if shaped.beta is not None else None,
        "beta": shaped.beta,
        "difficulty": shaped.difficulty,
        "rewards": shaped.rewards,
        "components": {"outcome": shaped.outcome, "length": shaped.length, "overlong": shaped.overlong},
        "correct": group.correct,
        "trainable": group.trainable,
    }
    return _with_extras(row, shaped)


def shadow_row(shaped: ShapedGroup) -> dict[str, Any]:
    return _with_extras({"rewards": shaped.rewards, "length": shaped.length, "beta": shaped.beta}, shaped)


def _with_extras(row: dict[str, Any], shaped: ShapedGroup) -> dict[str, Any]:
    """What only some strategies give is there only where they gave it."""
    for name in ("mask", "weights", "advantages"):
        value = getattr(shaped, name)
        if value is not None:
            row[name] = value
    return row
