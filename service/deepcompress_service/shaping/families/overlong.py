"""Rules about rollouts that run towards or into the length limit: DAPO, ProRL, DLER, ThinkPrune.

The DAPO overlong term is also a component of every reward, beside the strategy (`overlong` in the
configuration); `overlong_term` is that one implementation.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..batch import Batch, Floats
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy

Variant = Literal["floored", "verl", "openrlhf", "skyrl"]
VARIANTS: tuple[Variant, ...] = ("floored", "verl", "openrlhf", "skyrl")


def overlong_term(
    batch: Batch, total: Floats, *, max_tokens: int, buffer_tokens: int, factor: float, variant: str
) -> Floats:
    """[n] the soft overlong punishment (DAPO, arXiv 2503.14476, eq. 13), on right and wrong rollouts alike.

    0 up to max_tokens - buffer_tokens, then linear to -factor at max_tokens. Beyond: ``floored`` (the paper, TRL,
    open-r1) and ``openrlhf`` stay at -factor; ``verl`` (and AReaL, NeMo-RL, ms-swift) goes on falling; ``skyrl``
    takes back `total`, the reward so far, so that the whole reward is 0.
    """
    excess = batch.tokens - (max_tokens - buffer_tokens)
    ramp = np.where(excess > 0, excess / buffer_tokens * -factor, 0.0)
    beyond = batch.tokens > max_tokens
    if variant == "verl":
        return ramp
    if variant == "skyrl":
        return np.where(beyond, -total, ramp)
    return np.where(beyond, -factor, ramp)


def _soft(batch: Batch, p: Params) -> Floats:
    return overlong_term(
        batch,
        batch.outcome,
        max_tokens=p["max_tokens"],
        buffer_tokens=p["buffer_tokens"],
        factor=p["factor"],
        variant=p["variant"],
    )


def _soft_bounds(p: Params, pair: Pair) -> Bounds:
    if p["variant"] == "verl":
        return -np.inf, 0.0
    if p["variant"] == "skyrl":
        return min(-p["factor"], -pair[0], -pair[1]), max(0.0, -pair[0], -pair[1])
    return -p["factor"], 0.0


def _stop(batch: Batch, p: Params) -> Floats:
    """Return [n] for truncated rollouts the reward times `coefficient`, or `coefficient` itself if negative, minus
    R_o.
    """
    coefficient = p["coefficient"]
    punished = batch.outcome * coefficient if coefficient >= 0 else np.full(len(batch.rows), coefficient)
    return np.where(batch.truncated, punished - batch.outcome, 0.0)


def _stop_bounds(p: Params, pair: Pair) -> Bounds:
    c = p["coefficient"]
    terms = [(r * c if c >= 0 else c) - r for r in pair]
    return min(0.0, *terms), max(0.0, *terms)


def _thinkprune(batch: Batch, p: Params) -> Floats:
    """Return [n] the term that gives a correct rollout over the limit the reward of a wrong one."""
    over = batch.correct & (batch.tokens > p["limit"])
    return np.where(over, batch.pair[1] - batch.pair[0], 0.0)


def _thinkprune_bounds(_p: Params, pair: Pair) -> Bounds:
    return min(0.0, pair[1] - pair[0]), max(0.0, pair[1] - pair[0])


_TOKENS = (1.0, 2**31 - 1)

STRATEGIES = (
    Strategy(
        name="dapo_soft_overlong",
        summary="0 up to max_tokens - buffer_tokens, then linear to -factor at max_tokens; `variant` beyond",
        source="DAPO arXiv 2503.14476 eq. 13; TRL, open-r1 (floored), verl, OpenRLHF, SkyRL",
        certainty="C+",
        length=_soft,
        requires=("tokens",),
        bounds=_soft_bounds,
        params=(
            Param("max_tokens", "integer", 20480, "length at which the ramp reaches -factor", *_TOKENS),
            Param("buffer_tokens", "integer", 4096, "length of the ramp", *_TOKENS),
            Param("factor", "number", 1.0, "depth of the ramp", 0.0),
            Param("variant", "choice", "floored", "what happens beyond max_tokens", choices=VARIANTS),
        ),
        correctness_conditioned=False,
        outcome=lambda _params: (1.0, -1.0),
        note="The same term can be added to any strategy, as `overlong` of the configuration.",
    ),
    Strategy(
        name="stop_properly",
        summary="a truncated rollout gets the outcome times coefficient, or the coefficient itself if it is negative",
        source="ProRL; OpenRLHF and NeMo-RL stop-properly penalty",
        certainty="C",
        length=_stop,
        bounds=_stop_bounds,
        params=(Param("coefficient", "number", 0.0, "0 to 1 scales the outcome, below 0 replaces it", -1e3, 1.0),),
        requires=(),
        requires_reward_ge_0=lambda p: bool(p["coefficient"] >= 0),
        note="It uses `truncated`, not lengths. A negative outcome is refused: multiplied, it would make truncation "
        "better. NeMo-RL ignores its overlong term when this is set: leave `overlong` out to match.",
    ),
    Strategy(
        name="dler",
        summary="1 for a correct rollout of at most `limit` tokens, else 0: the reward of the DLER recipe",
        source="arXiv 2510.15110; NVlabs/DLER verl-dler/dler.sh",
        certainty="C",
        length=_thinkprune,
        requires=("tokens",),
        bounds=_thinkprune_bounds,
        params=(Param("limit", "integer", 4000, "tokens; near the median correct length at the start", *_TOKENS),),
        note="The reward is one part of the recipe. The others: `advantage: {scale: none, whiten: batch}`, and in "
        "the trainer clips of 0.2 and 0.28, no groups without variance, a loss averaged over tokens, and KL 0.0005. "
        "Its difficulty-aware form has a limit for each problem: here `target` with `form: limit`.",
    ),
    Strategy(
        name="thinkprune",
        summary="a correct rollout over the limit counts as wrong",
        source="arXiv 2504.01296; UCSB-NLP-Chang/ThinkPrune",
        certainty="C",
        length=_thinkprune,
        requires=("tokens",),
        bounds=_thinkprune_bounds,
        params=(Param("limit", "integer", 4000, "tokens; the published stages are 4000, 3000, 2000", *_TOKENS),),
        note="The authors' code enforces the limit by truncating generation. A run has one limit: for the authors' "
        "stages use a run each, or a schedule of `limit`. DLER (2510.15110) has the same reward and its own "
        "advantages: `dler`.",
    ),
)
