"""Rules that compare with a frozen reference policy's accuracy or length: AdaptThink, O1-Pruner."""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats
from ..parameters import Param, Params
from ..strategy import Strategy


def adaptthink(batch: Batch, p: Params) -> Floats:
    """Return [n] minus the reference accuracy, plus delta if the rollout did not think."""
    accuracy = batch.per_group(lambda g: g.reference_accuracy)[batch.rows]
    bonus: Floats = np.where(batch.thinking, 0.0, p["delta"])
    return bonus - accuracy


def o1_pruner(batch: Batch, p: Params) -> Floats:
    """clip(reference length / tokens - 1 + alpha * (c - reference accuracy), low, high), minus alpha * c."""
    accuracy = batch.per_group(lambda g: g.reference_accuracy)[batch.rows]
    length = batch.per_group(lambda g: g.reference_tokens)[batch.rows]
    base: Floats = np.where(batch.correct, p["alpha"], 0.0)
    worth = length / np.maximum(batch.tokens, 1) - 1.0 + (base - p["alpha"] * accuracy)
    clipped: Floats = np.clip(worth, p["low"], p["high"])
    return clipped - base


STRATEGIES = (
    Strategy(
        name="adaptthink",
        summary="-reference accuracy, +delta for not thinking",
        source="arXiv 2505.13417; THU-KEG/AdaptThink src/adapt_think_reward_manager.py",
        certainty="C",
        length=adaptthink,
        bounds=lambda p, _pair: (-1.0 + min(0.0, p["delta"]), max(0.0, p["delta"])),
        params=(Param("delta", "number", 0.05, "for not thinking", -1e3, 1e3),),
        requires=("reference_accuracy", "thinking"),
        note="Lengths do not count, only whether a rollout thinks. The reference accuracy is measured before the "
        "training, with 16 samples a problem.",
    ),
    Strategy(
        name="o1_pruner",
        summary="clip(reference length/l - 1 + alpha*(c - reference accuracy), low, high)",
        source="arXiv 2501.12570; StarDewXXX/O1-Pruner o1_scripts/construct_dataset.py",
        certainty="C",
        length=o1_pruner,
        bounds=lambda p, _pair: (p["low"] - p["alpha"], p["high"]),
        params=(
            Param("alpha", "number", 5.0, "worth of being correct", 0.0, 1e3),
            Param("low", "number", -2.0, "least reward", -1e3, 0.0),
            Param("high", "number", 4.0, "largest reward", 0.0, 1e3),
        ),
        requires=("tokens", "reference_accuracy", "reference_tokens"),
        correctness_conditioned=False,
        outcome=lambda p: (p["alpha"], 0.0),
        note="The authors use it offline, and then standardise over the whole data set, which is left to the caller. "
        "A length of 0 counts as 1.",
    ),
)
