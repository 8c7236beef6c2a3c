"""Advantages of rollouts, from rewards and their components.

The default forms are those of trainers: GRPO's group normalisation, GDPO's components apart (arXiv 2601.05242), and
the whitening over the batch's tokens that DLER (arXiv 2510.15110) and GDPO's verl code use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .batch import Batch, Bools, Floats, ratio
from .parameters import Params
from .types import Group, ShapedGroup

WHITEN_EPS = 1e-8
"""Added to the variance when advantages are whitened, as in verl."""


def group_advantages(
    batch: Batch,
    rewards: Floats,
    chosen: Bools | None = None,
    *,
    sample: bool = True,
    eps: float = 1e-6,
    scale: bool = True,
) -> Floats:
    """[n] (reward - mean) / (std + eps) within each group, over the chosen rollouts; 0 for the others.

    `sample` divides the variance by count - 1, as GRPO in verl does (and torch.std); fewer than two give 0.
    Without `scale` nothing is divided.
    """
    mask = np.ones_like(batch.correct) if chosen is None else chosen
    count = batch.sum_ints(mask.astype(np.int64))
    mean = ratio(batch.sum_floats(np.where(mask, rewards, 0.0)), count)
    centred = np.where(mask, rewards - mean[batch.rows], 0.0)
    if not scale:
        return np.where((count > 1)[batch.rows], centred, 0.0)
    degrees = np.maximum(count - 1, 0) if sample else count
    std = np.sqrt(ratio(batch.sum_floats(centred * centred), degrees))
    return np.where((degrees > 0)[batch.rows], centred / (std + eps)[batch.rows], 0.0)


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of the rewards that advantages are made of, [n] each."""

    outcome: Floats
    """The outcome reward with the overlong term."""
    term: Floats
    """The length term, without weight and bonus."""
    factor: Floats
    """The weight of the length term: 0 in groups that a gate or a guard closed."""
    bonus: Floats
    """The target's bonus, unweighted."""
    scores: Mapping[str, tuple[Floats, float]]
    """(unweighted score, weight) by name."""


def trainable(batch: Batch) -> Bools:
    """[n] False for rollouts that are not trained on."""
    return np.concatenate([np.array(g.trainable or (True,) * len(g.correct), np.bool_) for g in batch.groups])


def configured_advantages(batch: Batch, parts: Components, p: Params) -> Floats:
    """[n] the advantages that a run's configuration describes, before whitening; 0 where not trainable.

    Decoupled: outcome with overlong, the length term and each score are normalised in their group, each on its own,
    then weighted and added (GDPO). With `scale: outcome` only the outcome is divided by its std. Else their sum is
    normalised. The bonus is added to either, weighted as the length term and not centred: in the groups that have
    one it is the same for every rollout within its target.
    """
    chosen, scale = trainable(batch), p["scale"] == "group"

    def norm(values: Floats, scale: bool = scale) -> Floats:
        return group_advantages(batch, values, chosen, scale=scale)

    if p["decouple"]:
        result = norm(parts.outcome, p["scale"] != "none") + parts.factor * norm(parts.term)
        for score, weight in parts.scores.values():
            result = result + weight * norm(score)
    else:
        total = parts.outcome + parts.factor * parts.term
        for score, weight in parts.scores.values():
            total = total + weight * score
        result = norm(total)
    return np.where(chosen, result + parts.factor * parts.bonus, 0.0)


def whitening(advantages: Sequence[float], tokens: Sequence[int], chosen: Sequence[bool]) -> tuple[float, float]:
    """Return the mean and std over tokens: each chosen rollout counts once a token. Sums are correctly rounded.

    The variance is the unbiased one over tokens plus `WHITEN_EPS`, as verl's `masked_whiten`.
    """
    rows = [(a, n) for a, n, ok in zip(advantages, tokens, chosen, strict=True) if ok and n > 0]
    count = sum(n for _, n in rows)
    if count < 2:
        return 0.0, 1.0
    mean = math.fsum(a * n for a, n in rows) / count
    variance = math.fsum((a - mean) ** 2 * n for a, n in rows) / (count - 1)
    return mean, math.sqrt(variance + WHITEN_EPS)


def step_whitening(groups: Sequence[Group], shaped: Sequence[ShapedGroup]) -> tuple[float, float]:
    """Return the mean and std over tokens of the advantages of the groups of a step, as they were shaped."""
    advantages = [a for one in shaped for a in one.advantages or ()]
    tokens = [n for group in groups for n in group.tokens or ()]
    chosen = [ok for group in groups for ok in group.trainable or (True,) * len(group.correct)]
    return whitening(advantages, tokens, chosen)


def whitened(batch: Batch, advantages: Floats) -> Floats:
    """[n] (advantage - mean) / std, as recorded with the groups, else of the batch; 0 if not trainable."""
    chosen = trainable(batch)
    if all(group.whitening is not None for group in batch.groups):
        by = np.array([group.whitening for group in batch.groups], np.float64)[batch.rows]
        return np.where(chosen, (advantages - by[:, 0]) / by[:, 1], 0.0)
    mean, std = whitening(advantages.tolist(), batch.tokens.tolist(), chosen.tolist())
    return np.where(chosen, (advantages - mean) / std, 0.0)
