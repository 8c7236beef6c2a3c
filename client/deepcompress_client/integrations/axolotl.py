"""Axolotl: a plugin that attaches the TRL reward to the trainer, since Axolotl builds the trainer from YAML.

    # rewards.py
    from deepcompress_client.integrations.trl import DeepCompressReward
    reward = DeepCompressReward(run="my-run", gold="answer")

    # config.yaml
    rl: grpo
    trl:
      reward_funcs: [rewards.reward]
    plugins:
      - deepcompress_client.integrations.axolotl.DeepCompressPlugin

This file is imported by Axolotl; nothing else imports it.
"""

from __future__ import annotations

from axolotl.integrations.base import BasePlugin

from ._common import FrameworkObject
from .trl import DeepCompressReward


class DeepCompressPlugin(BasePlugin):  # type: ignore[misc]
    """Calls `DeepCompressReward.attach` when Axolotl has created the trainer."""

    def post_trainer_create(self, cfg: FrameworkObject, trainer: FrameworkObject) -> None:
        """Attach every `DeepCompressReward` of the trainer.

        Raises:
            ValueError: the trainer has none, or one does not fit the trainer.
        """
        del cfg
        rewards = [
            func for func in getattr(trainer, "reward_funcs", None) or () if isinstance(func, DeepCompressReward)
        ]
        if not rewards:
            raise ValueError(
                "the trainer has no DeepCompressReward: name one under trl.reward_funcs, and set rl: grpo, or remove "
                "the plugin"
            )
        for reward in rewards:
            reward.attach(trainer)
