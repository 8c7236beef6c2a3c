"""ROLL: the length term for the n responses of a prompt, in ``UserDefinedRolloutLoop.process_new_prompt``.

    class DeepCompressLoop(UserDefinedRolloutLoop):
        async def process_new_prompt(self, context):
            return await SHAPING.apply(context, await super().process_new_prompt(context))

The outcome comes from a reward worker (ROLL's own, or the compatible endpoint, /compat/roll). Prompts come one by
one, so rewards refer to the level of the step before. This file does not import ROLL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    decode_status,
    fill_with_group_mean,
    groupwise,
    log_warnings,
    one_problem,
    open_run_async,
)


class GroupShaping:
    """Replaces ``response_level_rewards`` of the responses to one prompt; ``scores`` keep the raw outcome.

    The rewards become float32: fp16, which ROLL's workers use, would round the length term to 0. A rollout that must
    not be trained on gets the mean of its group; ``submit_task?untrainable=marked`` marks such rollouts. An outage of
    the service raises.

    ``fresh`` deletes the history of the run's name, which a new training is refused otherwise. ``folder`` is ROLL's
    output_dir: with the run's identity in it, a training that starts again is known, and rewound. ``continue_from``
    is another run, or the file of its export, whose level and problems a new training starts with.
    """

    def __init__(
        self,
        run: str,
        *,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        folder: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = groupwise(strategy, config)
        self._config = config
        self._audit = GoldAudit("the column ground_truth")
        self._opening = asyncio.Lock()
        self._run: AsyncRun | None = None

    async def apply(self, context: FrameworkObject, responses: Sequence[Any] | None) -> Sequence[Any] | None:
        """Return the same responses, shaped. They are unchanged in validation, or if ROLL dropped the prompt.

        Raises:
            ValueError: the responses are of several prompts or golds, or none of the first golds is readable.
        """
        if not responses or context.is_val:
            return responses
        rows = [(data, row) for data in responses for row in range(len(data.batch["scores"]))]
        step = int(responses[0].meta_info["global_step"])
        name = str(context.prompt_id)  # a counter of the job, which is another one at each visit of a problem
        rollouts = [
            {
                **decode_status(float(data.batch["scores"][row])),
                "tokens": int(data.batch["response_mask"][row].sum()),
                "context_tokens": int(data.batch["prompt_mask"][row].sum()),
            }
            for data, row in rows
        ]
        group = {
            "problem_id": one_problem(f"prompt {name}", (_problem(data, row) for data, row in rows)),
            "group_id": name,
            "rollouts": rollouts,
        }
        async with self._opening:
            if self._run is None:
                self._run = await open_run_async(
                    self._client, self.run_name, step, self._strategy, self._config, **self._start
                )
        answer = await self._run.shape([group], step=step)
        log_warnings(self.run_name, answer)
        self._audit.note((_problem(*row)[1] for row in rows), (one.get("status", "wrong") for one in rollouts))
        for data in responses:
            data.batch["response_level_rewards"] = data.batch["response_level_rewards"].float()
        rewards = fill_with_group_mean(answer.groups[0].rewards, answer.groups[0].trainable)
        for (data, row), reward in zip(rows, rewards, strict=True):
            data.batch["response_level_rewards"][row] = reward
        return responses


def _problem(data: FrameworkObject, row: int) -> tuple[object, object]:
    """Return the prompt of a response, as token ids without padding, and its gold, None where the data have none."""
    size = int(data.batch["prompt_mask"][row].sum())
    ids = data.batch["prompts"][row].tolist()  # padded at the left
    golds = data.non_tensor_batch.get("ground_truth")
    return str(ids[len(ids) - size :]), None if golds is None else golds[row]
