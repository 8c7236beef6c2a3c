"""NeMo RL: the outcome in the environment, the length term in place of ``apply_reward_shaping``.

    from deepcompress_client.integrations.nemo_rl import StepShaping, verify
    StepShaping(run="my-run", next_step=0).install()     # with grpo.reward_shaping.enabled=true

`verify` is for an environment's ``step``, which gets texts and metadata only. The shaping gets the whole batch, with
token ids. NeMo RL has no setting for it, so `install` replaces the function in every module of NeMo RL that imported
it. With NeMo Gym, use its endpoint (docs/integrations/nemo_gym.md) instead.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from .._client import Client
from ..wire import AnswerFormat
from ._audit import GoldAudit
from ._common import (
    FrameworkObject,
    Option,
    decode_status,
    encode_status,
    fill_with_group_mean,
    gold_text,
    log,
    one_problem,
    problem_name,
    text_of,
)
from ._counting import CountedSteps

_audits: WeakKeyDictionary[Client, GoldAudit] = WeakKeyDictionary()
"""The check of the first golds, of each client."""


def verify(
    client: Client,
    message_logs: Sequence[Sequence[Mapping[str, Any]]],
    metadata: Sequence[Mapping[str, Any]],
    *,
    gold: str = "ground_truth",
    answer_format: AnswerFormat | None = None,
    marks: bool = False,
) -> list[float]:
    """Return outcome rewards (1.0 or 0.0) for an environment's ``step``, [rollouts].

    With ``marks``, a rollout without a verdict to train on gets a reward just below 0, which `StepShaping`
    recognises: an environment passes only the reward to it. Without `StepShaping` leave it off; such rollouts then
    count as wrong.

    Raises:
        DeepCompressError: the service is unavailable, or refuses the request.
        ValueError: none of the first golds is readable.
    """
    items = [
        {"gold": gold_text(row[gold]), "response": text_of(messages[-1]["content"])}
        for messages, row in zip(message_logs, metadata, strict=True)
    ]
    verdicts = client.verify(items, answer_format=answer_format)
    audit = _audits.setdefault(client, GoldAudit(f"field {gold!r} of the metadata"))
    audit.note((row[gold] for row in metadata), (one.status for one in verdicts))
    return [encode_status(float(one.correct), one.status) if marks else float(one.correct) for one in verdicts]


class StepShaping(CountedSteps):
    """Reward shaping of a step, called as ``apply_reward_shaping(batch, cfg)``.

    It replaces ``total_reward``, and stores the outcome as ``unshaped_total_reward``, which dynamic sampling reads.
    ``next_step`` is the first step: 0, or the step at which the training resumes; NeMo RL does not pass it. ``gold``
    is the field of the gold in the batch's ``extra_env_info``: rollouts of one prompt must have one gold. A rollout
    that must not be trained on (`verify` with ``marks``) gets its group's mean, and weight 0 in the loss if the batch
    has NeMo RL's ``loss_multiplier``.
    """

    framework = "NeMo RL passes reward shaping"

    def __init__(self, run: str, *, gold: str = "ground_truth", **options: Option) -> None:
        super().__init__(run, **options)
        self._gold = gold

    def install(self) -> None:
        """Replace NeMo RL's function in every module that has imported it.

        Raises:
            RuntimeError: no module has it.
        """
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("nemo_rl.") and hasattr(module, "apply_reward_shaping")
        ]
        if not modules:
            raise RuntimeError("NeMo RL is not imported yet, or has no apply_reward_shaping any more")
        for module in modules:
            module.apply_reward_shaping = self  # type: ignore[attr-defined]

    def __call__(self, batch: FrameworkObject, cfg: FrameworkObject = None) -> FrameworkObject:
        """Replace the batch's rewards, as NeMo RL's ``apply_reward_shaping``; return the batch.

        Raises:
            ValueError: the batch has no messages, or rollouts of one prompt have different golds.
        """
        del cfg  # NeMo RL passes its configuration
        if "message_log" not in batch:
            raise ValueError(
                "this trainer passes no message_log to reward shaping, only padded prompts and the length of the "
                "first turn: set data_plane.enabled=false"
            )
        outcomes = batch["total_reward"]
        truncated = batch["truncated"].tolist() if "truncated" in batch else [False] * len(outcomes)
        rows_of: dict[str, list[int]] = {}
        rollouts = []
        for row, messages in enumerate(batch["message_log"]):
            rows_of.setdefault(_prompt(messages), []).append(row)
            written = [len(message["token_ids"]) for message in messages if message["role"] == "assistant"]
            read = sum(len(message["token_ids"]) for message in messages) - sum(written)
            rollouts.append(
                {
                    **decode_status(float(outcomes[row])),
                    "tokens": sum(written),
                    "context_tokens": read,
                    "turns": len(written) or None,
                    "truncated": bool(truncated[row]),
                }
            )
        self._check_golds(batch.get("extra_env_info"), rows_of)
        groups = [{"problem_id": name, "rollouts": [rollouts[row] for row in rows]} for name, rows in rows_of.items()]
        answer = self._shape(groups)
        batch["unshaped_total_reward"] = outcomes
        total = outcomes.clone()
        for rows, group in zip(rows_of.values(), answer.groups, strict=True):
            for row, reward in zip(rows, fill_with_group_mean(group.rewards, group.trainable), strict=True):
                total[row] = reward
        batch["total_reward"] = total
        left_out = [
            row
            for rows, group in zip(rows_of.values(), answer.groups, strict=True)
            for row, ok in zip(rows, group.trainable, strict=True)
            if not ok
        ]
        if left_out:
            log.warning(
                "run %r: %d of %d rollouts have no verdict to train on", self.run_name, len(left_out), len(total)
            )
        if left_out and "loss_multiplier" in batch:
            batch["loss_multiplier"] = batch["loss_multiplier"].clone()
            for row in left_out:
                batch["loss_multiplier"][row] = 0.0
        return batch

    def _check_golds(self, metadata: Sequence[Any] | None, rows_of: Mapping[str, Sequence[int]]) -> None:
        """Check that the rollouts of each prompt have one gold, as far as the environment kept it.

        Raises:
            ValueError: they have several.
        """
        if metadata is None:
            return
        for name, rows in rows_of.items():
            kept = [metadata[row] for row in rows if isinstance(metadata[row], Mapping)]
            if golds := [one[self._gold] for one in kept if one.get(self._gold) is not None]:
                one_problem(f"the prompt {name}", ((name, gold) for gold in golds))


def _prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a name for the prompt: NeMo RL passes no group key, so its token ids are the key."""
    first = next((index for index, m in enumerate(messages) if m["role"] == "assistant"), len(messages))
    ids = [int(token) for message in messages[:first] for token in message["token_ids"]]
    return problem_name(str(ids), "")
