"""OpenRLHF 0.11: an agent executor that verifies, waits for the siblings in its own process, and shapes the group.

    # agent.py, for --train.agent_func_path
    from deepcompress_client.integrations.openrlhf import agent_executor
    AgentExecutor = agent_executor(run="my-run", groups_per_step=128, eval_temperature=0.6)

OpenRLHF runs all samples of a prompt concurrently in one actor, and tells the executor neither the step, nor the
sample count, nor whether it evaluates. So the run is stepless (``groups_per_step`` = --rollout.batch_size), siblings
are known by the sampling-parameters object they share, and evaluation by its temperature.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import run_config
from ..wire import GroupRewards
from ._barrier import Barrier
from ._common import GROUPWISE_STRATEGY, client_options, fill_with_group_mean, gold_text, log, problem_name
from ._ray import opener

DEADLINE_S = 600.0
"""Longer than elsewhere: there is no way to leave a sample out, so an outage beyond it stops the training."""


def agent_executor(
    run: str,
    *,
    groups_per_step: int,
    eval_temperature: float | None,
    train_temperature: float = 1.0,
    next_step: int | None = 0,
    url: str | None = None,
    strategy: Any = None,
    deadline_s: float = DEADLINE_S,
    **config: Any,
) -> type:
    """Return the ``AgentExecutor`` class that OpenRLHF imports from the agent file.

    ``groups_per_step``    groups that make one step of the level: --rollout.batch_size
    ``eval_temperature``   --eval.temperature, by which evaluation is told from training; None: there is none
    ``train_temperature``  --rollout.temperature
    ``next_step``          0: a new training; N: resumed after N rollout batches; None: the run as it stands
    """
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    if eval_temperature == train_temperature:
        raise ValueError(
            "evaluation cannot be told from training where both sample at the same temperature: set "
            "--eval.temperature to another value (0.999 for 1.0 will do), or eval_temperature=None without evaluation"
        )
    settings = {**config, "groups_per_step": groups_per_step}
    run_config(strategy or GROUPWISE_STRATEGY, settings)  # a misspelt setting is said now

    class AgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc]
        """One response, then the group's rewards."""

        def __init__(self) -> None:
            super().__init__(None)
            self._client = AsyncClient(url, **client_options(deadline_s))
            self._run: AsyncRun | None = None
            self._opening = asyncio.Lock()
            self._barrier = Barrier()
            log.warning(
                "run %r: OpenRLHF tells no step, so every %d groups make one; rewards refer to the step before",
                run,
                groups_per_step,
            )

        async def execute(
            self,
            prompt: Any,
            label: Any,
            sampling_params: Any,
            max_length: int,
            hf_tokenizer: Any,
            llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:
            training = self._training(sampling_params.temperature)
            siblings = await self._barrier.join(sampling_params)
            try:
                output: dict[str, Any] = await super().execute(
                    prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
                )
                group, place = await self._barrier.reward(
                    siblings,
                    _rollout(output, hf_tokenizer),
                    lambda rollouts: self._score(prompt, label, rollouts, training),
                )
            except BaseException as error:
                self._barrier.fail(siblings, error)
                raise
            return {**output, **_fields(group, place, training)}

        def _training(self, temperature: float) -> bool:
            if temperature == eval_temperature:
                return False
            if temperature != train_temperature:
                raise ValueError(
                    f"samples at temperature {temperature} are neither of training ({train_temperature}) nor of "
                    f"evaluation ({eval_temperature}): tell agent_executor the temperatures of this training"
                )
            return True

        async def _score(
            self, prompt: Any, label: Any, rollouts: list[dict[str, Any]], training: bool
        ) -> GroupRewards:
            gold = gold_text(label)
            sent = {"problem_id": problem_name(prompt, gold), "gold": gold, "rollouts": rollouts}
            if not training:
                answer = await self._client.score(
                    [sent], phase="eval", answer_format=config.get("answer_format", "boxed")
                )
            else:
                opened = await self._opened()
                answer = await opened.score([sent])
            for warning in answer.warnings:
                log.warning("run %r: %s", run, warning)
            return answer.groups[0]

        async def _opened(self) -> AsyncRun:
            async with self._opening:
                if self._run is None:
                    opening = opener(run, url, strategy or GROUPWISE_STRATEGY, settings, deadline_s)
                    epoch = await opening.open.remote(next_step)
                    self._run = await self._client.run(run, join=True)
                    self._run.epoch = epoch
            return self._run

    return AgentExecutor


def _rollout(output: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    start, end = output["action_ranges"][-1]
    ids = output["observation_tokens"][start:end]
    return {
        "response": tokenizer.decode(ids, skip_special_tokens=True),
        "tokens": len(ids),
        "truncated": bool(output["truncated"]),
    }


def _fields(group: GroupRewards, place: int, training: bool) -> dict[str, Any]:
    """Return the reward fields of one sample.

    ``scores`` is the raw 1 or 0, which dynamic filtering reads. In evaluation ``reward`` is raw too, since OpenRLHF
    reads it there.
    """
    score = float(group.correct[place])
    # OpenRLHF can leave no sample out. The group's mean teaches nothing where the baseline is the group.
    reward = fill_with_group_mean(group.rewards, group.trainable)[place] if training else score
    logs = {"deepcompress_untrainable": float(not group.trainable[place])}
    if training:  # the same keys in every sample of a batch, or OpenRLHF could not stack them
        for name, values in vars(group.components).items():
            if name != "outcome":
                logs[f"deepcompress_{name}"] = values[place]
        if group.level is not None:
            logs["deepcompress_level"] = group.level
    return {"reward": reward, "scores": score, "extra_logs": logs}
