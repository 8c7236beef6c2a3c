"""Decoding a large body of JSON in slices, so that no single call of a parser takes long.

A parser holds the interpreter lock from its first byte to its last, in whichever thread it runs: all other threads,
the event loop among them, wait for it. Nearly all of a large body is one list, the groups or items. `largest_list`
finds it and commas between its elements; `decode_in_slices` gives the parser the elements in parts, and puts the
parts together.

A wrong cut cannot change the result: the parts and the rest must each be valid JSON, and joined by commas they are
the body.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Json = Any
"""Decoded JSON."""
SLICE_BYTES = 1 << 18
"""Bytes that are searched for a cut at once: about the size of a slice whose elements are small."""
WHOLE_BYTES = 1 << 20
"""Largest body, and largest list, that is decoded in one call."""
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST = b'",[]'
# `[` and `{` differ in one bit, and so do `]` and `}`.
_BIT, _OPEN, _CLOSE = 0x20, 0x7B, 0x7D


@dataclass(slots=True)
class LargestList:
    """The offsets of a list of the top-level object: its brackets, and commas between its elements."""

    begin: int
    end: int = 0
    commas: list[int] | None = None

    @property
    def size(self) -> int:
        """Bytes from bracket to bracket."""
        return self.end - self.begin


def largest_list(raw: bytes | bytearray) -> LargestList | None:
    """Return the largest list that is a field of the top-level object; None without one."""
    largest = current = None
    depth = quotes_before = 0
    escaped = False
    for offset in range(0, len(raw), SLICE_BYTES):
        piece = bytes(raw[offset : offset + SLICE_BYTES])
        if escaped:
            piece = b" " + piece[1:]
        escaped = (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 1
        # What is escaped is blanked; pairs of backslashes first, so that one left before a quote escapes it.
        array = np.frombuffer(piece.replace(b"\\\\", b"  ").replace(b'\\"', b"  "), np.uint8)
        quotes = np.flatnonzero(array == _QUOTE)
        kinds = array | _BIT
        marks = np.flatnonzero((kinds == _OPEN) | (kinds == _CLOSE) | (array == _COMMA))
        marks = marks[(np.searchsorted(quotes, marks) + quotes_before) % 2 == 0]
        quotes_before += len(quotes)
        kinds = kinds[marks]
        steps = (kinds == _OPEN).astype(np.int64) - (kinds == _CLOSE)
        depths = depth + np.cumsum(steps)
        if not len(depths):
            continue
        depth = int(depths[-1])
        chosen = ((depths == 2) & (steps >= 0)) | ((depths == 1) & (steps < 0))
        places, steps = marks[chosen], steps[chosen]
        # Of the commas in a row, the first: at most one cut for each list in each piece.
        first = np.ones(len(steps), bool)
        first[1:] = (steps[1:] != 0) | (steps[:-1] != 0)
        for place, step in zip(places[first].tolist(), steps[first].tolist(), strict=True):
            place += offset
            if step > 0:
                current = LargestList(place, commas=[]) if raw[place] == _OPEN_LIST else None
            elif current is not None and step == 0 and current.commas is not None:
                current.commas.append(place)
            elif current is not None:
                current.end = place
                if raw[place] == _CLOSE_LIST and (largest is None or current.size > largest.size):
                    largest = current
                current = None
    return largest


def decode_in_slices(raw: bytes | bytearray, loads: Callable[[bytes | bytearray], Json]) -> Json:
    """Return the value of a body of JSON. `loads` parses the slices of its largest list one by one.

    Raises:
        ValueError: The body is not JSON, or `loads` raised it.
    """
    cut = largest_list(raw) if len(raw) > WHOLE_BYTES else None
    if cut is None or cut.size <= WHOLE_BYTES or not cut.commas:
        return loads(raw)
    # A random text takes the place of the elements in the rest of the body.
    mark = secrets.token_hex(16)
    value = loads(bytes(raw[: cut.begin + 1]) + f'"{mark}"'.encode() + bytes(raw[cut.end :]))
    elements: list[Json] = []
    for begin, end in pairwise((cut.begin, *cut.commas, cut.end)):
        part = loads(b"[" + bytes(raw[begin + 1 : end]) + b"]")
        if not part:
            raise ValueError("a list has a comma without an element")
        elements += part
    if not isinstance(value, dict):
        return loads(raw)
    # It is missing if a later field has the same name: the last one counts, as in any other body.
    for name, one in value.items():
        if one == [mark]:
            value[name] = elements
    return value
