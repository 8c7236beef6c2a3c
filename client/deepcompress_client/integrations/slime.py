"""slime: a custom reward model that verifies, and a reward post-process that shapes the rollout and normalises it.

    # my_rm.py
    from deepcompress_client.integrations.slime import SlimeReward
    reward = SlimeReward(run="my-run")
    custom_rm, post_process = reward.custom_rm, reward.post_process

    --custom-rm-path my_rm.custom_rm --custom-reward-post-process-path my_rm.post_process

The reward model returns the raw 1 or 0, which slime's dynamic filters and evaluations read. The post-process gets the
flat list of all training samples of a rollout. It replaces slime's normalisation, so it normalises too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient
from .._client import Client, Run
from .._runs import RunSetting, StrategyLike
from ..errors import DeepCompressError
from ..wire import Verdict
from ._common import (
    DEADLINE_S,
    FrameworkObject,
    checkpoint_name,
    client_options,
    gold_text,
    grpo_advantages,
    log,
    open_run,
    problem_name,
)

_DIVIDED_BY_STD = frozenset({"grpo", "gspo", "cispo"})
_MEAN_ONLY = frozenset({"reinforce_plus_plus_baseline"})
"""The estimators whose rewards slime's own post-process normalises by group: with or without the std."""


class SlimeReward:
    """Both hooks of one training, in the rollout manager's process.

    ``run``        the run's name
    ``next_step``  the first rollout; else slime's ``args.start_rollout_id``, else 0 if no checkpoint is loaded
    ``observe``    with a dynamic sampling filter: dropped groups count in the level too. slime passes no phase to a
                   reward model, so evaluation data sets then need ``eval_rm`` as their custom_rm_path
    ``strategy``, ``config``  the run's configuration (`Client.run`)

    An outage longer than `deadline_s` seconds raises, which ends slime's rollout; no reward becomes 0.
    """

    def __init__(
        self,
        run: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        next_step: int | None = None,
        observe: bool = False,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = run
        self._async = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._next_step = next_step
        self._observe = observe
        self._strategy = strategy
        self._config = config
        self._opening = threading.Lock()
        self._run: Run | None = None
        self._step = 0

    # --- hooks ------------------------------------------------------------------------------------------

    async def custom_rm(self, args: FrameworkObject, sample: FrameworkObject, **_: object) -> FrameworkObject:
        """Return the raw outcome of a sample, or of each sample of a list: ``--custom-rm-path``."""
        run = await asyncio.to_thread(self._opened, args)
        return await self._verify(args, sample, run if self._observe else None)

    async def eval_rm(self, args: FrameworkObject, sample: FrameworkObject, **_: object) -> FrameworkObject:
        """Return the same without observing: ``custom_rm_path`` of an evaluation data set."""
        return await self._verify(args, sample, None)

    def post_process(self, args: FrameworkObject, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
        """Return (total rewards, normalised rewards), each [samples]: ``--custom-reward-post-process-path``."""
        run = self._opened(args)
        rows_of = _groups(args, samples)
        groups = [
            {
                "problem_id": problem_name(samples[rows[0]].prompt, samples[rows[0]].label),
                "group_id": name,
                "rollouts": [_rollout(samples[row]) for row in rows],
            }
            for name, rows in rows_of.items()
        ]
        answer = run.shape(groups, step=self._step)
        for warning in answer.warnings:
            log.warning("run %r, step %d: %s", self.run_name, self._step, warning)
        totals = [0.0] * len(samples)
        trained = [0.0] * len(samples)
        for rows, group in zip(rows_of.values(), answer.groups, strict=True):
            known = [reward if ok else None for reward, ok in zip(group.rewards, group.trainable, strict=True)]
            for row, total, value in zip(rows, group.rewards, _normalised(args, known), strict=True):
                totals[row], trained[row] = total, value
            for row, ok in zip(rows, group.trainable, strict=True):
                if not ok and hasattr(samples[row], "remove_sample"):
                    samples[row].remove_sample = True
        log.info("run %r, step %d: level %s", self.run_name, self._step, answer.level)
        self._step += 1
        self._save(args, run)
        return totals, trained

    # --- parts ------------------------------------------------------------------------------------------

    async def _verify(self, args: FrameworkObject, sample: FrameworkObject, run: Run | None) -> FrameworkObject:
        samples = sample if isinstance(sample, list) else [sample]
        items = [self._item(one, run) for one in samples]
        verdicts = await self._async.verify(items, answer_format=self._config.get("answer_format", "boxed"))
        rewards = []
        for one, verdict in zip(samples, verdicts, strict=True):
            _store_verdict(one, verdict)
            rewards.append(_in_requested_form(args, float(verdict.correct)))
        return rewards if isinstance(sample, list) else rewards[0]

    def _item(self, sample: FrameworkObject, run: Run | None) -> dict[str, Any]:
        item: dict[str, Any] = {
            "gold": gold_text(sample.label),
            "response": sample.response,
            "truncated": _truncated(sample),
        }
        if run is not None and sample.group_index is not None:
            item |= {
                "run": run.name,
                "epoch": run.epoch,
                "step": self._step,
                "problem_id": problem_name(sample.prompt, sample.label),
                "group_id": str(sample.group_index),
                "rollout_id": str(sample.index),
                "tokens": _tokens(sample),
            }
        return item

    def _opened(self, args: FrameworkObject) -> Run:
        with self._opening:
            if self._run is None:
                self._step = self._first_step(args)
                log.warning(
                    "run %r: slime passes no step, so rollouts are counted from %d", self.run_name, self._step
                )
                self._run = open_run(self._client, self.run_name, self._step, self._strategy, self._config)
                if not self._observe:
                    log.warning(
                        "run %r: groups that a dynamic sampling filter drops do not count in the level; "
                        "see observe=True",
                        self.run_name,
                    )
            return self._run

    def _first_step(self, args: FrameworkObject) -> int:
        if self._next_step is not None:
            return self._next_step
        started = getattr(args, "start_rollout_id", None)
        if started is not None:
            return int(started)
        loaded = getattr(args, "load", None)
        if loaded and (Path(loaded) / "latest_checkpointed_iteration.txt").exists():
            raise ValueError(
                f"this training resumes from {loaded}, but slime does not pass the rollout to the reward: "
                "give SlimeReward(..., next_step=N)"
            )
        return 0

    def _save(self, args: FrameworkObject, run: Run) -> None:
        """Save the difficulty state for slime's checkpoint, which slime saves after these rollouts."""
        interval = getattr(args, "save_interval", None)
        if not interval or self._step % interval:
            return
        try:
            run.checkpoint(checkpoint_name(self._step), self._step - 1)
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", self.run_name, self._step, error)


def _groups(args: FrameworkObject, samples: Sequence[Any]) -> dict[str, list[int]]:
    """Return the row numbers of each group: by slime's group index, or in blocks of n if samples have none."""
    rows_of: dict[str, list[int]] = {}
    for row, sample in enumerate(samples):
        index = sample.group_index
        name = f"block-{row // args.n_samples_per_prompt}" if index is None else str(index)
        rows_of.setdefault(name, []).append(row)
    return rows_of


def _normalised(args: FrameworkObject, rewards: Sequence[float | None]) -> list[float]:
    estimator = args.advantage_estimator
    if args.rewards_normalization and estimator in _DIVIDED_BY_STD | _MEAN_ONLY:
        by_std = estimator in _DIVIDED_BY_STD and args.grpo_std_normalization
        return grpo_advantages(rewards, divide_by_std=by_std)
    known = [reward for reward in rewards if reward is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if reward is None else reward for reward in rewards]


def _store_verdict(sample: FrameworkObject, verdict: Verdict) -> None:
    """Store the verdict in the sample, for the post-process."""
    sample.metadata = {**(sample.metadata or {}), "deepcompress": {"status": verdict.status}}


def _rollout(sample: FrameworkObject) -> dict[str, Any]:
    known = (sample.metadata or {}).get("deepcompress")
    if known is None:
        raise ValueError("this sample was not verified: is --custom-rm-path set to SlimeReward.custom_rm?")
    return {
        "correct": known["status"] == "correct",
        "status": known["status"],
        "tokens": _tokens(sample),
        "truncated": _truncated(sample),
    }


def _tokens(sample: FrameworkObject) -> int:
    """Return the number of tokens that the policy generated, without tool output if slime counts it separately."""
    effective = getattr(sample, "effective_response_length", None)
    return int(sample.response_length if effective is None else effective)


def _truncated(sample: FrameworkObject) -> bool:
    status = sample.status
    return str(getattr(status, "value", status)).lower() == "truncated"


def _in_requested_form(args: FrameworkObject, reward: float) -> FrameworkObject:
    """Return the reward as a number, or as the dict with the keys that slime reads."""
    keys = {getattr(args, name, None) for name in ("reward_key", "eval_reward_key")} - {None}
    return dict.fromkeys(keys, reward) if keys else reward
