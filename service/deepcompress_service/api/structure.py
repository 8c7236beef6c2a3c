"""How many objects, strings and values a body of JSON holds, before anything is made of it.

A parsed value takes a hundred times the bytes that wrote it, so that a limit on bytes alone bounds no memory: a
million tiny items, a million unknown fields. Bodies of text, which are nearly all, are told apart by two counts
of single bytes; the others are counted exactly, strings left out, so that nothing a policy wrote can be mistaken
for structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FEW = 20_000
"""Quotes and commas that are not worth a closer look, whatever the body's size."""
_QUOTES_PER_BYTE = 1 / 256
_COMMAS_PER_BYTE = 1 / 32
_AT_ONCE = 1 << 20
_QUOTE, _COMMA = ord('"'), ord(",")

OBJECT_BYTES = 1024
"""Memory of one parsed rollout without its text, and of what is answered for it."""
VALUE_BYTES = 96
"""Memory of one value while it is being read."""
STRINGS_PER_OBJECT = 32
"""More names and strings than any object of the wire has."""
VALUES_PER_OBJECT = 32
_FREE = 16_384
"""Values beyond those of the objects: lists of gold answers."""


@dataclass(frozen=True, slots=True)
class Structure:
    """What a body holds; of a body that is plainly text, nothing was counted."""

    objects: int = 0
    strings: int = 0
    commas: int = 0

    @property
    def memory(self) -> int:
        """Bytes that it will take, its texts not counted."""
        return self.objects * OBJECT_BYTES + self.commas * VALUE_BYTES

    @property
    def crowded(self) -> bool:
        """Whether its objects hold more than any object of the wire does."""
        strings = self.strings > _FREE + STRINGS_PER_OBJECT * self.objects
        return strings or self.commas > _FREE + VALUES_PER_OBJECT * self.objects


def structure_of(raw: bytes | bytearray) -> Structure:
    """Count, where a body of this size could hold too much. Whether it is JSON at all is not looked at."""
    if not _worth_a_look(raw):
        return Structure()
    objects = quotes = commas = 0
    carry = b""
    inside = 0
    for start in range(0, len(raw), _AT_ONCE):
        piece = carry + raw[start : start + _AT_ONCE]
        # A backslash whose partner is in the next piece goes there with it.
        odd = (len(piece) - len(piece.rstrip(b"\\"))) % 2
        carry = b"\\" * odd
        if odd:
            piece = piece[:-1]
        # Pairs of backslashes go first, so that what still stands before a quote escapes it.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        objects += outside.count(b"{")
        commas += outside.count(b",")
        quotes += len(parts) - 1
        inside = (inside + len(parts) - 1) % 2
    return Structure(objects, quotes // 2, commas)


def _worth_a_look(raw: bytes | bytearray) -> bool:
    size = len(raw)
    if size <= _FEW:
        return False
    quotes = commas = 0
    whole = np.frombuffer(raw, np.uint8)
    # In pieces that fit a processor's cache: several times as fast as `bytes.count`.
    for start in range(0, size, 1 << 16):
        piece = whole[start : start + (1 << 16)]
        quotes += int(np.count_nonzero(piece == _QUOTE))
        commas += int(np.count_nonzero(piece == _COMMA))
    return quotes > _FEW + size * _QUOTES_PER_BYTE or commas > _FEW + size * _COMMAS_PER_BYTE
