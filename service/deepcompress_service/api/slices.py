"""Decoding a large body of JSON in slices, so that no single call of a parser takes long.

A parser holds the interpreter lock from its first byte to its last, in whichever thread it runs: all other threads,
the event loop among them, wait for it. Nearly all of a large body is a list, the groups or items, or a list of such a
group, its rollouts. `large_lists` finds them and commas between their elements; `decode_in_slices` gives the parser
the elements in parts, and puts the parts together. A text cannot be cut: one over MAX_TEXT_BYTES is refused.

A wrong cut cannot change the result: the parts and the rest must each be valid JSON, and joined by commas they are
the body.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..scoring.errors import TooLargeError

Json = Any
"""Decoded JSON."""
SLICE_BYTES = 1 << 18
"""Bytes that are searched for a cut at once: about the size of a slice whose elements are small."""
WHOLE_BYTES = 1 << 20
"""Largest body, and largest list, that is decoded in one call."""
MAX_TEXT_BYTES = 32 << 20
"""Largest text of a body over WHOLE_BYTES, and most bytes of it outside of large lists: twice the longest response
that is read. Decoding it takes about 25 ms."""
_LEVELS = 2
"""Levels of lists that are cut: the groups of a body, and the rollouts of a group."""
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST = b'",[]'
# `[` and `{` differ in one bit, and so do `]` and `}`.
_BIT, _OPEN, _CLOSE = 0x20, 0x7B, 0x7D


@dataclass(slots=True)
class LargeList:
    """The offsets of a list of the top-level object: its brackets, and commas between its elements."""

    begin: int
    end: int = 0
    commas: list[int] | None = None

    @property
    def size(self) -> int:
        """Bytes from bracket to bracket."""
        return self.end - self.begin


def large_lists(raw: bytes | bytearray | memoryview) -> list[LargeList]:
    """Return the lists over WHOLE_BYTES that are fields of the top-level object, in order.

    Raises:
        TooLargeError: A text is over MAX_TEXT_BYTES.
    """
    result: list[LargeList] = []
    current = None
    depth = quotes_before = last_quote = 0
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
        if len(quotes):
            last_quote = offset + int(quotes[-1])
        elif quotes_before % 2 and offset - last_quote > MAX_TEXT_BYTES:
            raise TooLargeError("a text of the body", MAX_TEXT_BYTES)
        kinds = kinds[marks]
        steps = (kinds == _OPEN).astype(np.int64) - (kinds == _CLOSE)
        depths = depth + np.cumsum(steps)
        if not len(depths):
            continue
        depth = int(depths[-1])
        chosen = ((depths == 2) & (steps >= 0)) | ((depths == 1) & (steps < 0))
        places, steps = marks[chosen], steps[chosen]
        # Of the commas in a row, the first and the last: an element larger than a piece is cut out alone.
        kept = np.ones(len(steps), bool)
        kept[1:-1] = (steps[1:-1] != 0) | (steps[:-2] != 0) | (steps[2:] != 0)
        for place, step in zip(places[kept].tolist(), steps[kept].tolist(), strict=True):
            place += offset
            if step > 0:
                current = LargeList(place, commas=[]) if raw[place] == _OPEN_LIST else None
            elif current is not None and step == 0 and current.commas is not None:
                current.commas.append(place)
            elif current is not None:
                current.end = place
                if raw[place] == _CLOSE_LIST and current.size > WHOLE_BYTES:
                    result.append(current)
                current = None
    return result


def decode_in_slices(
    raw: bytes | bytearray | memoryview, loads: Callable[[bytes | bytearray], Json], levels: int = _LEVELS
) -> Json:
    """Return the value of a body of JSON. `loads` parses the slices of its large lists one by one.

    Raises:
        ValueError: The body is not JSON, or `loads` raised it.
        TooLargeError: A text is over MAX_TEXT_BYTES, or so is what is outside of lists over WHOLE_BYTES.
    """
    if len(raw) <= WHOLE_BYTES or not levels:
        return loads(raw if isinstance(raw, bytes | bytearray) else bytes(raw))
    lists = large_lists(raw)
    if len(raw) - sum(one.size for one in lists) > MAX_TEXT_BYTES:
        raise TooLargeError("a text of the body", MAX_TEXT_BYTES)
    view = memoryview(raw)
    # A random text takes the place of the elements in the rest of the body.
    mark = secrets.token_hex(16)
    rest: list[bytes | memoryview] = []
    begin = 0
    for number, one in enumerate(lists):
        rest += [view[begin : one.begin + 1], f'"{mark}{number}"'.encode()]
        begin = one.end
    value = loads(b"".join([*rest, view[begin:]]))
    if not lists:
        return value
    if not isinstance(value, dict):
        return loads(bytes(raw))
    decoded = {f"{mark}{number}": _elements(view, one, loads, levels) for number, one in enumerate(lists)}
    # One is missing if a later field has the same name: the last one counts, as in any other body.
    for name, one in value.items():
        if isinstance(one, list) and len(one) == 1 and isinstance(one[0], str) and one[0] in decoded:
            value[name] = decoded[one[0]]
    return value


def _elements(
    view: memoryview, cut: LargeList, loads: Callable[[bytes | bytearray], Json], levels: int
) -> list[Json]:
    """Return the elements of a list, decoded in parts from comma to comma."""
    elements: list[Json] = []
    for begin, end in pairwise((cut.begin, *(cut.commas or ()), cut.end)):
        if end - begin > WHOLE_BYTES:
            # One element, if it begins after the last comma of its piece: its own lists are cut.
            with suppress(ValueError):
                elements.append(decode_in_slices(view[begin + 1 : end], loads, levels - 1))
                continue
        part = loads(b"".join((b"[", view[begin + 1 : end], b"]")))
        if not part:
            raise ValueError("a list has a comma without an element")
        elements += part
    return elements
