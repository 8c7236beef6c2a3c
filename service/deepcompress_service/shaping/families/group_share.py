"""Rules on a length relative to its group's mean, longest or shortest: GR3, prime-rl's two, NeMo's."""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats, ratio
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy


def gr3(batch: Batch, p: Params) -> Floats:
    """R_o / (1 + alpha * tokens / mean) - R_o, the mean over the whole group."""
    lengths = batch.all_lengths
    relative = ratio(lengths.count[batch.rows] * batch.tokens, lengths.total[batch.rows])
    alpha: float = p["alpha"]
    return batch.outcome * (1.0 / (1.0 + alpha * relative) - 1.0)


def prime_efficiency(batch: Batch, _p: Params) -> Floats:
    """R_o * clamp(1 - tokens / mean of the correct, 0, 1) on correct rollouts."""
    lengths = batch.correct_lengths
    relative = ratio(lengths.count[batch.rows] * batch.tokens, lengths.total[batch.rows])
    known = (lengths.total > 0)[batch.rows]
    bonus = np.where(known, np.clip(1.0 - relative, 0.0, 1.0), 0.0)
    return np.where(batch.correct, batch.outcome * bonus, 0.0)


def prime_linear(batch: Batch, p: Params) -> Floats:
    """-mean(R_o) * weight * tokens / longest on every rollout."""
    right, wrong = batch.pair
    mean = (batch.passes * right + (batch.sizes - batch.passes) * wrong) / batch.sizes
    relative = ratio(batch.tokens, batch.all_lengths.high[batch.rows])
    weight: float = p["weight"]
    return -mean[batch.rows] * (weight * relative)


def nemo_group(batch: Batch, p: Params) -> Floats:
    """Coefficient * (w - mean w) over rollouts with a positive outcome, w = 1 - (l-min)/(max-min); two or more."""
    positive = batch.outcome > 0
    lengths = batch.moments(positive)
    span = (lengths.high - lengths.low)[batch.rows]
    # w - mean(w) = (mean(l) - l) / (max - min), which needs no sum of floats.
    centred = ratio(-batch.deviation(lengths), span)
    paid = positive & (lengths.count > 1)[batch.rows]
    return np.where(paid, p["coefficient"] * centred, 0.0)


def _gr3_bounds(_p: Params, pair: Pair) -> Bounds:
    return -max(pair), 0.0


STRATEGIES = (
    Strategy(
        name="gr3",
        summary="the outcome divided by 1 + alpha*l/mean, the mean over the group",
        source="arXiv 2603.10535; PrimeIntellect-ai/prime-rl@c1bbbf923 advantage.py",
        certainty="C",
        length=gr3,
        bounds=_gr3_bounds,
        params=(Param("alpha", "number", 0.33, "strength", 0.0, 1e3),),
        requires_reward_ge_0=lambda _p: True,
        note="This has two of the paper's three parts: the rescaling and the group mean. Advantage-aware calibration "
        "is left out. prime-rl required difficulty filtering with it. While a wrong rollout pays 0, its length "
        "does not count.",
    ),
    Strategy(
        name="prime_efficiency",
        summary="correct rollouts: the outcome times 1 + clamp(1 - l/mean of the correct, 0, 1)",
        source="PrimeIntellect-ai/prime-rl@f8a146063 (PR 2265)",
        certainty="C",
        length=prime_efficiency,
        bounds=lambda _p, pair: (0.0, max(pair[0], 0.0)),
        requires_reward_ge_0=lambda _p: True,
        note="Wrong rollouts, and correct ones longer than the mean, keep their outcome.",
    ),
    Strategy(
        name="prime_linear",
        summary="-mean(R_o)*weight*l/longest on every rollout",
        source="PrimeIntellect-ai/prime-rl@559b44772 orchestrator/algo/grpo.py",
        certainty="C",
        length=prime_linear,
        bounds=lambda p, pair: (-max(pair) * p["weight"], 0.0),
        params=(Param("weight", "number", 0.25, "share of the mean reward taken at the longest", 0.0, 1e3),),
        correctness_conditioned=False,
        requires_reward_ge_0=lambda _p: True,
        note="Wrong rollouts pay too (prime-rl PR 3376 would gate that). The original's terms for input tokens and "
        "turns, 0.1 each, are left out.",
    ),
    Strategy(
        name="nemo_group",
        summary="coefficient*(w - mean w) over positive rollouts, w = 1 - (l-min)/(max-min)",
        source="NVIDIA-NeMo/Gym genrm_compare/utils.py _compute_length_weights; NeMo-RL length_penalty.py",
        certainty="C+",
        length=nemo_group,
        bounds=lambda p, _pair: (-p["coefficient"], p["coefficient"]),
        params=(Param("coefficient", "number", 0.1, "the recipes use 0.08 to 0.35", 0.0, 1e3),),
        note="The group's mean reward does not change. NeMo-RL's flat bonus for the shortest, its penalties for the "
        "longest and for outliers, and its profile gates are left out.",
    ),
)
