"""Groups laid flat: one numpy array over all rollouts of a request, with exact statistics per group.

Sums over rollouts are taken over whole numbers, exactly, and become floats once at the end. So a group's
statistics are bit for bit equal for every order of its rollouts. They do not depend on the other groups of the
request, or on the division into requests. Elementwise arithmetic (+, -, *, /, sqrt) is correctly rounded, so it keeps
that; the functions of ``math`` are called one number at a time, since a vectorised exp may round differently by
position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from .types import Group

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_LARGEST_PRODUCT = math.isqrt(2**63 - 1)
"""Below this, (rollouts * spread)^2 fits in int64; groups beyond it are summed in Python's integers."""


def apply(function: Callable[[float], float], values: Floats) -> Floats:
    """Return `function` of every value, computed one at a time."""
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow for any finite x."""
    small = np.fromiter(map(math.exp, (-np.abs(x)).tolist()), np.float64, len(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def bounded_exp(x: Floats) -> Floats:
    """exp(x), finite for every finite x: the exponent is held within +-700."""
    return apply(math.exp, np.clip(x, -700.0, 700.0))


def ratio(numerator: Floats | Ints, denominator: Floats | Ints) -> Floats:
    """Numerator / denominator, and 0 where the denominator is 0."""
    out = np.zeros(np.broadcast(numerator, denominator).shape, np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


@dataclass(frozen=True, slots=True)
class Moments:
    """Exact statistics of some rollouts' lengths, one entry a group. Where a group has none, all are 0."""

    count: Ints
    total: Ints
    """Sum of tokens."""
    scatter: Floats
    """count * (sum of squares) - total^2, computed in whole numbers and rounded once."""
    low: Ints
    high: Ints

    @property
    def mean(self) -> Floats:
        """[groups] mean length in tokens."""
        return ratio(self.total, self.count)

    @property
    def variance(self) -> Floats:
        """Population variance (divided by count)."""
        return ratio(self.scatter, self.count * self.count)

    @property
    def std(self) -> Floats:
        """Population standard deviation."""
        return ratio(np.sqrt(self.scatter), self.count)

    @property
    def sample_std(self) -> Floats:
        """Sample standard deviation (divided by count - 1); 0 for fewer than two."""
        return np.sqrt(ratio(self.scatter, self.count * np.maximum(self.count - 1, 0)))


class Batch:
    """The groups of a request as a strategy sees them. Arrays are per rollout [n] or per group [g]."""

    def __init__(
        self,
        groups: Sequence[Group],
        outcome: tuple[float, float] = (1.0, 0.0),
        accumulators: slice | None = None,
    ) -> None:
        self.groups = groups
        self.pair = outcome
        """The outcome rewards of a correct and of a wrong rollout."""
        self._accumulators = slice(None) if accumulators is None else accumulators
        self.sizes: Ints = np.fromiter((len(g.correct) for g in groups), np.int64, len(groups))
        self.starts: Ints = np.cumsum(self.sizes) - self.sizes
        self.rows: Ints = np.repeat(np.arange(len(groups)), self.sizes)
        """[n] the group of each rollout: per-group values are spread over rollouts by `x[batch.rows]`."""
        self.correct: Bools = np.fromiter(chain.from_iterable(g.correct for g in groups), np.bool_, len(self.rows))
        self.passes: Ints = np.add.reduceat(self.correct.astype(np.int64), self.starts)
        self.pass_ratio: Floats = self.passes / self.sizes
        """[g] P_g."""
        self.level: Floats = np.fromiter((g.level or 0.0 for g in groups), np.float64, len(groups))
        """[g] the level that each group's beta is taken against."""
        self.outcome: Floats = np.where(self.correct, *outcome)
        """[n] R_o."""

    def by_verdict(self, right: float, wrong: float) -> Floats:
        """[n] `right` for correct rollouts, `wrong` for the others."""
        return np.where(self.correct, right, wrong)

    def _flags(self, flags: Sequence[Sequence[bool]]) -> Bools:
        return np.fromiter(chain.from_iterable(flags), np.bool_, int(self.sizes.sum()))

    def _counts(self, counts: Sequence[Sequence[int]]) -> Ints:
        return np.fromiter(chain.from_iterable(counts), np.int64, int(self.sizes.sum()))

    @cached_property
    def tokens(self) -> Ints:
        """[n] length of each rollout in tokens."""
        return np.fromiter(chain.from_iterable([g.tokens or () for g in self.groups]), np.int64, len(self.rows))

    @cached_property
    def truncated(self) -> Bools:
        """[n] True for rollouts cut at the limit."""
        return self._flags([g.truncated for g in self.groups])

    @cached_property
    def thinking(self) -> Bools:
        """[n] True for rollouts that reasoned before they answered."""
        return self._flags([g.thinking or () for g in self.groups])

    @cached_property
    def repetitive(self) -> Bools:
        """[n] True for rollouts that repeat themselves."""
        return self._flags([g.repetitive or () for g in self.groups])

    @cached_property
    def context_tokens(self) -> Ints:
        """[n] tokens that the policy read and did not write."""
        return self._counts([g.context_tokens or () for g in self.groups])

    @cached_property
    def turns(self) -> Ints:
        """[n] replies of the policy."""
        return self._counts([g.turns or () for g in self.groups])

    @cached_property
    def formatted(self) -> Bools:
        """[n] True for rollouts with an answer in the requested format."""
        return self._flags([g.formatted or (True,) * len(g.correct) for g in self.groups])

    def per_group(self, value: Callable[[Group], float | None]) -> Floats:
        """[g] one number a group; 0 where it is None."""
        return np.fromiter((value(g) or 0.0 for g in self.groups), np.float64, len(self.groups))

    def accumulator(self, index: int) -> Floats:
        """[g] the strategy's own accumulator number `index`, before this step."""
        return self.per_group(lambda g: g.accumulators[self._accumulators][index])

    # --- sums and statistics over the rollouts of each group -------------------------------------------

    def sum_ints(self, values: Ints) -> Ints:
        """[g] exact sums."""
        sums: Ints = np.add.reduceat(values, self.starts)
        return sums

    def sum_floats(self, values: Floats) -> Floats:
        """[g] sums of floats, correctly rounded and so the same in every order."""
        flat = values.tolist()
        bounds = zip(self.starts.tolist(), self.sizes.tolist(), strict=True)
        return np.fromiter((math.fsum(flat[s : s + n]) for s, n in bounds), np.float64, len(self.groups))

    def moments(self, chosen: Bools | None = None) -> Moments:
        """Statistics of the lengths of the chosen rollouts (all of them by default), exact."""
        tokens = self.tokens
        # The scatter is that of the distances to the group's shortest, which are small enough for int64.
        base: Ints = np.minimum.reduceat(tokens, self.starts)
        distance = tokens - base[self.rows]
        count = self.sizes
        if chosen is not None:
            distance = np.where(chosen, distance, 0)
            count = np.add.reduceat(chosen.astype(np.int64), self.starts)
        first: Ints = np.add.reduceat(distance, self.starts)
        widest: Ints = np.maximum.reduceat(distance, self.starts)
        large = np.flatnonzero(self.sizes * widest > _LARGEST_PRODUCT)
        if len(large):
            distance_safe = np.where(np.isin(self.rows, large), 0, distance)
            second: Ints = np.add.reduceat(distance_safe * distance_safe, self.starts)
            first_safe: Ints = np.add.reduceat(distance_safe, self.starts)
        else:
            second = np.add.reduceat(distance * distance, self.starts)
            first_safe = first
        scatter = (count * second - first_safe * first_safe).astype(np.float64)
        for g in large.tolist():
            start, size = int(self.starts[g]), int(self.sizes[g])
            kept = distance[start : start + size].tolist()
            scatter[g] = float(int(count[g]) * sum(d * d for d in kept) - sum(kept) ** 2)
        low, high = base, base + widest
        if chosen is not None:
            least = np.minimum.reduceat(np.where(chosen, tokens, np.iinfo(np.int64).max), self.starts)
            low, high = np.where(count > 0, least, 0), np.where(count > 0, high, 0)
        return Moments(count, first + count * base, scatter, low, high)

    @cached_property
    def all_lengths(self) -> Moments:
        """[groups] statistics of the lengths of all rollouts."""
        return self.moments()

    @cached_property
    def correct_lengths(self) -> Moments:
        """[groups] statistics of the lengths of the correct rollouts."""
        return self.moments(self.correct)

    def deviation(self, of: Moments) -> Floats:
        """[n] tokens minus the group's mean of `of`, from one exact subtraction and one division."""
        count = of.count[self.rows]
        return ratio(count * self.tokens - of.total[self.rows], count)

    def z(self, of: Moments) -> Floats:
        """[n] (tokens - mean) / population std; 0 where the std is 0."""
        count = of.count[self.rows]
        return ratio(count * self.tokens - of.total[self.rows], np.sqrt(of.scatter)[self.rows])
