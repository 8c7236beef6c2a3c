"""Rules that keep the advantage of lengths apart from that of the outcome: DDCA."""

from __future__ import annotations

import numpy as np

from ..advantages import group_advantages
from ..batch import Batch, Floats, ratio, sigmoid
from ..parameters import Param, Params
from ..strategy import AdvantageTerms, Bounds, Pair, Parts, Strategy

_EPS = 1e-8


def ddca(batch: Batch, p: Params) -> Floats:
    """Return [n] -beta * rho * (s - mean s) on correct rollouts: s = sigmoid(z), z among the correct ones.

    rho is the pass ratio P_g (`dynamic`), else 1. With the leave-one-out estimator the mean is that of the other
    correct rollouts.
    """
    lengths = batch.correct_lengths
    z = ratio(batch.deviation(lengths), (lengths.std + _EPS)[batch.rows])
    s = np.where(batch.correct, sigmoid(np.clip(z, -20.0, 20.0)), 0.0)
    mean = ratio(batch.sum_floats(s), batch.passes)
    rate = batch.pass_ratio if p["dynamic"] else np.ones_like(batch.pass_ratio)
    if p["estimator"] == "rloo":
        rate = rate * ratio(batch.passes, batch.passes - 1)
    scale: Floats = p["beta"] * rate
    return np.where(batch.correct, -(scale[batch.rows] * (s - mean[batch.rows])), 0.0)


def ddca_advantages(batch: Batch, p: Params, parts: Parts) -> AdvantageTerms:
    """A(outcome) + the length term, which is an advantage already: its mean over the correct rollouts is 0.

    The overlong term and the caller's scores count with the outcome; `length_weight` multiplies the length term.
    """
    if p["estimator"] == "rloo":
        centred = group_advantages(batch, parts.rest, scale=False)
        outcome = centred * ratio(batch.sizes, batch.sizes - 1)[batch.rows]
    else:
        outcome = group_advantages(batch, parts.rest, sample=False, eps=_EPS)
    return AdvantageTerms(advantages=outcome + parts.factor * ddca(batch, p))


def _bounds(p: Params, _pair: Pair) -> Bounds:
    # s is between 0 and 1, and so is a mean of others.
    return -p["beta"], p["beta"]


STRATEGIES = (
    Strategy(
        name="ddca",
        summary="-beta*P_g*(sigmoid(z) - its mean) on correct rollouts, z over the correct ones, as an advantage",
        source="arXiv 2602.02099 eq. 12-13; alphadl/DDCA dca/advantage.py",
        certainty="C+",
        length=ddca,
        bounds=_bounds,
        params=(
            Param("beta", "number", 0.2, "weight of the length advantage", 0.0, 1e3),
            Param("dynamic", "boolean", True, "scaled by the pass ratio; false is the paper's DCA"),
            Param(
                "estimator",
                "choice",
                "grpo",
                "grpo: mean and population std of the group; rloo: leave-one-out means, no std",
                choices=("grpo", "rloo"),
            ),
        ),
        level="advantage",
        extras=ddca_advantages,
        own_advantages=True,
        note="Train on the returned advantages: in a reward, the length term would be divided by the group's std. "
        "The authors' eps of 1e-8 is kept.",
    ),
)
