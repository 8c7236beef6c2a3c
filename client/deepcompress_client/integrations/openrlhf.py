"""OpenRLHF 0.11: an agent executor that verifies, waits for the siblings in its own process, and shapes the group.

    # agent.py, for --train.agent_func_path
    from deepcompress_client.integrations.openrlhf import agent_executor
    AgentExecutor = agent_executor(run="my-run", groups_per_step=128, eval_temperature=0.6)

OpenRLHF runs all samples of a prompt concurrently in one actor, and passes the executor neither the step, nor the
number of samples, nor the phase. So the run is stepless (``groups_per_step`` = --rollout.batch_size), siblings are
identified by the sampling-parameters object they share, and evaluation by its temperature.
"""

from __future__ import annotations

import asyncio
from itertools import repeat
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike, check_run_name, run_config
from ..wire import GroupRewards
from ._audit import GoldAudit
from ._barrier import Barrier
from ._common import (
    LOGGED_COMPONENTS,
    FrameworkObject,
    Start,
    check_first_step,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log,
    log_warnings,
    problem_name,
)
from ._ray import opener
from ._versions import check_version

TESTED = ("0.11", "0.11")
"""The oldest and the newest version of OpenRLHF that the tests run with."""

DEADLINE_S = 600.0
"""Seconds. Longer than in other adapters: OpenRLHF cannot leave a sample out, so a longer outage stops the
training."""


def agent_executor(
    run: str,
    *,
    groups_per_step: int,
    eval_temperature: float | None,
    train_temperature: float = 1.0,
    next_step: int | None = 0,
    fresh: bool = False,
    continue_from: str | Path | None = None,
    folder: str | Path | None = None,
    url: str | None = None,
    strategy: StrategyLike = None,
    deadline_s: float = DEADLINE_S,
    **config: RunSetting,
) -> type:
    """Return the ``AgentExecutor`` class that OpenRLHF imports from the agent file.

    ``groups_per_step``    groups that make one step of the level: --rollout.batch_size
    ``eval_temperature``   --eval.temperature, which identifies evaluation; None without evaluation
    ``train_temperature``  --rollout.temperature
    ``next_step``          0: a new training; N: resumed after N rollout batches; None: the run unchanged
    ``fresh``              delete the history of the run's name, which a new training is refused otherwise
    ``folder``             --ckpt.path: with the run's identity in it, a training that starts again is known, and
                           rewound
    ``continue_from``      another run, or the file of its export, whose level and problems a new training starts with

    Raises:
        ValueError: the two temperatures are equal, or `next_step` is 0 and `folder` has a checkpoint.
        InvalidRequest: a setting of the run is invalid.
    """
    check_version("openrlhf", *TESTED)
    check_run_name(run)
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    if eval_temperature == train_temperature:
        raise ValueError(
            "evaluation and training cannot be distinguished if both sample at the same temperature: set "
            "--eval.temperature to another value (0.999 for 1.0 will do), or eval_temperature=None without evaluation"
        )
    settings = {**config, "groups_per_step": groups_per_step}
    start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}
    check_first_step(next_step, start)
    run_config(groupwise(strategy, settings), settings)  # refuse a misspelt setting now

    class AgentExecutor(SingleTurnAgentExecutor):  # type: ignore[misc]
        """An executor that generates one response and returns its reward within the group."""

        def __init__(self) -> None:
            super().__init__(None)
            self._client = AsyncClient(url, **client_options(deadline_s))
            self._run: AsyncRun | None = None
            self._opening = asyncio.Lock()
            self._barrier = Barrier()
            self._audit = GoldAudit("the labels")
            log.warning(
                "run %r: OpenRLHF passes no step, so every %d groups make one; rewards refer to the step before",
                run,
                groups_per_step,
            )

        async def execute(
            self,
            prompt: FrameworkObject,
            label: FrameworkObject,
            sampling_params: FrameworkObject,
            max_length: int,
            hf_tokenizer: FrameworkObject,
            llm_engine: FrameworkObject,
            images: FrameworkObject = None,
        ) -> dict[str, Any]:
            training = self._training(sampling_params.temperature)
            siblings = await self._barrier.join(sampling_params, problem_name(prompt, label))
            try:
                output: dict[str, Any] = await super().execute(
                    prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
                )
                group, index = await self._barrier.reward(
                    siblings,
                    _rollout(output, hf_tokenizer),
                    lambda rollouts: self._score(prompt, label, rollouts, training),
                )
            except BaseException as error:
                self._barrier.fail(siblings, error)
                raise
            return {**output, **_fields(group, index, training)}

        def _training(self, temperature: float) -> bool:
            if temperature == eval_temperature:
                return False
            if temperature != train_temperature:
                raise ValueError(
                    f"samples at temperature {temperature} are neither of training ({train_temperature}) nor of "
                    f"evaluation ({eval_temperature}): give agent_executor the temperatures of this training"
                )
            return True

        async def _score(
            self, prompt: FrameworkObject, label: FrameworkObject, rollouts: list[dict[str, Any]], training: bool
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
            log_warnings(run, answer)
            self._audit.note(repeat(gold), (verdict.status for verdict in answer.groups[0].verdicts))
            return answer.groups[0]

        async def _opened(self) -> AsyncRun:
            async with self._opening:
                if self._run is None:
                    opening = opener(run, url, groupwise(strategy, settings), settings, deadline_s, start)
                    epoch = await opening.open.remote(next_step)
                    self._run = await self._client.run(run, join=True)
                    self._run.epoch = epoch
            return self._run

    return AgentExecutor


def _rollout(output: dict[str, Any], tokenizer: FrameworkObject) -> dict[str, Any]:
    start, end = output["action_ranges"][-1]
    ids = output["observation_tokens"][start:end]
    return {
        "response": tokenizer.decode(ids, skip_special_tokens=True),
        "tokens": len(ids),
        "context_tokens": start,
        "truncated": bool(output["truncated"]),
    }


def _fields(group: GroupRewards, index: int, training: bool) -> dict[str, Any]:
    """Return the reward fields of one sample.

    ``scores`` is the raw 1 or 0, which dynamic filtering reads. In evaluation ``reward`` is raw too, since OpenRLHF
    reads it there.
    """
    score = float(group.correct[index])
    # OpenRLHF cannot leave a sample out. With the group's mean as reward, its advantage within the group is 0.
    reward = fill_with_group_mean(group.rewards, group.trainable)[index] if training else score
    logs = {"deepcompress_untrainable": float(not group.trainable[index])}
    if training:  # OpenRLHF stacks these: every sample of a batch has the same keys
        logs |= {f"deepcompress_{name}": getattr(group.components, name)[index] for name in LOGGED_COMPONENTS}
        if group.level is not None:
            logs["deepcompress_level"] = group.level
    return {"reward": reward, "scores": score, "extra_logs": logs}
