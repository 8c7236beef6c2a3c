"""Rows that NeMo Gym's held calls return with their reward, compressed while the call waits."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ApiError

MAX_ROWS = 16_384
"""Most rows that wait at once in this process."""
MAX_BYTES = 256 << 20
"""Most bytes of waiting rows, compressed."""


class PackedRows:
    """Rows of calls that wait for their group, compressed, within bounds on their number and on their bytes."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._count = self._bytes = 0

    @contextmanager
    def keep(self, row: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
        """Hold the row compressed; yield a function that returns it.

        Raises:
            ApiError: 503, if too many rows wait already.
        """
        packed = zlib.compress(json.dumps(row).encode(), 1)
        row.clear()
        if self._count >= self._max_rows or self._bytes + len(packed) > self._max_bytes:
            raise ApiError(503, "overloaded", "too many rollouts wait for their groups", retry_after=5)
        self._count += 1
        self._bytes += len(packed)
        try:
            yield lambda: dict(json.loads(zlib.decompress(packed)))
        finally:
            self._count -= 1
            self._bytes -= len(packed)
