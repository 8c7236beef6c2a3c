"""Tinker cookbook: the rewards of a group, for ``ProblemGroupBuilder.compute_group_rewards``.

    rewards = GroupRewards("my-run", groups_per_step=64, next_step=0)

    class ShapedGroupBuilder(ProblemGroupBuilder):
        async def compute_group_rewards(self, trajectory_group, env_group):
            return await rewards(trajectory_group, env_group)

The hook gets neither the step nor the phase. So the run is stepless, and builders of test sets stay as they are. The
environments' own rewards are subtracted, since the cookbook adds them. This file does not import the cookbook.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike, check_run_name
from ._common import (
    DEADLINE_S,
    FrameworkObject,
    Start,
    check_first_step,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log_warnings,
    one_problem,
    open_run_async,
    text_of,
)
from ._versions import check_version


class GroupRewards:
    """The rewards of the groups of one training, whose environments are `ProblemEnv` of one turn.

    ``groups_per_step``  groups that make one step of the level: the batch size of the data set
    ``next_step``        the batch at which the training begins: that of the last checkpoint, or 0
    ``folder``           the cookbook's log_path: with the run's identity in it, a training that starts again is
                         known, and rewound; ``fresh`` and ``continue_from`` as in the other adapters

    A rollout that must not be trained on gets the mean of its group. An outage of the service raises.
    """

    def __init__(
        self,
        run: str,
        *,
        groups_per_step: int,
        next_step: int,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        folder: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        check_version("tinker-cookbook", "0.6", "0.6")
        self.run_name, self._next_step = check_run_name(run), next_step
        self._start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}
        check_first_step(next_step, self._start)
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._config = {**config, "groups_per_step": groups_per_step}
        self._strategy = groupwise(strategy, self._config)
        self._opening = asyncio.Lock()
        self._run: AsyncRun | None = None

    async def __call__(
        self, trajectories: Sequence[FrameworkObject], environments: Sequence[FrameworkObject]
    ) -> list[tuple[float, dict[str, Any]]]:
        """Return what is added to each trajectory's own rewards, and its metrics, [trajectories].

        Raises:
            ValueError: the group has several problems, or trajectories of several turns.
            RuntimeError: this is a process of a rollout executor, which would open the run again.
        """
        if multiprocessing.parent_process() is not None:
            raise RuntimeError("GroupRewards works in the training's own process: use no rollout executor")
        if any(len(one.transitions) != 1 for one in trajectories):
            raise ValueError("a trajectory has several turns, of which each would be judged as the answer")
        tasks = [(one.get_question(), one.get_reference_answer()) for one in environments]
        actions = [one.transitions[0].ac for one in trajectories]
        group = {
            "problem_id": one_problem("this group", tasks),
            "gold": gold_text(tasks[0][1]),
            "rollouts": [
                {
                    "response": text_of([environments[0].renderer.parse_response(action.tokens)[0]]),
                    "tokens": len(action.tokens),
                    "truncated": action.stop_reason == "length",
                }
                for action in actions
            ],
        }
        async with self._opening:
            if self._run is None:
                opening = open_run_async(
                    self._client, self.run_name, self._next_step, self._strategy, self._config, **self._start
                )
                self._run = await opening
        answered = await self._run.score([group])
        log_warnings(self.run_name, answered)
        answer = answered.groups[0]
        totals = fill_with_group_mean(answer.rewards, answer.trainable)
        own = [sum(turn.reward for turn in one.transitions) for one in trajectories]
        return [
            (total - reward, {"deepcompress_correct": float(correct), "deepcompress_trainable": float(ok)})
            for total, reward, correct, ok in zip(totals, own, answer.correct, answer.trainable, strict=True)
        ]
