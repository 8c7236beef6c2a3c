"""Metrics of the rollouts of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .grpo import Group, sampled_entropy


def rollout_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """Return metrics of everything sampled in a step, in all generation batches, also by the data's bins."""
    kinds = Counter(group.kind for group in groups)
    betas = [group.service_rewards.beta for group in groups if group.service_rewards.beta is not None]
    metrics: dict[str, Any] = {
        "groups_drawn": len(groups),
        **{f"groups_{kind}": kinds[kind] for kind in ("none", "some", "all")},
        "beta_mean": sum(betas) / len(betas) if betas else None,
        "simple": sum(beta > 0 for beta in betas),
        "hard": sum(beta < 0 for beta in betas),
        "undecided": sum(not is_trained for group in groups for is_trained in group.service_rewards.trainable),
        "entropy_sampled": sampled_entropy([rollout for group in groups for rollout in group.rollouts]),
    }
    names = sorted({group.draw.problem.bin for group in groups})
    for name in ["", *names]:
        chosen = [group for group in groups if name in ("", group.draw.problem.bin)]
        tokens = [rollout.tokens for group in chosen for rollout in group.rollouts]
        right = [correct for group in chosen for correct in group.service_rewards.correct]
        cut = [rollout.truncated for group in chosen for rollout in group.rollouts]
        of = f"_{name}" if name else ""
        metrics[f"accuracy{of}"] = sum(right) / len(right)
        metrics[f"tokens{of}"] = sum(tokens) / len(tokens)
        if not name:
            right_tokens = [t for t, correct in zip(tokens, right, strict=True) if correct]
            metrics["tokens_correct"] = sum(right_tokens) / len(right_tokens) if right_tokens else None
            metrics["truncated"] = sum(cut) / len(cut)
    return metrics
