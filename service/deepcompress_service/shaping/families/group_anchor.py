"""Rules that derive a wanted length from the group and pay the distance to it: ShorterBetter, SmartThinker, DAST."""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats, ratio
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy


def shorter_better(batch: Batch, p: Params) -> Floats:
    """-beta * |tokens - SOL| on every rollout; SOL is the shortest correct length, else the group's mean."""
    sol = np.where(batch.passes > 0, batch.correct_lengths.low, batch.all_lengths.mean)
    beta: float = p["beta"]
    return -beta * np.abs(batch.tokens - sol[batch.rows])


def optimal_length(batch: Batch) -> Floats:
    """[g] where the density of correct lengths over that of all lengths is best, both taken as Gaussian.

    The branches for degenerate groups are those of the authors' code.
    """
    every, right = batch.all_lengths, batch.correct_lengths
    gap = every.variance - right.variance
    # (v_all*m_c - v_c*m_all)/(v_all - v_c), written so that a lone correct rollout is its own optimum exactly.
    best = right.mean + ratio(right.variance * (right.mean - every.mean), gap)
    best = np.minimum(np.maximum(best, every.low), every.high)
    same = np.where(right.mean < every.mean, every.high, every.low)
    chosen = np.where(gap < 0, every.low, best)
    chosen = np.where(np.abs(gap) < 1e-6, same, chosen)
    chosen = np.where(batch.passes == 0, every.high, chosen)
    return np.where(batch.passes == batch.sizes, every.low, chosen)


def smartthinker(batch: Batch, _p: Params) -> Floats:
    """-Lambda * max(0, tokens - optimal) on correct rollouts; Lambda keeps every correct advantage at or above 0."""
    over = np.maximum(batch.tokens - optimal_length(batch)[batch.rows], 0.0)
    over = np.where(batch.correct, over, 0.0)
    mean = batch.sum_floats(over) / batch.sizes
    most: Floats = np.maximum.reduceat(over, batch.starts)
    mixed = (batch.passes > 0) & (batch.passes < batch.sizes)
    wrong_share = (batch.sizes - batch.passes) / batch.sizes
    scale = np.where(mixed, wrong_share / (most - mean + 1e-6), 0.0)
    return -scale[batch.rows] * over


def dast(batch: Batch, p: Params) -> Floats:
    """Return [n] the published reward of the distance to the token length budget, minus its value on the budget."""
    budget = batch.pass_ratio * batch.correct_lengths.mean + (1.0 - batch.pass_ratio) * p["max_tokens"]
    u = ratio(batch.tokens - budget[batch.rows], budget[batch.rows])
    right = np.maximum(0.5 - 0.5 * u, 0.1) - 0.5
    wrong = np.minimum(0.9 * u - 0.1, -0.1) + 0.1
    return np.where(batch.correct, right, wrong)


def _unbounded_below(_p: Params, _pair: Pair) -> Bounds:
    return -np.inf, 0.0


STRATEGIES = (
    Strategy(
        name="shorter_better",
        summary="-beta*|l - SOL| on every rollout; SOL: shortest correct length, else the group's mean",
        source="arXiv 2504.21370; JingyangYi/ShorterBetter naive.py",
        certainty="C",
        length=shorter_better,
        bounds=_unbounded_below,
        params=(Param("beta", "number", 0.001, "price of a token", 0.0),),
        correctness_conditioned=False,
        outcome=lambda _p: (2.0, 0.0),
        note="The published alpha, 2, is here the outcome of a correct rollout. The term has no lower bound, and "
        "draws wrong rollouts to the shortest correct length too. Others report that answers become too short.",
    ),
    Strategy(
        name="smartthinker",
        summary="-Lambda*max(0, l - l_opt) on correct rollouts; no correct one gets a negative advantage",
        source="arXiv 2603.08000; SJTU-RTEAS/SmartThinker SmartThinker.py",
        certainty="C+",
        length=smartthinker,
        bounds=lambda _p, _pair: (-1.0, 0.0),
        note="Where l_opt is degenerate, this is the form of the code: there the paper's main equations contradict "
        "its own appendix. With the published outcome, 1 and 0, no correct rollout has a negative advantage.",
    ),
    Strategy(
        name="dast",
        summary="distance to the budget P_g*mean_correct + (1-P_g)*max_tokens, clipped",
        source="arXiv 2503.04472, through a note",
        certainty="N",
        length=dast,
        bounds=lambda _p, _pair: (-0.9, 0.5),
        params=(Param("max_tokens", "integer", 16384, "the generation limit", 1, 2**31 - 1),),
        correctness_conditioned=False,
        outcome=lambda _p: (0.5, -0.1),
        note="The paper uses it offline, to make preference pairs. The outcome pair is the reward of a rollout whose "
        "length is the budget.",
    ),
)
