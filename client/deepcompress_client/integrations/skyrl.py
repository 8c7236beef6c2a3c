"""SkyRL: a generator that shapes the batch it has generated.

    from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
    from deepcompress_client.integrations.skyrl import shaped
    Generator = shaped(SkyRLGymGenerator, run="my-run")       # returned by BasePPOExp.get_generator

A generator has all data: prompts, token ids, stop reasons, the step and the phase. The environment's reward is
replaced. Samples that must not be trained on get an empty loss mask, as from SkyRL's overlong filter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike, check_run_name
from ._audit import GoldAudit
from ._common import (
    DEADLINE_S,
    FrameworkObject,
    Start,
    client_options,
    fill_with_group_mean,
    gold_text,
    log_warnings,
    one_problem,
    open_run_async,
)
from ._versions import check_version


def shaped(
    base: type,
    *,
    run: str,
    fresh: bool = False,
    continue_from: str | Path | None = None,
    folder: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    strategy: StrategyLike = None,
    deadline_s: float = DEADLINE_S,
    **config: RunSetting,
) -> type:
    """Return a subclass of SkyRL's generator that shapes its batches.

    Golds come from ``reward_spec.ground_truth`` of each row, or from ``reward_model.ground_truth``, as SkyRL's AIME
    environment has it. The fully asynchronous trainer generates group by group; with it, use
    ``strategy={"name": "deepcompress", "reference": "previous"}``: rewards then do not depend on the order of a
    step's groups.

    ``fresh`` deletes the history of the run's name, which a new training is refused otherwise. ``folder`` is SkyRL's
    ckpt_path: with the run's identity in it, a training that starts again is known, and rewound. ``continue_from`` is
    another run, or the file of its export, whose level and problems a new training starts with.
    """
    check_version("skyrl", "0.4", "0.4")
    start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}

    class DeepCompressGenerator(base):  # type: ignore[misc]
        """The base generator, with shaped rewards."""

        _shaping = Shaping(run, url, api_key, strategy, deadline_s, config, start)

        async def generate(self, input_batch: FrameworkObject, disable_tqdm: bool = False) -> FrameworkObject:
            output = await super().generate(input_batch, disable_tqdm)
            await self._shaping.apply(input_batch, output, self.tokenizer)
            return output

    return DeepCompressGenerator


class Shaping:
    """Replaces the rewards of a generator's output. An outage of the service raises; no reward becomes 0."""

    def __init__(
        self,
        run: str,
        url: str | None,
        api_key: str | None,
        strategy: StrategyLike,
        deadline_s: float,
        config: dict[str, Any],
        start: Start | None = None,
    ) -> None:
        self.run_name = check_run_name(run)
        self._start: Start = start or {}
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = strategy
        self._config = config
        self._audit = GoldAudit("the environments")
        self._opening = asyncio.Lock()
        self._run: AsyncRun | None = None
        self._step = -1
        self._generation = 0

    async def apply(self, batch: FrameworkObject, output: FrameworkObject, tokenizer: FrameworkObject) -> None:
        """Replace the rewards and loss masks in `output`, which the generator made from `batch`.

        Raises:
            ValueError: the trainer's data do not identify the step and the rollouts, or have no gold.
        """
        ids = batch.get("trajectory_ids")
        metadata = batch.get("batch_metadata")
        if ids is None or metadata is None:
            raise ValueError("this trainer gives the generator neither trajectory ids nor the step")
        if len(output["response_ids"]) != len(ids):
            raise ValueError("step-wise trajectories are not supported: turns and rollouts cannot be distinguished")
        training = metadata.training_phase != "eval"
        rows_of: dict[str, list[int]] = {}
        for row, one in enumerate(ids):
            rows_of.setdefault(str(one.instance_id), []).append(row)
        groups = [self._group(name, rows, batch, output, tokenizer) for name, rows in rows_of.items()]
        if training:
            step = int(metadata.global_step)
            self._generation = self._generation + 1 if step == self._step else 0
            self._step = step
            for group in groups:  # a prompt may be sampled again within a step
                group["group_id"] = f"{self._generation}.{group['group_id']}"
            opened = await self._opened(step)
            answer = await opened.score(groups, step=step, generation=self._generation)
        else:
            answer = await self._client.score(
                groups, phase="eval", answer_format=self._config.get("answer_format", "boxed")
            )
        log_warnings(self.run_name, answer)
        for group, scored in zip(groups, answer.groups, strict=True):
            self._audit.note(repeat(group["gold"]), (verdict.status for verdict in scored.verdicts))
        for rows, scored in zip(rows_of.values(), answer.groups, strict=True):
            rewards = fill_with_group_mean(scored.rewards, scored.trainable)
            for index, row in enumerate(rows):
                reward = rewards[index] if training else float(scored.correct[index])
                if training and not scored.trainable[index]:
                    output["loss_masks"][row] = [0] * len(output["loss_masks"][row])
                _put(output["rewards"], row, reward)

    def _group(
        self,
        name: str,
        rows: Sequence[int],
        batch: FrameworkObject,
        output: FrameworkObject,
        tokenizer: FrameworkObject,
    ) -> dict[str, Any]:
        golds = [_gold(batch["env_extras"][row]) for row in rows]
        prompts = [batch["prompts"][row] for row in rows]
        reasons = output.get("stop_reasons") or [None] * len(output["response_ids"])
        return {
            "problem_id": one_problem(f"group {name}", zip(prompts, golds, strict=True)),
            "group_id": name,
            "gold": golds[0],
            "rollouts": [
                {
                    "response": tokenizer.decode(output["response_ids"][row], skip_special_tokens=True),
                    **_lengths(output, row),
                    "truncated": reasons[row] == "length",
                }
                for row in rows
            ],
        }

    async def _opened(self, step: int) -> AsyncRun:
        async with self._opening:
            if self._run is None:
                # SkyRL counts its steps from 1, so 1 is a new training.
                first = 0 if step <= 1 else step
                self._run = await open_run_async(
                    self._client, self.run_name, first, self._strategy, self._config, **self._start
                )
        return self._run


def _gold(extras: Mapping[str, Any]) -> str | list[str]:
    """Return the gold of a row.

    Raises:
        ValueError: it has none.
    """
    for field in ("reward_spec", "reward_model"):
        gold = (extras.get(field) or {}).get("ground_truth")
        if gold is not None:
            return gold_text(gold)
    raise ValueError(
        f"a row has neither reward_spec.ground_truth nor reward_model.ground_truth, only {sorted(extras)}"
    )


def _lengths(output: FrameworkObject, row: int) -> dict[str, int]:
    """Return the tokens that the policy wrote, and those that it read: the prompt and observations."""
    response = len(output["response_ids"][row])
    written = sum(output["loss_masks"][row]) or response  # all of them if a filter emptied the mask
    prompts = output.get("prompt_token_ids")
    context = {} if prompts is None else {"context_tokens": len(prompts[row]) + response - written}
    return {"tokens": written, **context}


def _put(rewards: list[Any], row: int, reward: float) -> None:
    """Set the reward of a row: a number, or one number per token with the reward at the last."""
    if isinstance(rewards[row], list):
        rewards[row] = [0.0] * (len(rewards[row]) - 1) + [reward]
    else:
        rewards[row] = reward
