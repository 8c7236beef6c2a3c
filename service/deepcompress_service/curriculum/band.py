"""Problems of medium difficulty: those whose pass ratio is between two bounds."""

from __future__ import annotations

from collections.abc import Mapping

from .policy import Parameter, Policy, PolicyError, Ratios, optimistic


def weights(ratios: Ratios, *, low: float, high: float) -> list[float]:
    """Return 1 for the pass ratios from `low` to `high`, else 0."""
    return optimistic(lambda ratio: float(low <= ratio <= high), ratios)


def _check(values: Mapping[str, float]) -> None:
    if values["low"] > values["high"]:
        raise PolicyError("policy.low", "send a number that is not above policy.high")


POLICY = Policy(
    "band",
    "problems whose pass ratio is between two bounds",
    "online difficulty filtering, Bae et al. 2025, arXiv 2504.03380",
    weights,
    (
        Parameter("low", 0.1, 0.0, 1.0, "least pass ratio"),
        Parameter("high", 0.9, 0.0, 1.0, "greatest pass ratio"),
    ),
    check=_check,
)
