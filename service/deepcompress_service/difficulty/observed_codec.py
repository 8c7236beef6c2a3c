"""Packed formats of observed groups and rollouts; `lua/waiting.lua` mirrors them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .codec import NONE32
from .names import decode, encode

_OBSERVED_LENGTHS = 2
"""Flag of an observed group that has lengths, before its problem_id."""
_OBSERVED_DISCARDED = 4
"""Flag of an observed group that was discarded on request."""
_OBSERVED = struct.Struct("<IIIIddIBd")
_ROLLOUT = struct.Struct("<BBBdd")
ROLLOUT_BYTES = _ROLLOUT.size


@dataclass(slots=True)
class ObservedGroup:
    """The rollouts of a group that were observed so far."""

    problem_id: str
    size: int = 0
    passes: int = 0
    truncated: int = 0
    tokens_known: int = 0
    """Rollouts whose length is known."""
    tokens_sum: int = 0
    correct_tokens_sum: int = 0
    correct_tokens_min: int | None = None
    counts: bool = True
    generation: int = 0
    lengths: bytes = b""
    """Packed lengths of the correct rollouts."""
    discarded: bool = False
    """In asynchronous runs: discarded on request, so that later observations of it are not recorded."""


def pack_observed(group: ObservedGroup) -> bytes:
    """Return an observed group as bytes."""
    return _OBSERVED.pack(
        group.size,
        group.passes,
        group.truncated,
        group.tokens_known,
        float(group.tokens_sum),
        float(group.correct_tokens_sum),
        NONE32 if group.correct_tokens_min is None else group.correct_tokens_min,
        group.counts | (_OBSERVED_LENGTHS if group.lengths else 0) | (_OBSERVED_DISCARDED if group.discarded else 0),
        float(group.generation),
    ) + (
        struct.pack("<H", len(group.lengths)) + group.lengths + encode(group.problem_id)
        if group.lengths
        else encode(group.problem_id)
    )


def unpack_observed(data: bytes) -> ObservedGroup:
    """Return the observed group packed in `data`."""
    size, passes, truncated, known, total, correct, least, counts, generation = _OBSERVED.unpack_from(data)
    at, lengths = _OBSERVED.size, b""
    if counts & _OBSERVED_LENGTHS:
        (length,) = struct.unpack_from("<H", data, at)
        lengths, at = data[at + 2 : at + 2 + length], at + 2 + length
    return ObservedGroup(
        problem_id=decode(data[at:]),
        size=size,
        passes=passes,
        truncated=truncated,
        tokens_known=known,
        tokens_sum=int(total),
        correct_tokens_sum=int(correct),
        correct_tokens_min=None if least == NONE32 else least,
        counts=bool(counts & 1),
        generation=int(generation),
        lengths=lengths,
        discarded=bool(counts & _OBSERVED_DISCARDED),
    )


def pack_rollout(correct: bool, counts: bool, truncated: bool, tokens: int | None, generation: int) -> bytes:
    """Return an observed rollout's content; equal bytes are the same observation."""
    return _ROLLOUT.pack(correct, counts, truncated, -1.0 if tokens is None else tokens, generation)
