"""verl 0.9 (V1 trainer): a reward manager that verifies, and an advantage estimator that shapes.

    reward.reward_manager.source=importlib
    reward.reward_manager.name=DeepCompressRewardManager
    reward.reward_manager.module.path=pkg://deepcompress_client.integrations.verl
    algorithm.adv_estimator=deepcompress_grpo
    +algorithm.deepcompress.run=my-run

verl's reward loop gets one sample at a time, in several processes, while rollouts stream. Its batch hook, the
advantage estimator, gets the whole training batch, but neither texts nor the step. So the manager verifies and
records observations under the step and the prompt's uid, and the estimator shapes the groups at the step at which
they were observed. Groups that dynamic sampling drops then count in the level too. The verdict's status is passed to
the estimator in the reward, since it gets no other field of a sample: see `OUTCOMES`.

In the asynchronous modes a batch has prompts of several steps, so the run is asynchronous: observations wait by uid,
and a group counts at the trainer's step, which verl keeps in its `SkipManager`.

This file is imported by verl; nothing else imports it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est
from verl.utils.skip import SkipManager

try:
    from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
except ModuleNotFoundError:  # verl before 0.9.1
    CheckpointCallback = None

from .._async_client import AsyncClient
from .._client import Client, Run
from .._runs import StrategyLike, check_run_name, run_config
from ..errors import DeepCompressError, Unavailable
from ..wire import Phase, ShapeAnswer, Verdict
from ._audit import ROWS, GoldAudit
from ._common import (
    DEADLINE_S,
    STATUS_OFFSETS,
    FrameworkObject,
    Start,
    checkpoint_name,
    client_options,
    gold_text,
    group_advantages,
    log,
    log_warnings,
    problem_name,
)
from ._parquet import first_rows
from ._ray import opener
from ._versions import check_version

ESTIMATOR = "deepcompress_grpo"
TESTED = ("0.9", "0.9")
"""The oldest and the newest version of verl that the tests run with."""
MODES = ("sync", "colocate_async", "separate_async")
"""The supported values of trainer.v1.trainer_mode."""
AUDIT_DEADLINE_S = 30.0
"""Seconds that a reward manager waits at its start for the check of the first golds."""
KNOWN_UIDS = 4096
"""Prompts whose problem a reward manager remembers."""

OUTCOMES = {
    "correct": 1.0,
    "wrong": -1.0,
    **{status: -1.0 - offset for status, offset in STATUS_OFFSETS.items()},
}
"""The manager's reward by status. All are exact in float32. Those of statuses that must not be trained on are
just below -1, since the estimator gets no other field of a sample. Statuses that are not listed count as "wrong"."""


@dataclass(frozen=True)
class Settings:
    """``algorithm.deepcompress`` of the trainer's configuration. The API key comes from the environment."""

    run: str
    url: str | None = None
    strategy: StrategyLike = None
    deadline_s: float = DEADLINE_S
    train_splits: tuple[str, ...] = ("train",)
    fresh: bool = False
    """Delete the history of the run's name, which a new training is refused otherwise."""
    continue_from: str | None = None
    """The run whose level and problems a new training starts with."""
    folder: str | None = None
    """The folder for the file with the run's identity: trainer.default_local_dir."""
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, algorithm: FrameworkObject) -> Settings | None:
        """Return the settings, or None without a configured run: outcome rewards only.

        Raises:
            ValueError: a setting is missing.
        """
        from omegaconf import OmegaConf

        section = algorithm.get("deepcompress") if algorithm is not None else None
        if section is None:
            return None
        if OmegaConf.is_config(section):
            section = OmegaConf.to_container(section, resolve=True)
        rest = dict(section)
        if "run" not in rest:
            raise ValueError("algorithm.deepcompress has no run: add +algorithm.deepcompress.run=NAME")
        check_run_name(rest["run"])
        names = ("run", "url", "strategy", "deadline_s", "fresh", "continue_from", "folder")
        own = {name: rest.pop(name) for name in names if name in rest}
        splits = rest.pop("train_splits", "train")
        settings = cls(**own, train_splits=(splits,) if isinstance(splits, str) else tuple(splits), config=rest)
        run_config(settings.strategy, settings.config)  # refuse a misspelt setting now
        return settings

    def opener(self) -> FrameworkObject:
        """Return this job's `RunOpener` actor of the run."""
        start: Start = {"fresh": self.fresh, "continue_from": self.continue_from, "folder": self.folder}
        return opener(self.run, self.url, self.strategy, self.config, self.deadline_s, start)


# --- phase one: verify ----------------------------------------------------------------------------------


class DeepCompressRewardManager(RewardManagerBase):  # type: ignore[misc]
    """Verifies one sample: +1 or -1, with ``acc`` (1 or 0) beside it for filters and validation.

    Without ``algorithm.deepcompress.run`` it returns outcomes only and works with any estimator. A sample without a
    verdict to train on then counts as wrong, and its ``undecided``, ``gold_unreadable`` or ``unchecked`` is 1.
    """

    def __init__(
        self,
        config: FrameworkObject,
        tokenizer: FrameworkObject,
        compute_score: FrameworkObject = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: FrameworkObject = None,
    ) -> None:
        del reward_router_address, reward_model_tokenizer
        super().__init__(config, tokenizer, compute_score)
        check_version("verl", *TESTED)
        self.settings = Settings.of(config.algorithm)
        if self.settings is not None:
            check(config, self.settings)
            if config.trainer.v1.trainer_mode != "sync":
                more = {**self.settings.config, "asynchronous": True}
                self.settings = replace(self.settings, config=more)
            if self.settings.folder is None:
                local = config.trainer.get("default_local_dir")
                self.settings = replace(self.settings, folder=None if local is None else str(local))
        deadline_s = DEADLINE_S if self.settings is None else self.settings.deadline_s
        self._deadline_s = deadline_s
        self._client = AsyncClient(None if self.settings is None else self.settings.url, **client_options(deadline_s))
        self._audit = GoldAudit("reward_model.ground_truth")
        if self.settings is not None and not self.settings.config.get("fallback_checker"):
            golds = first_golds(config.data.get("train_files"))
            self._audit.check(Client(self.settings.url, **client_options(min(deadline_s, AUDIT_DEADLINE_S))), golds)
        self._epoch: int | None = None
        self._problems: OrderedDict[str, str] = OrderedDict()
        """The problem of each of the last uids."""

    async def run_single(self, data: FrameworkObject) -> dict[str, Any]:
        """Return ``{"reward_score", "reward_extra_info"}`` of one sample.

        Raises:
            DeepCompressError: the service is unavailable; verl then counts the prompt as failed.
            ValueError: the data are not one sample, or none of the first golds is readable.
        """
        if len(data) > 1:
            raise ValueError(
                "an agent loop with several outputs per session is not supported: the estimator cannot distinguish "
                "them from further rollouts of the group"
            )
        sample = data[0]
        fields = sample.non_tensor_batch
        padded = sample.batch["responses"]
        tokens = int(sample.batch["attention_mask"][-padded.shape[-1] :].sum())
        ids = padded[:tokens]
        text = await self.loop.run_in_executor(None, lambda: self.tokenizer.decode(ids, skip_special_tokens=True))
        gold = gold_text(fields["reward_model"]["ground_truth"])
        item: dict[str, Any] = {
            "gold": gold,
            "response": text,
            "tokens": tokens,
            "truncated": self._truncated(ids.tolist()),
        }
        if self.settings is not None:
            item |= await self._identity(fields, gold)
        verdict = await self._verify(item)
        self._audit.note([gold], [verdict.status])
        kind = verdict.status if verdict.status in OUTCOMES else "wrong"
        # Only this estimator reads the offsets. For another one they would be rewards, and would give a group of
        # wrong answers a spread.
        sent = kind if self.settings is not None or kind == "correct" else "wrong"
        return {
            "reward_score": OUTCOMES[sent],
            "reward_extra_info": {
                "acc": float(verdict.correct),
                "undecided": float(kind == "undecided"),
                "gold_unreadable": float(kind == "gold_unreadable"),
                "unchecked": float(kind == "unchecked"),
            },
        }

    def _truncated(self, ids: list[int]) -> bool:
        """Return whether the limit cut the response: it has the maximal length and no end token."""
        limit = self.config.data.max_response_length
        return bool(len(ids) >= limit and ids[-1] != self.tokenizer.eos_token_id)

    async def _identity(self, fields: Mapping[str, Any], gold: str | list[str]) -> dict[str, Any]:
        assert self.settings is not None
        phase = phase_of(fields.get("extra_info"), self.settings.train_splits)
        if phase == "eval":
            return {"run": self.settings.run, "phase": "eval"}
        uid, step = str(fields["uid"]), int(fields["global_steps"])
        if self._epoch is None:
            # verl counts its steps from 1, so 1 is a new training.
            self._epoch = await self.settings.opener().open.remote(0 if step <= 1 else step)
        if asynchronous := bool(self.settings.config.get("asynchronous")):
            version = (fields.get("tool_extra_fields") or {}).get("min_global_steps")
            if version is not None:
                self.settings.opener().saw.remote(uid, int(version))
        return {
            "run": self.settings.run,
            "epoch": self._epoch,
            **({} if asynchronous else {"step": step}),
            "problem_id": self._problem(uid, problem_name(_messages(fields["raw_prompt"]), gold)),
            "group_id": uid,
            "rollout_id": f"{uid}-{fields['session_id']}",
        }

    def _problem(self, uid: str, problem: str) -> str:
        """Return the problem, after comparing it with that of the uid's earlier samples.

        Raises:
            ValueError: it is another one.
        """
        if self._problems.setdefault(uid, problem) != problem:
            raise ValueError(
                f"samples of uid {uid} have different prompts or golds: a group holds those of one problem"
            )
        while len(self._problems) > KNOWN_UIDS:
            self._problems.popitem(last=False)
        return problem

    async def _verify(self, item: dict[str, Any]) -> Verdict:
        """Return the verdict, which is recorded in training.

        While the state store is unavailable, verdicts are returned but not recorded. A group without records could
        not be shaped, so this retries until the deadline.
        """
        began, wait = time.monotonic(), 0.25
        while True:
            verdict = (await self._client.verify([item]))[0]
            if verdict.recorded is not False:
                return verdict
            if time.monotonic() - began + wait > self._deadline_s:
                raise Unavailable(503, "not-recorded", "the verdict was not recorded: the state store is unavailable")
            await asyncio.sleep(wait)
            wait = min(2 * wait, 15.0)


def phase_of(extra_info: FrameworkObject, train_splits: tuple[str, ...]) -> Phase:
    """Return the phase by the data set's ``extra_info.split``: verl passes reward managers no validation flag.

    Raises:
        ValueError: the sample has no split.
    """
    split = extra_info.get("split") if isinstance(extra_info, Mapping) else None
    if split is None:
        raise ValueError(
            "this sample has no extra_info.split, so training and validation cannot be distinguished: "
            "write it into the data set, as verl's example preprocessors do"
        )
    return "train" if split in train_splits else "eval"


def _messages(raw_prompt: FrameworkObject) -> FrameworkObject:
    return list(raw_prompt) if hasattr(raw_prompt, "tolist") else raw_prompt


def check(config: FrameworkObject, settings: Settings) -> None:
    """Check the configuration at the start of a run.

    Raises:
        ValueError: deepcompress cannot work with it.
    """
    trainer, algorithm = config.trainer, config.algorithm
    wrong = []
    if not trainer.get("use_v1", False):
        wrong.append("trainer.use_v1=true is needed: the legacy trainer passes no step to rewards")
    elif trainer.v1.trainer_mode not in MODES:
        wrong.append(f"trainer.v1.trainer_mode={trainer.v1.trainer_mode}: only {', '.join(MODES)} are supported")
    if settings.config.get("max_age") is not None:
        wrong.append(
            "algorithm.deepcompress.max_age: set trainer.v1.sampler.max_off_policy_threshold, since a group that a "
            "checkpoint restores has no known age"
        )
    if algorithm.adv_estimator != ESTIMATOR:
        wrong.append(f"algorithm.adv_estimator={algorithm.adv_estimator}: only {ESTIMATOR} adds the length reward")
    filters = algorithm.get("filter_groups")
    if filters and filters.get("enable") and filters.get("metric", "reward") != "acc":
        wrong.append(
            f"algorithm.filter_groups.metric={filters.get('metric', 'reward')}: only acc filters on the outcome; "
            "in the reward, rollouts without a verdict would give a group of wrong answers a spread"
        )
    if algorithm.get("use_kl_in_reward"):
        wrong.append("algorithm.use_kl_in_reward=false is needed: a KL term in the reward would hide the outcome")
    if config.reward.reward_model.enable:
        wrong.append("reward.reward_model.enable=false is needed: a reward model would be used instead")
    if CheckpointCallback is None and trainer.get("checkpoint_callback_class"):
        wrong.append(
            "trainer.checkpoint_callback_class: verl before 0.9.1 calls none, so leave it out; a training can then "
            "resume at most keep_steps steps back"
        )
    for key in ("train_files", "val_files"):
        wrong += _splits_missing(key, config.data.get(key), settings)
    if wrong:
        raise ValueError("deepcompress cannot work with this configuration: " + "; ".join(wrong))


def first_golds(files: FrameworkObject) -> list[Any]:
    """Return the golds of the first rows of the local parquet files; other golds are checked as samples come."""
    rows = [row for _, found in first_rows(files, ROWS) for row in found or ()]
    return [(row.get("reward_model") or {}).get("ground_truth") for row in rows]


def _splits_missing(key: str, files: FrameworkObject, settings: Settings) -> list[str]:
    """Check the first row of each local parquet file; other data is checked as its samples come."""
    wrong = []
    for path, rows in first_rows(files, 1):
        if rows is None:
            log.warning(
                "data.%s: %s is not a local parquet file, so extra_info.split is checked only later", key, path
            )
            continue
        info = rows[0].get("extra_info") if rows else {"split": None}
        try:
            phase = phase_of(info, settings.train_splits)
        except ValueError as error:
            wrong.append(f"data.{key}: {path.name}: {error}")
            continue
        if (phase == "train") != (key == "train_files"):
            wrong.append(f"data.{key}: {path.name} has the phase {phase}; see algorithm.deepcompress.train_splits")
    return wrong


# --- phase two: shape -----------------------------------------------------------------------------------


@register_adv_est(ESTIMATOR)  # type: ignore[untyped-decorator]
def compute_deepcompress_grpo_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: FrameworkObject = None,
    index: FrameworkObject = None,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shape the whole training batch, then normalise as verl's GRPO does.

    Return advantages and returns, both of the shape of `token_level_rewards` and `response_mask`: [batch, response
    length]. `index` has the uid of each row. Rows that must not be trained on get advantage 0 and count in no mean.

    Raises:
        ValueError: there is no run or no uid.
    """
    settings = Settings.of(config)
    if settings is None or index is None:
        raise ValueError(f"{ESTIMATOR} needs algorithm.deepcompress.run and the uid of each row")
    tokens = response_mask.sum(-1).tolist()
    scores = token_level_rewards.sum(-1).tolist()
    rows_of: dict[str, list[int]] = {}
    for row, uid in enumerate(index):
        if tokens[row] > 0:  # verl pads batches with empty rows, which have another uid
            rows_of.setdefault(str(uid), []).append(row)
    run, asynchronous = _run(settings)
    versions = _versions(settings, list(rows_of)) if asynchronous else {}
    groups = []
    for uid, rows in rows_of.items():
        age = {"policy_version": versions[uid]} if uid in versions else {}
        rollouts = [{**_verdict_of(scores[row]), "tokens": int(tokens[row]), **age} for row in rows]
        groups.append({"group_id": uid, "rollouts": rollouts})
    if asynchronous:
        step = _trainer_step()
        answer = run.shape(groups, step=step, policy_version=step - 1)
    else:
        answer = run.shape(groups, step="observed")
    _report(settings, answer)

    trained: list[int] = []
    rewards: list[float] = []
    for rows, group in zip(rows_of.values(), answer.groups, strict=True):
        for row, reward, ok in zip(rows, group.rewards, group.trainable, strict=True):
            if ok:
                trained.append(row)
                rewards.append(reward)
    advantages = torch.zeros_like(token_level_rewards)
    if any(group.advantages is not None for group in answer.groups):  # the run's configuration asks for them
        for rows, group in zip(rows_of.values(), answer.groups, strict=True):
            for row, advantage in zip(rows, group_advantages(group), strict=True):
                advantages[row] = advantage * response_mask[row].to(advantages.dtype)
    elif trained:
        column = torch.tensor(rewards, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
        normalised, _returns = compute_grpo_outcome_advantage(
            token_level_rewards=column.unsqueeze(-1),
            response_mask=torch.ones_like(column).unsqueeze(-1),
            index=[str(index[row]) for row in trained],
            norm_adv_by_std_in_grpo=bool(config.get("norm_adv_by_std_in_grpo", True)),
        )
        advantages[trained] = normalised * response_mask[trained].to(advantages.dtype)
    return advantages, advantages


def _verdict_of(score: float) -> dict[str, Any]:
    for status, value in OUTCOMES.items():
        if abs(score - value) < 2.0**-12:
            return {"correct": status == "correct", "status": status}
    raise ValueError(f"a reward of {score} is none of DeepCompressRewardManager: something else was added to it")


def _report(settings: Settings, answer: ShapeAnswer) -> None:
    """Log the step. Estimators cannot add to verl's metrics; the service's history and dashboard have them."""
    log.info(
        "run %r, step %s: level %s, pass ratio %s", settings.run, answer.step, answer.level, answer.batch_pass_ratio
    )
    log_warnings(settings.run, answer)


def _trainer_step() -> int:
    """Return the step that the trainer of this process is at: at step N it trains version N - 1 of the weights.

    Raises:
        ValueError: verl did not set it.
    """
    step = int(SkipManager.step)
    if step < 1:
        raise ValueError("verl's SkipManager has no step: the estimator runs outside of its V1 trainer")
    return step


def _versions(settings: Settings, uids: list[str]) -> dict[str, int]:
    """Return the oldest version of each prompt's samples. Groups that a checkpoint restored have none."""
    import ray

    versions: dict[str, int] = ray.get(settings.opener().versions.remote(uids))
    return versions


_runs: dict[str, tuple[Run, bool]] = {}


def _run(settings: Settings) -> tuple[Run, bool]:
    """Return the run, and whether it is asynchronous.

    It has the epoch at which this job's `RunOpener` opened it, even if the run has changed since. Where the trainer
    resumes, groups that its checkpoint restored may come before any new sample, so this may open it too.
    """
    if settings.run not in _runs:
        import ray

        resumed = SkipManager.step > 1
        actor = settings.opener()
        epoch = ray.get(actor.open.remote(int(SkipManager.step)) if resumed else actor.epoch.remote())
        run = Client(settings.url, **client_options(settings.deadline_s)).run(settings.run, join=True)
        run.epoch = epoch
        _runs[settings.run] = run, bool(run.info().config.asynchronous)
    return _runs[settings.run]


class DeepCompressCheckpoint(CheckpointCallback or object):  # type: ignore[misc]
    """Saves the difficulty state with verl's checkpoints, so that a training can resume from an old one.

    ``+trainer.checkpoint_callback_class=deepcompress_client.integrations.verl.DeepCompressCheckpoint``
    """

    def on_save(
        self, trainer: FrameworkObject, global_step: int, checkpoint_dir: str, async_save: bool = False, **_: object
    ) -> None:
        """Save the difficulty state; verl calls this after it saved a checkpoint."""
        del trainer, checkpoint_dir, async_save
        settings = Settings.of(self.config.algorithm)
        if settings is None:
            return
        try:
            _run(settings)[0].checkpoint(checkpoint_name(global_step + 1), global_step)
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", settings.run, global_step, error)
