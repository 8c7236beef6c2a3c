"""Rules that compare with the problem's own past: HAPO."""

from __future__ import annotations

import math

import numpy as np

from ..batch import Batch, Floats, apply
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy

_NEVER = -1.0
"""The value of a problem that was never solved before this step."""


def hapo(batch: Batch, p: Params) -> Floats:
    """cos(min(pi/2 * tokens / h, pi)), h the shortest correct length before this step; 0 where there is none."""
    history = [g.history.shortest_correct_tokens for g in batch.groups]
    shortest = np.array([_NEVER if h is None else float(h) for h in history])[batch.rows]
    # A history of 0 tokens: anything longer is twice as long or more, the end of the curve.
    relative = np.minimum(batch.tokens / np.maximum(shortest, 1e-9), 2.0)
    curve = apply(math.cos, np.minimum(math.pi / 2.0 * relative, math.pi))
    term = np.where(batch.correct, np.maximum(curve, p["clip"]), np.minimum(curve, 0.0))
    return np.where(shortest == _NEVER, 0.0, p["weight"] * term)


def _bounds(p: Params, _pair: Pair) -> Bounds:
    return -p["weight"], p["weight"]


STRATEGIES = (
    Strategy(
        name="hapo",
        summary="cos(pi/2 * l/h), where h is the problem's shortest correct length before this step",
        source="arXiv 2505.11225; HCY123902/HAPO utils.py, grpo_trainer.py",
        certainty="C+",
        length=hapo,
        bounds=_bounds,
        params=(
            Param("weight", "number", 1.0, "weight of the length term", 0.0),
            Param("clip", "number", -0.7, "least term of a correct rollout", -1.0, 1.0),
        ),
        requires=("tokens", "history"),
        correctness_conditioned=False,
        note="A wrong rollout shorter than h loses nothing, which leaves room to explore. h is in the run's problem "
        "state, so unlike the authors' it survives a restart. The authors' modes mean and linear are left out.",
    ),
)
