"""Results of remote checks by content: bounded, for a limited time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from .protocol import RemoteResult


class ResultCache:
    """The latest results, least recently used first. Only decided ones belong here."""

    def __init__(self, entries: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries if seconds > 0 else 0
        self._seconds = seconds
        self._clock = clock
        self._results: OrderedDict[bytes, tuple[float, RemoteResult]] = OrderedDict()

    def get(self, key: bytes) -> RemoteResult | None:
        """Return the result of a key; None if there is none, or it is too old."""
        found = self._results.get(key)
        if found is None:
            return None
        until, result = found
        if self._clock() >= until:
            del self._results[key]
            return None
        self._results.move_to_end(key)
        return result

    def put(self, key: bytes, result: RemoteResult) -> None:
        """Keep a result."""
        if not self._entries:
            return
        self._results[key] = (self._clock() + self._seconds, result)
        self._results.move_to_end(key)
        while len(self._results) > self._entries:
            self._results.popitem(last=False)
