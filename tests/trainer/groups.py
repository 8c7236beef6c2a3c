"""Groups with rewards as the service gives them, made from numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deepcompress_client.wire import GroupRewards, RewardComponents
from deepcompress_trainer.data import Draw, Problem
from deepcompress_trainer.generate import Rollout
from deepcompress_trainer.grpo import Group


def group(
    correct: Sequence[bool],
    tokens: Sequence[int],
    *,
    level: float = 0.5,
    alpha: float = 0.2,
    trainable: Sequence[bool] | None = None,
    truncated: Sequence[bool] | None = None,
    mask_truncated: bool = False,
) -> Group:
    """DeepCompress in `paper` mode: R = outcome + alpha * sigmoid(-beta * z) on correct rollouts."""
    n = len(correct)
    beta = sum(correct) / n - level
    mean = sum(tokens) / n
    std = math.sqrt(sum((t - mean) ** 2 for t in tokens) / n)
    outcome = [1.0 if right else -1.0 for right in correct]
    length = [
        alpha / (1 + math.exp(beta * ((t - mean) / std if std else 0.0))) if right else 0.0
        for t, right in zip(tokens, correct, strict=True)
    ]
    said = GroupRewards(
        problem_id="p",
        group_id="p@0",
        pass_ratio=sum(correct) / n,
        level=level,
        beta=beta,
        difficulty="simple" if beta > 0 else "hard" if beta < 0 else "even",
        rewards=[o + r for o, r in zip(outcome, length, strict=True)],
        components=RewardComponents(outcome=outcome, length=length, overlong=[0.0] * n),
        correct=list(correct),
        trainable=list(trainable or [True] * n),
    )
    rollouts = [
        Rollout(list(range(3, 3 + t)), [-0.5] * t, truncated=cut)
        for t, cut in zip(tokens, truncated or [False] * n, strict=True)
    ]
    return Group(Draw(0, Problem("p", "q", "1", "easy")), [1, 2], rollouts, said, mask_truncated=mask_truncated)
