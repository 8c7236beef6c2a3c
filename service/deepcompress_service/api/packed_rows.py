"""Rows that NeMo Gym's held calls return with their reward, compressed while the call waits."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..admission.limits import AdmissionError
from .slices import decode_in_slices, release

MAX_ROWS = 16_384
"""Most rows that wait at once in this process."""
MAX_BYTES = 256 << 20
"""Most bytes of waiting rows, compressed."""


def pack(row: dict[str, Any], large: bool) -> bytes:
    """Return a row as compressed JSON, and empty it. `large` is as in `json_text`."""
    packed = zlib.compress(json_text(row, large).encode(), 1)
    for value in row.values():
        if isinstance(value, list):
            release(value)
    row.clear()
    return packed


def unpack(packed: bytes) -> dict[str, Any]:
    """Return the row that was packed."""
    return dict(decode_in_slices(zlib.decompress(packed), json.loads))


def json_text(value: object, large: bool) -> str:
    """Return a value as `json` writes it; a large one in parts, since all other threads wait for a single call."""
    return "".join(_pieces(value)) if large else json.dumps(value, allow_nan=False)


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        yield "["
        for number, one in enumerate(value):
            if number:
                yield ", "
            yield from _pieces(one)
        yield "]"
    elif isinstance(value, dict) and any(isinstance(one, dict | list) for one in value.values()):
        yield "{"
        for number, (name, one) in enumerate(value.items()):
            yield f"{', ' if number else ''}{json.dumps(name)}: "
            yield from _pieces(one)
        yield "}"
    else:
        yield json.dumps(value, allow_nan=False)


class PackedRows:
    """Rows of calls that wait for their group, compressed, within bounds on their number and on their bytes."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._count: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        """Rows and bytes of each API key that has a share of both; those of other callers are under ""."""

    @contextmanager
    def keep(self, packed: bytes, share: str = "") -> Iterator[None]:
        """Count a packed row until the block ends.

        `share` names the API key that may take half of the rows and bytes; "" for a caller that may take all.

        Raises:
            AdmissionError: Too many rows wait already, or the key's share is used up.
        """
        size, detail = len(packed), "too many rollouts wait for their groups: send the same request again later"
        if self._count.total() >= self._max_rows or self._bytes.total() + size > self._max_bytes:
            raise AdmissionError("overloaded", detail)
        if share and (self._count[share] >= self._max_rows // 2 or self._bytes[share] + size > self._max_bytes // 2):
            raise AdmissionError("key-share-used", detail)
        self._count[share] += 1
        self._bytes[share] += size
        try:
            yield
        finally:
            self._count[share] -= 1
            self._bytes[share] -= size
            if not self._count[share]:
                del self._count[share], self._bytes[share]
