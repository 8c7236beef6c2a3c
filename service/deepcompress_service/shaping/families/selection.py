"""Rules that select rollouts instead of paying them: GFPO."""

from __future__ import annotations

import numpy as np

from ..advantages import group_advantages
from ..batch import Batch, Bools, Floats, ratio
from ..parameters import Param, Params
from ..strategy import AdvantageTerms, Parts, Strategy
from .outcome import nothing


def kept(batch: Batch, p: Params, total: Floats) -> Bools:
    """[n] the `keep` best of each group: shortest, or most reward a token; ties by reward, length, then as sent."""
    if p["metric"] == "length":
        order = np.lexsort((-total, batch.tokens, batch.rows))
    else:
        efficiency = ratio(total, np.maximum(batch.tokens, 1))
        order = np.lexsort((batch.tokens, -total, -efficiency, batch.rows))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - batch.starts[batch.rows]
    chosen: Bools = rank < p["keep"]
    return chosen


def select(batch: Batch, p: Params, parts: Parts) -> AdvantageTerms:
    """Return the mask, and advantages among the selected rollouts (population std), 0 for the others."""
    mask = kept(batch, p, parts.total)
    return AdvantageTerms(mask=mask, advantages=group_advantages(batch, parts.total, mask, sample=False))


STRATEGIES = (
    Strategy(
        name="gfpo",
        summary="train on the `keep` rollouts of each group that are shortest (or have the most reward a token)",
        source="arXiv 2508.09726, through notes; TRL's experimental GFPO (removed in PR 6309)",
        certainty="N",
        length=nothing,
        bounds=lambda _p, _pair: (0.0, 0.0),
        params=(
            Param("keep", "integer", 8, "rollouts kept of each group", 1, 1_000_000),
            Param("metric", "choice", "length", "what is best", choices=("length", "efficiency")),
        ),
        level="mask",
        extras=select,
        own_advantages=True,
        correctness_conditioned=False,
        note="Rewards are the outcome alone: use the returned mask (with `trainable`) or advantages. It is not known "
        "whether the published std divides by n or n - 1; here it is n. The adaptive number of rollouts to keep "
        "is left out.",
    ),
)
