"""Problems whose groups are likely to be mixed: a group that is all correct or all wrong has no gradient."""

from __future__ import annotations

from .policy import Parameter, Policy, Ratios, optimistic


def mixed_probability(ratio: float, group_size: int) -> float:
    """Return the probability that a group of G independent rollouts is mixed, 1 - p^G - (1 - p)^G."""
    return float(max(0.0, 1.0 - ratio**group_size - (1.0 - ratio) ** group_size))


def weights(ratios: Ratios, *, group_size: int, floor: float) -> list[float]:
    """Return the probability of a mixed group for each pass ratio, at least `floor`."""
    return optimistic(lambda ratio: max(floor, mixed_probability(ratio, group_size)), ratios)


POLICY = Policy(
    "signal",
    "problems in proportion to the probability of a mixed group",
    "DAPO, Yu et al. 2025, arXiv 2503.14476: groups that are all correct or all wrong have no gradient",
    weights,
    (
        Parameter("group_size", 8, 2, 4096, "rollouts of a group, G", integer=True),
        Parameter("floor", 0.05, 0.0, 1.0, "least weight, so that no problem is left out for good"),
    ),
)
