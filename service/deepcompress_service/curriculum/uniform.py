"""Every problem alike."""

from __future__ import annotations

from .policy import Policy, Ratios


def weights(ratios: Ratios) -> list[float]:
    """Return the weight 1 for each pass ratio."""
    return [1.0] * len(ratios)


POLICY = Policy("uniform", "every problem alike", "simple random sampling", weights)
