"""Rules that put a price on each token, set by a controller or by the pass ratio: A-DLP, ALP."""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats
from ..parameters import Param, Params
from ..strategy import AccumulatorSpec, Bounds, Pair, Strategy


def a_dlp(batch: Batch, _p: Params) -> Floats:
    """-lambda * tokens on every rollout; lambda as the controller left it after the step before."""
    return -batch.accumulator(0)[batch.rows] * batch.tokens


def controller(p: Params) -> tuple[AccumulatorSpec, ...]:
    """Lambda = max(0, lambda + rate * (accuracy of the step - wanted accuracy))."""
    return (AccumulatorSpec("integrator", p["initial_lambda"], p["rate"], p["accuracy"]),)


def alp(batch: Batch, p: Params) -> Floats:
    """-beta * tokens * max(P_g, 1/rollouts) / normaliser on every rollout."""
    rate: Floats = np.maximum(batch.pass_ratio, 1.0 / p["rollouts"])
    price: float = p["beta"] / p["normaliser"]
    cost: Floats = price * batch.tokens * rate[batch.rows]
    return -cost


def _below_zero(_p: Params, _pair: Pair) -> Bounds:
    return -np.inf, 0.0


STRATEGIES = (
    Strategy(
        name="a_dlp",
        summary="-lambda*l on every rollout; lambda follows the accuracy",
        source="arXiv 2505.18298; JinyanSu1/A-DLP scripts/train.sh, ray_trainer.py",
        certainty="C",
        length=a_dlp,
        requires=("tokens",),
        bounds=_below_zero,
        params=(
            Param("initial_lambda", "number", 1e-3, "price of a token at the start", 0.0, fixed=True),
            Param("rate", "number", 1e-3, "how fast the price follows", 0.0, fixed=True),
            Param("accuracy", "number", 0.62, "the accuracy to hold", 0.0, 1.0, fixed=True),
        ),
        correctness_conditioned=False,
        accumulators=controller,
        note="A step's rewards use lambda from the end of the step before, so they do not depend on how the step is "
        "divided into requests.",
    ),
    Strategy(
        name="alp",
        summary="-beta*l*max(P_g, 1/K) on every rollout",
        source="arXiv 2506.05256, through two notes",
        certainty="uncertain",
        length=alp,
        bounds=_below_zero,
        params=(
            Param("beta", "number", 1e-7, "price of a token", 0.0),
            Param("rollouts", "integer", 16, "K; published with 16 to 32", 1, 1_000_000),
            Param("normaliser", "number", 1.0, "what lengths are divided by", 1e-6),
        ),
        correctness_conditioned=False,
        note="The sources disagree on whether a largest trace length is a factor, and no official code was found, so "
        "the normaliser is a parameter. prime-rl has a public rule of this form (PR 2702, PR 2829): coefficient "
        "* pass rate * tokens / sequence length. So small a price has an effect only because GRPO divides by the "
        "std.",
    ),
)
