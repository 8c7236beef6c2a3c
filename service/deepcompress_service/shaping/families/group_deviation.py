"""Rules on lengths standardised among rollouts of the same verdict: Arora & Zanette, GRPO-LEAD, AutoThink."""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats, Moments, bounded_exp, ratio, sigmoid
from ..parameters import Param, Params
from ..strategy import AdvantageTerms, Bounds, Pair, Parts, Strategy


def arora_zanette(batch: Batch, p: Params) -> Floats:
    """-alpha * sigmoid(z) on correct rollouts that ended; one that did not end is worth what a wrong one is."""
    ended = batch.correct & ~batch.truncated
    lengths = batch.moments(ended)
    z = ratio(batch.deviation(lengths), (lengths.std + 1e-7)[batch.rows])
    term = np.where(ended, -p["alpha"] * sigmoid(z), 0.0)
    return np.where(batch.correct & batch.truncated, batch.pair[1] - batch.pair[0], term)


def _arora_bounds(p: Params, pair: Pair) -> Bounds:
    gap = pair[1] - pair[0]
    return min(-p["alpha"], gap), max(0.0, gap)


def sample_z(batch: Batch, lengths: Moments, eps: float) -> Floats:
    """[n] (tokens - mean) / (sample std + eps); 0 in groups of fewer than two."""
    z = ratio(batch.deviation(lengths), (lengths.sample_std + eps)[batch.rows])
    return np.where((lengths.count > 1)[batch.rows], z, 0.0)


def grpo_lead(batch: Batch, p: Params) -> Floats:
    """exp(-alpha*z) - 1 on correct rollouts, z among them; groups with short answers are left alone."""
    z = sample_z(batch, batch.correct_lengths, 1e-6)
    term = bounded_exp(-p["alpha"] * z) - 1.0
    long_enough = _mean_of_three_shortest(batch) > p["skip_below_tokens"]
    return np.where(batch.correct & long_enough[batch.rows], term, 0.0)


def _mean_of_three_shortest(batch: Batch) -> Floats:
    """[g] over the whole group; over all of it where it has fewer than three."""
    order = np.lexsort((batch.tokens, batch.rows))
    ranked = batch.tokens[order]
    rank = np.arange(len(ranked)) - batch.starts[batch.rows]
    total = batch.sum_ints(np.where(rank < 3, ranked, 0))
    return total / np.minimum(batch.sizes, 3)


def lead_weight(pass_ratio: Floats) -> Floats:
    """w(x) = 0.4 + 1.1 / (1 + exp(10 * (x - 0.75))): hard problems weigh more."""
    return 0.4 + 1.1 * sigmoid(-10.0 * (pass_ratio - 0.75))


def lead_weights(batch: Batch, _p: Params, parts: Parts) -> AdvantageTerms:
    """[n] w(P_g) where the advantage is positive, w(1 - P_g) where it is negative or zero."""
    mean = batch.sum_floats(parts.total) / batch.sizes
    above = parts.total > mean[batch.rows]
    raised = lead_weight(batch.pass_ratio)[batch.rows]
    lowered = lead_weight(1.0 - batch.pass_ratio)[batch.rows]
    return AdvantageTerms(weights=np.where(above, raised, lowered))


def _autothink_base(batch: Batch) -> Floats:
    """[n] what not thinking adds to the outcome: thinking 1 / 0, not thinking 2 / -1."""
    return np.where(batch.thinking, 0.0, np.where(batch.correct, 1.0, -1.0))


def autothink(batch: Batch, p: Params) -> Floats:
    """Stage 3: exp(-alpha*z) - 1 on correct rollouts, 1 - exp(-beta*z) on wrong ones, z among the same verdict."""
    right, wrong = batch.correct_lengths, batch.moments(~batch.correct)
    gained = bounded_exp(-p["alpha"] * _clamped_z(batch, right)) - 1.0
    lost = 1.0 - bounded_exp(-p["beta"] * _clamped_z(batch, wrong))
    return _autothink_base(batch) + np.where(batch.correct, gained, lost)


def _clamped_z(batch: Batch, lengths: Moments) -> Floats:
    std = np.maximum(lengths.sample_std, 1e-6)
    return np.where((lengths.count > 1)[batch.rows], batch.deviation(lengths) / std[batch.rows], 0.0)


def autothink_stage1(batch: Batch, _p: Params) -> Floats:
    """Stage 1: the mode that over half of the batch uses is drawn towards thinking 0 / -1, not thinking 1 / -2."""
    base = _autothink_base(batch)
    share = float(np.count_nonzero(batch.thinking)) / len(batch.rows)
    drawn = np.where(batch.thinking, share, 1.0 - share)
    blend = np.maximum(drawn - 0.5, 0.0) * 2.0
    published = np.where(batch.correct, 1.0, 0.0) + base
    goal = np.where(batch.thinking, np.where(batch.correct, 0.0, -1.0), np.where(batch.correct, 1.0, -2.0))
    return base + blend * (goal - published)


_UNBOUNDED = (-np.inf, np.inf)

STRATEGIES = (
    Strategy(
        name="arora_zanette",
        summary="-alpha*sigmoid(z) on correct rollouts, z over the correct ones",
        source="arXiv 2502.04463; Zanette-Labs/efficient-reasoning reward_server/math_server.py",
        certainty="C+",
        length=arora_zanette,
        bounds=_arora_bounds,
        params=(Param("alpha", "number", 0.1, "weight; the authors sweep 0.05 to 0.4", 0.0, 1e3),),
        note="A rollout that was truncated (no end of sequence) is paid as a wrong one, as in the authors' server.",
    ),
    Strategy(
        name="grpo_lead",
        summary="exp(-alpha*z) for correct rollouts, z over the correct ones; advantages weighted by difficulty",
        source="arXiv 2504.09696; aeroplanepaper/GRPO-LEAD main_ppo.py, core_algos.py",
        certainty="C+",
        length=grpo_lead,
        bounds=lambda _p, _pair: (-1.0, np.inf),
        params=(
            Param("alpha", "number", 0.05, "strength of the length term", 0.0, 1e3),
            Param(
                "skip_below_tokens",
                "number",
                4000.0,
                "groups whose three shortest average at most this get no length term, as in the code; 0 for none",
                0.0,
                2**31,
            ),
        ),
        level="advantage",
        outcome=lambda _p: (1.0, -1.0),
        extras=lead_weights,
        note="Multiply each rollout's advantage by the returned weight: w(P_g) where it is positive, w(1 - P_g) "
        "where it is negative.",
    ),
    Strategy(
        name="autothink",
        summary="stage 3: rollouts longer than others of the same verdict lose if correct, gain if wrong; no "
        "thinking 2 / -1",
        source="arXiv 2505.10832; TU2021/AutoThink main_ppo.py _reweight_rewards, train_stage3.sh",
        certainty="C",
        length=autothink,
        bounds=lambda _p, _pair: _UNBOUNDED,
        params=(
            Param("alpha", "number", 0.05, "strength on correct rollouts", 0.0, 1e3),
            Param("beta", "number", 0.05, "strength on wrong rollouts", 0.0, 1e3),
        ),
        requires=("group", "tokens", "thinking"),
        correctness_conditioned=False,
        variants=("autothink_stage1",),
        note="Stage 1, with its balance over the batch, is `autothink_stage1`. Stage 2 is not included.",
    ),
    Strategy(
        name="autothink_stage1",
        summary="stage 1: thinking 1 / 0, no thinking 2 / -1; the mode that over half of the batch has is paid less",
        source="arXiv 2505.10832; TU2021/AutoThink",
        certainty="C",
        length=autothink_stage1,
        bounds=lambda _p, _pair: (-2.0, 1.0),
        requires=("thinking", "batch"),
        variants=("autothink",),
        note="The share of each mode is taken over the request: send whole steps. Lengths do not count.",
    ),
)
