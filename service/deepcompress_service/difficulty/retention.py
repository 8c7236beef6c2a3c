"""Periods after which unused state is deleted. The service sweeps periodically (`server.expiry`)."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
OBSERVATIONS_S = 7 * DAY_S
"""Observations of a run that was never trained are kept for this many seconds after the last of them."""
SCRATCH_S = 3600
"""Seconds after which the remains of a broken export or import are deleted."""
IMPORT_S = 1800.0
"""Longest time of an import or an export in seconds; shorter than SCRATCH_S, so that its data is not deleted."""

STALLED_S = 60.0
"""An export ends if nothing was read of it for this many seconds."""


@dataclass(frozen=True, slots=True)
class Swept:
    """The runs and observations that one sweep deleted."""

    runs: tuple[str, ...] = ()
    """Runs that were not used within their lifetime. Their epochs were raised."""
    observed_runs: int = 0
    """Runs never trained whose observations were dropped (in Redis they expire by themselves: always 0)."""
