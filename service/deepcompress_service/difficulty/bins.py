"""Bins of a problem's pass ratio, and its place in the index of a data set (docs/design.md, 5.12).

A bin stands for the smoothed pass ratio at the end of the last closed step. A place is a keyed hash of the
problem_id: problems of a bin lie in the order of their places, which depends on nothing that happened before.
``stores/lua/dataset.lua`` has the same bins.
"""

from __future__ import annotations

import hashlib

from .arithmetic import ratio_after
from .records import ProblemRecord

INNER = 60
"""Bins of equal width between the pass ratios 0 and 1, which have a bin each."""
UNSEEN, ALWAYS_WRONG, FIRST, ALWAYS_CORRECT = 0, 1, 2, INNER + 2
BINS = INNER + 3
RATIOS: tuple[float | None, ...] = (None, 0.0, *((2 * i + 1) / (2 * INNER) for i in range(INNER)), 1.0)
"""The pass ratio that each bin stands for; None: a problem that was never trained and has no prior."""
PLACE_BITS = 38
PLACES = 1 << PLACE_BITS
"""Number of places: with a source (8 bits) and a bin (6 bits) a place fits a float64 exactly."""
STRATUM_BINS = 64
"""Numbers of bins in that of a stratum, one of them unused."""
Stratum = int
"""Number of the data source * 64 + bin."""


def source_of_stratum(stratum: Stratum) -> int:
    """Return the number of the data source."""
    return stratum // STRATUM_BINS


def bin_of_stratum(stratum: Stratum) -> int:
    """Return the bin."""
    return stratum % STRATUM_BINS


def bin_of(ratio: float | None) -> int:
    """Return the bin of a pass ratio; None: never trained and without a prior."""
    if ratio is None:
        return UNSEEN
    if ratio <= 0.0:
        return ALWAYS_WRONG
    if ratio >= 1.0:
        return ALWAYS_CORRECT
    return FIRST + min(INNER - 1, int(ratio * INNER))


def prior_bin(ratio: float | None, rollouts: int | None) -> int:
    """Return the bin of a problem that was never trained.

    A ratio of few rollouts is drawn towards 1/2 (Laplace's rule): (ratio * rollouts + 1) / (rollouts + 2).
    """
    if ratio is None or rollouts is None:
        return bin_of(ratio)
    return bin_of((ratio * rollouts + 1.0) / (rollouts + 2.0))


def closed_ratio(record: ProblemRecord, weight: float, open_step: int | None) -> float | None:
    """Return the problem's smoothed pass ratio at the end of the last closed step; None before its first."""
    if open_step is not None and record.delta.step == open_step:
        return record.before.pass_ratio
    return ratio_after(weight, record.before, record.delta)


def place_of(seed: bytes, problem_id: str) -> int:
    """Return the problem's place, from 0 to PLACES - 1."""
    name = problem_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, key=seed, person=b"dc-place").digest()
    return int.from_bytes(digest, "big") >> (64 - PLACE_BITS)
