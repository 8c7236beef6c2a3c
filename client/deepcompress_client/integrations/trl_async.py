"""TRL's asynchronous trainer: `DeepCompressGroupReward`, one group a call.

    reward = DeepCompressGroupReward(run="my-run", gold="answer", groups_per_step=64)
    trainer = AsyncGRPOTrainer(model=..., reward_funcs=reward, args=..., train_dataset=...)
    reward.attach(trainer)
    trainer.train()

The trainer scores groups in a process of its own, which gets a copy of the reward. Rank 0 opens the run before that
process starts, and the copy sends the epoch of this opening. So groups of an earlier start are refused: its process
may survive a killed trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._async_client import AsyncClient
from .._client import Client
from .._runs import RunSetting, StrategyLike, check_run_name
from ..errors import DeepCompressError
from ._audit import audit_golds
from ._batch import run_on_first_rank
from ._common import (
    DEADLINE_S,
    OUTAGES,
    DataColumn,
    FrameworkObject,
    Start,
    checkpoint_name,
    client_options,
    fill_with_group_mean,
    gold_text,
    groupwise,
    log,
    log_warnings,
    one_problem,
    open_run,
    open_run_async,
    save_identity,
    text_of,
)
from ._trl import check_columns, end_tokens, first_values, trains_none_as_0

if TYPE_CHECKING:
    from .._async_client import AsyncRun
    from .._client import Run


class DeepCompressGroupReward:
    """A reward function for TRL's asynchronous GRPO trainer.

    That trainer calls it with one group at a time, in another process, without the trainer's step. The run is
    therefore stepless: the service closes a step after ``groups_per_step`` groups, which should be the number of
    groups that one optimiser step consumes. Rewards refer to the level of the step before, unless ``strategy`` sets
    another reference.

    With `attach`, the run is opened when the training begins, and a training that resumes rewinds it to the groups
    that its checkpoint has trained. Without it, the first group opens the run, and ``resume=True`` continues with its
    present state. A new training must have a new run, or ``fresh`` deletes its history. ``continue_from`` starts a
    run with the level and the problems of another one.

    It refuses the calls of other trainers, whose batches hold several groups.
    ``end_token_ids`` are the tokens that end a completion; `attach` takes them from the trainer. Without both no
    completion is reported as truncated. This trainer has no evaluation.
    """

    def __init__(
        self,
        run: str,
        *,
        groups_per_step: int,
        resume: bool = False,
        fresh: bool = False,
        continue_from: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        gold: str = "solution",
        problem_id: str | None = None,
        end_token_ids: Sequence[int] = (),
        strategy: StrategyLike = None,
        deadline_s: float = DEADLINE_S,
        on_outage: Literal["none", "raise"] = "none",
        **config: RunSetting,
    ) -> None:
        self.__name__ = "deepcompress"
        self.run_name = check_run_name(run)
        self._start: Start = {"fresh": fresh, "continue_from": continue_from}
        self._neutral = trains_none_as_0()
        self._connection = {"api_key": api_key, **client_options(deadline_s)}
        self._url = url
        self.client = AsyncClient(url, **self._connection)
        self._resume = resume
        self._gold = gold
        self._problem_id = problem_id
        self._end_tokens = frozenset(end_token_ids)
        self.groups_per_step = groups_per_step
        self._strategy = groupwise(strategy, config)
        self._config = {**config, "groups_per_step": groups_per_step}
        self._on_outage = on_outage
        self._identity: Mapping[str, Any] | None = None
        """The identity of the run as the first process opened it; None without `attach`."""
        self._run: AsyncRun | None = None
        log.warning(
            "run %r: the asynchronous trainer passes no step, so every %d groups make one", run, groups_per_step
        )

    def attach(self, trainer: FrameworkObject) -> None:
        """Connect the reward to the trainer; errors in the set-up are raised before the training starts.

        The first golds of the training data are checked with the service.

        Raises:
            ValueError: a data column or the golds do not fit the trainer.
        """
        check_columns("train_dataset", trainer.train_dataset, (self._gold, self._problem_id))
        client = Client(self._url, **self._connection)
        golds = first_values(trainer.train_dataset, self._gold)
        run_on_first_rank(lambda: audit_golds(client, golds, f"column {self._gold!r} of train_dataset"))
        self._end_tokens = self._end_tokens or frozenset(end_tokens(trainer))
        self._start["folder"] = trainer.args.output_dir
        # The first of the callbacks: one of the trainer's own starts the process that gets a copy of this reward.
        trainer.callback_handler.callbacks.insert(0, _callback(self, client))

    def start(self, client: Client, next_step: int) -> Run:
        """Open the run for a training that continues at `next_step`, counted in steps of the run."""
        run = open_run(client, self.run_name, next_step, self._strategy, self._config, **self._start)
        self._identity = run.state_dict()
        return run

    def save(self, run: Run, next_step: int, keep: set[int]) -> None:
        """Save the difficulty state with the trainer's checkpoint; delete the states of deleted checkpoints."""
        try:
            if next_step > 0:
                run.checkpoint(checkpoint_name(next_step), next_step - 1)
            if run.info().epoch == run.epoch:  # not another training's
                run.refresh()  # the version of the other process
                save_identity(run, self._start)
            names = {checkpoint_name(step) for step in keep}
            for one in run.checkpoints():
                if str(one["name"]).startswith("step-") and one["name"] not in names:
                    run.delete_checkpoint(str(one["name"]))
        except DeepCompressError as error:
            # Only a resume from further back than the run's keep_steps would miss it.
            log.warning("no checkpoint of run %r at step %d: %s", self.run_name, next_step, error)

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: DataColumn,
    ) -> list[float | None]:
        """Return the total reward of each completion of one group, None if there is none.

        Raises:
            ValueError: the data set has no column with the gold, or the completions are not of one group.
            DeepCompressError: the service refuses the request, or is unavailable and `on_outage` is "raise".
        """
        if self._gold not in columns:
            raise ValueError(f"the dataset has no column {self._gold!r}, only {sorted(columns)}")
        if "trainer_state" in columns:  # the asynchronous trainer passes none
            raise ValueError(
                "DeepCompressGroupReward takes one group a call, and this trainer calls it with a batch: use "
                "DeepCompressReward and attach(trainer) with it"
            )
        name = one_problem("this call", zip(prompts, columns[self._gold], strict=True))
        gold = columns[self._gold][0]
        if gold is None:
            return [None] * len(completions)
        named = columns[self._problem_id][0] if self._problem_id else None
        group = {
            "problem_id": name if named is None else str(named),
            "gold": gold_text(gold),
            "rollouts": [
                {
                    "response": text_of(completion),
                    "tokens": len(ids),
                    "truncated": bool(self._end_tokens and ids) and ids[-1] not in self._end_tokens,
                }
                for completion, ids in zip(completions, completion_ids, strict=True)
            ],
        }
        try:
            answered = await (await self._opened()).score([group])
        except OUTAGES as error:
            if self._on_outage == "raise":
                raise
            log.error(
                "no rewards for a group of %d completions, it has no training signal: %s", len(completions), error
            )
            return [None] * len(completions)
        log_warnings(self.run_name, answered)
        answer = answered.groups[0]
        if self._neutral:
            return list(fill_with_group_mean(answer.rewards, answer.trainable))
        return [reward if ok else None for reward, ok in zip(answer.rewards, answer.trainable, strict=True)]

    async def _opened(self) -> AsyncRun:
        if self._run is None:
            if self._identity is not None or self._resume:
                self._run = await self.client.run(self.run_name, join=True, profile=self._config.get("profile"))
                if self._identity is not None:
                    self._run.load_state_dict(self._identity)
            else:
                opening = open_run_async(self.client, self.run_name, 0, self._strategy, self._config, **self._start)
                self._run = await opening
        return self._run


def _trained_steps(checkpoint: Path, groups_per_step: int) -> int | None:
    """Return the steps of the run whose groups a checkpoint of the trainer has trained; None without that number."""
    try:
        groups = json.loads((checkpoint / "rollout_state.json").read_text())["prompt_index"]
    except (OSError, ValueError, KeyError):
        return None
    return int(groups) // groups_per_step


def _callback(reward: DeepCompressGroupReward, client: Client) -> FrameworkObject:
    from transformers import TrainerCallback

    size = reward.groups_per_step

    class DeepCompressCallback(TrainerCallback):  # type: ignore[misc]
        """Opens the run when training begins, and saves its state with the trainer's checkpoints."""

        run: Run | None = None

        def on_train_begin(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del control

            def opened() -> None:
                # Groups that were scored and not trained are generated again, so the run goes back behind them.
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                trained = _trained_steps(checkpoint, size) if state.global_step else 0
                self.run = reward.start(client, state.global_step if trained is None else trained)

            run_on_first_rank(opened)

        def on_save(
            self, args: FrameworkObject, state: FrameworkObject, control: FrameworkObject, **_: object
        ) -> None:
            del control
            if self.run is None:
                return
            found = {folder: _trained_steps(folder, size) for folder in Path(args.output_dir).glob("checkpoint-*")}
            now = found.get(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            if now is not None:
                reward.save(self.run, now, {step for step in found.values() if step is not None})

    return DeepCompressCallback()
