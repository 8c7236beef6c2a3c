"""Cosine rewards: from one value at length 0 to another at the limit, along half a cosine."""

from __future__ import annotations

import math

import numpy as np

from ..batch import Batch, Floats, apply
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy


def cosine(batch: Batch, at_zero: Floats, at_limit: Floats, limit: int) -> Floats:
    """[n] at_limit + (at_zero - at_limit) * (1 + cos(pi * tokens / limit)) / 2. Beyond the limit it comes back."""
    turned = apply(math.cos, math.pi * (batch.tokens / limit))
    return at_limit + 0.5 * (at_zero - at_limit) * (1.0 + turned)


def yeo(batch: Batch, p: Params) -> Floats:
    """Return [n] the published reward minus its outcome pair, the values at the limit."""
    at_limit = batch.by_verdict(p["correct_at_limit"], p["wrong_at_limit"])
    at_zero = batch.by_verdict(p["correct_at_zero"], p["wrong_at_zero"])
    reward = cosine(batch, at_zero, at_limit, p["max_tokens"])
    exceeded = batch.tokens + p["margin"] >= p["max_tokens"]
    return np.where(exceeded, p["exceeded"], reward) - at_limit


def openr1(batch: Batch, p: Params) -> Floats:
    """Return [n] the published reward minus its outcome pair, the values at the limit; not clamped, as published."""
    at_limit = batch.by_verdict(p["min_value_correct"], p["max_value_wrong"])
    at_zero = batch.by_verdict(p["max_value_correct"], p["min_value_wrong"])
    return cosine(batch, at_zero, at_limit, p["max_tokens"]) - at_limit


def _yeo_bounds(p: Params, _pair: Pair) -> Bounds:
    c, w = p["correct_at_limit"], p["wrong_at_limit"]
    ends = [p["correct_at_zero"] - c, p["exceeded"] - c, p["wrong_at_zero"] - w, p["exceeded"] - w, 0.0]
    return min(ends), max(ends)


def _openr1_bounds(p: Params, _pair: Pair) -> Bounds:
    ends = [p["max_value_correct"] - p["min_value_correct"], p["min_value_wrong"] - p["max_value_wrong"], 0.0]
    return min(ends), max(ends)


def _value(name: str, default: float, doc: str) -> Param:
    return Param(name, "number", default, doc, -1e3, 1e3)


def _openr1_params(min_value_wrong: float) -> tuple[Param, ...]:
    return (
        Param("max_tokens", "integer", 1000, "length of the half cosine", 1, 2**31 - 1),
        _value("min_value_wrong", min_value_wrong, "wrong, at length 0"),
        _value("max_value_wrong", -0.5, "wrong, at the limit"),
        _value("min_value_correct", 0.5, "correct, at the limit"),
        _value("max_value_correct", 1.0, "correct, at length 0"),
    )


_OPENR1_NOTE = (
    "open-r1's max_len is in characters, but max_tokens is in tokens: set it. As in open-r1's code, nothing is "
    "clamped: beyond the limit the cosine rises again, and at twice the limit a correct rollout has its full reward."
)

STRATEGIES = (
    Strategy(
        name="cosine_yeo",
        summary="correct 2 to 1, wrong -10 to 0 along half a cosine; -10 at the limit, right or wrong",
        source="arXiv 2502.03373; eddycmu/demystify-long-cot openrlhf/reward/cosine.py, section_4.2 script",
        certainty="C+",
        length=yeo,
        requires=("tokens",),
        bounds=_yeo_bounds,
        params=(
            Param("max_tokens", "integer", 14336, "the limit", 1, 2**31 - 1),
            _value("correct_at_zero", 2.0, "correct, at length 0"),
            _value("correct_at_limit", 1.0, "correct, at the limit"),
            _value("wrong_at_zero", -10.0, "wrong, at length 0"),
            _value("wrong_at_limit", 0.0, "wrong, at the limit"),
            _value("exceeded", -10.0, "where tokens + margin reach max_tokens"),
            Param("margin", "integer", 16, "tokens", 0, 2**31 - 1),
        ),
        correctness_conditioned=False,
        outcome=lambda p: (p["correct_at_limit"], p["wrong_at_limit"]),
        variants=("cosine_openr1", "cosine_openr1_config"),
        note="The authors' n-gram repetition penalty reads text and is left out; they report that this reward "
        "invites repetition on hard problems.",
    ),
    Strategy(
        name="cosine_openr1",
        summary="correct 1 to 0.5, wrong -1 to -0.5 along half a cosine, not clamped",
        source="huggingface/open-r1 src/open_r1/rewards.py, the function's defaults",
        certainty="C+",
        length=openr1,
        requires=("tokens",),
        bounds=_openr1_bounds,
        params=_openr1_params(-1.0),
        correctness_conditioned=False,
        outcome=lambda p: (p["min_value_correct"], p["max_value_wrong"]),
        variants=("cosine_yeo", "cosine_openr1_config"),
        note=_OPENR1_NOTE,
    ),
    Strategy(
        name="cosine_openr1_config",
        summary="as cosine_openr1 with the defaults of its configuration class: wrong 0 to -0.5",
        source="huggingface/open-r1 src/open_r1/configs.py",
        certainty="C",
        length=openr1,
        requires=("tokens",),
        bounds=_openr1_bounds,
        params=_openr1_params(0.0),
        correctness_conditioned=False,
        outcome=lambda p: (p["min_value_correct"], p["max_value_wrong"]),
        variants=("cosine_yeo", "cosine_openr1"),
        note=_OPENR1_NOTE,
    ),
)
