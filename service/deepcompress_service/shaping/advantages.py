"""Group advantages, as the trainers compute them from rewards: for strategies published as advantages."""

from __future__ import annotations

import numpy as np

from .batch import Batch, Bools, Floats, ratio


def group_advantages(
    batch: Batch, rewards: Floats, chosen: Bools | None = None, *, sample: bool = True, eps: float = 1e-6
) -> Floats:
    """[n] (reward - mean) / (std + eps) within each group, over the chosen rollouts; 0 for the others.

    `sample` divides the variance by count - 1, as GRPO in verl does (and torch.std); fewer than two give 0.
    """
    mask = np.ones_like(batch.correct) if chosen is None else chosen
    count = batch.sum_ints(mask.astype(np.int64))
    mean = ratio(batch.sum_floats(np.where(mask, rewards, 0.0)), count)
    centred = np.where(mask, rewards - mean[batch.rows], 0.0)
    degrees = np.maximum(count - 1, 0) if sample else count
    std = np.sqrt(ratio(batch.sum_floats(centred * centred), degrees))
    return np.where((degrees > 0)[batch.rows], centred / (std + eps)[batch.rows], 0.0)
