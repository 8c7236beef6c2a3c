"""Every problem alike, but a mastered one is retired for some closed steps after each visit."""

from __future__ import annotations

from .policy import Parameter, Policy, Ratios


def weights(ratios: Ratios, *, threshold: float, retired_steps: int) -> list[float]:
    """Return the weight 1 for each pass ratio; the store leaves out those that are retired."""
    del threshold, retired_steps
    return [1.0] * len(ratios)


POLICY = Policy(
    "mastered",
    "every problem alike, but a mastered one takes no part for some closed steps after its last visit",
    "spaced repetition: known items are left out for a time (Leitner 1972)",
    weights,
    (
        Parameter("threshold", 0.9, 0.0, 1.0, "least pass ratio of a mastered problem"),
        Parameter("retired_steps", 8, 0, 1_000_000, "closed steps for which it takes no part", integer=True),
    ),
    retires=("threshold", "retired_steps"),
)
