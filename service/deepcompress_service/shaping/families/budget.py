"""Rules about a token budget: L1 (a target in the prompt) and Laser (a threshold, by difficulty or not)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..batch import Batch, Bools, Floats
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy


def _targets(batch: Batch) -> Floats:
    return batch.per_group(lambda g: g.target_tokens)[batch.rows]


def l1_exact(batch: Batch, p: Params) -> Floats:
    """-alpha * |target - tokens| on every rollout."""
    alpha: float = p["alpha"]
    return -alpha * np.abs(_targets(batch) - batch.tokens)


def l1_max(batch: Batch, p: Params) -> Floats:
    """clip(alpha * (target - tokens) + delta, 0, 1) in place of 1, for correct rollouts (the paper's form)."""
    kept = np.clip(p["alpha"] * (_targets(batch) - batch.tokens) + p["delta"], 0.0, 1.0)
    return np.where(batch.correct, kept - 1.0, 0.0)


def l1_max_code(batch: Batch, p: Params) -> Floats:
    """max(0, (clip(alpha * (target - tokens), -1, 1) + 1) / 2) in place of 1, for correct rollouts."""
    kept = (np.clip(p["alpha"] * (_targets(batch) - batch.tokens), -1.0, 1.0) + 1.0) / 2.0
    return np.where(batch.correct, kept - 1.0, 0.0)


def _unformatted(batch: Batch, p: Params) -> Floats:
    """[n] what a wrong rollout without the asked format loses beside the outcome."""
    return np.where(~batch.correct & ~batch.formatted, p["no_format"], 0.0)


def laser(batch: Batch, p: Params) -> Floats:
    """+bonus on correct rollouts of at most target tokens."""
    within = batch.correct & (batch.tokens <= p["target"])
    return np.where(within, p["bonus"], 0.0) + _unformatted(batch, p)


def _laser_targets(batch: Batch, p: Params) -> Floats:
    """[n] the target of each group's band: by P_g, compared in whole numbers, or what the request says."""
    high = 3 * batch.passes >= 2 * batch.sizes
    medium = 3 * batch.passes >= batch.sizes
    banded = np.where(high, p["target_high"], np.where(medium, p["target_medium"], p["target_low"]))
    sent = batch.per_group(lambda g: g.target_tokens)
    return np.where(sent > 0, sent, banded)[batch.rows]


def laser_d(batch: Batch, p: Params) -> Floats:
    """+bonus on correct rollouts within the target of their group's difficulty band."""
    within = batch.correct & (batch.tokens <= _laser_targets(batch, p))
    return np.where(within, p["bonus"], 0.0) + _unformatted(batch, p)


def laser_de(batch: Batch, p: Params) -> Floats:
    """As laser_d, and +bonus on wrong rollouts over the target that do not repeat themselves."""
    explored: Bools = ~batch.correct & (batch.tokens > _laser_targets(batch, p)) & ~batch.repetitive
    return laser_d(batch, p) + np.where(explored, p["bonus"], 0.0)


def choose_laser_targets(
    coverage: Mapping[str, Mapping[int, float]], *, rollouts: int = 8, max_tokens: int = 16384
) -> dict[str, int]:
    """Return the target of each band: the smallest threshold at which a correct rollout is expected.

    `coverage[band][threshold]` is the share of the band's monitored correct rollouts within the threshold. The
    authors take int(2/3 * rollouts), int(1/3 * rollouts) and 1 correct rollouts a group for high, medium and low,
    round the expectation down, and fall back to `max_tokens`.
    """
    expected = {"high": 2 * rollouts // 3, "medium": rollouts // 3, "low": 1}
    targets = {}
    for band, shares in coverage.items():
        reached = [t for t, share in sorted(shares.items()) if int(share * expected[band]) >= 1]
        targets[band] = reached[0] if reached else max_tokens
    return targets


def _below_zero(_p: Params, _pair: Pair) -> Bounds:
    return -np.inf, 0.0


def _up_to_one(_p: Params, _pair: Pair) -> Bounds:
    return -1.0, 0.0


def _laser_bounds(p: Params, _pair: Pair) -> Bounds:
    return min(0.0, p["no_format"]), p["bonus"] + max(0.0, p["no_format"])


_BONUS = Param("bonus", "number", 0.5, "for a correct rollout within the target", 0.0, 1e3)
_NO_FORMAT = Param("no_format", "number", -0.5, "on top of wrong, where no answer was found in the format", -1e3, 0.0)


def _threshold(name: str, default: int, doc: str) -> Param:
    return Param(name, "integer", default, doc, 1, 2**31 - 1)


_BANDS = (
    _threshold("target_high", 2048, "tokens where P_g >= 2/3"),
    _threshold("target_medium", 6144, "tokens where P_g >= 1/3"),
    _threshold("target_low", 16384, "tokens below"),
)
_LASER_SOURCE = "arXiv 2505.15612; hkust-nlp/Laser verl/utils/reward_score/length_penalty.py"
_BAND_NOTE = (
    "The authors choose new targets every 20 steps from 500 monitored problems; `choose_laser_targets` is that "
    "computation. To use such targets, send `target_tokens` with each group: they replace the parameters. At exactly "
    "1/3 and 2/3 the bands are those of the authors' reward, not of their monitor."
)

STRATEGIES = (
    Strategy(
        name="l1_exact",
        summary="-alpha*|target - l| on every rollout",
        source="arXiv 2503.04697; cmu-l3/l1 math_reward.py get_delta_score_linear",
        certainty="C+",
        length=l1_exact,
        bounds=_below_zero,
        params=(Param("alpha", "number", 3e-4, "price of a token off the target", 0.0),),
        requires=("tokens", "target_tokens"),
        correctness_conditioned=False,
        note="The prompt contains the target, which the paper draws uniformly from 100 to 4000. Wrong rollouts pay "
        "too.",
    ),
    Strategy(
        name="l1_max",
        summary="correct rollouts are worth clip(alpha*(target - l) + delta, 0, 1)",
        source="arXiv 2503.04697 (the paper's form, through a note)",
        certainty="N",
        length=l1_max,
        bounds=_up_to_one,
        params=(
            Param("alpha", "number", 3e-4, "slope", 0.0),
            Param("delta", "number", 0.5, "worth at the target", 0.0, 1.0),
        ),
        requires=("tokens", "target_tokens"),
        variants=("l1_max_code",),
        note="The repository's form has half the slope for the same alpha: see l1_max_code.",
    ),
    Strategy(
        name="l1_max_code",
        summary="correct rollouts are worth (clip(alpha*(target - l), -1, 1) + 1)/2",
        source="cmu-l3/l1 math_reward.py get_delta_score_linear_both",
        certainty="C+",
        length=l1_max_code,
        bounds=_up_to_one,
        params=(Param("alpha", "number", 0.01, "slope, of which half is felt", 0.0),),
        requires=("tokens", "target_tokens"),
        variants=("l1_max",),
        note="The default alpha is that of the repository's yaml. run_l1_max.sh sets none: run as published, its "
        "reward is correctness alone.",
    ),
    Strategy(
        name="laser",
        summary="+bonus on correct rollouts of at most target tokens",
        source=_LASER_SOURCE,
        certainty="C",
        length=laser,
        requires=("tokens",),
        bounds=_laser_bounds,
        params=(_threshold("target", 4096, "tokens; published with 2048, 4096, 8192"), _BONUS, _NO_FORMAT),
        outcome=lambda _p: (1.0, -0.5),
        note="The authors' code also has the types penalty and hybrid, which are left out.",
    ),
    Strategy(
        name="laser_d",
        summary="+bonus on correct rollouts within the target of their group's difficulty band",
        source=_LASER_SOURCE,
        certainty="C",
        length=laser_d,
        bounds=_laser_bounds,
        params=(*_BANDS, _BONUS, _NO_FORMAT),
        outcome=lambda _p: (1.0, -0.5),
        variants=("laser_de",),
        note=_BAND_NOTE,
    ),
    Strategy(
        name="laser_de",
        summary="laser_d, and +bonus on wrong, over-target rollouts that do not repeat themselves",
        source=_LASER_SOURCE,
        certainty="C",
        length=laser_de,
        bounds=_laser_bounds,
        params=(*_BANDS, _BONUS, _NO_FORMAT),
        requires=("group", "tokens", "repetitive"),
        correctness_conditioned=False,
        outcome=lambda _p: (1.0, -0.5),
        variants=("laser_d",),
        note=_BAND_NOTE,
    ),
)
