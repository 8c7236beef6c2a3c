"""The algorithm as pure functions: filter, advantages, loss, diagnostics.

GRPO (arXiv 2402.03300) with DAPO's changes (arXiv 2503.14476): asymmetric clip, token-level loss, no KL, groups
without a signal dropped. No I/O and no random numbers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from deepcompress_client.wire import GroupRewards

from .config import SettingsError
from .data import Draw
from .generate import Rollout, left_pad, positions
from .model import Policy, autocast

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Kind = Literal["none", "some", "all"]

SIGNAL = 1e-9
"""An advantage below this is rounding, not a signal."""


@dataclass(frozen=True, slots=True)
class Group:
    """The G rollouts of one problem in one step, with the service's rewards for them."""

    draw: Draw
    prompt_ids: list[int]
    rollouts: list[Rollout]
    service_rewards: GroupRewards
    mask_truncated: bool = False
    """True if truncated rollouts are left out of the loss: the setting of that name."""

    @property
    def trained(self) -> list[bool]:
        """The rollouts that are trained on, [rollouts].

        A rollout is left out if it is undecided, not selected by the strategy's mask, or truncated while
        `mask_truncated` is set.
        """
        chosen = self.service_rewards.mask or [True] * len(self.rollouts)
        return [
            able and picked and not (self.mask_truncated and rollout.truncated)
            for able, picked, rollout in zip(self.service_rewards.trainable, chosen, self.rollouts, strict=True)
        ]

    @property
    def kind(self) -> Kind:
        """Number of correct rollouts among those that are trained on: none, some or all.

        The others do not count: a group of seven correct rollouts and a masked wrong one would otherwise be "some",
        and would train on only its lengths.
        """
        correct = [correct for correct, able in zip(self.service_rewards.correct, self.trained, strict=True) if able]
        return "none" if not any(correct) else "all" if all(correct) else "some"


@dataclass(frozen=True, slots=True)
class Advantages:
    """The advantages of one group as a sum of parts.

    Each part has shape [rollouts] and is 0 for a rollout that is not trained on.
    """

    outcome: Array
    length: Array
    overlong: Array
    other: Array
    """The part of the reward that is in none of these components: 0 unless a newer service adds a component."""

    @property
    def total(self) -> Array:
        """The advantage of each rollout, [rollouts]."""
        return self.outcome + self.length + self.overlong + self.other


def advantages(
    groups: Sequence[Group],
    *,
    scale_rewards: Literal["group", "batch", "none"],
    length_term: Literal["reward", "advantage"],
    length_weight: float,
) -> list[Advantages]:
    """Return each group's advantages: (reward - group mean) / (std + 1e-6), as in verl's GRPO.

    `scale_rewards` selects the sample standard deviation of the group or of the batch, or none. With `length_term`
    "advantage" the length reward is left out of it, and ``length_weight * (-beta * z)`` is added instead: z is over
    the group's correct rollouts (population std) and 0 for wrong ones.
    """
    separate_length_term = length_term == "advantage"
    rewards = [_parts(group, separate_length_term) for group in groups]
    all_totals = np.concatenate(
        [np.zeros(0), *(np.sum(parts, axis=0)[trained_mask] for *parts, trained_mask in rewards)]
    )
    batch_std = all_totals.std(ddof=1) if len(all_totals) > 1 else 0.0
    group_advantages = []
    for group, (*parts, trained_mask) in zip(groups, rewards, strict=True):
        total = np.sum(parts, axis=0)[trained_mask]
        group_std = total.std(ddof=1) if len(total) > 1 else 0.0
        scale = {"group": group_std + 1e-6, "batch": batch_std + 1e-6, "none": 1.0}[scale_rewards]
        centred = [
            np.where(trained_mask, part - (part[trained_mask].mean() if trained_mask.any() else 0.0), 0.0) / scale
            for part in parts
        ]
        if separate_length_term:
            centred[1] = np.where(trained_mask, length_weight * _length_preference(group, trained_mask), 0.0)
        if group.service_rewards.advantages is not None:  # the strategy returns advantages: they are used unchanged
            centred = [
                np.where(trained_mask, group.service_rewards.advantages, 0.0),
                *(np.zeros(len(trained_mask)) for _ in parts[1:]),
            ]
        weights = np.array(group.service_rewards.weights or [1.0] * len(group.rollouts))
        group_advantages.append(Advantages(*(part * weights for part in centred)))
    return group_advantages


def _parts(group: Group, separate_length_term: bool) -> tuple[Array, Array, Array, Array, Mask]:
    """Return the outcome, length, overlong and other rewards, and the mask of the rollouts that are trained on.

    The components are weighted and add up to the reward. `other` is the rest: 0 unless the service has a component
    that this trainer does not read. It is trained on and is not counted as length.
    """
    outcome = np.array(group.service_rewards.components.outcome)
    overlong = np.array(group.service_rewards.components.overlong)
    length = np.array(group.service_rewards.components.length)
    other = np.array(group.service_rewards.rewards) - (outcome + length + overlong)
    return (
        outcome,
        np.zeros_like(length) if separate_length_term else length,
        overlong,
        other,
        np.array(group.trained),
    )


def _length_preference(group: Group, trained_mask: Mask) -> Array:
    """Return -beta * z, [rollouts], with z over the correct rollouts.

    It is 0 for wrong rollouts, and if fewer than two are correct or all correct ones are equally long.
    """
    tokens = np.array([rollout.tokens for rollout in group.rollouts], dtype=np.float64)
    correct = np.array(group.service_rewards.correct) & trained_mask
    beta = group.service_rewards.beta
    if beta is None or correct.sum() < 2 or tokens[correct].std() == 0:
        return np.zeros(len(tokens))
    z = (tokens - tokens[correct].mean()) / tokens[correct].std()
    return np.where(correct, -beta * z, 0.0)


def keep_group(
    group: Group,
    metric: Literal["acc", "reward", "none"],
    *,
    length_term: Literal["reward", "advantage"],
    length_weight: float,
) -> bool:
    """Return whether a group is trained on, by those of its rollouts that are trained on.

    "acc" reads `correct` alone, not the shaped reward. "reward" keeps every group in which some rollout has an
    advantage.
    """
    if not any(group.trained):
        return False
    if metric == "none":
        return True
    if metric == "acc":
        return group.kind == "some"
    (unscaled,) = advantages([group], scale_rewards="none", length_term=length_term, length_weight=length_weight)
    return bool(np.abs(unscaled.total).max() > SIGNAL)


def check_length_term(groups: Sequence[Group], *, length_term: Literal["reward", "advantage"], strategy: str) -> None:
    """Check that the strategy gives a beta if the length term is -beta * z.

    Without a beta the training would use only the outcome. Only the service's answer shows it, so this checks the
    first scored batch.

    Raises:
        SettingsError: no group has a beta.
    """
    if length_term == "advantage" and all(group.service_rewards.beta is None for group in groups):
        raise SettingsError(f"length_term advantage needs a strategy with beta; {strategy} gives none")


# --- the loss -------------------------------------------------------------------------------------------


def token_logprobs(
    policy: Policy, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return log-probabilities, entropies and the response mask of every response token, under the current weights.

    Each has shape [rows, longest response]. Prompts are padded on the left, responses on the right; the mask is 1 for
    tokens of the response.
    """
    device = policy.model.device
    prompt_ids, prompt_mask = left_pad(prompts, policy.pad_id)
    longest = max(map(len, responses))
    response_ids = torch.full((len(responses), longest), policy.pad_id)
    response_mask = torch.zeros(response_ids.shape)
    for row, response in enumerate(responses):
        response_ids[row, : len(response)] = torch.tensor(response)
        response_mask[row, : len(response)] = 1
    ids = torch.cat([prompt_ids, response_ids], 1).to(device)
    mask = torch.cat([prompt_mask, response_mask.long()], 1).to(device)
    with autocast(device):
        logits = policy.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask),
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits[:, :-1]
    all_logprobs = torch.log_softmax(logits.float() / temperature, -1)
    chosen = all_logprobs.gather(2, response_ids.to(device)[:, :, None])[:, :, 0]
    with torch.no_grad():
        entropy = -(all_logprobs.exp() * all_logprobs).sum(-1)
    return chosen, entropy, response_mask.to(device)


def clipped_loss(
    logprobs: torch.Tensor,
    old: torch.Tensor,
    advantage: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum over tokens of -min(r*A, clip(r, 1 - low, 1 + high)*A), and the number of clipped tokens.

    The sum is not divided here: the caller divides by the tokens of the whole minibatch (DAPO, eq. 12).
    """
    ratio = torch.exp(logprobs - old)
    unclipped = ratio * advantage
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantage
    return -(torch.minimum(unclipped, clipped) * response_mask).sum(), ((clipped < unclipped) * response_mask).sum()


def kl_to_reference(logprobs: torch.Tensor, reference: torch.Tensor, response_mask: torch.Tensor) -> torch.Tensor:
    """Return the sum over tokens of the k3 estimate of KL(policy || reference)."""
    # Mask before exp: padding is undefined, and inf * 0 is NaN.
    difference = (reference - logprobs).masked_fill(response_mask == 0, 0.0)
    return (torch.exp(difference) - difference - 1).sum()


# --- the diagnostics ------------------------------------------------------------------------------------


def length_shares(groups: Sequence[Group], group_advantages: Sequence[Advantages]) -> dict[str, float | None]:
    """Return the length term's share of the advantage's variance, over all groups and by kind.

    A is the sum of its parts, and every part has mean 0 in a group, so sum(A_length * A) / sum(A * A) is a share in
    the sense of covariances: the parts' shares add up to 1. It is negative if the length term works against the rest,
    and None if no group of the kind has a signal,
    or if the answer has advantages, which are not split here: the service's `signal` has their shares.
    """
    shares: dict[str, float | None] = {}
    if any(group.service_rewards.advantages is not None for group in groups):  # they come as one number
        return {f"length_share{kind}": None for kind in ("", "_none", "_some", "_all")}
    for name in ("", "none", "some", "all"):
        chosen = [a for group, a in zip(groups, group_advantages, strict=True) if name in ("", group.kind)]
        squares = sum(float((a.total * a.total).sum()) for a in chosen)
        length = sum(float((a.length * a.total).sum()) for a in chosen)
        shares[f"length_share_{name}" if name else "length_share"] = length / squares if squares > SIGNAL else None
    return shares


def sampled_entropy(rollouts: Sequence[Rollout]) -> float:
    """Return the policy's entropy in nats per token: the mean of -log p over all sampled tokens.

    The estimate is unbiased, since the mean of -log p is the entropy if tokens are drawn from p. It is the entropy of
    the distribution that is sampled from, `temperature` included.
    """
    tokens = sum(rollout.tokens for rollout in rollouts)
    return -sum(sum(rollout.logprobs) for rollout in rollouts) / tokens


def correct_pushed_down(groups: Sequence[Group], group_advantages: Sequence[Advantages]) -> float | None:
    """Return the share of correct, trained rollouts whose advantage is negative, or None without such rollouts."""
    signs = [
        bool(value < -SIGNAL)
        for group, a in zip(groups, group_advantages, strict=True)
        for value, correct, able in zip(a.total, group.service_rewards.correct, group.trained, strict=True)
        if correct and able
    ]
    return sum(signs) / len(signs) if signs else None
