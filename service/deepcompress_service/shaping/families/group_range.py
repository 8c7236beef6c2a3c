"""Rules that place a length between the shortest and the longest of its group: Kimi k1.5, ShortRL, DIET."""

from __future__ import annotations

import math

import numpy as np

from ..advantages import group_advantages
from ..batch import Batch, Floats, Moments, ratio
from ..parameters import Param, Params
from ..strategy import AccumulatorSpec, AdvantageTerms, Bounds, Pair, Parts, Strategy


def half_to_minus_half(batch: Batch, lengths: Moments) -> Floats:
    """[n] 0.5 - (tokens - shortest)/(longest - shortest), and 0 where all are equal."""
    span = (lengths.high - lengths.low)[batch.rows]
    place = ratio(batch.tokens - lengths.low[batch.rows], span)
    return np.where(span == 0, 0.0, 0.5 - place)


def kimi(batch: Batch, _p: Params) -> Floats:
    """Lambda on correct rollouts, min(0, lambda) on wrong ones; the range is over all rollouts of the group."""
    score = half_to_minus_half(batch, batch.all_lengths)
    return np.where(batch.correct, score, np.minimum(score, 0.0))


def short_rl(batch: Batch, p: Params) -> Floats:
    """0.5 within a tolerance of the shortest correct, falling to -0.5 at the longest; off while accuracy is low."""
    lengths = batch.correct_lengths
    distance = batch.tokens - lengths.low[batch.rows]
    span = (lengths.high - lengths.low + 1e-5)[batch.rows]
    score = np.where(distance <= p["length_tolerance"], 0.5, 0.5 - distance / span)
    on = _accuracy(batch) >= batch.accumulator(0) - p["accuracy_tolerance"]
    return np.where(batch.correct & on[batch.rows], score, 0.0)


def _accuracy(batch: Batch) -> float:
    """Correct rollouts / rollouts of the request, over the groups whose gold can be read."""
    counted = np.array([not g.trainable or any(g.trainable) for g in batch.groups])
    rollouts = int(batch.sizes[counted].sum())
    return int(batch.passes[counted].sum()) / rollouts if rollouts else 0.0


def diet_score(batch: Batch, _p: Params) -> Floats:
    """[n] the length score of correct rollouts, 0 for wrong ones; the range is over the correct."""
    return np.where(batch.correct, half_to_minus_half(batch, batch.correct_lengths), 0.0)


def diet_weight(batch: Batch, p: Params) -> Floats:
    """[g] 0.5 * P_g * (cos(pi * step / anneal_steps) + 1) / 2, which stays 0 after the last annealing step."""
    steps = p["anneal_steps"]
    annealed = [(math.cos(math.pi * min(g.step or 0, steps) / steps) + 1.0) / 2.0 for g in batch.groups]
    weight: float = p["weight"]
    return weight * batch.pass_ratio * np.array(annealed, np.float64)


def diet(batch: Batch, p: Params) -> Floats:
    """Return [n] the length score of correct rollouts times the annealed weight."""
    return diet_weight(batch, p)[batch.rows] * diet_score(batch, p)


def diet_advantages(batch: Batch, p: Params, parts: Parts) -> AdvantageTerms:
    """A(outcome) + w * A(score), each standardised on its own, so that mixing does not distort the std.

    The overlong term and the caller's scores count with the outcome; `length_weight` multiplies w.
    """
    outcome = group_advantages(batch, parts.rest)
    score = group_advantages(batch, diet_score(batch, p))
    return AdvantageTerms(advantages=outcome + parts.factor * (diet_weight(batch, p)[batch.rows] * score))


def _half(_p: Params, _pair: Pair) -> Bounds:
    return -0.5, 0.5


STRATEGIES = (
    Strategy(
        name="kimi_k1.5",
        summary="0.5 - (l-min)/(max-min) on correct rollouts, at most 0 on wrong ones",
        source="arXiv 2501.12599 sec. 2.3.3; open-r1 len_reward",
        certainty="P",
        length=kimi,
        bounds=_half,
        correctness_conditioned=False,
        note="The paper does not publish its weight: choose `length_weight`. It does not apply the term from step 0. "
        "open-r1 counts characters; here, as in the paper, lengths are in tokens.",
    ),
    Strategy(
        name="short_rl",
        summary="0.5 near the shortest correct, down to -0.5 at the longest correct; off while accuracy is low",
        source="arXiv 2505.12284; lblankl/Short-RL deepscaler/rewards/ShortRL.py",
        certainty="C",
        length=short_rl,
        bounds=_half,
        params=(
            Param("length_tolerance", "integer", 100, "tokens; 100 for mathematics, 200 for logic", 0, 2**31 - 1),
            Param("accuracy_tolerance", "number", 0.05, "how far below the best accuracy still counts", 0.0, 1.0),
        ),
        requires=("group", "tokens", "batch"),
        outcome=lambda _p: (2.0, -1.5),
        accumulators=lambda _p: (AccumulatorSpec("max", 0.0),),
        note="Batch accuracy is that of the request: send whole steps. The code's further -2 for answers without "
        "format, and its +-1 format reward, are not included.",
    ),
    Strategy(
        name="diet",
        summary="w*(0.5 - (l-min)/(max-min)) on correct rollouts, w annealed by step and scaled by P_g",
        source="arXiv 2505.19217; thunlp/DIET math_select.py",
        certainty="C",
        length=diet,
        bounds=lambda p, _pair: (-0.5 * p["weight"], 0.5 * p["weight"]),
        params=(
            Param("weight", "number", 0.5, "weight at step 0 and P_g = 1", 0.0),
            Param("anneal_steps", "integer", 100, "steps until the weight is 0", 1, 1_000_000),
        ),
        requires=("group", "tokens", "step"),
        level="advantage",
        extras=diet_advantages,
        own_advantages=True,
        note="Train on the returned advantages: the paper argues against adding the terms before standardising. The "
        "variant with random targets is left out, since it cannot be reproduced.",
    ),
)
