"""Messages between the pool and its workers: one JSON value a line, never pickle.

Messages may contain text written by a model. JSON decodes to data only, so a message cannot carry code in either
direction: a compromised worker can return wrong verdicts and nothing else. JSON escapes line breaks in texts.

A worker sends `READY` when it can work. Then it answers each `Request` with one or more `Response`.
"""

from __future__ import annotations

import struct

HEARTBEAT = struct.Struct("<II")
"""Heartbeat in memory shared by worker and pool: (chunk, 1 + index of the current item, or 0 between items)."""

Pair = tuple[tuple[str, ...], str | None, str | None]
"""(gold alternatives, answer, restated answer). If the answer is None, only the gold is parsed."""

Row = tuple[str, str, str, float]
"""(status, decided_by, reason, cpu_ms) of one item; status is `NEEDS_CAS` if the exact tiers cannot
decide, and `LONG` if the slice ended first."""

Request = tuple[int, float, list[Pair]]
"""(chunk, CPU seconds that each item may use, items)."""

Response = tuple[int, int, list[Row], int]
"""(chunk, index of the first of these items, their rows, peak memory of the worker in KiB)."""

READY = b'"ready"\n'

MAX_ROW = 1 << 20
"""Maximum length of a row in bytes. A worker reports an item with a longer one as `undecided`."""
MAX_LINE = 1 << 24
"""Maximum length of a worker's message in bytes. A worker that sends a longer one is replaced."""

NEEDS_CAS = "needs_cas"
LONG = "long"
"""Status of an item that used up its slice, which was less than the whole budget of an item."""
READABLE = "readable"
"""Status of an item without an answer: the gold can be parsed."""
