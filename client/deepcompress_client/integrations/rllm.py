"""rLLM: an evaluator that verifies, and an advantage estimator that shapes all groups of a step.

    from rllm... import register_rllm_adv_estimator
    from deepcompress_client.integrations.rllm import Evaluator, StepShaping
    evaluator = Evaluator(gold="answer")              # in your evaluate(task, episode)
    shaping = StepShaping(run="my-run", next_step=0)  # rllm.algorithm.adv_estimator: deepcompress
    register_rllm_adv_estimator("deepcompress")(shaping.estimate)

The estimator gets every group of a role once per step, but not the step, so it counts from ``next_step``. This file
does not import rLLM.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .._client import Client
from ._audit import GoldAudit
from ._common import (
    DEADLINE_S,
    STATUS_OFFSETS,
    FrameworkObject,
    client_options,
    decode_status,
    encode_status,
    gold_text,
    group_advantages,
    one_problem,
)
from ._counting import CountedSteps


class Evaluator:
    """Verifies the answer of an episode, for ``evaluate``.

    `gold` names the field of the gold answer; the caller converts the result to rLLM's `EvalOutput`. With ``marks``,
    an episode without a verdict to train on gets a small offset of the reward, which `StepShaping` recognises: an
    evaluator passes only rewards to an estimator. Leave it off with another estimator; such episodes then count as
    wrong.
    """

    def __init__(
        self,
        *,
        gold: str = "answer",
        url: str | None = None,
        api_key: str | None = None,
        deadline_s: float = DEADLINE_S,
        marks: bool = False,
    ) -> None:
        self._gold = gold
        self._marks = marks
        self._audit = GoldAudit(f"field {gold!r} of the tasks")
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))

    def __call__(self, task: FrameworkObject, response: str) -> tuple[float, bool, dict[str, float]]:
        """Return ``(reward, is_correct, signals)``; the reward is the raw 1 or 0.

        Raises:
            DeepCompressError: the service is unavailable, or refuses the request.
            ValueError: none of the first golds is readable.
        """
        data = task if isinstance(task, dict) else getattr(task, "data", None) or vars(task)
        verdict = self._client.verify_one(gold_text(data[self._gold]), response)
        self._audit.note([data[self._gold]], [verdict.status])
        reward = float(verdict.correct)
        if self._marks:
            reward = encode_status(reward, verdict.status)
        return reward, verdict.correct, {"untrainable": float(verdict.status in STATUS_OFFSETS)}


class StepShaping(CountedSteps):
    """Rewards and advantages of a whole step: GRPO's, or those of the answer if the run has `advantage`.

    ``next_step`` is the first step: 0, or the step at which the training resumes; rLLM does not pass it.
    """

    framework = "rLLM passes estimators"

    def estimate(
        self,
        rewards: Sequence[Sequence[float]],
        algorithm_config: FrameworkObject,
        traj_groups: Sequence[Any],
        **_: object,
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Return ``(advantages, returns)``, [groups][rollouts], as rLLM's estimators do.

        Raises:
            ValueError: the trajectories of a group are of different tasks, or have no token ids.
        """
        groups = [
            {
                "problem_id": _problem(group),
                "group_id": str(group.group_id),
                "rollouts": [
                    {
                        **decode_status(float(outcome)),
                        "tokens": _tokens(trajectory),
                        "turns": len(trajectory.steps),
                    }
                    for outcome, trajectory in zip(outcomes, group.trajectories, strict=True)
                ],
            }
            for outcomes, group in zip(rewards, traj_groups, strict=True)
        ]
        answer = self._shape(groups)
        by_std = bool(getattr(algorithm_config, "norm_adv_by_std_in_grpo", True))
        advantages = [group_advantages(group, divide_by_std=by_std) for group in answer.groups]
        return advantages, advantages


def _problem(group: FrameworkObject) -> str:
    """Return the problem of a group, by the data of its tasks; rLLM's task ids are new ones at each visit.

    Raises:
        ValueError: its trajectories are of different tasks.
    """
    tasks = [_data(getattr(trajectory, "task", None)) for trajectory in group.trajectories]
    name = one_problem(f"group {group.group_id}", ((task, None) for task in tasks))
    return name if tasks[0] else str(group.group_id).rpartition(":")[0] or str(group.group_id)


def _data(task: FrameworkObject) -> str:
    """Return the data of a task as text; empty where rLLM passes none. Images count by their type only."""
    if task is None:
        return ""
    data = (
        task
        if isinstance(task, dict | str)
        else [getattr(task, "instruction", None), getattr(task, "metadata", None)]
    )
    return json.dumps(data, sort_keys=True, default=lambda value: type(value).__name__)


def _tokens(trajectory: FrameworkObject) -> int:
    """Return the number of tokens that the policy generated, by the token ids of its steps.

    Raises:
        ValueError: a step has no token ids.
    """
    ids = [step.model_output.completion_ids for step in trajectory.steps]
    if not ids or any(one is None for one in ids):
        raise ValueError("a trajectory has no completion_ids; lengths are never guessed from characters")
    return sum(map(len, ids))
