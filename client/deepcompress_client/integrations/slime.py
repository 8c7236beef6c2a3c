"""slime: a custom reward model that verifies, and a reward post-process that shapes the rollout and normalises it.

    # my_rm.py
    from deepcompress_client.integrations.slime import SlimeReward
    reward = SlimeReward(run="my-run")
    custom_rm, post_process = reward.custom_rm, reward.post_process

    --custom-rm-path my_rm.custom_rm --custom-reward-post-process-path my_rm.post_process

miles, which grew out of slime, has the same hooks. The reward model returns the raw 1 or 0, which slime's dynamic
filters and evaluations read. The post-process gets the flat list of all training samples of a rollout. It replaces
slime's normalisation, so it normalises too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._async_client import AsyncClient
from .._client import Client, Run
from .._runs import RunSetting, StrategyLike, check_run_name
from ..errors import DeepCompressError
from ..wire import GroupRewards, Verdict
from ._audit import GoldAudit
from ._common import (
    DEADLINE_S,
    FrameworkObject,
    Start,
    checkpoint_name,
    client_options,
    gold_text,
    group_advantages,
    log,
    log_warnings,
    one_problem,
    open_run,
    problem_name,
    save_identity,
)

_DIVIDED_BY_STD = frozenset({"grpo", "gspo", "cispo"})
_MEAN_ONLY = frozenset({"reinforce_plus_plus_baseline"})
"""The estimators whose rewards slime's own post-process normalises by group: with or without the std."""


class SlimeReward:
    """Both hooks of one training, in the rollout manager's process.

    ``run``        the run's name
    ``next_step``  the first rollout; else slime's ``args.start_rollout_id``, else 0 if no checkpoint is loaded
    ``fresh``      delete the history of the run's name; without it, a new training on a run with history is refused,
                   unless slime's ``--save`` folder has the run's identity from an earlier start
    ``continue_from``  another run, or the file of its export, whose level and problems a new training starts with
    ``observe``    with a dynamic sampling filter: dropped groups count in the level too. slime passes no phase to a
                   reward model, so evaluation data sets then need ``eval_rm`` as their custom_rm_path
    ``asynchronous``  for asynchronous rollouts: a group counts at the rollout that trains it, whenever it was
                   verified, and groups have ages. With ``max_age=N``, samples of older groups are removed
    ``strategy``, ``config``  the run's configuration (`Client.run`)

    Samples that share a ``rollout_id`` are segments of one rollout: they count once, with their tokens together, the
    verdict of the last segment that has an answer, and one reward.

    An outage longer than `deadline_s` seconds raises, which ends slime's rollout; no reward becomes 0.
    """

    def __init__(
        self,
        run: str,
        *,
        url: str | None = None,
        api_key: str | None = None,
        next_step: int | None = None,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        observe: bool = False,
        asynchronous: bool = False,
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        **config: RunSetting,
    ) -> None:
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from}
        self._async = AsyncClient(url, api_key=api_key, **client_options(deadline_s))
        self._client = Client(url, api_key=api_key, **client_options(deadline_s))
        self._next_step = next_step
        self._observe = observe
        self._strategy = strategy
        self._config = {**config, "asynchronous": True} if asynchronous else config
        self._asynchronous = asynchronous
        self._newest: int | None = None
        """The newest version of the weights that a sample has had."""
        self._opening = threading.Lock()
        self._run: Run | None = None
        self._step = 0
        self._audit = GoldAudit("the samples")

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
        segments_of = _groups(args, samples)
        groups = [_group(name, rollouts, samples) for name, rollouts in segments_of.items()]
        if self._asynchronous:
            self._add_versions(groups, list(segments_of.values()), samples)
        answer = run.shape(groups, step=self._step, policy_version=self._newest)
        log_warnings(self.run_name, answer)
        totals = [0.0] * len(samples)
        trained = [0.0] * len(samples)
        for rollouts, group in zip(segments_of.values(), answer.groups, strict=True):
            if group.too_old:
                group.trainable = [False] * len(rollouts)
            rows = zip(rollouts, group.rewards, _normalised(args, group), group.trainable, strict=True)
            for segments, total, value, ok in rows:
                for row in segments:
                    totals[row], trained[row] = total, value
                    if not ok and hasattr(samples[row], "remove_sample"):
                        samples[row].remove_sample = True
        log.info("run %r, step %d: level %s", self.run_name, self._step, answer.level)
        self._step += 1
        self._save(args, run)
        return totals, trained

    def _add_versions(
        self, groups: Sequence[dict[str, Any]], rows: Sequence[Sequence[Sequence[int]]], samples: Sequence[Any]
    ) -> None:
        """Give each rollout the oldest version of the weights that wrote it, as far as slime has it."""
        versions = [_versions(sample) for sample in samples]
        newest = [version for found in versions for version in found]
        if newest:
            self._newest = max(newest if self._newest is None else [self._newest, *newest])
        for group, rollouts in zip(groups, rows, strict=True):
            for rollout, segments in zip(group["rollouts"], rollouts, strict=True):
                if all(versions[row] for row in segments):
                    rollout["policy_version"] = min(version for row in segments for version in versions[row])

    # --- parts ------------------------------------------------------------------------------------------

    async def _verify(self, args: FrameworkObject, sample: FrameworkObject, run: Run | None) -> FrameworkObject:
        samples = sample if isinstance(sample, list) else [sample]
        items = [self._item(one, run) for one in samples]
        verdicts = await self._async.verify(items, answer_format=self._config.get("answer_format", "boxed"))
        self._audit.note((one.label for one in samples), (verdict.status for verdict in verdicts))
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
        # A segment is a part of a rollout, and no observation of its own.
        whole = getattr(sample, "rollout_id", None) in (None, sample.index)
        if run is not None and sample.group_index is not None and whole:
            item |= {
                "run": run.name,
                "epoch": run.epoch,
                **({} if self._asynchronous else {"step": self._step}),
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
                self._start["folder"] = getattr(args, "save", None)
                self._run = open_run(
                    self._client, self.run_name, self._step, self._strategy, self._config, **self._start
                )
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
            save_identity(run, self._start)
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", self.run_name, self._step, error)


def _groups(args: FrameworkObject, samples: Sequence[Any]) -> dict[str, list[list[int]]]:
    """Return the rollouts of each group, each as the row numbers of its segments.

    Groups are known by slime's group index, or are blocks of n if samples have none. Segments share a ``rollout_id``.
    """
    rows_of: dict[str, dict[object, list[int]]] = {}
    for row, sample in enumerate(samples):
        index = sample.group_index
        name = f"block-{row // args.n_samples_per_prompt}" if index is None else str(index)
        rollout = getattr(sample, "rollout_id", None)
        key = ("row", row) if rollout is None else ("rollout", rollout)
        rows_of.setdefault(name, {}).setdefault(key, []).append(row)
    return {name: list(rollouts.values()) for name, rollouts in rows_of.items()}


def _group(name: str, rollouts: Sequence[Sequence[int]], samples: Sequence[Any]) -> dict[str, Any]:
    """Return a group in the form that `Run.shape` takes.

    Raises:
        ValueError: its samples have different labels or, without segments, different prompts.
    """
    first = samples[rollouts[0][0]]
    divided = any(len(segments) > 1 for segments in rollouts)  # each segment has a prompt of its own
    members = [samples[row] for segments in rollouts for row in segments]
    one_problem(f"group {name}", ((None if divided else one.prompt, one.label) for one in members))
    return {
        "problem_id": problem_name(first.prompt, first.label),
        "group_id": name,
        "rollouts": [_rollout([samples[row] for row in segments]) for segments in rollouts],
    }


def _normalised(args: FrameworkObject, group: GroupRewards) -> list[float]:
    estimator = args.advantage_estimator
    if args.rewards_normalization and estimator in _DIVIDED_BY_STD | _MEAN_ONLY:
        by_std = estimator in _DIVIDED_BY_STD and args.grpo_std_normalization
        return group_advantages(group, divide_by_std=by_std)
    rewards = [reward if ok else None for reward, ok in zip(group.rewards, group.trainable, strict=True)]
    known = [reward for reward in rewards if reward is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if reward is None else reward for reward in rewards]


def _store_verdict(sample: FrameworkObject, verdict: Verdict) -> None:
    """Store the verdict in the sample, for the post-process."""
    sample.metadata = {**(sample.metadata or {}), "deepcompress": {"status": verdict.status}}


def _rollout(segments: Sequence[FrameworkObject]) -> dict[str, Any]:
    known = [(sample.metadata or {}).get("deepcompress") for sample in segments]
    if None in known:
        raise ValueError("this sample was not verified: is --custom-rm-path set to SlimeReward.custom_rm?")
    statuses = [one["status"] for one in known if one is not None]
    status = next((one for one in reversed(statuses) if one != "no_answer"), "no_answer")
    return {
        "correct": status == "correct",
        "status": status,
        "tokens": sum(map(_tokens, segments)),
        "context_tokens": _context_tokens(segments),
        "truncated": _truncated(segments[-1]),
    }


def _versions(sample: FrameworkObject) -> list[int]:
    """Return the versions of the weights that wrote the sample; none if the engine gives them no numbers."""
    found = [str(one) for one in getattr(sample, "weight_versions", None) or ()]
    return [int(one) for one in found] if all(one.isdecimal() for one in found) else []


def _tokens(sample: FrameworkObject) -> int:
    """Return the number of tokens that the policy generated, without tool output if slime counts it separately."""
    effective = getattr(sample, "effective_response_length", None)
    return int(sample.response_length if effective is None else effective)


def _context_tokens(segments: Sequence[FrameworkObject]) -> int | None:
    """Return the tokens that the policy read: prompts and tool output. None if a sample has no token ids."""
    read = 0
    for sample in segments:
        ids = getattr(sample, "tokens", None)  # of the prompt and the response
        if not ids:
            return None
        read += len(ids) - _tokens(sample)
    return read


def _truncated(sample: FrameworkObject) -> bool:
    status = sample.status
    return str(getattr(status, "value", status)).lower() == "truncated"


def _in_requested_form(args: FrameworkObject, reward: float) -> FrameworkObject:
    """Return the reward as a number, or as the dict with the keys that slime reads."""
    keys = {getattr(args, name, None) for name in ("reward_key", "eval_reward_key")} - {None}
    return dict.fromkeys(keys, reward) if keys else reward
