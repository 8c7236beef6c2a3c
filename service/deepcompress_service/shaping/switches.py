"""Gate, guard and target applied to a batch: the groups that have a length reward, and the length term of targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .batch import Batch, Bools, Floats
from .guard import problem_guarded, run_guarded
from .lengths import LengthRecord
from .options import Options
from .parameters import Params
from .types import Group, Why

_TOLERANCE = 1e-9
"""A smoothed pass ratio of always-correct visits may be below 1 by rounding."""


def closed(batch: Batch, options: Options) -> list[Why | None]:
    """Return, for each group, the option that leaves it without a length reward; None where none does."""
    reasons: list[Why | None] = [None] * len(batch.groups)
    if options.guard is not None:
        for index, group in enumerate(batch.groups):
            if _guarded(group, options.guard):
                reasons[index] = "guarded"
    if options.gate is not None:
        passed = _passed(batch, options.gate)
        for index, open_ in enumerate(passed.tolist()):
            if not open_ and reasons[index] is None:
                reasons[index] = "gated"
    return reasons


def _guarded(group: Group, p: Params) -> bool:
    if p["of"] == "run":
        return run_guarded(group.guard, p["margin"], p["z"])
    stored, size = group.history, len(group.correct)
    return problem_guarded(
        sum(group.correct), size, stored.passes, stored.attempts, p["margin"], p["z"], p["min_rollouts"]
    )


def _passed(batch: Batch, p: Params) -> Bools:
    """[g] True for groups whose pass ratio reaches the gate's."""
    ratios = batch.pass_ratio
    if p["of"] == "problem":
        # A problem without a record has not shown that it is mastered.
        ratios = np.minimum(ratios, [-1.0 if (r := g.history.pass_ratio) is None else r for g in batch.groups])
    passed: Bools = ratios >= p["min_pass_ratio"] - _TOLERANCE
    if p["min_stored"] is not None:
        stored = [-1.0 if (r := g.history.pass_ratio) is None else r for g in batch.groups]
        passed = passed & (np.array(stored) >= p["min_stored"] - _TOLERANCE)
    if p["top_share"] is not None:
        passed = passed & among_the_top(batch.pass_ratio, p["top_share"])
    return passed


def among_the_top(ratios: Floats, share: float) -> Bools:
    """[g] True for the groups of the greatest pass ratios, `share` of them, rounded to a whole number of groups.

    Groups equal to the last of them are in too, so the order of groups changes nothing.
    """
    count = round(share * len(ratios))
    if count == 0:
        return np.zeros(len(ratios), np.bool_)
    top: Bools = ratios >= np.sort(ratios)[::-1][count - 1]
    return top


def target_of(group: Group, p: Params) -> tuple[float, bool] | None:
    """Return T = slack * quantile of the stored correct lengths, in tokens, and whether the bonus is paid.

    None without enough lengths.
    """
    record = group.lengths
    if p["current"]:
        own = (n for n, ok in zip(group.tokens or (), group.correct, strict=True) if ok)
        record = (record or LengthRecord()).after(own)
    if record is None or record.correct < p["min_rollouts"]:
        return None
    quantile, median = record.quantile(p["quantile"]), record.quantile(0.5)
    if quantile is None or median is None:
        return None
    target = max(1.0, p["slack"] * quantile)
    return target, p["bonus_while"] == "always" or median > target


@dataclass(frozen=True, slots=True)
class TargetTerms:
    """The length term of a target. Arrays are per rollout, [n]."""

    term: Floats
    bonus: Floats
    """The bonus: constant within its group, and so lost if it is centred with the rest."""
    reasons: Sequence[Why | None]
    """For each group: `no-target` where the problem has none."""


def target_terms(batch: Batch, p: Params) -> TargetTerms:
    """Return the relative excess -clip((l - T) / T, 0, 1) of correct rollouts, or the outcome lost over the limit T.

    The bonus goes to rollouts within T in groups whose rollouts are all correct, where the outcome gives no signal.
    """
    targets = [target_of(group, p) for group in batch.groups]
    per_group = np.array([np.inf if t is None else t[0] for t in targets], np.float64)
    pays_bonus = np.array([t is not None and t[1] for t in targets], np.bool_)
    limit = per_group[batch.rows]
    if p["form"] == "limit":
        lost = batch.pair[1] - batch.pair[0]
        term = np.where(batch.correct & (batch.tokens > limit), lost, 0.0)
    else:
        finite = np.isfinite(limit)
        base = np.where(finite, limit, 1.0)
        term = np.where(batch.correct & finite, -np.clip((batch.tokens - base) / base, 0.0, 1.0), 0.0)
    solved = ((batch.passes == batch.sizes) & pays_bonus)[batch.rows]
    bonus = np.where(solved & (batch.tokens <= limit), p["bonus"], 0.0)
    reasons: list[Why | None] = ["no-target" if t is None else None for t in targets]
    return TargetTerms(term, bonus, reasons)
