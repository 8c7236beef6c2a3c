"""Rows that NeMo Gym's held calls return with their reward, compressed while the call waits."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..admission.limits import AdmissionError

MAX_ROWS = 16_384
"""Most rows that wait at once in this process."""
MAX_BYTES = 256 << 20
"""Most bytes of waiting rows, compressed."""


class PackedRows:
    """Rows of calls that wait for their group, compressed, within bounds on their number and on their bytes."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._count: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        """Rows and bytes of each API key that has a share of both; those of other callers are under ""."""

    @contextmanager
    def keep(self, row: dict[str, Any], share: str = "") -> Iterator[Callable[[], dict[str, Any]]]:
        """Hold the row compressed; yield a function that returns it.

        `share` names the API key that may take half of the rows and bytes; "" for a caller that may take all.

        Raises:
            AdmissionError: Too many rows wait already, or the key's share is used up.
        """
        packed = zlib.compress(json.dumps(row).encode(), 1)
        row.clear()
        size, detail = len(packed), "too many rollouts wait for their groups: send the same request again later"
        if self._count.total() >= self._max_rows or self._bytes.total() + size > self._max_bytes:
            raise AdmissionError("overloaded", detail)
        if share and (self._count[share] >= self._max_rows // 2 or self._bytes[share] + size > self._max_bytes // 2):
            raise AdmissionError("key-share-used", detail)
        self._count[share] += 1
        self._bytes[share] += size
        try:
            yield lambda: dict(json.loads(zlib.decompress(packed)))
        finally:
            self._count[share] -= 1
            self._bytes[share] -= size
            if not self._count[share]:
                del self._count[share], self._bytes[share]
