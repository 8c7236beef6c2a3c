"""Limits on the number of objects and values of a body of JSON, which are counted before it is parsed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

FEW_QUOTES = 20_000
"""Quotes and commas that need no full scan, in a body of any size."""
_QUOTES_PER_BYTE = 1 / 256
_COMMAS_PER_BYTE = 1 / 32
_SCAN_BYTES = 1 << 20
_QUOTE, _COMMA = ord('"'), ord(",")

OBJECT_BYTES = 1024
"""Memory of one parsed rollout without its text, and of its part of the answer, in bytes."""
VALUE_BYTES = 96
"""Memory of one value while it is being read, in bytes."""
STRINGS_PER_OBJECT = 32
"""More names and strings than any object of the wire has."""
VALUES_PER_OBJECT = 32
_FREE_VALUES = 16_384
"""Values beyond those of the objects: lists of gold answers."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Counts of a body of JSON; all 0 for one that is plainly text.

    A parsed value may take a hundred times its bytes in the body, so a limit on bytes does not bound memory. Bodies
    of text, which are nearly all, are recognized by two counts of single bytes; the others are counted exactly,
    without the contents of strings.
    """

    objects: int = 0
    strings: int = 0
    commas: int = 0
    memory: int = field(default=0, compare=False)
    """Bytes of memory that the parsed body takes, without its texts."""
    exceeds_limits: bool = field(default=False, compare=False)
    """True if the objects hold more than any object of the wire does."""


def count_structure(raw: bytes | bytearray) -> Structure:
    """Count the objects, strings and commas of a body of JSON, unless it is plainly text."""
    if len(raw) <= FEW_QUOTES or not _needs_full_scan(raw):
        return Structure()
    objects = quotes = commas = 0
    carry = b""
    inside = 0
    for start in range(0, len(raw), _SCAN_BYTES):
        piece = carry + raw[start : start + _SCAN_BYTES]
        # A last backslash escapes the first byte of the next piece: it is counted with that.
        odd = (len(piece) - len(piece.rstrip(b"\\"))) % 2
        carry = b"\\" * odd
        if odd:
            piece = piece[:-1]
        # Pairs of backslashes go first, so that a backslash left before a quote escapes it.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        objects += outside.count(b"{")
        commas += outside.count(b",")
        quotes += len(parts) - 1
        inside = (inside + len(parts) - 1) % 2
    strings = quotes // 2
    return Structure(
        objects,
        strings,
        commas,
        memory=objects * OBJECT_BYTES + commas * VALUE_BYTES,
        exceeds_limits=strings > _FREE_VALUES + STRINGS_PER_OBJECT * objects
        or commas > _FREE_VALUES + VALUES_PER_OBJECT * objects,
    )


def _needs_full_scan(raw: bytes | bytearray) -> bool:
    size = len(raw)
    quotes = commas = 0
    array = np.frombuffer(raw, np.uint8)
    # In pieces that fit into the processor's cache: several times as fast as `bytes.count`.
    for start in range(0, size, 1 << 16):
        piece = array[start : start + (1 << 16)]
        quotes += int(np.count_nonzero(piece == _QUOTE))
        commas += int(np.count_nonzero(piece == _COMMA))
    return quotes > FEW_QUOTES + size * _QUOTES_PER_BYTE or commas > FEW_QUOTES + size * _COMMAS_PER_BYTE
