"""How long state is kept where nobody uses it, and what sweeping did. Stores sweep when they are told to; the service
tells them (`deepcompress_service.server.expiry`)."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0
OBSERVATIONS_S = 7 * DAY_S
"""Observations of a run that was never trained are kept for so long after the last of them."""
SCRATCH_S = 3600
"""What an export or an import that broke off left behind is gone after this."""
IMPORT_S = 1800.0
"""The longest an import or an export may take: well before what it works on would be taken for left behind."""

STALLED_S = 60.0
"""An export of which nothing was read for so long is over."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep took away."""

    runs: tuple[str, ...] = ()
    """Runs that nobody used for long enough. Their epochs rose."""
    observed_runs: int = 0
    """Runs never trained whose observations were dropped (in Redis they expire by themselves: always 0)."""
