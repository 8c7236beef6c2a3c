"""Figures of the length term's effect in a step, from rewards alone. Pure functions.

Advantages are those of the answer, where it has them; else those that GRPO makes of the rewards, (R - mean) /
(sample std + 1e-6) in the group. Rollouts that are not trainable are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain, compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batch import Bools, Floats, ratio
from .types import Group, ShapedGroup

LEAST = 1e-9
"""An advantage below this is none."""
MIN_GROUPS = 8
"""Groups below which no warning is made of the figures."""
WEAK_SHARE = 0.02
NARROW = 0.02
"""A spread of lengths below this share of their mean is narrow."""
HARD_RATIO = 0.5
"""Groups of a lower pass ratio are hard, for `hard_tokens` and `easy_tokens`."""


@dataclass(frozen=True, slots=True)
class Signal:
    """The figures of one request. None where the request has nothing to compute one from."""

    groups: int
    effective_groups: int
    """Groups with an advantage that is not 0."""
    length_share: float | None
    """sum(A_length * A) / sum(A * A): the length term's share of the advantage's variance."""
    length_share_mixed: float | None
    """The same over groups with right and wrong rollouts."""
    length_share_all_correct: float | None
    """The same over groups whose rollouts are all correct."""
    correct_pushed_down: float | None
    """Share of the correct rollouts whose advantage is negative."""
    length_correctness: float | None
    """Correlation of length and correctness within groups: above 0, longer answers are more often right
    (arXiv 2605.07316 reads over- and underthinking from its sign)."""
    hard_tokens: float | None
    """Mean length in groups of a pass ratio below 0.5."""
    easy_tokens: float | None
    """Mean length in the other groups."""
    expected_drift: float | None
    """Mean of A * (l - mean) / mean over rollouts: below 0, the update makes answers shorter."""


@dataclass(slots=True)
class SignalSums:
    """The sums that the figures are made of: those of several requests, or processes, add up."""

    groups: int = 0
    effective_groups: int = 0
    part: float = 0.0
    """Sum of A_length * A; `whole` is that of A * A. Below, those of mixed and of all-correct groups."""
    whole: float = 0.0
    part_mixed: float = 0.0
    whole_mixed: float = 0.0
    part_all: float = 0.0
    whole_all: float = 0.0
    correct: int = 0
    pushed_down: int = 0
    without_tokens: int = 0
    """Groups without lengths."""
    covariance: float = 0.0
    """Sum over rollouts of (length - mean) * (correct - pass ratio); below, the sums of the squares."""
    length_squares: float = 0.0
    correct_squares: float = 0.0
    hard_tokens: int = 0
    hard_rollouts: int = 0
    easy_tokens: int = 0
    easy_rollouts: int = 0
    drift: float = 0.0
    drift_rollouts: int = 0

    def add(self, other: SignalSums) -> None:
        """Add other sums."""
        for one in fields(SignalSums):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def figures(self) -> Signal:
        """Return the figures that these sums make."""
        squares = self.length_squares * self.correct_squares
        correlated = self.length_squares > 0 and self.correct_squares > 0 and not self.without_tokens
        return Signal(
            groups=self.groups,
            effective_groups=self.effective_groups,
            length_share=self.part / self.whole if self.whole > LEAST else None,
            length_share_mixed=self.part_mixed / self.whole_mixed if self.whole_mixed > LEAST else None,
            length_share_all_correct=self.part_all / self.whole_all if self.whole_all > LEAST else None,
            correct_pushed_down=self.pushed_down / self.correct if self.correct else None,
            length_correctness=self.covariance / math.sqrt(squares) if correlated else None,
            hard_tokens=self.hard_tokens / self.hard_rollouts if self.hard_rollouts else None,
            easy_tokens=self.easy_tokens / self.easy_rollouts if self.easy_rollouts else None,
            expected_drift=self.drift / self.drift_rollouts if self.drift_rollouts else None,
        )


def signal_sums(
    groups: Sequence[Group], shaped: Sequence[ShapedGroup], without: Sequence[ShapedGroup] | None
) -> SignalSums:
    """Return the sums of these groups. `without`: the same groups shaped with a length weight of 0, if the answer
    has advantages.
    """
    rows: list[Any] = []
    for index, (group, one) in enumerate(zip(groups, shaped, strict=True)):
        base = None if without is None or one.advantages is None else without[index].advantages
        row: Any = (group.correct, group.tokens, one.rewards, one.components["length"], one.advantages, base)
        if group.trainable and not all(group.trainable):
            if not any(group.trainable):
                continue
            row = [column and tuple(compress(column, group.trainable)) for column in row]
        rows.append(row)
    sums = SignalSums(groups=len(rows))
    if not rows:
        return sums
    batch = _Rollouts([len(row[0]) for row in rows])
    correct = batch.flat([row[0] for row in rows], np.bool_)
    advantages, length = _grpo(batch, *(batch.flat([row[at] for row in rows], np.float64) for at in (2, 3)))
    given = [row[5] is not None for row in rows]
    if any(given):
        own = batch.spread(np.array(given))
        whole, plain = (
            batch.flat([row[at] if has else row[2] for row, has in zip(rows, given, strict=True)], np.float64)
            for at in (4, 5)
        )
        advantages, length = np.where(own, whole, advantages), np.where(own, whole - plain, length)
    passes = np.add.reduceat(correct, batch.starts, dtype=np.int64)
    all_correct, mixed = batch.spread(passes == batch.sizes), batch.spread((passes > 0) & (passes < batch.sizes))
    parts, squares = length * advantages, advantages * advantages
    # Exact sums, each rounded once: a sum of sums may differ in its last bit.
    sums.part, sums.whole = math.fsum(parts.tolist()), math.fsum(squares.tolist())
    sums.part_mixed, sums.whole_mixed = math.fsum(parts[mixed].tolist()), math.fsum(squares[mixed].tolist())
    sums.part_all, sums.whole_all = math.fsum(parts[all_correct].tolist()), math.fsum(squares[all_correct].tolist())
    sums.effective_groups = int(np.logical_or.reduceat(np.abs(advantages) > LEAST, batch.starts).sum())
    sums.correct = int(passes.sum())
    sums.pushed_down = int((correct & (advantages < -LEAST)).sum())
    measured = [row[1] is not None for row in rows]
    sums.without_tokens = len(rows) - sum(measured)
    if all(measured):
        _add_lengths(sums, batch, [row[1] for row in rows], correct, advantages)
    elif any(measured):
        own = batch.spread(np.array(measured))
        some = [row for row in rows if row[1] is not None]
        batch = _Rollouts([len(row[0]) for row in some])
        _add_lengths(sums, batch, [row[1] for row in some], correct[own], advantages[own])
    return sums


class _Rollouts:
    """The rollouts of several groups, one after the other in flat arrays. `sizes` has those of each group."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = np.array(sizes)
        ends = self.sizes.cumsum()
        self.starts = ends - self.sizes
        self._bounds = list(zip(self.starts.tolist(), ends.tolist(), strict=True))
        self._rows = np.arange(len(sizes)).repeat(self.sizes)

    def flat(self, rows: Sequence[Sequence[float]], dtype: type[np.generic]) -> NDArray[Any]:
        """Return the values of all groups in one array."""
        return np.fromiter(chain.from_iterable(rows), dtype, self._bounds[-1][1])

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of its group for each rollout."""
        spread: NDArray[Any] = values[self._rows]
        return spread

    def sums(self, values: Floats) -> Floats:
        """Return the sum of each group, exact and rounded once."""
        listed = values.tolist()
        return np.array([math.fsum(listed[start:end]) for start, end in self._bounds])


def signal(groups: Sequence[Group], shaped: Sequence[ShapedGroup], without: Sequence[ShapedGroup] | None) -> Signal:
    """Return the figures of these groups; see `signal_sums`."""
    return signal_sums(groups, shaped, without).figures()


def _grpo(batch: _Rollouts, rewards: Floats, length: Floats) -> tuple[Floats, Floats]:
    """Return GRPO's advantages of the rewards, and the part that the length component makes of them."""
    above = rewards - batch.spread(batch.sums(rewards) / batch.sizes)
    variance = batch.sums(np.float_power(above, 2.0)) / np.maximum(batch.sizes - 1, 1)
    scale = batch.spread(np.sqrt(variance) + 1e-6)
    alone = batch.spread(batch.sizes == 1)
    own = length - batch.spread(batch.sums(length) / batch.sizes)
    return np.where(alone, 0.0, above / scale), np.where(alone, 0.0, own / scale)


def _add_lengths(
    sums: SignalSums, batch: _Rollouts, rows: Sequence[Sequence[int]], correct: Bools, advantages: Floats
) -> None:
    """Add the lengths of groups, `rows`: their correlation with correctness, their sum, and the drift."""
    tokens = batch.flat(rows, np.int64)
    totals = np.add.reduceat(tokens, batch.starts)
    ratios = np.add.reduceat(correct, batch.starts, dtype=np.int64) / batch.sizes
    means = totals / batch.sizes
    longer, better = tokens - batch.spread(means), correct - batch.spread(ratios)
    # One after another: the order of the additions has a part in the last bits.
    sums.covariance, sums.length_squares, sums.correct_squares = (
        float(np.add.accumulate(products)[-1] + 0.0)
        for products in (longer * better, np.float_power(longer, 2.0), np.float_power(better, 2.0))
    )
    hard = ratios < HARD_RATIO
    sums.hard_tokens, sums.hard_rollouts = int(totals[hard].sum()), int(batch.sizes[hard].sum())
    sums.easy_tokens, sums.easy_rollouts = int(totals[~hard].sum()), int(batch.sizes[~hard].sum())
    drifts = batch.sums(ratio(advantages * longer, batch.spread(means)))
    sums.drift = float(np.add.accumulate(drifts)[-1] + 0.0)
    sums.drift_rollouts = int(batch.sizes[totals > 0].sum())


def signal_warnings(
    figures: Signal, groups: Sequence[Group], shaped: Sequence[ShapedGroup], *, scaled: bool
) -> list[tuple[str, str]]:
    """Return (slug, text) of what the figures show. `scaled`: GRPO will divide the rewards by the group's std."""
    paid = sum(any(one.components["length"]) for one in shaped)
    if figures.effective_groups < MIN_GROUPS or paid == 0:
        return []
    result = []
    share = figures.length_share
    if share is not None and abs(share) < WEAK_SHARE:
        result.append(
            (
                "weak-length-signal",
                f"the length term is {share:.1%} of the signal: nothing will get shorter; raise length_weight, set "
                "advantage.decouple, or keep groups whose rollouts are all correct",
            )
        )
    narrow = sum(map(_is_narrow, groups, shaped)) if scaled else 0
    if narrow >= MIN_GROUPS // 2 and narrow > 0.25 * paid:
        result.append(
            (
                "amplified-spreads",
                f"in {narrow} of {paid} groups with a length reward lengths differ by less than {NARROW:.0%}, and "
                "are rewarded like any other difference, since GRPO divides by the std: set a target, or "
                "advantage.scale none",
            )
        )
    together, drift = figures.length_correctness, figures.expected_drift
    if share is None or together is None or drift is None:
        return result
    if together > 0.2 and share > WEAK_SHARE and drift < 0:
        result.append(
            (
                "longer-is-right",
                f"longer answers are more often right (correlation {together:.2f}), and the length term shortens "
                "them: set a gate or a guard",
            )
        )
    return result


def _is_narrow(group: Group, shaped: ShapedGroup) -> bool:
    """Return True for all-correct groups whose rewards differ by nearly equal lengths alone."""
    tokens = group.tokens
    if tokens is None or not all(group.correct) or len(set(shaped.components["length"])) < 2:
        return False
    return max(tokens) - min(tokens) < NARROW * (sum(tokens) / len(tokens))
