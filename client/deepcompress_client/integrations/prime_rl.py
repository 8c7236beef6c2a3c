"""prime-rl: an algorithm that shapes each group, between scoring and advantages.

    # my_algorithm.py
    from prime_rl... import GRPOAlgorithm            # as in prime-rl's "Authoring an Algorithm"
    from deepcompress_client.integrations.prime_rl import GroupShaping
    class DeepCompressAlgorithm(GRPOAlgorithm):
        async def score_group(self, episodes):
            await SHAPING.score_group(episodes)

prime-rl passes one group at a time, with the group's id, the step of its dispatch and its phase. Groups of a step
come one by one, so rewards refer to the level of the step before. This file does not import prime-rl: it uses
verifiers' episodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike
from ..wire import GroupRewards
from ._common import (
    DEADLINE_S,
    GROUPWISE_STRATEGY,
    OUTAGES,
    FrameworkObject,
    client_options,
    grpo_advantages,
    log,
    open_run_async,
    problem_name,
)

Assign = Callable[[Any, float], None]
"""prime-rl's ``assign_advantages(trace, value)``."""


class GroupShaping:
    """Shapes the groups of prime-rl and assigns their advantages.

    ``run``        the run's name
    ``assign``     prime-rl's ``assign_advantages``
    ``correct``    the name of the trace's reward that is 1 or 0: `Outcome` of the verifiers integration
    ``gold``       the field of the task's data with the gold answer; with its prompt it names the problem
    ``groups_per_step``  groups that make a step, instead of the step of their dispatch: for long pipelines, in which
                   groups come after their step is closed, and would be marked stale and not count
    ``divide_by_std``  normalise by the group's standard deviation, as GRPO; False for mean only

    Episodes that failed have no verdict and are left out. During an outage of the service, every trace of a group
    gets advantage 0, and the error is logged.
    """

    def __init__(
        self,
        run: str,
        *,
        assign: Assign,
        correct: str = "correct",
        gold: str = "answer",
        groups_per_step: int | None = None,
        divide_by_std: bool = True,
        url: str | None = None,
        api_key: str | None = None,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = run
        self._assign = assign
        self._correct, self._gold = correct, gold
        self._divide_by_std = divide_by_std
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = strategy or GROUPWISE_STRATEGY
        self._stepless = groups_per_step is not None
        self._config = {**config, "groups_per_step": groups_per_step}
        self._opening = asyncio.Lock()
        self._run: AsyncRun | None = None

    async def score_group(self, episodes: Sequence[Any]) -> GroupRewards | None:
        """Shape one group and assign its advantages; return the rewards, or None if there are none.

        Raises:
            ValueError: the group is not of training, or has no outcome.
        """
        judged = [episode for episode in episodes if episode.traces and not episode.traces[0].has_error]
        if not judged:
            return None
        work = judged[0].run.work
        if work.type != "train":
            raise ValueError(
                f"evaluation does not pass through algorithms, but this group has the type {work.type!r}"
            )
        step, group_id = int(work.step), str(judged[0].group.id)
        group = {
            "problem_id": self._problem(judged[0]),
            "group_id": group_id,
            "rollouts": [self._rollout(episode.traces[0]) for episode in judged],
        }
        try:
            run = await self._opened(step)
            answer = (await run.shape([group], step=None if self._stepless else step)).groups[0]
        except OUTAGES as error:
            log.error("no rewards for group %s, its advantages are 0: %s", group_id, error)
            self._assign_all(judged, [0.0] * len(judged))
            return None
        rewards = [reward if ok else None for reward, ok in zip(answer.rewards, answer.trainable, strict=True)]
        self._assign_all(judged, grpo_advantages(rewards, divide_by_std=self._divide_by_std))
        return answer

    def _assign_all(self, episodes: Sequence[Any], advantages: Sequence[float]) -> None:
        for episode, advantage in zip(episodes, advantages, strict=True):
            for trace in episode.traces:
                self._assign(trace, advantage)

    def _problem(self, episode: FrameworkObject) -> str:
        data = episode.task.data
        return problem_name(getattr(data, "prompt", None), getattr(data, self._gold))

    def _rollout(self, trace: FrameworkObject) -> dict[str, Any]:
        outcome = trace.rewards.get(self._correct)
        if outcome is None:
            raise ValueError(f"a trace has no reward {self._correct!r}, only {sorted(trace.rewards)}")
        return {
            "correct": outcome.value > 0,
            "tokens": int(trace.num_output_tokens),
            "truncated": bool(trace.is_truncated),
            "context_tokens": getattr(trace, "num_input_tokens", None),
            "turns": getattr(trace, "num_turns", None) or None,
        }

    async def _opened(self, step: int) -> AsyncRun:
        async with self._opening:
            if self._run is None and self._stepless and step > 0:
                self._run = await self._client.run(self.run_name, join=True)  # resumed: the run unchanged
            if self._run is None:
                self._run = await open_run_async(self._client, self.run_name, step, self._strategy, self._config)
        return self._run
