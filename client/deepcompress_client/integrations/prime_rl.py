"""prime-rl: an algorithm that shapes each group, between scoring and advantages.

    class DeepCompressAlgorithm(GRPOAlgorithm):              # docs/integrations/prime_rl.md has the whole file
        def __init__(self, config, policy_pool):
            super().__init__(config, policy_pool)
            self.shaping = GroupShaping(config.run, assign=assign_advantages)

        async def score_group(self, episodes):
            await self.shaping.score_group(episodes)

prime-rl passes one group at a time, with the group's id, the step of its dispatch and its phase. Groups of a step
come one by one, so rewards refer to the level of the step before. This file does not import prime-rl: it uses
verifiers' episodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._runs import RunSetting, StrategyLike, check_run_name
from ..wire import GroupRewards
from ._common import (
    DEADLINE_S,
    OUTAGES,
    FrameworkObject,
    Start,
    client_options,
    group_advantages,
    groupwise,
    log,
    log_warnings,
    one_problem,
    open_run_async,
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
    ``asynchronous``  a group counts at the step after the version of the policy that is live when it is scored: the
                   batch that is being collected. Groups have ages; with ``max_age=N`` older ones get advantage 0
    ``divide_by_std``  also divide by the group's standard deviation; prime-rl's own GRPO subtracts the mean only
    ``fresh``      delete the history of the run's name, which a new training is refused otherwise
    ``folder``     prime-rl's output_dir: with the run's identity in it, a training that starts again is known, and
                   rewound
    ``continue_from``  another run, or the file of its export, whose level and problems a new training starts with

    Every trainable trace of an episode is a rollout of its own, with its own verdict and length, as in prime-rl's
    algorithms. Traces that failed have no verdict and are left out. During an outage of the service, every trace of
    a group gets advantage 0, and the error is logged.
    """

    def __init__(
        self,
        run: str,
        *,
        assign: Assign,
        correct: str = "correct",
        gold: str = "answer",
        groups_per_step: int | None = None,
        asynchronous: bool = False,
        divide_by_std: bool = False,
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
        self._assign = assign
        self._correct, self._gold = correct, gold
        self._divide_by_std = divide_by_std
        self._client = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._strategy = groupwise(strategy, config)
        self._stepless = groups_per_step is not None
        self._config = {**config, "groups_per_step": groups_per_step}
        self._asynchronous = asynchronous
        if asynchronous:
            self._config["asynchronous"] = True
        self._newest = 0
        """The newest version of the policy that an episode has ended with."""
        self._opening = asyncio.Lock()
        self._run: AsyncRun | None = None

    async def score_group(self, episodes: Sequence[Any]) -> GroupRewards | None:
        """Shape one group and assign its advantages; return the rewards, or None if there are none.

        Raises:
            ValueError: the group is not of training, is of more than one problem, or has a trace without an outcome.
        """
        judged = [(episode, trace) for episode in episodes for trace in episode.traces if _trainable(trace)]
        if not judged:
            return None
        first = judged[0][0]
        work = first.run.work
        if work.type != "train":
            raise ValueError(
                f"evaluation does not pass through algorithms, but this group has the type {work.type!r}"
            )
        step, group_id = int(work.step), str(first.group.id)
        rollouts = [self._rollout(trace) for _, trace in judged]
        opening, version = step, None
        if self._asynchronous:
            oldest, version = self._add_versions(rollouts, [episode for episode, _ in judged])
            opening, step = oldest + 1, version + 1
        group = {
            "problem_id": one_problem(f"group {group_id}", (self._task(episode) for episode, _ in judged)),
            "group_id": group_id,
            "rollouts": rollouts,
        }
        traces = [trace for _, trace in judged]
        try:
            run = await self._opened(opening)
            answered = await run.shape([group], step=None if self._stepless else step, policy_version=version)
        except OUTAGES as error:
            log.error("no rewards for group %s, its advantages are 0: %s", group_id, error)
            self._assign_all(traces, [0.0] * len(traces))
            return None
        log_warnings(self.run_name, answered)
        answer = answered.groups[0]
        if answer.too_old:
            answer.trainable = [False] * len(traces)
        self._assign_all(traces, group_advantages(answer, divide_by_std=self._divide_by_std))
        return answer

    def _assign_all(self, traces: Sequence[Any], advantages: Sequence[float]) -> None:
        for trace, advantage in zip(traces, advantages, strict=True):
            self._assign(trace, advantage)

    def _add_versions(self, rollouts: list[dict[str, Any]], episodes: Sequence[Any]) -> tuple[int, int]:
        """Give each rollout the oldest version that wrote it; return the group's oldest and the newest known version.

        An episode without a span of versions is of a frozen model, which prime-rl never treats as stale.
        """
        spans = [getattr(episode.run.work, "policy", None) for episode in episodes]
        self._newest = max([self._newest, *(int(span.end) for span in spans if span is not None)])
        for rollout, span in zip(rollouts, spans, strict=True):
            rollout["policy_version"] = self._newest if span is None else int(span.start)
        return min(rollout["policy_version"] for rollout in rollouts), self._newest

    def _task(self, episode: FrameworkObject) -> tuple[object, object]:
        data = episode.task.data
        return getattr(data, "prompt", None), getattr(data, self._gold)

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
            if self._run is None and self._stepless and step > 1:
                # Resumed: the run is unchanged. prime-rl counts its steps from 1, so 1 is a new training.
                profile = self._config.get("profile")
                self._run = await self._client.run(self.run_name, join=True, profile=profile)
            if self._run is None:
                first = 0 if step <= 1 else step
                self._run = await open_run_async(
                    self._client, self.run_name, first, self._strategy, self._config, **self._start
                )
        return self._run


def _trainable(trace: FrameworkObject) -> bool:
    """Return whether prime-rl trains on the trace: no failure, a trainable agent, and sampled tokens."""
    agent = getattr(trace, "agent", None)  # verifiers 0.4.0 has none
    return not trace.has_error and (agent is None or agent.trainable) and trace.num_output_tokens > 0
