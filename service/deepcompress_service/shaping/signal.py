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
    sums = SignalSums()
    products: dict[str, tuple[list[float], list[float]]] = {"mixed": ([], []), "all": ([], []), "none": ([], [])}
    for index, (group, one) in enumerate(zip(groups, shaped, strict=True)):
        base = None if without is None or one.advantages is None else without[index].advantages
        columns: Any = (group.correct, group.tokens, one.rewards, one.components["length"], one.advantages, base)
        if group.trainable and not all(group.trainable):
            if not any(group.trainable):
                continue
            columns = [column and tuple(compress(column, group.trainable)) for column in columns]
        correct, tokens, rewards, length, advantages, base = columns
        if base is None:
            advantages, length = _grpo(rewards, length)
        else:
            length = [a - b for a, b in zip(advantages, base, strict=True)]
        passes = sum(correct)
        parts, squares = products["all" if passes == len(correct) else "mixed" if passes else "none"]
        parts += [x * a for x, a in zip(length, advantages, strict=True)]
        squares += [a * a for a in advantages]
        sums.groups += 1
        sums.effective_groups += max(advantages) > LEAST or min(advantages) < -LEAST
        sums.correct += passes
        sums.pushed_down += sum([a < -LEAST for a in compress(advantages, correct)])
        if tokens is None:
            sums.without_tokens += 1
        else:
            _add_lengths(sums, tokens, correct, advantages)
    sums.part_mixed, sums.whole_mixed = map(math.fsum, products["mixed"])
    sums.part_all, sums.whole_all = map(math.fsum, products["all"])
    # All at once: a sum of the three sums may differ in its last bit.
    sums.part = math.fsum(chain.from_iterable(parts for parts, _ in products.values()))
    sums.whole = math.fsum(chain.from_iterable(squares for _, squares in products.values()))
    return sums


def signal(groups: Sequence[Group], shaped: Sequence[ShapedGroup], without: Sequence[ShapedGroup] | None) -> Signal:
    """Return the figures of these groups; see `signal_sums`."""
    return signal_sums(groups, shaped, without).figures()


def _grpo(rewards: Sequence[float], length: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return GRPO's advantages of the rewards, and the part that the length component makes of them."""
    n = len(rewards)
    if n < 2:
        return [0.0] * n, [0.0] * n
    mean, mean_length = math.fsum(rewards) / n, math.fsum(length) / n
    above = [r - mean for r in rewards]
    scale = math.sqrt(math.fsum([d**2 for d in above]) / (n - 1)) + 1e-6
    return [d / scale for d in above], [(x - mean_length) / scale for x in length]


def _add_lengths(
    sums: SignalSums, tokens: Sequence[int], correct: Sequence[bool], advantages: Sequence[float]
) -> None:
    """Add the lengths of one group: their correlation with correctness, their sum, and the drift."""
    size, total, passes = len(tokens), sum(tokens), sum(correct)
    mean, ratio = total / size, passes / size
    longer = [n - mean for n in tokens]
    # One after another: the order of the additions has a part in the last bits.
    covariance, length_squares, correct_squares = sums.covariance, sums.length_squares, sums.correct_squares
    for above, right in zip(longer, correct, strict=True):
        better = right - ratio
        covariance += above * better
        length_squares += above**2
        correct_squares += better**2
    sums.covariance, sums.length_squares, sums.correct_squares = covariance, length_squares, correct_squares
    if passes < HARD_RATIO * size:
        sums.hard_tokens += total
        sums.hard_rollouts += size
    else:
        sums.easy_tokens += total
        sums.easy_rollouts += size
    if total:
        sums.drift += math.fsum([a * above / mean for a, above in zip(advantages, longer, strict=True)])
        sums.drift_rollouts += size


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
