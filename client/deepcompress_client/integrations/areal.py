"""AReaL: a workflow whose samples wait for their siblings in the rollout worker, and are shaped as a group.

    from areal.workflow.rlvr import RLVRWorkflow
    from deepcompress_client.integrations.areal import group_workflow, start
    epoch = start("my-run", groups_per_step=128)
    Workflow = group_workflow(RLVRWorkflow, run="my-run", epoch=epoch)
    workflow = Workflow(gconfig=..., tokenizer=...)

AReaL runs the n samples of a prompt at once, with the same data object, and leaves out those whose workflow returns
None. The workflow returns None for a sample that must not be trained on, and for every sample of a group that was not
scored because the service was unavailable. AReaL passes no step to a workflow, and there are several rollout workers,
so the run is stepless, and one process opens it before the training (`start`).
"""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient, AsyncRun
from .._client import Client
from .._runs import RunSetting, StrategyLike, check_run_name, run_config
from ..wire import REWARD_COMPONENTS, AnswerFormat, GroupRewards, RewardComponents
from ._audit import GoldAudit
from ._barrier import Barrier, Siblings
from ._common import (
    DEADLINE_S,
    OUTAGES,
    FrameworkObject,
    Option,
    Start,
    check_first_step,
    client_options,
    gold_text,
    groupwise,
    log,
    log_warnings,
    open_run,
    problem_name,
)
from ._versions import check_version


def start(
    run: str,
    *,
    groups_per_step: int,
    next_step: int = 0,
    fresh: bool = False,
    continue_from: str | Path | None = None,
    folder: str | Path | None = None,
    url: str | None = None,
    strategy: StrategyLike = None,
    deadline_s: float = DEADLINE_S,
    **config: RunSetting,
) -> int:
    """Open the run once, in the launching script; return its epoch for `group_workflow`.

    The run starts from nothing, or after `next_step` batches. A new training on a run with history is refused,
    unless it is `fresh` or `folder`, the folder of the trainer's checkpoints, has the run's identity from an earlier
    start. `continue_from` is another run, or the file of its export, whose level and problems a new training starts
    with. With its epoch, no request left over from an earlier launch can reach this training. An error is raised if
    the service is unavailable for `deadline_s` seconds. ``max_age=N`` leaves out groups of policies that are
    more than N versions older than the engine's.
    """
    client = Client(url, **client_options(deadline_s))
    settings = {**config, "groups_per_step": groups_per_step}
    if config.get("max_age") is not None:
        settings["asynchronous"] = True
    check_version("areal", "1.0", "1.0")
    run_config(groupwise(strategy, settings), settings)  # refuses a profile, which the workflows would not have
    start: Start = {"fresh": fresh, "continue_from": continue_from, "folder": folder}
    check_first_step(next_step, start)
    return open_run(client, run, next_step, groupwise(strategy, settings), settings, **start).epoch


class _NoRewardError(Exception):
    """Raised in a sample without a reward."""


def group_workflow(
    base: type,
    *,
    run: str,
    epoch: int,
    gold: str = "answer",
    url: str | None = None,
    deadline_s: float = DEADLINE_S,
    answer_format: AnswerFormat | None = None,
) -> type:
    """Return a subclass of AReaL's RLVRWorkflow.

    ``gold`` is the data's field with the gold answer; ``epoch`` is the result of `start`.
    """
    check_run_name(run)
    client, audit = AsyncClient(url, **client_options(deadline_s)), GoldAudit(f"field {gold!r} of the data")
    log.warning("run %r: AReaL passes no step to a workflow, so groups_per_step groups make one", run)

    class DeepCompressWorkflow(base):  # type: ignore[misc]
        """The base workflow, with rewards for whole groups."""

        def __init__(self, **settings: Option) -> None:
            super().__init__(reward_fn=_unused_reward_function, **settings)
            self._barrier = Barrier()
            self._siblings: dict[int, Siblings] = {}
            self._run: AsyncRun | None = None
            self._engine: FrameworkObject = None

        async def arun_episode(self, engine: FrameworkObject, data: dict[str, Any]) -> FrameworkObject:
            siblings = await self._barrier.join(data, problem_name(None, data[gold]))
            self._siblings[id(data)] = siblings
            self._engine = engine
            try:
                return await super().arun_episode(engine, data)
            except _NoRewardError:
                return None
            except BaseException as error:
                self._barrier.fail(siblings, error)
                raise

        async def _compute_rewards(self, resp: FrameworkObject, prompt_str: str, task_data: dict[str, Any]) -> float:
            rollout = {
                "response": self.tokenizer.decode(resp.output_tokens, skip_special_tokens=True),
                "tokens": len(resp.output_tokens),
                "truncated": getattr(resp, "stop_reason", None) == "length",
            }
            if prompt := getattr(resp, "input_tokens", None):
                rollout["context_tokens"] = len(prompt)
            if versions := getattr(resp, "output_versions", None):
                rollout["policy_version"] = min(versions)
            answer, index = await self._barrier.reward(
                self._siblings[id(task_data)],
                rollout,
                lambda rollouts: self._score(prompt_str, task_data, rollouts),
            )
            if not answer.trainable[index] or answer.too_old:
                raise _NoRewardError
            return float(answer.correct[index]) if _evaluating() else answer.rewards[index]

        async def _score(self, prompt: str, data: dict[str, Any], rollouts: list[dict[str, Any]]) -> GroupRewards:
            self._siblings.pop(id(data), None)
            gold_answer = gold_text(data[gold])
            group = {"problem_id": problem_name(prompt, gold_answer), "gold": gold_answer, "rollouts": rollouts}
            try:
                if _evaluating():
                    answer = await client.score([group], phase="eval", answer_format=answer_format)
                else:
                    if self._run is None:
                        self._run = await client.run(run, join=True)
                        self._run.epoch = epoch
                    get_version = getattr(self._engine, "get_version", None)
                    version = None if get_version is None else int(get_version())
                    answer = await self._run.score([group], answer_format=answer_format, policy_version=version)
            except OUTAGES as error:
                log.error("no rewards for a group of %d samples, it is left out: %s", len(rollouts), error)
                return _untrainable_group(group, len(rollouts))
            log_warnings(run, answer)
            audit.note(repeat(gold_answer), (verdict.status for verdict in answer.groups[0].verdicts))
            return answer.groups[0]

    return DeepCompressWorkflow


def _untrainable_group(group: dict[str, Any], count: int) -> GroupRewards:
    """Return a group without rewards: no sample of it is trained on."""
    zeros = [0.0] * count
    return GroupRewards(
        problem_id=group["problem_id"],
        group_id=group["problem_id"],
        pass_ratio=0.0,
        level=None,
        beta=None,
        difficulty=None,
        rewards=zeros,
        components=RewardComponents(**dict.fromkeys(REWARD_COMPONENTS, zeros)),
        correct=[False] * count,
        trainable=[False] * count,
    )


def _evaluating() -> bool:
    from areal.infra import workflow_context

    return bool(workflow_context.get().is_eval)


def _unused_reward_function(*_: object, **__: object) -> float:
    """Fill in for the reward function that AReaL requires; `_compute_rewards` does not call it."""
    raise AssertionError("rewards come from the group")
