"""Periods after which unused state is deleted. The service sweeps periodically (`server.expiry`)."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
OBSERVATIONS_S = 7 * DAY_S
"""Observations of a run that was never trained are kept for so long after the last of them."""
SCRATCH_S = 3600
"""Seconds after which the remains of a broken export or import are deleted."""
IMPORT_S = 1800.0
"""The longest an import or an export may take: well before what it works on would be taken for left behind."""

STALLED_S = 60.0
"""An export of which nothing was read for so long is over."""


@dataclass(frozen=True, slots=True)
class Swept:
    """The runs and observations that one sweep deleted."""

    runs: tuple[str, ...] = ()
    """Runs that nobody used for long enough. Their epochs rose."""
    observed_runs: int = 0
    """Runs never trained whose observations were dropped (in Redis they expire by themselves: always 0)."""
