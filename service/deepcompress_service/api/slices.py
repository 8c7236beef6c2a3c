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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..scoring.errors import TooLargeError

Json = Any
"""Decoded JSON."""
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
SLICE_BYTES = 1 << 18
"""Bytes that are searched for a cut at once: about the size of a slice whose elements are small."""
WHOLE_BYTES = 1 << 20
"""Largest body, and largest list, that is decoded in one call."""
MAX_TEXT_BYTES = 32 << 20
"""Largest text of a body over WHOLE_BYTES, and most bytes of it outside of large lists: twice the longest response
that is read. Decoding it takes about 25 ms."""
RELEASED = 256
"""Elements of a list that `release` frees at once."""
_LEVELS = 2
"""Levels of lists that are cut: the groups of a body, and the rollouts of a group."""
_QUOTE, _COMMA, _OPEN_LIST, _CLOSE_LIST, _BACKSLASH = b'",[]\\'
# `[` and `{` differ in one bit, and so do `]` and `}`.
_BIT, _OPEN, _CLOSE = 0x20, 0x7B, 0x7D
_BEFORE = np.arange(1, 17)


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
    depth = 0
    for marks, kinds in _marks(np.frombuffer(raw, np.uint8)):
        steps = (kinds == _OPEN).astype(np.int64) - (kinds == _CLOSE)
        depths = depth + np.cumsum(steps)
        depth = int(depths[-1])
        chosen = ((depths == 2) & (steps >= 0)) | ((depths == 1) & (steps < 0))
        places, steps = marks[chosen], steps[chosen]
        # Of the commas in a row, the first and the last: an element larger than a piece is cut out alone.
        kept = np.ones(len(steps), bool)
        kept[1:-1] = (steps[1:-1] != 0) | (steps[:-2] != 0) | (steps[2:] != 0)
        for place, step in zip(places[kept].tolist(), steps[kept].tolist(), strict=True):
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


def _marks(text: Bytes) -> Iterator[tuple[Offsets, Bytes]]:
    """Yield the offsets of brackets, braces and commas outside of texts, [marks], and the kind of each, [marks].

    A kind is _OPEN, _CLOSE, or another value for a comma. A yield is of one piece of the body. Nearly all of a body
    is texts, and of those the ends alone are searched.

    Raises:
        TooLargeError: A text is over MAX_TEXT_BYTES.
    """
    inside = False
    last_quote = 0
    for offset in range(0, len(text), SLICE_BYTES):
        end = min(offset + SLICE_BYTES, len(text))
        quotes = _quotes(text, offset, end)
        if len(quotes):
            last_quote = int(quotes[-1])
        elif inside:
            if offset - last_quote > MAX_TEXT_BYTES:
                raise TooLargeError("a text of the body", MAX_TEXT_BYTES)
            continue
        edges = np.concatenate(([] if inside else [offset - 1], quotes, [end])).astype(np.int64)
        inside = len(edges) % 2 == 1
        begins = edges[: len(edges) - inside : 2] + 1
        lengths = edges[1::2] - begins
        # The offsets of the bytes between the texts.
        outside = np.arange(lengths.sum()) + np.repeat(begins - np.cumsum(lengths) + lengths, lengths)
        values = text[outside]
        kinds = values | _BIT
        chosen = (kinds == _OPEN) | (kinds == _CLOSE) | (values == _COMMA)
        if chosen.any():
            yield outside[chosen], kinds[chosen]


def _quotes(text: Bytes, begin: int, end: int) -> Offsets:
    """Return the offsets of the quotes from `begin` to `end`, without those after an odd number of backslashes."""
    quotes = begin + np.flatnonzero(text[begin:end] == _QUOTE)
    doubtful = np.flatnonzero(text[quotes - 1] == _BACKSLASH)
    if not len(doubtful):
        return quotes
    places = quotes[doubtful]
    if len(places) * len(_BEFORE) < end - begin:
        slashes = text[places[:, None] - _BEFORE] == _BACKSLASH
        lengths = slashes.argmin(axis=1)
        if not slashes.all(axis=1).any():
            return np.delete(quotes, doubtful[lengths % 2 == 1])
    while begin and text[begin - 1] == _BACKSLASH:  # the run began in an earlier piece
        earlier = text[max(0, begin - SLICE_BYTES) : begin]
        others = np.flatnonzero(earlier != _BACKSLASH)
        begin -= len(earlier) - (int(others[-1]) + 1 if len(others) else 0)
    piece = text[begin:end]
    others = np.maximum.accumulate(np.where(piece == _BACKSLASH, -1, np.arange(len(piece))))
    lengths = places - begin - 1 - others[places - begin - 1]
    return np.delete(quotes, doubtful[lengths % 2 == 1])


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


def release(values: list[Json]) -> None:
    """Empty a list, element by element: freeing a large one is a single call, for which all other threads wait."""
    while values:
        del values[-RELEASED:]


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
