"""DeepCompress: a length reward whose sign follows the problem's difficulty (arXiv 2510.27419).

R_l = alpha * sigmoid(-beta * z) on correct rollouts, with beta = P_g - P_b and z over the whole group. Above the
level (simple problems) shorter rollouts earn more, below it (hard ones) longer ones do.
"""

from __future__ import annotations

import numpy as np

from ..batch import Batch, Floats, ratio, sigmoid
from ..parameters import Param, Params
from ..strategy import Bounds, Pair, Strategy


def beta(batch: Batch, p: Params) -> Floats:
    """[g] P_g - P_b, or the fixed beta of the paper's ablations."""
    if p["beta"] is not None:
        return np.full(len(batch.groups), p["beta"])
    return batch.pass_ratio - batch.level


def z(batch: Batch, p: Params) -> Floats:
    """[n] standardised lengths over the whole group, right and wrong rollouts alike."""
    lengths = batch.all_lengths
    if p["mode"] == "paper" and p["eps"] > 0:
        scores = ratio(batch.deviation(lengths), (lengths.std + p["eps"])[batch.rows])
    else:
        scores = batch.z(lengths)
    if p["min_std_tokens"] > 0:
        scores = np.where((lengths.std < p["min_std_tokens"])[batch.rows], 0.0, scores)
    return scores


def length(batch: Batch, p: Params) -> Floats:
    """[n] R_l. In release mode groups with no or only correct rollouts get none, as in the authors' code."""
    paid = batch.correct
    if p["mode"] == "release":
        mixed = (batch.passes > 0) & (batch.passes < batch.sizes)
        paid = paid & mixed[batch.rows]
    if p["unsolved"] == "explore":
        # A truncated rollout is not paid: running into the limit is no exploration.
        paid = paid | ((batch.passes == 0)[batch.rows] & ~batch.truncated)
    term = p["alpha"] * sigmoid(-(beta(batch, p)[batch.rows] * z(batch, p)))
    return np.where(paid, term, 0.0)


def requires(p: Params) -> tuple[str, ...]:
    """Return the keys of `NEEDS`: the level only if beta is not fixed."""
    return ("group", "tokens", "level") if p["beta"] is None else ("group", "tokens")


def bounds(p: Params, _pair: Pair) -> Bounds:
    """Return the range of R_l: 0 to alpha."""
    return 0.0, p["alpha"]


STRATEGIES = (
    Strategy(
        name="deepcompress",
        summary="alpha*sigmoid(-beta*z) on correct rollouts, beta = P_g - P_b: simple shorter, hard longer",
        source="arXiv 2510.27419; zwhe99/verl@fe6a548 verl/workers/reward_manager/naive.py",
        certainty="C+",
        length=length,
        bounds=bounds,
        beta=beta,
        params=(
            Param("alpha", "number", 0.2, "weight of the length reward", 0.0, 1e3),
            Param(
                "mode",
                "choice",
                "release",
                "release: no length reward where all or none are correct (the authors' code); paper: no such mask",
                choices=("release", "paper"),
            ),
            Param(
                "beta",
                "number",
                None,
                "a fixed beta instead of P_g - P_b: 1 is the paper's Length Penalty, -1 its Length Bonus",
                -1e3,
                1e3,
                nullable=True,
            ),
            Param("eps", "number", 0.0, "added to the std in paper mode (the paper gives no value)", 0.0, 1.0),
            Param(
                "min_std_tokens",
                "number",
                0.0,
                "z is 0 in groups whose std is smaller: near-equal lengths give no length signal",
                0.0,
            ),
            Param(
                "unsolved",
                "choice",
                "none",
                "explore: in groups with no correct rollout, every untruncated rollout gets R_l (bounded by alpha)",
                choices=("none", "explore"),
            ),
        ),
        requires=("group", "tokens", "level"),
        requires_given=requires,
        outcome=lambda _params: (1.0, -1.0),
        note="`paper` and `release` differ only in groups whose rollouts are all correct. `unsolved: explore` is not "
        "in the paper: with it, the length of wrong rollouts is paid too.",
    ),
)
