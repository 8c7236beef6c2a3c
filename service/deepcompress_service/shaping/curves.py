"""The length term of one rollout as its length runs, the rest of its group standing still. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from .reward import Reward
from .types import Group, ProblemHistory

OTHERS = 15
"""Rollouts beside the one that runs, in groups made for a curve against z: G = 16, as in the release scripts."""
MEDIAN, SPREAD = 4000.0, 0.25
"""Their lengths lie at the quantiles of a log-normal distribution with this median (tokens) and this sigma."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one rollout: its z in its group, its length in tokens, its length term (weighted)."""

    z: tuple[float, ...]
    tokens: tuple[int, ...]
    terms: tuple[float, ...]


def against_tokens(reward: Reward, group: Group, index: int, lengths: Sequence[int]) -> Curve:
    """Return the terms that rollout `index` gets beside its outcome, at each of these lengths of its own."""
    assert group.tokens is not None
    tokens = group.tokens
    moved = [replace(group, tokens=(*tokens[:index], length, *tokens[index + 1 :])) for length in lengths]
    if "batch" in reward.needs:
        shaped = [reward.shape([one])[0] for one in moved]
    else:
        shaped = reward.shape(moved)
    terms = tuple(one.rewards[index] - one.components["outcome"][index] for one in shaped)
    return Curve(tuple(_z(one, index) for one in moved), tuple(lengths), terms)


def against_z(reward: Reward, beta: float, *, correct: bool, points: int = 121, reach: float = 3.5) -> Curve:
    """Return the terms that a rollout gets beside its outcome against its z, in a group of 16 with this beta.

    The pass ratio is the share nearest to (1 + beta)/2, never none or all, and the level is beta below it, so that
    beta runs from -1 to 1 with levels that a run can have.
    """
    size = OTHERS + 1
    passes = min(max(round(size * (1.0 + beta) / 2.0), 1), size - 1)
    ranks = [(i + 0.5) / OTHERS for i in range(OTHERS)]
    lengths = tuple(round(MEDIAN * math.exp(SPREAD * NormalDist().inv_cdf(rank))) for rank in ranks)
    group = _with_references(
        reward,
        Group(
            correct=(correct, *_spread_evenly(passes - correct, OTHERS)),
            tokens=(0, *lengths),
            truncated=(False,) * size,
            level=passes / size - beta,
        ),
    )
    # The z of one rollout saturates at sqrt(G - 1) as it grows, so the lengths are those that reach each z.
    wanted = [-reach + 2 * reach * i / (points - 1) for i in range(points)]
    tokens = [t for z in wanted if (t := _length_at_z(z, lengths)) is not None]
    return against_tokens(reward, group, 0, sorted(set(tokens)))


def example_group(reward: Reward, tokens: Sequence[int], correct: Sequence[bool], level: float) -> Group:
    """Return the given group, with plain values for the other inputs that the reward may need."""
    bare = Group(tuple(correct), tuple(tokens), (False,) * len(tokens), level=level)
    return _with_references(reward, bare)


def _with_references(reward: Reward, group: Group) -> Group:
    """State and reference values of a made group: half right, lengths like its own, thinking, not repetitive.

    A target is given only where it is needed, since it takes the place of Laser's bands.
    """
    assert group.tokens is not None
    size = len(group.tokens)
    mean = max(sum(group.tokens) / size, 1.0)
    return replace(
        group,
        accumulators=tuple(spec.initial for spec in reward.accumulators),
        history=ProblemHistory(16, 8, 0.5, max(round(mean / 2), 1), mean),
        step=0,
        reference_accuracy=0.5,
        reference_tokens=mean,
        target_tokens=mean if "target" in reward.needs else None,
        thinking=(True,) * size,
        repetitive=(False,) * size,
        context_tokens=(0,) * size,
        turns=(1,) * size,
    )


def _spread_evenly(count: int, size: int) -> tuple[bool, ...]:
    """`count` truths among `size` places, evenly."""
    return tuple((i + 1) * count // size > i * count // size for i in range(size))


def _z(group: Group, index: int) -> float:
    assert group.tokens is not None
    size, total = len(group.tokens), sum(group.tokens)
    scatter = size * sum(t * t for t in group.tokens) - total * total
    return (size * group.tokens[index] - total) / math.sqrt(scatter) if scatter else 0.0


def _length_at_z(z: float, others: Sequence[int]) -> int | None:
    """Return the length at which one rollout beside `others` has this z; None if there is no such length.

    With m and s the others' mean and population std and n their number, a rollout at m + d has
    z = d*n / sqrt(n*(n+1)*s^2 + n*d^2), which is solved for d.
    """
    n = len(others)
    mean = sum(others) / n
    variance = sum((t - mean) ** 2 for t in others) / n
    if z * z >= n:
        return None
    distance = math.copysign(math.sqrt(z * z * (n + 1) * variance / (n - z * z)), z)
    return round(mean + distance) if mean + distance >= 0 else None
